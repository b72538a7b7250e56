//! What is other than it was.

use super::{Disk, GpuHardware, GpuSet, Hardware, HostHardware, Network, Unread};
use crate::{resource::Gpu, unit::MegaHertz};
use std::{collections::BTreeMap, fmt};

/// One difference between two readings of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InventoryChange {
    /// A GPU answers no more, or is gone.
    GpuGone {
        /// Its unique name.
        uuid: String,
        /// Its index when it was last read.
        index: u32,
        /// What the driver says; none if it does not count it any more.
        why: Option<Unread>,
    },
    /// A GPU is new, or answers again.
    GpuFound {
        /// Its unique name.
        uuid: String,
        /// Its index.
        index: u32,
    },
    /// A GPU is other than it was.
    Gpu {
        /// Its unique name.
        uuid: String,
        /// In what.
        part: GpuPart,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
    /// The GPUs that do not answer are others than they were.
    Unread {
        /// Their indices with the reason, before.
        before: String,
        /// After.
        after: String,
    },
    /// The driver was updated, came or went.
    Driver {
        /// Version and CUDA version before; empty is none.
        before: String,
        /// After.
        after: String,
    },
    /// GPUs have other neighbours.
    Topology,
    /// The rest of the machine.
    Host {
        /// In what.
        part: HostPart,
        /// Before.
        before: String,
        /// After.
        after: String,
    },
}

/// What of a GPU can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuPart {
    /// Index, model, memory or compute capability.
    Identity,
    /// Place on the bus, NUMA node or processors near it.
    Place,
    /// Power limits.
    Power,
    /// Greatest clocks.
    Clocks,
    /// PCIe link.
    Pcie,
    /// NVLinks.
    NvLinks,
    /// Slices.
    Slices,
}

/// What of the rest of a machine can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPart {
    /// It was booted.
    Boot,
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// Kernel release.
    Kernel,
    /// Disks.
    Disks,
    /// Network interfaces.
    Networks,
}

/// All differences between two readings; empty only if they are equal.
#[must_use]
pub fn changes(before: &Hardware, after: &Hardware) -> Vec<InventoryChange> {
    let mut all = gpu_changes(&before.gpus, &after.gpus);
    let parts = host_parts(&before.host).into_iter().zip(host_parts(&after.host));
    all.extend(
        parts
            .filter(|(before, after)| before != after)
            .map(|((part, before), (_, after))| InventoryChange::Host { part, before, after }),
    );
    all
}

fn gpu_changes(before: &GpuSet, after: &GpuSet) -> Vec<InventoryChange> {
    let GpuSet { driver, all: known, near, unread } = before;
    let mut all = Vec::new();
    if *driver != after.driver {
        let text = |set: &GpuSet| {
            set.driver
                .as_ref()
                .map_or(String::new(), |it| format!("{}, CUDA {}", it.version, it.cuda))
        };
        all.push(InventoryChange::Driver { before: text(before), after: text(after) });
    }
    let old = by_uuid(known);
    let new = by_uuid(&after.all);
    for (uuid, gpu) in &old {
        match new.get(uuid) {
            None => all.push(gone(gpu, after)),
            Some(now) => all.extend(differences(gpu, now)),
        }
    }
    for (uuid, gpu) in new.iter().filter(|(uuid, _)| !old.contains_key(*uuid)) {
        all.push(InventoryChange::GpuFound { uuid: (*uuid).to_owned(), index: gpu.gpu.index });
    }
    if *unread != after.unread {
        let text = |set: &GpuSet| {
            let each = set.unread.iter().map(|gpu| format!("{} {}", gpu.index, gpu.why));
            each.collect::<Vec<_>>().join(", ")
        };
        all.push(InventoryChange::Unread { before: text(before), after: text(after) });
    }
    let stays = |index: &u32| {
        let is = |gpu: &GpuHardware| gpu.gpu.index == *index;
        known.iter().any(is) && after.all.iter().any(is)
    };
    let kept = |set: &GpuSet| -> Vec<_> {
        let near = set.near.iter().filter(|((one, two), _)| stays(one) && stays(two));
        near.map(|(pair, near)| (*pair, *near)).collect()
    };
    // A GPU that comes or goes takes its neighbourhoods along: that is no change of its own.
    if kept(before) != kept(after) || all.is_empty() && *near != after.near {
        all.push(InventoryChange::Topology);
    }
    if all.is_empty() && *known != after.all {
        // Same GPUs, other order, or two that claim one name.
        all.push(InventoryChange::Topology);
    }
    all
}

fn by_uuid(all: &[GpuHardware]) -> BTreeMap<&str, &GpuHardware> {
    all.iter().map(|gpu| (gpu.gpu.uuid.as_str(), gpu)).collect()
}

fn gone(gpu: &GpuHardware, after: &GpuSet) -> InventoryChange {
    let index = gpu.gpu.index;
    let why = after.unread.iter().find(|unread| unread.index == index).map(|unread| unread.why);
    InventoryChange::GpuGone { uuid: gpu.gpu.uuid.clone(), index, why }
}

fn differences(before: &GpuHardware, after: &GpuHardware) -> Vec<InventoryChange> {
    let uuid = &before.gpu.uuid;
    let parts = gpu_parts(before).into_iter().zip(gpu_parts(after));
    let changed = parts.filter(|(before, after)| before != after);
    changed
        .map(|((part, before), (_, after))| InventoryChange::Gpu {
            uuid: uuid.clone(),
            part,
            before,
            after,
        })
        .collect()
}

/// Every part as text. Taken apart by name, so that a new field must be given a place here.
fn gpu_parts(it: &GpuHardware) -> Vec<(GpuPart, String)> {
    let GpuHardware {
        gpu,
        bus,
        numa_node,
        cpus,
        power,
        graphics_max,
        memory_max,
        pcie,
        nvlinks,
        slices,
    } = it;
    let Gpu { index, uuid: _, model, memory, compute_capability } = gpu;
    let number = |of: &Option<u32>| of.map_or("none".to_owned(), |it| it.to_string());
    let links =
        nvlinks.iter().map(|link| format!("{}{:?}", ["-", "+"][usize::from(link.up)], link.peer));
    let power = power.map(|it| format!("{} of {} to {}", it.now, it.min, it.max));
    let pcie = pcie.map(|it| format!("generation {}, {} lanes", it.generation, it.lanes));
    let slices = slices.as_ref().map(|all| {
        let each = all.iter().map(|it| format!("{} {} {}", it.model, it.memory, it.uuid));
        format!("[{}]", each.collect::<Vec<_>>().join(", "))
    });
    let none = || "none".to_owned();
    let clock = |it: &Option<MegaHertz>| it.map_or_else(none, |it| it.to_string());
    vec![
        (GpuPart::Identity, format!("{index}: {model}, {memory}, {compute_capability}")),
        (GpuPart::Place, format!("{bus}, NUMA node {}, processors {cpus}", number(numa_node))),
        (GpuPart::Power, power.unwrap_or_else(none)),
        (GpuPart::Clocks, format!("{}, memory {}", clock(graphics_max), clock(memory_max))),
        (GpuPart::Pcie, pcie.unwrap_or_else(none)),
        (GpuPart::NvLinks, links.collect::<Vec<_>>().join(" ")),
        (GpuPart::Slices, slices.unwrap_or_else(none)),
    ]
}

/// Every part as text, as [`gpu_parts`].
fn host_parts(it: &HostHardware) -> Vec<(HostPart, String)> {
    let HostHardware { boot_id, cpu, cpu_model, cpu_level, memory, kernel, disks, networks } = it;
    let disk = |it: &Disk| {
        format!("{} {} {}", it.name, it.size, ["solid", "rotating"][usize::from(it.rotates)])
    };
    let network = |it: &Network| match it.rate {
        None => format!("{} down", it.name),
        Some(rate) => format!("{} {rate}", it.name),
    };
    let list = |all: Vec<String>| all.join(", ");
    vec![
        (HostPart::Boot, boot_id.clone()),
        (HostPart::Cpu, format!("{cpu}, {cpu_model}, {cpu_level}")),
        (HostPart::Memory, memory.to_string()),
        (HostPart::Kernel, kernel.clone()),
        (HostPart::Disks, list(disks.iter().map(disk).collect())),
        (HostPart::Networks, list(networks.iter().map(network).collect())),
    ]
}

impl fmt::Display for InventoryChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GpuGone { uuid, index, why: Some(why) } => {
                write!(f, "GPU {index} ({uuid}) {why}")
            }
            Self::GpuGone { uuid, index, why: None } => write!(f, "GPU {index} ({uuid}) gone"),
            Self::GpuFound { uuid, index } => write!(f, "GPU {index} ({uuid}) found"),
            Self::Gpu { uuid, part, before, after } => {
                write!(f, "{part:?} of GPU {uuid}: {before} became {after}")
            }
            Self::Unread { before, after } => {
                write!(f, "GPUs without answer: [{before}] became [{after}]")
            }
            Self::Driver { before, after } => write!(f, "driver: [{before}] became [{after}]"),
            Self::Topology => f.write_str("GPUs have other neighbours"),
            Self::Host { part, before, after } => {
                write!(f, "{part:?} of the machine: {before} became {after}")
            }
        }
    }
}
