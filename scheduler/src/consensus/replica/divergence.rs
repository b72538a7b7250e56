//! The comparison of state digests between replicas.
//!
//! The set hash carries every past change, so a difference never goes away: it is enough to
//! compare the newest digests that were exchanged, and a lost message is made good by the next.

use domain::{Digest, ReplicaId};
use std::collections::{BTreeMap, BTreeSet};

/// Indexes that are remembered.
const KEPT: usize = 8;

/// What the exchanged digests say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No difference, or this replica is with the majority.
    Fine,
    /// There is a difference, and it is not known yet where the majority is.
    Undecided {
        /// The entry.
        index: u64,
        /// A voter whose digest more of them share than this replica's.
        likelier: Option<ReplicaId>,
    },
    /// The majority has another digest.
    Minority {
        /// The entry.
        index: u64,
        /// This replica's.
        own: Digest,
        /// The majority's.
        majority: Digest,
    },
    /// All voters have spoken and no majority agrees.
    NoMajority {
        /// The entry.
        index: u64,
    },
}

/// Digests of this replica and of the others, at the same entries.
#[derive(Default)]
pub(super) struct Exchange {
    own: BTreeMap<u64, Digest>,
    others: BTreeMap<u64, BTreeMap<ReplicaId, Digest>>,
}

fn bound<T>(map: &mut BTreeMap<u64, T>) {
    while map.len() > KEPT {
        map.pop_first();
    }
}

impl Exchange {
    pub(super) fn record(&mut self, index: u64, digest: Digest) {
        self.own.insert(index, digest);
        bound(&mut self.own);
    }

    pub(super) fn hear(&mut self, from: ReplicaId, index: u64, digest: Digest) {
        self.others.entry(index).or_default().insert(from, digest);
        bound(&mut self.others);
    }

    /// This replica's newest digest.
    pub(super) fn newest(&self) -> Option<(u64, Digest)> {
        self.own.last_key_value().map(|(index, digest)| (*index, *digest))
    }

    /// Forgets all: the state was replaced as a whole.
    pub(super) fn clear(&mut self) {
        self.own.clear();
        self.others.clear();
    }

    /// Judges by the newest entry that a majority has spoken about.
    pub(super) fn verdict(&self, me: ReplicaId, voters: &BTreeSet<ReplicaId>) -> Verdict {
        let mut undecided = Verdict::Fine;
        for (&index, &own) in self.own.iter().rev() {
            let Some(others) = self.others.get(&index) else { continue };
            let mut votes: BTreeMap<Digest, usize> = BTreeMap::new();
            let mut spoken = 0;
            for voter in voters {
                let digest = if *voter == me { Some(&own) } else { others.get(voter) };
                if let Some(digest) = digest {
                    *votes.entry(*digest).or_default() += 1;
                    spoken += 1;
                }
            }
            let majority = votes
                .iter()
                .find(|(_, count)| **count > voters.len() / 2)
                .map(|(digest, _)| *digest);
            match majority {
                Some(majority) if majority == own => return Verdict::Fine,
                Some(majority) => return Verdict::Minority { index, own, majority },
                None if votes.len() > 1 && spoken == voters.len() => {
                    return Verdict::NoMajority { index };
                }
                None if votes.len() > 1 && undecided == Verdict::Fine => {
                    let count = |digest: &Digest| votes.get(digest).copied().unwrap_or_default();
                    let more = |(_, digest): &(&ReplicaId, &Digest)| count(digest) > count(&own);
                    let likelier = others
                        .iter()
                        .filter(|(voter, _)| voters.contains(voter))
                        .find(more)
                        .map(|(voter, _)| *voter);
                    undecided = Verdict::Undecided { index, likelier };
                }
                None => {}
            }
        }
        undecided
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(of: u64, digests: &[(u64, &str)]) -> Verdict {
        let voters = [1, 2, 3].map(ReplicaId).into();
        let mut exchange = Exchange::default();
        for (id, digest) in digests {
            let digest = Digest::of(digest.as_bytes());
            match *id == of {
                true => exchange.record(8, digest),
                false => exchange.hear(ReplicaId(*id), 8, digest),
            }
        }
        exchange.verdict(ReplicaId(of), &voters)
    }

    #[test]
    fn the_minority_is_told_and_the_majority_goes_on() {
        let (own, majority) = (Digest::of(b"b"), Digest::of(b"a"));
        let digests = [(1, "a"), (2, "a"), (3, "b")];
        assert_eq!(verdict(1, &digests), Verdict::Fine);
        assert_eq!(verdict(2, &digests), Verdict::Fine);
        assert_eq!(verdict(3, &digests), Verdict::Minority { index: 8, own, majority });
    }

    #[test]
    fn without_a_majority_nobody_goes_on() {
        let digests = [(1, "a"), (2, "b"), (3, "c")];
        for of in 1..=3 {
            assert_eq!(verdict(of, &digests), Verdict::NoMajority { index: 8 });
        }
        let undecided = Verdict::Undecided { index: 8, likelier: None };
        assert_eq!(verdict(1, &digests[..2]), undecided);
        assert_eq!(verdict(1, &digests[..1]), Verdict::Fine);
    }

    #[test]
    fn one_whom_more_contradict_than_share_its_digest_knows_who_is_likelier_right() {
        let voters: BTreeSet<_> = (1..=4).map(ReplicaId).collect();
        let heard = |own: &str| {
            let mut exchange = Exchange::default();
            exchange.record(8, Digest::of(own.as_bytes()));
            exchange.hear(ReplicaId(2), 8, Digest::of(b"a"));
            exchange.hear(ReplicaId(3), 8, Digest::of(b"a"));
            exchange.hear(ReplicaId(9), 8, Digest::of(b"b"));
            exchange.verdict(ReplicaId(1), &voters)
        };
        let likelier = Some(ReplicaId(2));
        assert_eq!(heard("b"), Verdict::Undecided { index: 8, likelier });
        assert_eq!(heard("a"), Verdict::Fine);
    }

    #[test]
    fn a_learner_does_not_count_but_may_be_wrong() {
        let digests = [(1, "a"), (2, "a"), (4, "b")];
        assert!(matches!(verdict(4, &digests), Verdict::Minority { .. }));
        assert_eq!(verdict(1, &digests), Verdict::Fine);
    }
}
