//! What is drawn: curves, thinned to what an eye can tell apart.

use crate::workload::{
    share::engine::Point,
    time::metric::{Metrics, Samples},
};

/// Points of a curve at most. Source: a chart is some 300 pixels wide.
const POINTS: usize = 300;
const DAY_S: f64 = 86_400.0;

/// What the horizontal axis counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Days since the first job came.
    Days,
    /// Seconds, by their logarithm to ten.
    LogSeconds,
    /// GPUs asked for, in percent of all.
    AskedPct,
}

/// One figure with a curve for each policy.
#[derive(Clone, Debug)]
pub struct Panel {
    /// What the vertical axis shows, with its unit.
    pub title: &'static str,
    /// What the horizontal axis shows.
    pub axis: Axis,
    /// By policy.
    pub curves: Vec<Vec<(f64, f64)>>,
}

/// Of runs over time: queue, utilisation, fragmentation, times of completion.
#[must_use]
pub fn over_time(runs: &[(Samples, Metrics)]) -> Vec<Panel> {
    let panel = |title, value: fn(&Samples, usize) -> f64| Panel {
        title,
        axis: Axis::Days,
        curves: runs.iter().map(|(samples, _)| thin(samples, value)).collect(),
    };
    let used = |samples: &Samples, at: usize| {
        100.0 * f64::from(samples.used[at]) / f64::from(samples.total.max(1))
    };
    vec![
        panel("jobs waiting", |samples, at| samples.waiting[at] as f64),
        panel("GPUs used, %", used),
        panel("GPUs idle while jobs wait, %", Samples::fragmented_pct),
        Panel {
            title: "jobs done within, %",
            axis: Axis::LogSeconds,
            curves: runs.iter().map(|(_, metrics)| shares(&metrics.jct_s)).collect(),
        },
    ]
}

/// Of pods that come and stay: what is left, what of it is of no use, what failed.
#[must_use]
pub fn over_load(runs: &[Vec<Point>]) -> Vec<Panel> {
    let panel = |title, value: fn(&Point) -> f64| Panel {
        title,
        axis: Axis::AskedPct,
        curves: runs
            .iter()
            .map(|run| run.iter().map(|point| (point.asked_pct, value(point))).collect())
            .collect(),
    };
    vec![
        panel("GPUs unallocated, %", |point| point.unallocated_pct),
        panel("GPUs fragmented, %", |point| point.fragmented_pct),
        panel("pods that fitted nowhere", |point| point.failed as f64),
    ]
}

/// The mean over each of equal spans of time.
fn thin(samples: &Samples, value: fn(&Samples, usize) -> f64) -> Vec<(f64, f64)> {
    let (Some(first), Some(last)) = (samples.at_s.first(), samples.at_s.last()) else {
        return Vec::new();
    };
    let width = (last - first) / POINTS as f64;
    if width <= 0.0 {
        return vec![(0.0, value(samples, 0))];
    }
    let mut sums = vec![0.0; POINTS];
    for (at, pair) in samples.at_s.windows(2).enumerate() {
        let value = value(samples, at);
        let mut from = pair[0] - first;
        let until = pair[1] - first;
        let mut span = ((from / width) as usize).min(POINTS - 1);
        while from < until {
            let end = if span + 1 < POINTS { width * (span + 1) as f64 } else { until };
            sums[span] += value * (end.min(until) - from).max(0.0);
            from = end;
            span = (span + 1).min(POINTS - 1);
        }
    }
    let point = |(at, sum): (usize, f64)| ((at as f64 + 0.5) * width / DAY_S, sum / width);
    sums.into_iter().enumerate().map(point).collect()
}

/// How many percent of the sorted times are no longer than each.
fn shares(sorted: &[f64]) -> Vec<(f64, f64)> {
    let step = (sorted.len() / POINTS).max(1);
    let last = sorted.len().checked_sub(1);
    let places = (0..sorted.len()).step_by(step).chain(last);
    let share = |at: usize| 100.0 * (at + 1) as f64 / sorted.len() as f64;
    places.map(|at| (sorted[at].max(1.0).log10(), share(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_the_mean() {
        let mut samples = Samples::new(8);
        for at in 0..1_000 {
            samples.add(f64::from(at * at), at as usize % 7, 0, 0);
        }
        let curve = thin(&samples, |samples, at| samples.waiting[at] as f64);
        let mean = curve.iter().map(|(_, value)| value).sum::<f64>() / curve.len() as f64;
        assert!((mean - samples.mean(|at| samples.waiting[at] as f64)).abs() < 1e-6, "{mean}");
        assert_eq!(curve.len(), POINTS);
    }

    #[test]
    fn shares_end_at_all() {
        assert_eq!(shares(&[1.0, 10.0, 100.0]).last(), Some(&(2.0, 100.0)));
        assert!(shares(&[]).is_empty());
    }
}
