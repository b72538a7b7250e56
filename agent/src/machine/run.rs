//! From the first task's start to the last one's end.

use super::{AgentMachine, Exit, Output, lease::Step};
use domain::LeaseId;

impl AgentMachine {
    pub(super) fn exited(&mut self, lease: LeaseId, rank: u32, exit: Exit) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let Step::Running { left, .. } = &mut held.step else { return };
        if !left.remove(&rank) {
            return;
        }
        if let Some(cause) = exit.cause(rank) {
            self.fail(lease, cause);
        } else if left.is_empty() {
            self.ended_well(lease);
        }
    }

    /// All of this node's tasks ended well.
    fn ended_well(&mut self, lease: LeaseId) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.leads(self.node) {
            held.step = Step::Settling;
            self.store_output_if_settled(lease);
        } else if let Some(node) = self.node {
            held.step = Step::Storing;
            let wanted = Box::new(held.wanted.clone());
            self.out.push(Output::StoreLog { wanted, node });
        }
    }
}
