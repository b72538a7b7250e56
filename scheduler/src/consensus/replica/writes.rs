//! Writes on their way to the disk, and the messages that wait for them.

use crate::consensus::write::WriteOp;
use raft::eraftpb::Message;
use std::collections::VecDeque;

/// A synced write that is not reported as written yet.
struct Flight {
    seq: u64,
    ready: u64,
    messages: Vec<Message>,
    /// Ticks since it was put together.
    ticks: u64,
}

/// Changed rows after which a write that nothing waits for is handed out all the same.
const ROWS_MAX: usize = 1_024;

/// The write that is being put together, and those under way.
pub(super) struct Writes {
    /// The write that this step puts together.
    pub(super) op: WriteOp,
    due: bool,
    seq: u64,
    flights: VecDeque<Flight>,
}

impl Writes {
    pub(super) fn new() -> Self {
        Self { op: WriteOp::default(), due: false, seq: 1, flights: VecDeque::new() }
    }

    /// The number of the write that is being put together.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Synced writes under way.
    pub(super) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Makes `messages` and the end of ready `ready` wait until all that must be durable before
    /// them is. Returns the messages if nothing is to be waited for.
    ///
    /// A message of a ready that writes nothing waits too while an earlier write is under way:
    /// it may acknowledge what that one holds.
    pub(super) fn hold(&mut self, ready: u64, messages: Vec<Message>) -> Option<Vec<Message>> {
        if self.op.sync && self.flights.back().is_none_or(|flight| flight.seq != self.seq) {
            self.flights.push_back(Flight { seq: self.seq, ready, messages, ticks: 0 });
            return None;
        }
        match self.flights.back_mut() {
            Some(flight) => {
                flight.ready = ready;
                flight.messages.extend(messages);
                None
            }
            None => Some(messages),
        }
    }

    /// Time passes: has the next step hand out its write, whatever is in it.
    pub(super) fn tick(&mut self) {
        self.due = true;
        for flight in &mut self.flights {
            flight.ticks += 1;
        }
    }

    /// Ticks that the disk has not answered the oldest synced write.
    pub(super) fn waited(&self) -> u64 {
        self.flights.front().map_or(0, |flight| flight.ticks)
    }

    /// Has the next step hand out its write, whatever is in it.
    pub(super) fn flush(&mut self) {
        self.due = true;
    }

    /// Hands out the write that was put together, if it is worth one.
    ///
    /// Changed rows that nothing waits for go with the next synced write: after a crash they come
    /// out of the log again.
    pub(super) fn take(&mut self) -> Option<(u64, WriteOp)> {
        let due = std::mem::take(&mut self.due);
        if self.op.is_empty() || !(self.op.sync || due || self.op.rows.len() >= ROWS_MAX) {
            return None;
        }
        let seq = self.seq;
        self.seq += 1;
        Some((seq, std::mem::take(&mut self.op)))
    }

    /// Writes up to `seq` are done: gives the newest ready that is now durable and the messages
    /// that may go.
    pub(super) fn written(&mut self, seq: u64) -> (Option<u64>, Vec<Message>) {
        let mut ready = None;
        let mut messages = Vec::new();
        while let Some(flight) = self.flights.pop_front_if(|flight| flight.seq <= seq) {
            ready = Some(flight.ready);
            messages.extend(flight.messages);
        }
        (ready, messages)
    }
}
