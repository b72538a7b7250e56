//! From laid out to started: the gang's barrier.

use super::{AgentMachine, Output, lease::Step};
use domain::{LeaseId, Millis, job::EndCause, lease::Phase, link::Report};

impl AgentMachine {
    pub(super) fn prepared(&mut self, lease: LeaseId, result: Result<(), EndCause>, now: Millis) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.step != Step::Preparing {
            return;
        }
        match result {
            Err(cause) => self.fail(lease, cause),
            Ok(()) => {
                held.step = Step::Ready;
                if matches!(held.wanted.lease.phase, Phase::Preparing { .. }) {
                    self.reports.add(Report::Prepared { lease });
                }
                self.start(lease, now);
            }
        }
    }

    /// Starts every gang that may start now.
    pub(super) fn start_ready(&mut self, now: Millis) {
        let ready: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, held)| held.step == Step::Ready && held.wanted.may_run())
            .map(|(lease, _)| *lease)
            .collect();
        for lease in ready {
            self.start(lease, now);
        }
    }

    /// Starts this node's tasks if the whole gang is prepared and we are in contact.
    pub(super) fn start(&mut self, lease: LeaseId, now: Millis) {
        let until = self.contact.until(self.config.lease_ttl);
        let (Some(held), Some(node)) = (self.leases.get_mut(&lease), self.node) else { return };
        if held.step != Step::Ready || !held.wanted.may_run() || until.is_none_or(|at| now >= at) {
            return;
        }
        let members = &held.wanted.lease.members;
        let place = members.iter().enumerate().find(|(_, member)| member.node == node);
        let Some((node_rank, member)) = place else { return };
        let left = member.tasks.iter().map(|task| task.rank).collect();
        held.step = Step::Running { since: now, left };
        held.deadline = until.filter(|_| held.fenced());
        held.asked = false;
        held.warned = false;
        let node_rank = u32::try_from(node_rank).expect("a gang has at most GANG_MAX tasks");
        self.out.push(Output::Start {
            wanted: Box::new(held.wanted.clone()),
            node_rank,
            tasks: member.tasks.clone(),
            deadline: held.deadline,
        });
    }
}
