//! Reads that show all that was acknowledged before they were asked for.

use super::io::{Output, ReadError};
use domain::{LogIndex, limit};
use std::collections::BTreeMap;

/// Ticks after which a round without an answer is started anew: raft-rs drops a round silently
/// when there is no leader, or the leader has not committed in its term.
const RETRY_TICKS: u64 = 2;
/// Ticks after which a read fails.
const DEADLINE_TICKS: u64 = limit::CALL_TIMEOUT.0 / limit::TICK.0 / 2;

/// A read that waits, and since when.
#[derive(Clone, Copy)]
struct Waiting {
    token: u64,
    since: u64,
}

/// A quorum round under way.
struct Round {
    context: Vec<u8>,
    since: u64,
    reads: Vec<Waiting>,
}

/// All reads of one replica. One round is under way at a time; reads that arrive meanwhile share
/// the next, so each is confirmed by a round that began after it was asked for.
pub(super) struct Reads {
    nonce: u64,
    counter: u64,
    waiting: Vec<Waiting>,
    round: Option<Round>,
    confirmed: BTreeMap<u64, Vec<Waiting>>,
}

impl Reads {
    pub(super) fn new(nonce: u64) -> Self {
        Self { nonce, counter: 0, waiting: Vec::new(), round: None, confirmed: BTreeMap::new() }
    }

    pub(super) fn ask(&mut self, token: u64, tick: u64) {
        self.waiting.push(Waiting { token, since: tick });
    }

    /// The context of a new round, if one is due.
    pub(super) fn start(&mut self, tick: u64) -> Option<Vec<u8>> {
        if let Some(round) = self.round.take_if(|round| tick >= round.since + RETRY_TICKS) {
            self.waiting.splice(0..0, round.reads);
        }
        if self.round.is_some() || self.waiting.is_empty() {
            return None;
        }
        self.counter += 1;
        let mut context = Vec::with_capacity(16);
        context.extend(self.nonce.to_be_bytes());
        context.extend(self.counter.to_be_bytes());
        let reads = std::mem::take(&mut self.waiting);
        self.round = Some(Round { context: context.clone(), since: tick, reads });
        Some(context)
    }

    /// A round was confirmed at `index`.
    pub(super) fn confirm(&mut self, context: &[u8], index: u64) {
        if let Some(round) = self.round.take_if(|round| round.context == context) {
            self.confirmed.entry(index).or_default().extend(round.reads);
        }
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
        let round = self.round.as_mut().map(|round| &mut round.reads);
        let confirmed = self.confirmed.values_mut();
        for list in [Some(&mut self.waiting), round].into_iter().flatten().chain(confirmed) {
            list.retain(|read| {
                let keep = tick < read.since + DEADLINE_TICKS;
                if !keep {
                    let error = ReadError::NoQuorum;
                    out.push(Output::ReadFailed { token: read.token, error });
                }
                keep
            });
        }
        self.round.take_if(|round| round.reads.is_empty());
        self.confirmed.retain(|_, reads| !reads.is_empty());
    }

    /// Fails all.
    pub(super) fn stop(&mut self, out: &mut Vec<Output>) {
        let round = self.round.take().map(|round| round.reads).unwrap_or_default();
        let confirmed = std::mem::take(&mut self.confirmed).into_values().flatten();
        let reads = self.waiting.drain(..).chain(round).chain(confirmed);
        let fail = |token| Output::ReadFailed { token, error: ReadError::Stopped };
        out.extend(reads.map(|read| fail(read.token)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
