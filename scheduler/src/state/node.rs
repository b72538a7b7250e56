//! Nodes: registration, draining, loss.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::NodeRow,
    sched::{Node, Sched, Step, absent},
};
use domain::{
    LeaseId, LogIndex, NodeId,
    job::{EndCause, Restart},
    lease::Phase,
    limit,
    node::{Inventory, NodeState},
    port::RowRead,
};
use serde_json::json;

impl Sched {
    /// A node has come into contact.
    ///
    /// After a reboot nothing of its leases runs any more. What it lost without a reboot, its
    /// agent reports lease by lease.
    pub(super) fn register<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        inventory: Inventory,
    ) -> Reply {
        if inventory.gpus.len() > limit::NODE_GPUS_MAX {
            return Reply::Refused(Refusal::Limit {
                what: format!("the number of GPUs of node `{}`", inventory.name),
                limit: limit::NODE_GPUS_MAX as u64,
                remedy: "split the machine into several nodes".into(),
            });
        }
        let id = match self.names.get(&inventory.name) {
            Some(id) => *id,
            None if self.nodes.len() >= limit::NODES_MAX => {
                return Reply::Refused(Refusal::Limit {
                    what: "the number of nodes".into(),
                    limit: limit::NODES_MAX as u64,
                    remedy: "remove nodes that are gone".into(),
                });
            }
            None => {
                self.meta.nodes += 1;
                NodeId(self.meta.nodes)
            }
        };
        let before = self.nodes.get(&id).map(|node| node.row.clone());
        let rebooted =
            before.as_ref().is_some_and(|row| row.inventory.boot_id != inventory.boot_id);
        let changed = before.as_ref().is_none_or(|row| row.inventory != inventory);
        if rebooted {
            self.fail_leases(step, actor, id, true);
        }
        let state = match before.map(|row| row.state) {
            Some(drained @ NodeState::Drained { .. }) => drained,
            Some(NodeState::Ready | NodeState::Lost) | None => NodeState::Ready,
        };
        if changed {
            let member = json!({
                "class": inventory.hardware_class(),
                "gpus": inventory.gpus.len(),
                "name": inventory.name,
                "node": id.to_string(),
            });
            step.events.add(Kind::NodeRegistered, actor, member);
        }
        self.names.insert(inventory.name.clone(), id);
        let row = NodeRow { inventory, state, registered_at: step.at };
        step.rows.put(key::node(id), &row);
        let node = self.nodes.entry(id).or_insert_with(|| Node::new(row.clone()));
        node.class = row.inventory.hardware_class();
        node.row = row;
        step.effect(Effect::Wanted { node: id });
        step.effect(Effect::Plan);
        Reply::Registered { node: id }
    }

    /// Takes a node out of service, or puts it back.
    pub(super) fn drain<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        name: &str,
        reason: Option<String>,
    ) -> Reply {
        let found = self.names.get(name).and_then(|id| self.nodes.get_mut(id).map(|n| (*id, n)));
        let Some((id, node)) = found else {
            return absent(format!("node `{name}`"), "nodes");
        };
        let state = match reason {
            Some(reason) => NodeState::Drained { reason },
            None if node.row.state == NodeState::Lost => {
                return Reply::Refused(Refusal::WrongState {
                    what: format!("node `{name}`"),
                    state: "lost".into(),
                    remedy: "start its agent; it comes back by itself".into(),
                });
            }
            None => NodeState::Ready,
        };
        let member = json!({
            "name": name,
            "reason": match &state { NodeState::Drained { reason } => reason.as_str(), _ => "" },
        });
        step.events.add(Kind::NodeDrained, actor, member);
        node.row.state = state;
        step.rows.put(key::node(id), &node.row);
        step.effect(Effect::Plan);
        step.done()
    }

    /// The time of all leases of a node is over.
    pub(super) fn node_lost<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        registered_at: LogIndex,
    ) -> Reply {
        let Some(node) = self.nodes.get_mut(&id) else {
            return absent(format!("node {id}"), "nodes");
        };
        if node.row.registered_at != registered_at || node.row.state == NodeState::Lost {
            return step.done();
        }
        if node.row.state == NodeState::Ready {
            node.row.state = NodeState::Lost;
        }
        step.rows.put(key::node(id), &node.row);
        let member = json!({ "name": node.row.inventory.name, "node": id.to_string() });
        step.events.add(Kind::NodeLost, actor, member);
        self.fail_leases(step, actor, id, false);
        step.done()
    }

    /// An operator's word that nothing of a lease runs any more.
    pub(super) fn confirm_dead<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: LeaseId,
    ) -> Reply {
        let Some(lease) = self.leases.get(&id) else {
            return absent(format!("lease {id}"), "jobs");
        };
        let cause = match &lease.phase {
            Phase::Stopping { cause, .. } => cause.clone(),
            Phase::Preparing { .. } | Phase::Started { .. } => EndCause::NodeLost,
        };
        step.events.add(Kind::LeaseConfirmedDead, actor, json!({ "lease": id.to_string() }));
        self.end_attempt(step, actor, id, cause);
        step.done()
    }

    /// Ends a node's part in its leases. What a job wants confirmed waits, unless it is `known`
    /// that nothing runs.
    fn fail_leases<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        node: NodeId,
        known: bool,
    ) {
        let held: Vec<LeaseId> =
            self.nodes.get(&node).map(|n| n.leases.iter().copied().collect()).unwrap_or_default();
        for id in held {
            let Some(lease) = self.leases.get(&id) else { continue };
            let Some(job) = self.jobs.get(&lease.element.job) else { continue };
            let confirmed = job.submitted.spec.restart == Restart::Confirmed;
            self.stop_lease(step, id, EndCause::NodeLost);
            if known || !confirmed {
                self.stopped(step, actor, id, node);
            }
        }
    }
}
