//! What the shell keeps of a lease beside the machine.

use crate::store::meter::Meter;
use domain::Millis;
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// A lease's background work and times.
#[derive(Default)]
pub(super) struct Local {
    /// Preparing, hashing, uploading. Ends when the lease is forgotten.
    pub(super) work: JoinSet<()>,
    /// This node's ranks that have not ended.
    pub(super) left: BTreeSet<u32>,
    /// When its first task was started, by the wall clock.
    pub(super) started: Option<Millis>,
    /// When its last task ended, by the wall clock.
    pub(super) ended: Option<Millis>,
    /// Whether its tasks were seen to have left no process behind.
    pub(super) alone: bool,
    /// Counts what of its checkpoints was hashed and sent.
    pub(super) meter: Meter,
}
