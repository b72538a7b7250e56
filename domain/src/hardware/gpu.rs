//! GPUs as their driver describes them.

use super::CpuSet;
use crate::{
    limit,
    resource::Gpu,
    unit::{Bytes, MegaHertz, MilliWatts},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, ops::Range};

/// Indices of slices start here, above those of all GPUs.
const SLICES_FIRST: u32 = limit::NODE_GPUS_MAX as u32;
/// Slices of one GPU at most, a power of two.
const SLICES_MAX: u32 = 8;

/// The GPUs of a machine. Without a driver, an honest "none".
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct GpuSet {
    /// The driver, if there is one.
    pub driver: Option<GpuDriver>,
    /// Those that answer, in the driver's order.
    pub all: Vec<GpuHardware>,
    /// What is above each two, by their indices, the lower first.
    #[serde(with = "pairs")]
    pub near: BTreeMap<(u32, u32), Nearness>,
    /// Those that the driver counts and that do not answer.
    pub unread: Vec<UnreadGpu>,
}

impl GpuSet {
    /// What tasks can be given: whole GPUs, and in place of sliced ones their slices.
    ///
    /// A slice's index follows from its place alone, so that one sliced GPU more or less does not
    /// renumber the others.
    #[must_use]
    pub fn offered(&self) -> Vec<Gpu> {
        let offers = |it: &GpuHardware| match &it.slices {
            None => vec![it.gpu.clone()],
            Some(slices) => slices.iter().zip(0..).map(|(slice, at)| it.offer(slice, at)).collect(),
        };
        let mut all: Vec<Gpu> = self.all.iter().flat_map(offers).collect();
        all.truncate(limit::NODE_GPUS_MAX);
        all
    }
}

/// In documents a pair cannot be a name: a list of `[index, index, nearness]`.
mod pairs {
    use super::Nearness;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;

    pub fn serialize<S: Serializer>(
        near: &BTreeMap<(u32, u32), Nearness>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let all: Vec<_> = near.iter().map(|((one, two), near)| (one, two, near)).collect();
        all.serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<(u32, u32), Nearness>, D::Error> {
        let all = Vec::<(u32, u32, Nearness)>::deserialize(from)?;
        Ok(all.into_iter().map(|(one, two, near)| ((one, two), near)).collect())
    }
}

/// A GPU driver.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GpuDriver {
    /// Its version.
    pub version: String,
    /// The CUDA version that it serves.
    pub cuda: String,
}

/// One GPU.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GpuHardware {
    /// What the scheduler knows of it.
    pub gpu: Gpu,
    /// Its place on the bus.
    pub bus: String,
    /// Its NUMA node, if the driver knows.
    pub numa_node: Option<u32>,
    /// Processors near it.
    pub cpus: CpuSet,
    /// Its power limits, if it has any.
    pub power: Option<PowerLimits>,
    /// Greatest clock of its cores, if the driver knows.
    #[serde(rename = "graphics_max_mhz")]
    pub graphics_max: Option<MegaHertz>,
    /// Greatest clock of its memory, if the driver knows.
    #[serde(rename = "memory_max_mhz")]
    pub memory_max: Option<MegaHertz>,
    /// Its PCIe link at best.
    pub pcie: Option<PcieLink>,
    /// Its NVLinks, in order; empty is an honest "none".
    pub nvlinks: Vec<NvLink>,
    /// Its slices; none if it is whole.
    pub slices: Option<Vec<Slice>>,
}

impl GpuHardware {
    pub(super) fn offer(&self, slice: &Slice, place: u32) -> Gpu {
        Gpu {
            index: SLICES_FIRST + self.gpu.index * SLICES_MAX + place,
            uuid: slice.uuid.clone(),
            model: slice.model.clone(),
            memory: slice.memory,
            compute_capability: self.gpu.compute_capability.clone(),
        }
    }
}

/// The index of the GPU that is offered under this one, or in parts of which this is one.
#[must_use]
pub fn whole_index(index: u32) -> u32 {
    index.checked_sub(SLICES_FIRST).map_or(index, |place| place / SLICES_MAX)
}

/// Indices under which parts of a GPU may be offered; none of what is a part itself.
#[must_use]
pub fn parts_of(index: u32) -> Option<Range<u32>> {
    let first = (index < SLICES_FIRST).then(|| SLICES_FIRST + index * SLICES_MAX)?;
    Some(first..first + SLICES_MAX)
}

/// Power limits of a GPU.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PowerLimits {
    /// In force.
    #[serde(rename = "now_milliwatts")]
    pub now: MilliWatts,
    /// The least that may be set.
    #[serde(rename = "min_milliwatts")]
    pub min: MilliWatts,
    /// The greatest that may be set.
    #[serde(rename = "max_milliwatts")]
    pub max: MilliWatts,
}

/// A PCIe link.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct PcieLink {
    /// Its generation.
    pub generation: u32,
    /// Its lanes.
    pub lanes: u32,
}

/// One NVLink of a GPU.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct NvLink {
    /// Whether it is up.
    pub up: bool,
    /// Where it leads.
    pub peer: NvLinkPeer,
}

/// The other end of an NVLink.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum NvLinkPeer {
    /// The GPU of this index.
    Gpu(u32),
    /// Something that is no GPU of this machine: an NVSwitch.
    Switch,
    /// The driver does not say, as for links that are down.
    Unknown,
}

/// A slice of a GPU, in MIG mode.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Slice {
    /// The driver's unique name.
    pub uuid: String,
    /// The model as the driver prints it, which holds the profile.
    pub model: String,
    /// Its memory.
    pub memory: Bytes,
}

/// The nearest thing above two GPUs, from near to far.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Nearness {
    /// They are on one board.
    Board,
    /// One PCIe switch.
    Switch,
    /// Several PCIe switches under one host bridge.
    Switches,
    /// One host bridge.
    HostBridge,
    /// One NUMA node.
    NumaNode,
    /// Only the machine.
    Machine,
}

/// A GPU that the driver counts and that does not answer.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct UnreadGpu {
    /// The driver's index.
    pub index: u32,
    /// Why it is not among the others.
    pub why: Unread,
}

/// Why a GPU was not read.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Unread {
    /// The driver says that it fell off the bus.
    Lost,
    /// A call on it does not return.
    Hung,
    /// The driver answered with another error.
    Failed,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lost => "lost",
            Self::Hung => "hung",
            Self::Failed => "failed",
        })
    }
}
