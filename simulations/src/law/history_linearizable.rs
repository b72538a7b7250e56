//! `history_linearizable`: submits, cancels and reads of clients behave as if each had happened
//! at once, between its call and its answer.
//!
//! Every answer names the log index at which it happened, so the search for a witness is spared:
//! the log is the witness. It is sound if real time agrees with it (what was called after an
//! answer happened after it in the log) and each answer is what the log gives at its index.

use super::Broken;
use crate::{
    read::{ReadOf, ReadValue},
    record::{PAGE, Record},
};
use domain::{JobId, RequestKey};
use scheduler::state::command::Reply;
use std::collections::BTreeMap;

/// What was called, and the newest index that had been answered by then.
#[derive(Default)]
pub struct History {
    floor: u64,
    writes: BTreeMap<RequestKey, u64>,
    reads: BTreeMap<(usize, u64), (u64, ReadOf)>,
}

impl History {
    /// A client asks for something under a key; repeats are of the first call.
    pub fn calls(&mut self, key: RequestKey) {
        self.writes.entry(key).or_insert(self.floor);
    }

    /// A client asks for a read.
    pub fn reads(&mut self, client: usize, call: u64, of: ReadOf) {
        self.reads.insert((client, call), (self.floor, of));
    }

    /// A client has its answer to a write.
    pub fn written(
        &mut self,
        record: &Record,
        key: RequestKey,
        reply: &Reply,
    ) -> Result<(), Broken> {
        let Some(floor) = self.writes.remove(&key) else { return Ok(()) };
        let Some((at, first)) = record.answer(key) else {
            return broken(format!("{key} was answered and is in no entry: {reply:?}"));
        };
        if first != reply {
            return broken(format!("{key} gave {first:?} at entry {at}, the client got {reply:?}"));
        }
        if *at <= floor {
            return broken(format!("{key} happened at entry {at}, it was called after {floor}"));
        }
        self.floor = self.floor.max(*at);
        Ok(())
    }

    /// A client has its answer to a read, or will have none.
    pub fn read(
        &mut self,
        record: &Record,
        client: usize,
        call: u64,
        answer: Option<(u64, &ReadValue)>,
    ) -> Result<(), Broken> {
        let Some((floor, of)) = self.reads.remove(&(client, call)) else { return Ok(()) };
        let Some((at, value)) = answer else { return Ok(()) };
        if at < floor {
            return broken(format!("a stale read: {of:?} shows entry {at}, {floor} was answered"));
        }
        let wanted = wanted(record, of, at);
        if *value != wanted {
            return broken(format!("{of:?} at entry {at} gave {value:?}, the log {wanted:?}"));
        }
        self.floor = self.floor.max(at);
        Ok(())
    }
}

fn wanted(record: &Record, of: ReadOf, at: u64) -> ReadValue {
    match of {
        ReadOf::Job(job) => ReadValue::Job(record.document(job, at)),
        ReadOf::List => {
            let newest = record.newest_job(at).map_or(0, |job| job.0);
            let ids = (1..=newest).rev().map(JobId).take(PAGE);
            ReadValue::List(ids.filter_map(|job| Some((job, record.line(job, at)?))).collect())
        }
    }
}

fn broken(what: String) -> Result<(), Broken> {
    Err(Broken::new(format!("history_linearizable: {what}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_of_less_than_was_answered_before_its_call_breaks_it() {
        let mut law = History { floor: 7, ..History::default() };
        let (record, nothing) = (Record::default(), ReadValue::List(Vec::new()));
        law.reads(0, 1, ReadOf::List);
        assert!(law.read(&record, 0, 1, Some((7, &nothing))).is_ok());
        law.reads(0, 2, ReadOf::List);
        assert!(law.read(&record, 0, 2, Some((6, &nothing))).is_err());
    }

    #[test]
    fn a_value_that_the_log_does_not_give_breaks_it() {
        let mut law = History::default();
        let invented = ReadValue::List(vec![(JobId(1), domain::Digest::of(b"x"))]);
        law.reads(0, 1, ReadOf::List);
        assert!(law.read(&Record::default(), 0, 1, Some((3, &invented))).is_err());
    }

    #[test]
    fn an_answer_that_no_entry_gave_breaks_it() {
        let mut law = History::default();
        law.calls(RequestKey([1; 16]));
        let reply = Reply::Done { at: domain::LogIndex(3) };
        assert!(law.written(&Record::default(), RequestKey([1; 16]), &reply).is_err());
    }
}
