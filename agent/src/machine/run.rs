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
            // A task that has notice may end by itself: its last checkpoint is still on its way.
            let by_itself = matches!(exit, Exit::Code(_) | Exit::Signal(_));
            match &mut held.notice {
                Some(notice) if by_itself => notice.left = true,
                Some(_) | None => self.fail(lease, cause),
            }
        } else if left.is_empty() && held.notice.as_ref().is_none_or(|notice| !notice.left) {
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
