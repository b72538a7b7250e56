//! How long a job is taken to run: from what like jobs took, from its estimate, and from its time
//! limit.

use super::calibration::calibrate;
use crate::state::{order::remaining, row::Brief, view::EndedRun};
use domain::{
    Digest, ElementId, Millis,
    foresee::{CalibrationView, StartsHeld},
};
use std::collections::BTreeMap;

/// How many scenarios there may be, the most first. Primes, so that every way of going through
/// the slots below meets each of them once; odd, so that the p50 is one of them.
pub const SCENARIOS: [u32; 4] = [11, 7, 5, 3];
/// Ended attempts of a user in a queue from which on they tell of a job that is new there.
pub(super) const OF_USER_MIN: usize = 3;

/// Run times of like jobs, each list ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunTimes {
    /// By queue, user and name.
    named: BTreeMap<(String, String, String), Vec<Millis>>,
    /// By queue and user.
    of_user: BTreeMap<(String, String), Vec<Millis>>,
    /// How often they fell within what was to be expected.
    pub held: Option<CalibrationView>,
    /// How often what was foreseen of starts held.
    pub starts: Option<StartsHeld>,
}

impl RunTimes {
    /// Sorted from what has ended.
    #[must_use]
    pub fn of(ended: &[EndedRun]) -> Self {
        let mut all = Self { held: calibrate(ended), ..Self::default() };
        for run in ended {
            let (queue, user, name) = (run.queue.clone(), run.user.clone(), run.name.clone());
            all.of_user.entry((queue.clone(), user.clone())).or_default().push(run.ran);
            all.named.entry((queue, user, name)).or_default().push(run.ran);
        }
        all.named.values_mut().chain(all.of_user.values_mut()).for_each(|list| list.sort());
        all
    }

    /// What the likes of a job took: those of its name where there are any, else all of its user
    /// in its queue.
    #[must_use]
    pub fn like(&self, job: &Brief) -> &[Millis] {
        let (queue, user) = (job.queue.to_string(), job.user.to_string());
        let of_user = self.of_user.get(&(queue.clone(), user.clone()));
        let of_user = of_user.filter(|list| list.len() >= OF_USER_MIN);
        let named = self.named.get(&(queue, user, job.name.to_string()));
        named.or(of_user).map_or(&[], Vec::as_slice)
    }
}

/// One way in which things may go.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its number.
    pub number: u32,
    /// How many there are: one of [`SCENARIOS`], or one alone.
    pub of: u32,
    /// What it is drawn from: the digest of the view.
    pub seed: Digest,
}

impl Scenario {
    /// How long an attempt of an element runs in all that has already run for `ran`: as its likes
    /// did, or as its estimate says, or as long as it may; none where nothing is known of it.
    ///
    /// Over all scenarios each element meets every part of what its likes took once, in an order
    /// of its own: few scenarios are spread as well as many that are drawn one by one.
    #[must_use]
    pub fn run_time(
        &self,
        known: &RunTimes,
        job: &Brief,
        of: ElementId,
        ran: Millis,
    ) -> Option<Millis> {
        let like = known.like(job);
        // Those that were shorter are not like it.
        let longer = &like[like.partition_point(|time| *time <= ran)..];
        let drawn = self.slot(of) as usize;
        // The middle of the slot, among so many.
        let at = (2 * drawn + 1) * longer.len() / (2 * self.of.max(1) as usize);
        // What its likes took is known; what is said of it is said.
        let said = || job.estimate().map(|said| ran.plus(Millis(remaining(ran.0, said.0))));
        let time = longer.get(at).copied().or_else(said);
        time.into_iter().chain(job.time_limit).min()
    }

    fn slot(&self, of: ElementId) -> u32 {
        if self.of <= 1 {
            return 0;
        }
        let Digest(bytes) = Digest::of_value(&(self.seed, of));
        let [first, second, ..] = bytes.map(u32::from);
        let (step, begin) = (1 + first % (self.of - 1), second % self.of);
        (begin + step * (self.number % self.of)) % self.of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::JobId;
    use std::collections::BTreeSet;

    #[test]
    fn over_all_scenarios_an_element_meets_every_slot_once() {
        for (job, of) in (1..50).flat_map(|job| SCENARIOS.map(|of| (job, of))) {
            let slots: BTreeSet<u32> = (0..of)
                .map(|number| Scenario { number, of, seed: Digest::of(b"a view") })
                .map(|scenario| scenario.slot(JobId(job).into()))
                .collect();
            assert_eq!(slots, (0..of).collect());
        }
    }
}
