//! When a job starts, over all scenarios, or why nobody knows.

use super::{Foresight, Start};
use domain::{
    JobId, Millis,
    foresee::{Basis, StartView},
};

/// Jobs that one sentence names.
const NAMES_MAX: usize = 3;

impl Foresight {
    /// When a job starts.
    #[must_use]
    pub fn start_of(&self, job: JobId) -> StartView {
        let starts = self.starts(job);
        let p50 = starts.get(rank(starts.len(), 50)).copied().flatten();
        let p90 = starts.get(rank(starts.len(), 90)).copied().flatten();
        let not_known = match (p50, p90) {
            (Some(_), Some(_)) => None,
            _ => Some(self.why_not(job)),
        };
        StartView {
            from_time: self.now,
            p50: p50.map(|start| start.at),
            p90: p90.map(|start| start.at),
            nodes: p50.map(|start| start.nodes.clone()).unwrap_or_default(),
            basis: self.basis,
            scenarios: self.walks.len() as u32,
            held: self.calibration.filter(|_| self.basis == Basis::History),
            starts_held: self.starts_held.filter(|_| self.basis == Basis::History),
            not_known,
        }
    }

    /// The p50 and the p90 of a job's start, where both are known.
    #[must_use]
    pub fn span_of(&self, job: JobId) -> Option<(Millis, Millis)> {
        let starts = self.starts(job);
        let at = |percent| Some(starts.get(rank(starts.len(), percent))?.as_ref()?.at);
        at(50).zip(at(90))
    }

    /// The first start in each scenario, the earliest first; those without one last.
    fn starts(&self, job: JobId) -> Vec<Option<&Start>> {
        let mut starts: Vec<_> = self.walks.iter().map(|walk| walk.start_of(job)).collect();
        starts.sort_by_key(|start| start.map_or(Millis(u64::MAX), |start| start.at));
        starts
    }

    fn why_not(&self, job: JobId) -> String {
        if self.held.contains(&job) {
            return format!("it is held, and starts once it is released: `assay release {job}`");
        }
        if self.gated.contains(&job) {
            return "the policy has not decided on it yet".to_owned();
        }
        if !self.jobs.contains(&job) {
            return format!(
                "{} waiting jobs are not looked at, this one among them",
                self.left_out
            );
        }
        let endless: Vec<JobId> = self.endless();
        if !endless.is_empty() {
            let names: Vec<_> = endless.iter().take(NAMES_MAX).map(ToString::to_string).collect();
            let more = match endless.len().saturating_sub(NAMES_MAX) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let has = if endless.len() == 1 { "has" } else { "have" };
            return format!(
                "{}{more} {has} no time limit and no history: nobody knows when that ends",
                names.join(", ")
            );
        }
        match self.cut() {
            Some(at) => format!("it was looked ahead for {} minutes only", minutes(self.now, at)),
            None => {
                format!("not within the {} minutes looked ahead", minutes(self.now, self.until))
            }
        }
    }

    /// Jobs of which nobody knows when they end, in any scenario.
    #[must_use]
    pub fn endless(&self) -> Vec<JobId> {
        let all = self.walks.iter().flat_map(|walk| &walk.endless);
        let all: std::collections::BTreeSet<JobId> = all.copied().collect();
        all.into_iter().collect()
    }

    /// Where the first scenario was cut, if one was.
    #[must_use]
    pub fn cut(&self) -> Option<Millis> {
        self.walks.iter().filter(|walk| walk.cut).map(|walk| walk.reached).min()
    }
}

fn minutes(from: Millis, to: Millis) -> u64 {
    to.minus(from).0 / 60_000
}

/// The place of a percentile in so many, by the nearest rank.
pub(super) fn rank(count: usize, percent: usize) -> usize {
    (count * percent).div_ceil(100).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_eleven_the_sixth_is_the_median_and_the_tenth_the_p90() {
        assert_eq!((rank(11, 50), rank(11, 90)), (5, 9));
        assert_eq!((rank(1, 50), rank(1, 90)), (0, 0));
    }
}
