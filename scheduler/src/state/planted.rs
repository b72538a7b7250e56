//! Bugs that the simulator must catch. Compiled only with the feature `planted`.

use super::{
    command::{Command, Effect},
    key,
    sched::Sched,
    step::Step,
};
use domain::{Millis, NodeId, link::Report, port::RowRead};
use registry::ledger::drift::DriftCommand;

/// Which bugs are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planted {
    /// Requests are done again when they are repeated.
    pub no_duplicate_check: bool,
    /// A checkpoint under an ended lease is taken in.
    pub stale_lease_accepted: bool,
    /// Room that others have made for a gang is not given to it.
    pub room_wasted: bool,
    /// Time that a lease has held is booked nowhere.
    pub time_forgotten: bool,
    /// What jobs were given is forgotten before they end.
    pub inputs_forgotten: bool,
    /// A seal counts whose key was revoked, or whose time is over.
    pub revoked_key_signs: bool,
    /// A monitor's cool-down counts for nothing.
    pub cool_down_forgotten: bool,
    /// A window that is sent twice is another one.
    pub trigger_forgotten: bool,
    /// A promotion does not look at the data that its version came of.
    pub data_unlooked: bool,
    /// An attempt begins anew though a checkpoint was committed.
    pub checkpoint_overlooked: bool,
}

impl Planted {
    /// A command about drift as a ledger with these bugs hears it.
    pub(super) fn hears(self, mut command: Command) -> Command {
        match &mut command {
            Command::Drift(DriftCommand::SetMonitor { policy, .. }) if self.cool_down_forgotten => {
                policy.cool_down = Millis(0);
            }
            Command::Drift(
                DriftCommand::Observe { seen, .. } | DriftCommand::Alert { seen, .. },
            ) if self.trigger_forgotten => seen.trigger = None,
            _ => {}
        }
        command
    }
}

impl Sched {
    /// Gives up the room of gangs whose victims are all gone.
    pub(super) fn waste_room<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        let all: Vec<_> = self.preemptions.keys().copied().collect();
        for id in all {
            if self.leaving(id).next().is_none() {
                self.give_up_room(step, id, "wasted");
            }
        }
    }

    /// Forgets what the first lease has held until now.
    pub(super) fn forget_time(&mut self) {
        if let Some((_, open)) = self.account.open.iter_mut().find(|(_, it)| it.until.is_none()) {
            open.from = self.meta.now;
        }
    }

    /// Commits a checkpoint whose lease has ended.
    pub(super) fn accept_stale<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        node: NodeId,
        report: &Report,
    ) {
        let Report::Checkpoint { checkpoint } = report else { return };
        if self.leases.contains_key(&checkpoint.lease) {
            return;
        }
        let Some((id, job)) = self.jobs.iter_mut().find(|(_, job)| !job.elements.is_empty()) else {
            return;
        };
        let Some((position, row)) = job.elements.iter_mut().next() else { return };
        row.newest = Some(checkpoint.clone());
        step.rows.put(key::element(*id, *position), &*row);
        step.rows.put(key::checkpoint(*id, *position, checkpoint.step), checkpoint);
        step.effect(Effect::Wanted { node });
    }
}
