//! Reads that show all that was acknowledged before they were asked for.

use super::io::{Output, ReadError};
use domain::{LogIndex, limit};
use std::collections::{BTreeMap, VecDeque};

/// Ticks after which another round is begun beside one without an answer: raft-rs drops a round
/// silently when there is no leader, or the leader has not committed in its term. The answer to
/// the earlier one still counts: where leader and followers are busy, each takes longer than this.
const RETRY_TICKS: u64 = 2;
/// Ticks after which a read fails.
const DEADLINE_TICKS: u64 = limit::CALL_TIMEOUT.0 / limit::TICK.0 / 2;

/// A read that waits, and since when.
#[derive(Clone, Copy)]
struct Waiting {
    token: u64,
    since: u64,
}

/// A quorum round without an answer, with the reads that came since the one before.
struct Round {
    context: Vec<u8>,
    since: u64,
    reads: Vec<Waiting>,
}

/// All reads of one replica. Reads that arrive while a round is under way share the next, so each
/// is confirmed by a round that began after it was asked for. A round is followed by another only
/// when it is late, so no more are remembered than fit into the time of one read.
pub(super) struct Reads {
    nonce: u64,
    counter: u64,
    waiting: Vec<Waiting>,
    /// The oldest first.
    rounds: VecDeque<Round>,
    confirmed: BTreeMap<u64, Vec<Waiting>>,
}

impl Reads {
    pub(super) fn new(nonce: u64) -> Self {
        let (waiting, rounds) = (Vec::new(), VecDeque::new());
        Self { nonce, counter: 0, waiting, rounds, confirmed: BTreeMap::new() }
    }

    pub(super) fn ask(&mut self, token: u64, tick: u64) {
        self.waiting.push(Waiting { token, since: tick });
    }

    /// The context of a new round, if one is due.
    pub(super) fn start(&mut self, tick: u64) -> Option<Vec<u8>> {
        let due = match self.rounds.back() {
            Some(newest) => tick >= newest.since + RETRY_TICKS,
            None => !self.waiting.is_empty(),
        };
        if !due {
            return None;
        }
        self.counter += 1;
        let mut context = Vec::with_capacity(16);
        context.extend(self.nonce.to_be_bytes());
        context.extend(self.counter.to_be_bytes());
        let reads = std::mem::take(&mut self.waiting);
        self.rounds.push_back(Round { context: context.clone(), since: tick, reads });
        Some(context)
    }

    /// A round was confirmed at `index`: with its reads those of the rounds before it.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64) {
        let Some(at) = self.rounds.iter().position(|round| round.context == context) else {
            return;
        };
        let reads = self.rounds.drain(..=at).flat_map(|round| round.reads);
        self.confirmed.entry(index).or_default().extend(reads);
    }

    /// Reads whose index is applied may go on.
    pub(super) fn applied(&mut self, applied: u64, out: &mut Vec<Output>) {
        while let Some(entry) = self.confirmed.first_entry() {
            if *entry.key() > applied {
                break;
            }
            let (index, reads) = entry.remove_entry();
            let (index, tokens) = (LogIndex(index), reads.into_iter().map(|read| read.token));
            out.extend(tokens.map(|token| Output::ReadReady { token, index }));
        }
    }

    /// Fails those that have waited too long for a quorum, or for the entry that it confirmed,
    /// which never comes to a server that was removed or cut off.
    pub(super) fn expire(&mut self, tick: u64, out: &mut Vec<Output>) {
        let rounds = self.rounds.iter_mut().map(|round| &mut round.reads);
        let confirmed = self.confirmed.values_mut();
        for list in std::iter::once(&mut self.waiting).chain(rounds).chain(confirmed) {
            list.retain(|read| {
                let keep = tick < read.since + DEADLINE_TICKS;
                if !keep {
                    let error = ReadError::NoQuorum;
                    out.push(Output::ReadFailed { token: read.token, error });
                }
                keep
            });
        }
        // Whom the oldest rounds were for is gone.
        while self.rounds.front().is_some_and(|oldest| oldest.reads.is_empty()) {
            self.rounds.pop_front();
        }
        self.confirmed.retain(|_, reads| !reads.is_empty());
    }

    /// Fails all.
    pub(super) fn stop(&mut self, out: &mut Vec<Output>) {
        let rounds = std::mem::take(&mut self.rounds).into_iter().flat_map(|round| round.reads);
        let confirmed = std::mem::take(&mut self.confirmed).into_values().flatten();
        let reads = self.waiting.drain(..).chain(rounds).chain(confirmed);
        let fail = |token| Output::ReadFailed { token, error: ReadError::Stopped };
        out.extend(reads.map(|read| fail(read.token)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(reads: &mut Reads, applied: u64) -> Vec<u64> {
        let mut out = Vec::new();
        reads.applied(applied, &mut out);
        let token = |output| match output {
            Output::ReadReady { token, .. } => token,
            other => panic!("{other:?}"),
        };
        out.into_iter().map(token).collect()
    }

    #[test]
    fn an_answer_that_comes_after_the_next_round_has_begun_still_counts() {
        let mut reads = Reads::new(1);
        reads.ask(7, 0);
        let first = reads.start(0).expect("a round is due");
        reads.ask(8, 1);
        assert_eq!(reads.start(1), None, "one is under way");
        let second = reads.start(RETRY_TICKS).expect("the first is late");
        reads.ask(9, RETRY_TICKS);
        reads.confirm(&first, 5);
        assert_eq!(ready(&mut reads, 5), [7], "the first began before the others were asked for");
        reads.confirm(&second, 6);
        assert_eq!(ready(&mut reads, 6), [8]);
        let third = reads.start(RETRY_TICKS).expect("nothing is under way");
        reads.confirm(&second, 7);
        assert!(ready(&mut reads, 7).is_empty());
        reads.confirm(&third, 8);
        assert_eq!(ready(&mut reads, 8), [9]);
    }

    #[test]
    fn a_later_answer_confirms_the_reads_of_rounds_that_were_lost() {
        let mut reads = Reads::new(1);
        reads.ask(7, 0);
        reads.start(0).expect("a round is due");
        reads.ask(8, 1);
        let second = reads.start(RETRY_TICKS).expect("the first is late");
        reads.confirm(&second, 5);
        assert_eq!(ready(&mut reads, 5), [7, 8]);
    }

    #[test]
    fn rounds_are_remembered_for_no_longer_than_a_read_waits() {
        let mut reads = Reads::new(1);
        let mut most = 0;
        for tick in 0..10 * DEADLINE_TICKS {
            reads.ask(tick, tick);
            reads.start(tick);
            reads.expire(tick, &mut Vec::new());
            most = most.max(reads.rounds.len());
        }
        assert!(most as u64 <= DEADLINE_TICKS / RETRY_TICKS + 1, "{most}");
    }

    #[test]
    fn a_confirmed_read_fails_in_time_when_its_entry_never_comes() {
        let mut reads = Reads::new(1);
        reads.ask(7, 0);
        let context = reads.start(0).expect("a round is due");
        reads.confirm(&context, 5);
        let mut out = Vec::new();
        reads.applied(4, &mut out);
        reads.expire(DEADLINE_TICKS - 1, &mut out);
        assert_eq!(out, []);
        reads.expire(DEADLINE_TICKS, &mut out);
        assert_eq!(out, [Output::ReadFailed { token: 7, error: ReadError::NoQuorum }]);
    }
}
