//! One reading of a GPU through NVML.

use domain::{
    Bytes, MegaHertz, MilliWatts,
    hardware::{CpuSet, GpuHardware, Nearness, NvLink, NvLinkPeer, PcieLink, PowerLimits, Slice},
    resource::Gpu,
};
use nvml_wrapper::{
    Device, Nvml,
    enum_wrappers::device::{Clock, TopologyLevel},
    error::NvmlError,
};
use std::collections::BTreeMap;

/// NVLinks of one GPU at most. Source: NVML_NVLINK_MAX_LINKS.
const LINKS_MAX: u32 = 18;
/// Slices of one GPU at most.
const SLICES_MAX: u32 = 8;
/// Words of a set of processors: 1,024 of them.
const CPU_WORDS: usize = 1_024 / 64;

/// A GPU whose NVLinks still lead to places on the bus.
#[derive(Debug)]
pub(super) struct RawGpu {
    gpu: GpuHardware,
    /// Of each link, where the other end is; none if the driver does not say.
    peers: Vec<Option<String>>,
}

impl RawGpu {
    pub(super) fn index(&self) -> u32 {
        self.gpu.gpu.index
    }
}

/// What a GPU need not have: not to have it is no error.
pub(super) fn optional<T>(answer: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(
            NvmlError::NotSupported
            | NvmlError::InvalidArg
            | NvmlError::NotFound
            | NvmlError::NoPermission
            | NvmlError::FailedToLoadSymbol(_),
        ) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// Reads one GPU.
pub(super) fn gpu(nvml: &Nvml, index: u32) -> Result<RawGpu, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let (nvlinks, peers) = links(&device)?;
    let capability = device.cuda_compute_capability()?;
    let affinity = optional(device.cpu_affinity(CPU_WORDS))?.unwrap_or_default();
    let gpu = GpuHardware {
        gpu: Gpu {
            index,
            uuid: device.uuid()?,
            model: device.name()?,
            memory: Bytes(device.memory_info()?.total),
            compute_capability: format!("{}.{}", capability.major, capability.minor),
        },
        bus: device.pci_info()?.bus_id,
        numa_node: optional(device.numa_node_id())?,
        cpus: CpuSet::from_words(&affinity),
        power: power(&device)?,
        graphics_max: clock(&device, Clock::Graphics)?,
        memory_max: clock(&device, Clock::Memory)?,
        pcie: pcie(&device)?,
        nvlinks,
        slices: slices(&device)?,
    };
    Ok(RawGpu { gpu, peers })
}

fn power(device: &Device<'_>) -> Result<Option<PowerLimits>, NvmlError> {
    let now = optional(device.enforced_power_limit())?;
    let range = optional(device.power_management_limit_constraints())?;
    let limits = now.zip(range).map(|(now, range)| PowerLimits {
        now: MilliWatts(now.into()),
        min: MilliWatts(range.min_limit.into()),
        max: MilliWatts(range.max_limit.into()),
    });
    Ok(limits)
}

fn clock(device: &Device<'_>, clock: Clock) -> Result<Option<MegaHertz>, NvmlError> {
    Ok(optional(device.max_clock_info(clock))?.map(|rate| MegaHertz(rate.into())))
}

fn pcie(device: &Device<'_>) -> Result<Option<PcieLink>, NvmlError> {
    let generation = optional(device.max_pcie_link_gen())?;
    let lanes = optional(device.max_pcie_link_width())?;
    Ok(generation.zip(lanes).map(|(generation, lanes)| PcieLink { generation, lanes }))
}

fn links(device: &Device<'_>) -> Result<(Vec<NvLink>, Vec<Option<String>>), NvmlError> {
    let (mut links, mut peers) = (Vec::new(), Vec::new());
    for number in 0..LINKS_MAX {
        let link = device.link_wrapper_for(number);
        let Some(up) = optional(link.is_active())? else { break };
        links.push(NvLink { up, peer: NvLinkPeer::Unknown });
        // Not `remote_device_type`: nvml-wrapper 0.13.0 drops the driver's answer to it.
        peers.push(optional(link.remote_pci_info())?.map(|peer| peer.bus_id));
    }
    Ok((links, peers))
}

/// The slices, if the GPU is sliced: it may have none yet.
fn slices(device: &Device<'_>) -> Result<Option<Vec<Slice>>, NvmlError> {
    if optional(device.mig_mode())?.is_none_or(|mode| mode.current == 0) {
        return Ok(None);
    }
    let mut slices = Vec::new();
    for place in 0..SLICES_MAX {
        let Some(slice) = optional(device.mig_device_by_index(place))? else { continue };
        slices.push(Slice {
            uuid: slice.uuid()?,
            model: slice.name()?,
            memory: Bytes(slice.memory_info()?.total),
        });
    }
    Ok(Some(slices))
}

/// Replaces places on the bus by the indices of the GPUs there.
pub(super) fn resolve(mut found: Vec<RawGpu>) -> Vec<GpuHardware> {
    let place = |it: &RawGpu| (it.gpu.bus.to_ascii_lowercase(), it.index());
    let by_bus: BTreeMap<String, u32> = found.iter().map(place).collect();
    for RawGpu { gpu, peers } in &mut found {
        for (link, peer) in gpu.nvlinks.iter_mut().zip(peers) {
            link.peer = peer.as_ref().map_or(NvLinkPeer::Unknown, |bus| {
                let index = by_bus.get(&bus.to_ascii_lowercase());
                index.map_or(NvLinkPeer::Switch, |index| NvLinkPeer::Gpu(*index))
            });
        }
    }
    found.into_iter().map(|raw| raw.gpu).collect()
}

/// What is above each two GPUs, as far as the driver says.
pub(super) fn near(nvml: &Nvml, indices: &[u32]) -> BTreeMap<(u32, u32), Nearness> {
    let level = |one, two| {
        let one = nvml.device_by_index(one).ok()?;
        let level = one.topology_common_ancestor(nvml.device_by_index(two).ok()?).ok()?;
        Some(match level {
            TopologyLevel::Internal => Nearness::Board,
            TopologyLevel::Single => Nearness::Switch,
            TopologyLevel::Multiple => Nearness::Switches,
            TopologyLevel::HostBridge => Nearness::HostBridge,
            TopologyLevel::Node => Nearness::NumaNode,
            TopologyLevel::System => Nearness::Machine,
        })
    };
    let pairs = indices.iter().enumerate().flat_map(|(at, one)| {
        indices[at + 1..].iter().map(move |two| (*one.min(two), *one.max(two)))
    });
    pairs.filter_map(|(one, two)| Some(((one, two), level(one, two)?))).collect()
}
