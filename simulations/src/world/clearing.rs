//! Blocked data: an approver who did not register it clears it, and lets go on what was held for
//! it.

use super::{World, people::key};
use domain::{JobId, dataset::DatasetRef};
use ed25519_dalek::Signer;
use registry::{
    ledger::{RegistryCommand as C, dataset},
    seal::clearance,
};
use scheduler::state::command::Command;

/// Data sets, or their versions, that are looked at.
const ALL: usize = 10_000;

impl World {
    /// What somebody does about blocked data and about jobs that are held, if there are any.
    pub(super) fn clear_data(&mut self, at: usize) -> Option<(String, Command)> {
        let (machine, rows) = self.servers[at].replica.as_ref()?.view();
        let view = machine.0.view();
        let people = view.approvers(rows).approvers;
        let of = |name: &String| dataset::versions(rows, name, 1, ALL);
        let names = dataset::names(rows, ALL);
        let mut versions = names.iter().flat_map(of).map(|it| it.version);
        let found = versions.find_map(|version| {
            let blocks = dataset::blocks(rows, &version);
            (!blocks.is_empty()).then_some((version, blocks))
        });
        let Some((version, blocks)) = found else {
            let held = view.all_live_jobs().find(|(_, job)| job.progress.held);
            let job: JobId = held?.0;
            return Some(("p0".into(), Command::Hold { job, held: false }));
        };
        let approver = people.into_iter().find(|it| it.name != version.registered_by)?;
        let of = approver.name.strip_prefix('p')?.parse().ok()?;
        let reason = "it was asked for".to_owned();
        let document = clearance::document(&version, &blocks, &reason);
        let signature = key(of).sign(document.as_bytes()).to_bytes().to_vec();
        let dataset: DatasetRef = version.dataset;
        self.coverage.cleared += 1;
        Some((approver.name, Command::Registry(C::ClearDataset { dataset, reason, signature })))
    }
}
