//! How often run times fell within what their likes had led one to expect.
//!
//! Nothing is stored for it: each attempt that has ended is held against those of its like that
//! had ended when it began, as an estimate made then would have been.

use super::{run_time::OF_USER_MIN, start::rank};
use crate::state::view::EndedRun;
use domain::{Millis, foresee::CalibrationView};
use std::collections::BTreeMap;

/// Attempts that are held against their likes: the newest.
const ATTEMPTS_MAX: usize = 2_000;

/// What may be expected of a job's likes, in the two ways in which they are found.
type Known<'a> = BTreeMap<(&'a str, &'a str, Option<&'a str>), Vec<Millis>>;

/// Holds the newest attempts against their likes; none where none of them had any.
#[must_use]
pub fn calibrate(ended: &[EndedRun]) -> Option<CalibrationView> {
    let mut newest: Vec<&EndedRun> = ended.iter().collect();
    newest.sort_by_key(|run| std::cmp::Reverse((run.granted, run.ran)));
    newest.truncate(ATTEMPTS_MAX);
    // What had ended before one began is known to it.
    let ends = newest.iter().map(|run| (run.granted.plus(run.ran), true, *run));
    let begins = newest.iter().map(|run| (run.granted, false, *run));
    let mut events: Vec<(Millis, bool, &EndedRun)> = ends.chain(begins).collect();
    events.sort_by_key(|(at, ends, run)| (*at, *ends, run.granted, run.ran));
    let mut known = Known::new();
    let mut held = CalibrationView { attempts: 0, within_p50: 0, within_p90: 0 };
    for (_, ends, run) in events {
        match ends {
            true => learn(&mut known, run),
            false => compare(&known, run, &mut held),
        }
    }
    (held.attempts > 0).then_some(held)
}

fn learn<'a>(known: &mut Known<'a>, run: &'a EndedRun) {
    for name in [Some(run.name.as_str()), None] {
        let list = known.entry((&run.queue, &run.user, name)).or_default();
        let at = list.partition_point(|time| *time <= run.ran);
        list.insert(at, run.ran);
    }
}

fn compare(known: &Known<'_>, run: &EndedRun, held: &mut CalibrationView) {
    let list = |name| known.get(&(run.queue.as_str(), run.user.as_str(), name));
    let of_user = list(None).filter(|list| list.len() >= OF_USER_MIN);
    let Some(like) = list(Some(run.name.as_str())).or(of_user) else { return };
    let within = |percent| like.get(rank(like.len(), percent)).is_some_and(|it| run.ran <= *it);
    held.attempts += 1;
    held.within_p50 += u64::from(within(50));
    held.within_p90 += u64::from(within(90));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, granted: u64, ran: u64) -> EndedRun {
        EndedRun {
            queue: "ml".into(),
            user: "ada".into(),
            name: name.into(),
            granted: Millis(granted),
            ran: Millis(ran),
        }
    }

    #[test]
    fn an_attempt_is_held_against_what_had_ended_when_it_began() {
        // The first has no like that had ended; the second was over when the third began.
        let all = [run("a", 0, 100), run("a", 50, 20), run("a", 90, 20), run("a", 200, 60)];
        let held = calibrate(&all).unwrap();
        // The third: 20 of [20]. The fourth: 60 of [20, 20, 100] is beyond the p50 alone.
        assert_eq!((held.attempts, held.within_p50, held.within_p90), (2, 1, 2));
        assert_eq!(calibrate(&all[..1]), None);
    }

    #[test]
    fn where_all_come_from_one_distribution_about_half_is_within_the_p50() {
        // A sequence that fills the range evenly.
        let all: Vec<_> = (0..1_000_u64).map(|at| run("a", at * 1_000, at * 617 % 1_000)).collect();
        let held = calibrate(&all).unwrap();
        assert_eq!(held.attempts, 999);
        assert!((480..=520).contains(&held.within_p50), "{held:?}");
        assert!((880..=920).contains(&held.within_p90), "{held:?}");
    }
}
