//! What is measured of a run over time.

use super::{engine::Ran, state::State};

/// How things were from one event to the next.
#[derive(Clone, Debug)]
pub struct Samples {
    /// All GPUs.
    pub total: u32,
    /// Times of the events.
    pub at_s: Vec<f64>,
    /// Jobs that wait.
    pub waiting: Vec<usize>,
    /// GPUs in use.
    pub used: Vec<u32>,
    /// GPUs that all who are there ask for.
    pub wanted: Vec<u64>,
}

impl Samples {
    /// None yet.
    #[must_use]
    pub fn new(total: u32) -> Self {
        Self { total, at_s: vec![], waiting: vec![], used: vec![], wanted: vec![] }
    }

    /// How things are from `at_s` on. Of one time only the last counts.
    pub fn add(&mut self, at_s: f64, waiting: usize, used: u32, wanted: u64) {
        if self.at_s.last() == Some(&at_s) {
            self.at_s.pop();
            self.waiting.pop();
            self.used.pop();
            self.wanted.pop();
        }
        self.at_s.push(at_s);
        self.waiting.push(waiting);
        self.used.push(used);
        self.wanted.push(wanted);
    }

    /// The mean over time of what `value` says of each sample.
    #[must_use]
    pub fn mean(&self, value: impl Fn(usize) -> f64) -> f64 {
        let (mut sum, mut span) = (0.0, 0.0);
        for (at, pair) in self.at_s.windows(2).enumerate() {
            sum += value(at) * (pair[1] - pair[0]);
            span += pair[1] - pair[0];
        }
        if span > 0.0 { sum / span } else { 0.0 }
    }

    /// GPUs that are idle while somebody waits, in percent of all.
    #[must_use]
    pub fn fragmented_pct(&self, at: usize) -> f64 {
        if self.waiting[at] == 0 {
            return 0.0;
        }
        100.0 * f64::from(self.total - self.used[at]) / f64::from(self.total.max(1))
    }

    /// At each event, the integral of the contention so far: how many times over the cluster is
    /// asked for, at least once.
    fn contention(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.at_s.len()];
        for at in 1..self.at_s.len() {
            let times = (self.wanted[at - 1] as f64 / f64::from(self.total.max(1))).max(1.0);
            sums[at] = sums[at - 1] + times * (self.at_s[at] - self.at_s[at - 1]);
        }
        sums
    }
}

/// Jobs of one size.
#[derive(Clone, Debug, serde::Serialize)]
pub struct SizeWait {
    /// Smallest number of GPUs.
    pub gpus_min: u32,
    /// Largest number of GPUs.
    pub gpus_max: u32,
    /// How many jobs.
    pub jobs: usize,
    /// Mean wait.
    pub wait_avg_s: f64,
    /// Of a hundred, one waits at least so long.
    pub wait_p99_s: f64,
}

/// Figures of one run over time.
#[derive(Clone, Debug, serde::Serialize)]
#[expect(missing_docs, reason = "each is named for what it is, with its unit")]
pub struct Metrics {
    pub jobs: usize,
    pub jobs_too_large: usize,
    pub jct_avg_s: f64,
    pub jct_p99_s: f64,
    pub makespan_s: f64,
    pub wait_avg_s: f64,
    pub wait_p99_s: f64,
    pub wait_max_s: f64,
    pub wait_by_size: Vec<SizeWait>,
    pub utilisation_pct: f64,
    pub unallocated_gpu_pct: f64,
    pub fragmentation_pct: f64,
    pub queue_avg_jobs: f64,
    pub preemptions: u64,
    pub preemption_cost_gpu_s: f64,
    pub finish_time_fairness_avg: f64,
    pub finish_time_fairness_max: f64,
    #[serde(skip)]
    pub jct_s: Vec<f64>,
}

/// `sorted[⌊share n⌋]`, as the papers count it.
#[must_use]
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted.get(at).or(sorted.last()).copied().unwrap_or(0.0)
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Measures a run.
#[must_use]
pub fn measure(ran: &Ran<'_>) -> Metrics {
    let state = &ran.state;
    let ended: Vec<(usize, f64)> =
        state.run.iter().enumerate().filter_map(|(job, run)| Some((job, run.end_s?))).collect();
    let first =
        ended.iter().map(|(job, _)| state.jobs[*job].submit_s).fold(f64::INFINITY, f64::min);
    let last = ended.iter().map(|(_, end)| *end).fold(0.0, f64::max);
    let mut jct: Vec<f64> =
        ended.iter().map(|(job, end)| end - state.jobs[*job].submit_s).collect();
    let waits: Vec<(u32, f64)> = ended.iter().map(|(job, end)| wait(state, *job, *end)).collect();
    let fairness = fairness(ran, &ended);
    jct.sort_by(f64::total_cmp);
    let mut sorted: Vec<f64> = waits.iter().map(|(_, wait)| *wait).collect();
    sorted.sort_by(f64::total_cmp);
    let total = f64::from(ran.samples.total.max(1));
    let used = ran.samples.mean(|at| 100.0 * f64::from(ran.samples.used[at]) / total);
    let cost = |job: usize| state.run[job].lost_s * f64::from(state.jobs[job].gpus);
    Metrics {
        jobs: ended.len(),
        jobs_too_large: ran.too_large.len(),
        jct_avg_s: mean(&jct),
        jct_p99_s: quantile(&jct, 0.99),
        makespan_s: if ended.is_empty() { 0.0 } else { last - first },
        wait_avg_s: mean(&sorted),
        wait_p99_s: quantile(&sorted, 0.99),
        wait_max_s: sorted.last().copied().unwrap_or(0.0),
        wait_by_size: by_size(&waits),
        utilisation_pct: used,
        unallocated_gpu_pct: 100.0 - used,
        fragmentation_pct: ran.samples.mean(|at| ran.samples.fragmented_pct(at)),
        queue_avg_jobs: ran.samples.mean(|at| ran.samples.waiting[at] as f64),
        preemptions: state.run.iter().map(|run| u64::from(run.preemptions)).sum(),
        preemption_cost_gpu_s: ended.iter().map(|(job, _)| cost(*job)).sum(),
        finish_time_fairness_avg: mean(&fairness),
        finish_time_fairness_max: fairness.iter().copied().fold(0.0, f64::max),
        jct_s: jct,
    }
}

/// A job's size, with the time from its coming to its end in which it did not run.
fn wait(state: &State<'_>, job: usize, end: f64) -> (u32, f64) {
    let there = end - state.jobs[job].submit_s;
    (state.jobs[job].gpus, (there - state.run[job].executed_s).max(0.0))
}

/// By powers of two.
fn by_size(waits: &[(u32, f64)]) -> Vec<SizeWait> {
    let mut sizes = Vec::new();
    let most = waits.iter().map(|(gpus, _)| *gpus).max().unwrap_or(0);
    let (mut from, mut to) = (1, 1);
    while from <= most {
        let mut of: Vec<f64> = waits
            .iter()
            .filter(|(gpus, _)| (from..=to).contains(gpus))
            .map(|(_, wait)| *wait)
            .collect();
        of.sort_by(f64::total_cmp);
        if !of.is_empty() {
            sizes.push(SizeWait {
                gpus_min: from,
                gpus_max: to,
                jobs: of.len(),
                wait_avg_s: mean(&of),
                wait_p99_s: quantile(&of, 0.99),
            });
        }
        (from, to) = (to + 1, to * 2);
    }
    sizes
}

/// Themis's ratio: the time a job was there, over what an equal share of the cluster would have
/// taken. One is fair, more is worse.
fn fairness(ran: &Ran<'_>, ended: &[(usize, f64)]) -> Vec<f64> {
    let samples = &ran.samples;
    let sums = samples.contention();
    let at = |time: f64| {
        let next = samples.at_s.partition_point(|at| *at <= time);
        sums.get(next.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let ratio = |(job, end): &(usize, f64)| {
        let job = &ran.state.jobs[*job];
        let there = end - job.submit_s;
        let times = if there > 0.0 { (at(*end) - at(job.submit_s)) / there } else { 1.0 };
        there / (job.service_s * times.max(1.0))
    };
    ended.iter().map(ratio).collect()
}
