//! What jobs asked for and took, as rows of a workload that can be run again elsewhere.

use crate::{
    id::ElementId,
    unit::{LogIndex, Millis},
};
use serde::{Deserialize, Serialize};

/// One element that ran and has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRow {
    /// The element.
    pub element: ElementId,
    /// Who submitted it.
    pub user: String,
    /// Where it waited.
    pub queue: String,
    /// GPUs over all its tasks.
    pub gpus: u64,
    /// When it was submitted.
    pub submitted_ms: Millis,
    /// When its first attempt was granted.
    pub begun_ms: Millis,
    /// When its last attempt ended.
    pub ended_ms: Millis,
    /// For how long its attempts held their place, but for those whose work was taken from them
    /// before their first checkpoint: a run without interruption is as long, or shorter by what
    /// was done since the last checkpoint of one that was interrupted.
    pub service_ms: Millis,
    /// For how long they did in all.
    pub held_ms: Millis,
    /// How long its user let it run, if they said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_ms: Option<Millis>,
}

/// A page of them, in the order in which their jobs were submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// The elements.
    pub rows: Vec<TraceRow>,
    /// Elements that were looked at and left out, for they wait, run, or are being sealed.
    pub unended: u64,
    /// The last element that was looked at, if there is more after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<ElementId>,
    /// The newest entry that it tells of.
    pub log_index: LogIndex,
}
