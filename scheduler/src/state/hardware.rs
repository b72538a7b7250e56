//! Whole machines, as their agents tell of them. Shown, and what changes is of record; where a job
//! fits is decided by the inventory alone.

use super::{
    command::{Refusal, Reply},
    key,
    node::Change,
    record::Kind,
    sched::Sched,
    step::{Step, absent},
};
use domain::{
    NodeId,
    hardware::{GpuPart, Hardware, HostPart, InventoryChange, changes},
    limit,
    port::RowRead,
    version::ClusterVersion,
};
use serde_json::json;

/// The version since which the cluster keeps whole machines.
pub const TOLD: ClusterVersion = ClusterVersion(2);

impl Sched {
    /// A node tells of its whole machine.
    pub(super) fn hardware<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        hardware: &Hardware,
    ) -> Reply {
        let Some(node) = self.nodes.get(&id) else {
            return absent(format!("node {id}"), "nodes");
        };
        if !hardware.is_bounded() {
            return Reply::Refused(Refusal::Limit {
                what: format!("the description of node {id}"),
                limit: limit::HARDWARE_MAX as u64,
                remedy: "give the agent a view of fewer devices".into(),
            });
        }
        let key = key::hardware(id);
        let before: Option<Hardware> = step.rows.read(&key);
        if before.as_ref() == Some(hardware) {
            return step.done();
        }
        let all = before.map(|before| changes(&before, hardware)).unwrap_or_default();
        let news: Vec<Change> = all.into_iter().filter_map(news).collect();
        if !news.is_empty() {
            let name = &node.row.inventory.name;
            let member = json!({ "changed": news, "name": name, "node": id.to_string() });
            step.events.add(Kind::NodeChanged, actor, &member);
        }
        step.rows.put(key, hardware);
        step.done()
    }
}

/// What the event says of a change; nothing of what the inventory holds, for the event of the
/// registration that brings it says that.
fn news(change: InventoryChange) -> Option<Change> {
    let (what, before, after) = match change {
        InventoryChange::Driver { .. }
        | InventoryChange::GpuGone { .. }
        | InventoryChange::GpuFound { .. } => return None,
        InventoryChange::Gpu { uuid, part, before, after } => {
            (format!("{} of gpu {uuid}", gpu_part(part)?).into(), before, after)
        }
        InventoryChange::Unread { before, after } => ("gpus without answer".into(), before, after),
        InventoryChange::Host { part, before, after } => (host_part(part)?.into(), before, after),
        InventoryChange::Topology => {
            ("topology of gpus".into(), String::new(), "other neighbours".to_owned())
        }
    };
    Some(Change { after, before, what })
}

fn gpu_part(part: GpuPart) -> Option<&'static str> {
    match part {
        GpuPart::Identity | GpuPart::Slices => None,
        GpuPart::Place => Some("place"),
        GpuPart::Power => Some("power"),
        GpuPart::Clocks => Some("clocks"),
        GpuPart::Pcie => Some("pcie"),
        GpuPart::NvLinks => Some("nvlinks"),
    }
}

fn host_part(part: HostPart) -> Option<&'static str> {
    match part {
        HostPart::Boot | HostPart::Cpu | HostPart::Memory | HostPart::Kernel => None,
        HostPart::Disks => Some("disks"),
        HostPart::Networks => Some("networks"),
    }
}
