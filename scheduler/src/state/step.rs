//! The entry that is being applied.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Events,
    row::Submitted,
};
use domain::{JobId, LogIndex, Millis, RequestKey, port::RowRead, scratch::Scratch};
use std::collections::BTreeSet;

/// What one entry reads, changes and asks for.
pub struct Step<'a, R: RowRead> {
    /// The rows with this entry's changes over them.
    pub rows: Scratch<'a, R>,
    /// The entry's index.
    pub at: LogIndex,
    /// The log's clock.
    pub now: Millis,
    /// Leases granted by this entry so far.
    pub ordinal: u32,
    /// What is asked of the shell.
    pub effects: Vec<Effect>,
    /// The same, to find one among the many of a large plan.
    pub told: BTreeSet<Effect>,
    /// Events of record.
    pub events: Events,
    /// Keys under which this entry has kept a reply.
    pub kept: Vec<RequestKey>,
    /// Bugs that a test has planted.
    #[cfg(feature = "planted")]
    pub planted: super::planted::Planted,
}

impl<R: RowRead> Step<'_, R> {
    /// The reply when all is done.
    pub fn done(&self) -> Reply {
        Reply::Done { at: self.at }
    }

    /// Adds an effect once.
    pub fn effect(&mut self, effect: Effect) {
        if self.told.insert(effect) {
            self.effects.push(effect);
        }
    }

    /// What a job was submitted as.
    pub fn submitted(&self, job: JobId) -> Option<Submitted> {
        self.rows.read(&key::job_spec(job))
    }
}

/// A refusal that names what is not there.
pub fn absent(what: impl Into<String>, list: &str) -> Reply {
    Reply::Refused(Refusal::NotFound { what: what.into(), list: list.into() })
}
