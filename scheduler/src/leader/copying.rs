//! Looks through all results, round after round, for those that too few servers hold.

use super::duties::Duty;
use domain::{ArtifactId, Millis, ReplicaId, limit};
use std::collections::BTreeMap;

/// Time after which a look that was never heard of again is repeated. Copies of large results
/// between servers take their time.
const GIVE_UP: Millis = Millis(600_000);

/// Where the round stands.
#[derive(Clone, Debug)]
pub(super) struct Copying {
    after: ArtifactId,
    due: Millis,
    began: Millis,
}

impl Copying {
    /// The first round begins after a pause: a new leader has more urgent things to do.
    pub fn new(now: Millis) -> Self {
        Self { after: ArtifactId(0), due: now.plus(limit::COPY_CHECK_PAUSE), began: now }
    }

    /// The page to look at now.
    pub fn next(&mut self, now: Millis) -> Option<Duty> {
        if now < self.due {
            return None;
        }
        if self.after == ArtifactId(0) {
            self.began = now;
        }
        self.due = now.plus(GIVE_UP);
        Some(Duty::CheckCopies { after: self.after })
    }

    /// A page was looked at: up to `last`, or to the end of the results. Where something was
    /// mended there is probably more to mend, so the next page has no time to lose.
    pub fn looked(&mut self, last: Option<ArtifactId>, mended: bool, now: Millis) {
        self.after = last.unwrap_or(ArtifactId(0));
        self.due = if mended { now } else { now.plus(limit::COPY_CHECK_PAUSE) };
        if last.is_none() {
            self.due = self.due.max(self.began.plus(limit::COPY_CHECK_ROUND));
        }
    }

    /// Servers have joined or left: a round begins as soon as no page is looked at.
    pub fn begin_again(&mut self, now: Millis) {
        self.after = ArtifactId(0);
        self.began = Millis(0);
        self.due = self.due.min(now.plus(limit::COPY_CHECK_PAUSE));
    }
}

/// What a member says of a result's blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It has all of them.
    Whole,
    /// It lacks some.
    Lacks,
    /// It does not answer. What it held it may still hold.
    Silent,
}

/// What is to be done about a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Enough members hold it, and the record names only such.
    Fine,
    /// Enough members hold it, and the record is to name these.
    Record(Vec<ReplicaId>),
    /// Too few members hold it: bring it here, then to others.
    Copy,
}

/// Compares the record of who holds a result with what all members say.
///
/// A member that is silent counts as a holder if the record names it: a server that is down for
/// an hour is no reason to copy all that it holds. One that left the cluster never counts.
#[must_use]
pub fn verdict(recorded: &[ReplicaId], members: &BTreeMap<ReplicaId, Holding>) -> Verdict {
    let holds = |id: &ReplicaId| match members.get(id) {
        Some(Holding::Whole) => true,
        Some(Holding::Silent) => recorded.contains(id),
        Some(Holding::Lacks) | None => false,
    };
    let holders: Vec<ReplicaId> = members.keys().copied().filter(holds).collect();
    if holders.len() < limit::BLOB_COPIES.min(members.len()) {
        Verdict::Copy
    } else if recorded.iter().all(holds) {
        Verdict::Fine
    } else {
        Verdict::Record(holders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Holding::{Lacks, Silent, Whole};

    fn check(recorded: &[u64], members: &[(u64, Holding)]) -> Verdict {
        let recorded: Vec<_> = recorded.iter().copied().map(ReplicaId).collect();
        let members = members.iter().map(|(id, holding)| (ReplicaId(*id), *holding)).collect();
        verdict(&recorded, &members)
    }

    #[test]
    fn enough_holders_are_enough_and_those_that_are_silent_keep_their_word() {
        assert_eq!(check(&[1, 2], &[(1, Whole), (2, Whole), (3, Lacks)]), Verdict::Fine);
        assert_eq!(check(&[1, 2], &[(1, Whole), (2, Silent), (3, Lacks)]), Verdict::Fine);
        assert_eq!(check(&[1], &[(1, Whole)]), Verdict::Fine, "a cluster of one has one copy");
    }

    #[test]
    fn a_holder_that_left_or_lost_a_blob_is_followed_by_another() {
        assert_eq!(check(&[1, 2], &[(1, Whole), (3, Lacks), (4, Lacks)]), Verdict::Copy);
        assert_eq!(check(&[1, 2], &[(1, Whole), (2, Lacks), (3, Lacks)]), Verdict::Copy);
        assert_eq!(check(&[1, 2], &[(1, Lacks), (2, Silent), (3, Silent)]), Verdict::Copy);
    }

    #[test]
    fn a_record_that_names_others_is_corrected() {
        let held = Verdict::Record(vec![ReplicaId(1), ReplicaId(3)]);
        assert_eq!(check(&[1, 2], &[(1, Whole), (3, Whole), (4, Lacks)]), held);
    }

    #[test]
    fn a_round_is_paged_and_rests_at_its_end() {
        let mut copying = Copying::new(Millis(0));
        assert_eq!(copying.next(Millis(999)), None);
        let page = |after| Some(Duty::CheckCopies { after: ArtifactId(after) });
        assert_eq!(copying.next(Millis(1_000)), page(0));
        assert_eq!(copying.next(Millis(9_000)), None, "one look at a time");
        copying.looked(Some(ArtifactId(8)), false, Millis(9_000));
        assert_eq!(copying.next(Millis(9_999)), None);
        assert_eq!(copying.next(Millis(10_000)), page(8));
        copying.looked(Some(ArtifactId(16)), true, Millis(10_100));
        assert_eq!(copying.next(Millis(10_100)), page(16), "more may be short");
        copying.looked(None, true, Millis(10_500));
        assert_eq!(copying.next(Millis(60_999)), None);
        assert_eq!(copying.next(Millis(61_000)), page(0));
        assert_eq!(copying.next(Millis(661_000)), page(0), "a lost look is repeated");
        copying.looked(None, false, Millis(661_500));
        copying.begin_again(Millis(662_000));
        assert_eq!(copying.next(Millis(663_000)), page(0), "servers have joined or left");
    }
}
