//! Nodes: registration, draining, loss.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::NodeRow,
    sched::{Node, Sched},
    step::{Step, absent},
};
use domain::{
    Digest, LeaseId, LogIndex, NodeId,
    isolation::NodeIsolation,
    job::{EndCause, Restart},
    lease::{Lease, Phase},
    limit,
    node::Inventory,
    port::RowRead,
    resource::Gpu,
    version::ClusterVersion,
};
use serde::Serialize;
use serde_json::json;
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The version since which the event of a registration says what has changed.
const CHANGED: ClusterVersion = ClusterVersion(2);
/// Longest name of a node, as in the domain name system.
const NAME_MAX: usize = 253;

/// Since which version nodes offer shares of GPUs.
pub(super) const SHARES: ClusterVersion = ClusterVersion(2);

impl Sched {
    /// A node has come into contact.
    pub(super) fn register<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        inventory: Inventory,
        held: &[LeaseId],
    ) -> Reply {
        if let Err(refusal) = check(&inventory) {
            return Reply::Refused(refusal);
        }
        let id = match self.names.get(&inventory.name) {
            Some(id) => *id,
            None if self.nodes.len() >= limit::NODES_MAX => {
                let remedy = "remove nodes that are gone".to_owned();
                return full("the number of nodes".into(), limit::NODES_MAX, remedy);
            }
            None => {
                self.meta.nodes += 1;
                NodeId(self.meta.nodes)
            }
        };
        let before = self.nodes.get(&id).map(|node| node.row.clone());
        let same_boot =
            before.as_ref().is_none_or(|row| row.inventory.boot_id == inventory.boot_id);
        if same_boot {
            self.forget_what_it_lost(step, actor, id, held);
        } else {
            self.fail_leases(step, actor, id, true);
        }
        if before.as_ref().is_none_or(|row| row.inventory != inventory || row.lost) {
            let mut member = json!({
                "class": inventory.hardware_class(),
                "gpus": inventory.gpus.len(),
                "name": inventory.name,
                "node": id.to_string(),
            });
            let changed = before.as_ref().map(|row| changes(&row.inventory, &inventory));
            if let Some(changed) = changed.filter(|all| !all.is_empty() && self.version >= CHANGED)
            {
                member["changed"] = json!(changed);
            }
            step.events.add(Kind::NodeRegistered, actor, &member);
        }
        self.names.insert(inventory.name.clone(), id);
        let drained = before.and_then(|row| row.drained);
        let row = NodeRow { inventory, drained, lost: false, registered_at: step.at };
        step.rows.put(key::node(id), &row);
        let node = self.nodes.entry(id).or_insert_with(|| Node::new(row.clone()));
        node.row = row;
        node.classify();
        self.recount(id);
        self.void_node_check(step, actor, id);
        if !same_boot {
            self.check_after_boot(step, actor, id);
        }
        step.effect(Effect::Wanted { node: id });
        step.effect(Effect::Plan);
        Reply::Registered { node: id }
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
        if node.row.registered_at != registered_at || node.row.lost {
            return step.done();
        }
        node.row.lost = true;
        step.rows.put(key::node(id), &node.row);
        let member = json!({ "name": node.row.inventory.name, "node": id.to_string() });
        step.events.add(Kind::NodeLost, actor, &member);
        self.recount(id);
        self.fail_leases(step, actor, id, false);
        step.effect(Effect::Plan);
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
        let Phase::Stopping { cause, .. } = &lease.phase else {
            return Reply::Refused(Refusal::WrongState {
                what: format!("lease {id}"),
                state: "in contact".into(),
                remedy: format!("to end it, `assay cancel {}`", lease.element),
            });
        };
        let cause = cause.clone();
        step.events.add(Kind::LeaseConfirmedDead, actor, &json!({ "lease": id.to_string() }));
        self.end_attempt(step, actor, id, cause);
        step.done()
    }

    pub(super) fn leases_on(&self, node: NodeId) -> Vec<LeaseId> {
        self.nodes.get(&node).map(|node| node.leases.iter().copied().collect()).unwrap_or_default()
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
        for id in self.leases_on(node) {
            let Some(lease) = self.leases.get(&id) else { continue };
            let Some(job) = self.jobs.get(&lease.element.job) else { continue };
            let confirmed = job.brief.restart == Restart::Confirmed;
            self.failed_on(step, id, node, EndCause::NodeLost);
            if known || !confirmed {
                self.stopped(step, actor, id, node);
            }
        }
    }

    /// Ends what an agent that was not rebooted must have had and has no more.
    ///
    /// Of a lease on one node that is not yet held nothing can be said: it may have been granted
    /// while the agent was out of contact.
    fn forget_what_it_lost<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        node: NodeId,
        held: &[LeaseId],
    ) {
        for id in self.leases_on(node) {
            if held.contains(&id) {
                continue;
            }
            match self.leases.get_mut(&id) {
                Some(Lease { phase: Phase::Started { .. }, members, .. }) if members.len() > 1 => {
                    self.stop_lease(step, id, EndCause::NodeLost);
                    self.stopped(step, actor, id, node);
                }
                Some(lease) => {
                    if let Phase::Preparing { ready } = &mut lease.phase {
                        ready.remove(&node);
                        step.rows.put(key::lease(id), &*lease);
                    }
                }
                None => {}
            }
        }
    }
}

/// A part of a machine that is other than it was; empty is none.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Change {
    pub(super) after: String,
    pub(super) before: String,
    pub(super) what: Cow<'static, str>,
}

/// What differs, GPUs by their unique names. Taken apart by name, so that a new part is given a
/// place here.
fn changes(before: &Inventory, after: &Inventory) -> Vec<Change> {
    let parts = parts(before).into_iter().zip(parts(after));
    let other = parts.filter(|((_, before), (_, after))| before != after);
    let mut all: Vec<Change> = other
        .map(|((what, before), (_, after))| Change { after, before, what: what.into() })
        .collect();
    let gpus = |of: &Inventory| -> BTreeMap<String, String> {
        let text = |gpu: &Gpu| {
            let Gpu { index, uuid, model, memory, compute_capability } = gpu;
            format!("{index} {uuid}: {model}, {memory}, {compute_capability}")
        };
        of.gpus.iter().map(|gpu| (gpu.uuid.clone(), text(gpu))).collect()
    };
    let (old, new) = (gpus(before), gpus(after));
    let uuids: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for uuid in uuids {
        let text = |of: &BTreeMap<String, String>| of.get(uuid).cloned().unwrap_or_default();
        let (before, after) = (text(&old), text(&new));
        if before != after {
            all.push(Change { after, before, what: "gpu".into() });
        }
    }
    all
}

fn parts(it: &Inventory) -> [(&'static str, String); 10] {
    let Inventory {
        name: _,
        boot_id,
        cpu,
        memory,
        gpus: _,
        driver_version,
        cuda_version,
        cpu_model,
        cpu_level,
        kernel,
        agent_version,
        isolation,
        topology,
    } = it;
    let place = match (topology.block.as_str(), topology.rack.as_str()) {
        ("", rack) => rack.to_owned(),
        (block, rack) => format!("{block}/{rack}"),
    };
    [
        ("agent", agent_version.clone()),
        ("boot", boot_id.clone()),
        ("cpu", format!("{} thousandths of {cpu_model}, {cpu_level}", cpu.0)),
        ("cuda", cuda_version.clone()),
        ("driver", driver_version.clone()),
        ("isolation", walls(isolation)),
        ("kernel", kernel.clone()),
        ("memory", memory.to_string()),
        ("place", place),
        ("topology", Digest::of_value(&topology.gpus).to_string()),
    ]
}

fn walls(it: &NodeIsolation) -> String {
    let can = |it: bool| if it { "yes" } else { "no" };
    format!(
        "{} at least; sandbox: {}; container: {}, podman {}; control groups {}; Landlock {}",
        it.default,
        can(it.can_sandbox()),
        can(it.can_contain()),
        if it.podman.is_empty() { "none" } else { &it.podman },
        it.cgroup,
        it.landlock,
    )
}

fn full(what: String, limit: usize, remedy: String) -> Reply {
    Reply::Refused(Refusal::Limit { what, limit: limit as u64, remedy })
}

fn check(inventory: &Inventory) -> Result<(), Refusal> {
    let name = &inventory.name;
    if name.is_empty() || name.len() > NAME_MAX {
        let why = format!("node name: is {} bytes long; give 1 to {NAME_MAX}", name.len());
        return Err(Refusal::Spec(why));
    }
    if inventory.gpus.len() > limit::NODE_GPUS_MAX {
        return Err(Refusal::Limit {
            what: format!("the number of GPUs of node `{name}`"),
            limit: limit::NODE_GPUS_MAX as u64,
            remedy: "split the machine into several nodes".into(),
        });
    }
    inventory.topology.check().map_err(|why| Refusal::Spec(format!("node `{name}`: {why}")))?;
    let indices: BTreeSet<u32> = inventory.gpus.iter().map(|gpu| gpu.index).collect();
    if indices.len() < inventory.gpus.len() {
        let why = format!("node `{name}`: two GPUs have one index; restart its driver");
        return Err(Refusal::Spec(why));
    }
    Ok(())
}
