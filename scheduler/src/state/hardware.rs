//! Whole machines, as their agents tell of them. Shown, and what changes is of record; where a job
//! fits is decided by the inventory alone.

use super::{
    command::{Refusal, Reply},
    key,
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
use serde::Serialize;
use serde_json::json;

/// The version since which the cluster keeps whole machines.
pub const TOLD: ClusterVersion = ClusterVersion(2);

/// A part of a machine that is other than it was; empty is none.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Change {
    after: String,
    before: String,
    what: String,
}

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
        // What the inventory holds is in the event of the registration that brought it.
        let all = before.map(|before| changes(&before, hardware)).unwrap_or_default();
        let news = all.into_iter().filter(|change| !change.is_in_inventory());
        let news: Vec<Change> = news.map(told).collect();
        if !news.is_empty() {
            let name = &node.row.inventory.name;
            let member = json!({ "changed": news, "name": name, "node": id.to_string() });
            step.events.add(Kind::NodeChanged, actor, &member);
        }
        step.rows.put(key, hardware);
        step.done()
    }
}

fn told(change: InventoryChange) -> Change {
    let (what, before, after) = match change {
        InventoryChange::Gpu { uuid, part, before, after } => {
            (format!("{} of gpu {uuid}", gpu_part(part)), before, after)
        }
        InventoryChange::Unread { before, after } => {
            ("gpus without answer".to_owned(), before, after)
        }
        InventoryChange::Host { part, before, after } => {
            (host_part(part).to_owned(), before, after)
        }
        InventoryChange::Driver { before, after } => ("driver".to_owned(), before, after),
        InventoryChange::GpuGone { uuid, index, .. } => {
            ("gpu".to_owned(), format!("{index} {uuid}"), String::new())
        }
        InventoryChange::GpuFound { uuid, index } => {
            ("gpu".to_owned(), String::new(), format!("{index} {uuid}"))
        }
        InventoryChange::Topology => {
            let text = "other neighbours".to_owned();
            ("topology of gpus".to_owned(), String::new(), text)
        }
    };
    Change { after, before, what }
}

fn gpu_part(part: GpuPart) -> &'static str {
    match part {
        GpuPart::Identity => "identity",
        GpuPart::Place => "place",
        GpuPart::Power => "power",
        GpuPart::Clocks => "clocks",
        GpuPart::Pcie => "pcie",
        GpuPart::NvLinks => "nvlinks",
        GpuPart::Slices => "slices",
    }
}

fn host_part(part: HostPart) -> &'static str {
    match part {
        HostPart::Boot => "boot",
        HostPart::Cpu => "cpu",
        HostPart::Memory => "memory",
        HostPart::Kernel => "kernel",
        HostPart::Disks => "disks",
        HostPart::Networks => "networks",
    }
}
