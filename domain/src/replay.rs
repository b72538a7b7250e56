//! What is told of decisions that were made again from what is on record of them.

use crate::{
    digest::Digest,
    id::ReplicaId,
    unit::{LogIndex, Millis},
};
use serde::{Deserialize, Serialize};

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionKind {
    /// Who runs where.
    Place,
    /// Who makes room for whom.
    Preempt,
}

/// How a decision and its record compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The same bytes.
    Equal,
    /// What is recorded is not what its own digest says.
    Record,
    /// There was no such moment: no entry before the decision left the state that it names.
    Base,
    /// The state at that moment was another.
    View,
    /// Another release's rules made it: this one cannot tell.
    Policy,
    /// The rules give another plan.
    Plan,
}

/// A decision that was made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecisionView {
    /// The log entry that holds it.
    pub entry: LogIndex,
    /// Its place in the entry.
    pub member: u32,
    /// What was decided.
    pub kind: DecisionKind,
    /// How the two compare.
    pub verdict: Verdict,
    /// The entry on which it was made.
    pub base: LogIndex,
    /// The time that the planner was given.
    pub now: Millis,
    /// The budget that the planner was given.
    pub budget_steps: u64,
    /// The rules that it follows.
    pub policy_version: u32,
    /// Digest of what the planner saw.
    pub view: Digest,
    /// Gangs that it places.
    pub gangs: u32,
    /// Digest of the plan on record.
    pub recorded: Digest,
    /// Digest of the plan that was made again; none where it could not be.
    pub made: Option<Digest>,
    /// What differs, in words; none where nothing does.
    pub why: Option<String>,
}

/// From where and how far is gone through the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayHead {
    /// The server that does it.
    pub server: ReplicaId,
    /// The first entry whose decisions are made again.
    pub from: LogIndex,
    /// The last one.
    pub to: LogIndex,
    /// The entry as of which the rows were that it began with; none where nothing was decided.
    pub rows_of: Option<LogIndex>,
    /// The first entry that this server could begin at.
    pub kept_from: LogIndex,
}

/// How it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayEnd {
    /// Decisions that were made again.
    pub decisions: u64,
    /// Of them, those that are the same to the byte.
    pub equal: u64,
    /// Decisions at the beginning that were made on entries before the rows: left out.
    pub left_out: u64,
    /// Entries that were applied on the way.
    pub entries: u64,
}

/// One part of the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "snake_case")]
pub enum ReplayPart {
    /// The first.
    Head(ReplayHead),
    /// Those between.
    Decisions {
        /// In the order of the entries that they were made on.
        decisions: Vec<DecisionView>,
    },
    /// The last.
    End(ReplayEnd),
}
