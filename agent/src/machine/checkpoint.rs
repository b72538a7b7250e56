//! Commits checkpoints: in the order of steps, one at a time, the newest that waits next.

use super::{AgentMachine, Output, lease::Step};
use domain::{
    LeaseId, Millis,
    checkpoint::{Checkpoint, thin},
    job::EndCause,
    link::{Report, WantedLease},
};

/// Which checkpoints of a lease are committed, on their way, and waiting.
#[derive(Clone, Debug, Default)]
pub(super) struct Commits {
    /// The newest step in the log, of this attempt or an earlier one.
    newest: Option<u64>,
    /// The step that is being stored or reported.
    flight: Option<u64>,
    /// The newest step that was seen since.
    pending: Option<u64>,
}

impl Commits {
    /// Goes on after the checkpoints that the log holds.
    pub(super) fn after(wanted: &WantedLease) -> Self {
        let mut commits = Self::default();
        commits.committed(wanted);
        commits
    }

    /// Takes note of what the log holds.
    pub(super) fn committed(&mut self, wanted: &WantedLease) {
        let resumed = wanted.lease.resume_from.iter();
        let newest = wanted.checkpoints.iter().chain(resumed).map(|it| it.step).max();
        self.newest = self.newest.max(newest);
    }

    fn seen(&mut self, step: u64) {
        if Some(step) > self.newest && Some(step) > self.flight {
            self.pending = self.pending.max(Some(step));
        }
    }

    fn next(&mut self) -> Option<u64> {
        if self.flight.is_none() {
            self.flight = self.pending.take();
            return self.flight;
        }
        None
    }

    fn landed(&mut self, step: u64, committed: bool) {
        if self.flight == Some(step) {
            self.flight = None;
        }
        if committed {
            self.newest = self.newest.max(Some(step));
        }
    }

    /// Whether a step, or a newer one, is in the log.
    pub(super) fn has(&self, step: u64) -> bool {
        self.newest >= Some(step)
    }

    pub(super) fn settled(&self) -> bool {
        self.flight.is_none() && self.pending.is_none()
    }
}

impl AgentMachine {
    pub(super) fn checkpoint_seen(&mut self, lease: LeaseId, step: u64, now: Millis) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let current = matches!(held.step, Step::Running { .. } | Step::Settling);
        let Some(step) = held.wants(step) else { return };
        if current && held.leads(self.node) {
            held.commits.seen(step);
            if let Some(notice) = &mut held.notice {
                notice.seen(step, now);
            }
            self.store_next_checkpoint(lease);
        }
    }

    pub(super) fn checkpoint_stored(
        &mut self,
        lease: LeaseId,
        step: u64,
        result: Result<Checkpoint, EndCause>,
        now: Millis,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let current = matches!(held.step, Step::Running { .. } | Step::Settling);
        if !current || held.commits.flight != Some(step) {
            return;
        }
        if let Some(notice) = &mut held.notice {
            notice.moves(now);
        }
        match result {
            Ok(checkpoint) => self.reports.add(Report::Checkpoint { checkpoint }),
            Err(_) => {
                held.commits.landed(step, false);
                self.store_next_checkpoint(lease);
                self.store_output_if_settled(lease);
            }
        }
    }

    /// A checkpoint is in the log.
    pub(super) fn checkpoint_recorded(&mut self, checkpoint: Checkpoint) {
        let lease = checkpoint.lease;
        let Some(held) = self.leases.get_mut(&lease) else { return };
        held.commits.landed(checkpoint.step, true);
        if held.wanted.checkpoints.iter().all(|it| it.step < checkpoint.step) {
            held.wanted.checkpoints.push(checkpoint);
            thin(&mut held.wanted.checkpoints);
        }
        self.store_next_checkpoint(lease);
        self.store_output_if_settled(lease);
    }

    fn store_next_checkpoint(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if let Some(step) = held.commits.next() {
            self.out.push(Output::StoreCheckpoint { lease, step });
        }
    }

    /// Goes on to the output once the last checkpoint is in the log.
    pub(super) fn store_output_if_settled(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.step == Step::Settling && held.commits.settled() {
            held.step = Step::Storing;
            let wanted = Box::new(held.wanted.clone());
            self.out.push(Output::StoreOutput { wanted });
        }
    }
}
