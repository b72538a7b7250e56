//! NVML's calls on what is near what.

use crate::{
    library::give,
    state::{Gpu, Peer},
    target::{Target, calls, handle, whole},
};
use nvml_wrapper_sys::bindings::{
    nvmlAffinityScope_t, nvmlDevice_t, nvmlGpuLevel_enum_NVML_TOPOLOGY_INTERNAL as INTERNAL,
    nvmlGpuLevel_enum_NVML_TOPOLOGY_NODE as NODE, nvmlGpuLevel_enum_NVML_TOPOLOGY_SINGLE as SINGLE,
    nvmlGpuLevel_enum_NVML_TOPOLOGY_SYSTEM as SYSTEM, nvmlGpuP2PCapsIndex_t, nvmlGpuP2PStatus_t,
    nvmlGpuTopologyLevel_t, nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as TOO_SMALL,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID, nvmlReturn_t,
};
use std::ffi::{c_uint, c_ulong};

/// NVML's number for "NVLink" among the ways from GPU to GPU.
const OVER_NVLINK: nvmlGpuP2PCapsIndex_t = 2;
/// Peers reach each other.
const P2P_OK: nvmlGpuP2PStatus_t = 0;
/// Peers do not.
const P2P_NOT_SUPPORTED: nvmlGpuP2PStatus_t = 5;

fn level(one: &Target, two: &Target) -> nvmlGpuTopologyLevel_t {
    let (first, second) = (one.gpu(), two.gpu());
    if one.index == two.index {
        INTERNAL
    } else if first.pcie_switch == second.pcie_switch {
        SINGLE
    } else if first.numa_node == second.numa_node {
        NODE
    } else {
        SYSTEM
    }
}

/// Whether active NVLinks lead from one GPU to the other.
fn linked(one: &Target, two: &Target) -> bool {
    let to_switch = |gpu: &Gpu| gpu.nvlinks.iter().any(|it| it.active && it.peer == Peer::Switch);
    let direct = |it: &crate::state::NvLink| it.active && it.peer == Peer::Gpu(two.index);
    one.gpu().nvlinks.iter().any(direct) || to_switch(one.gpu()) && to_switch(two.gpu())
}

calls! {
    /// NVML: number of its NUMA node.
    whole nvmlDeviceGetNumaNodeId() -> c_uint = |it| Ok(it.gpu().numa_node);
}

/// NVML: the nearest thing above two GPUs.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyCommonAncestor(
    one: nvmlDevice_t,
    two: nvmlDevice_t,
    out: *mut nvmlGpuTopologyLevel_t,
) -> nvmlReturn_t {
    match (whole(one), whole(two)) {
        // SAFETY: as the caller promises.
        (Ok(one), Ok(two)) => unsafe { give(level(&one, &two), out) },
        (Err(fault), _) | (_, Err(fault)) => fault,
    }
}

/// NVML: whether one GPU reaches another.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetP2PStatus(
    one: nvmlDevice_t,
    two: nvmlDevice_t,
    way: nvmlGpuP2PCapsIndex_t,
    out: *mut nvmlGpuP2PStatus_t,
) -> nvmlReturn_t {
    match (whole(one), whole(two)) {
        (Ok(one), Ok(two)) => {
            let reaches = way != OVER_NVLINK || linked(&one, &two);
            // SAFETY: as the caller promises.
            unsafe { give(if reaches { P2P_OK } else { P2P_NOT_SUPPORTED }, out) }
        }
        (Err(fault), _) | (_, Err(fault)) => fault,
    }
}

/// NVML: other GPUs whose nearest common thing is of a level.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTopologyNearestGpus(
    device: nvmlDevice_t,
    wanted: nvmlGpuTopologyLevel_t,
    count: *mut c_uint,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    let target = match whole(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    if count.is_null() {
        return INVALID;
    }
    let others = (0..target.machine().gpus.len()).filter(|index| *index != target.index);
    let near: Vec<_> = others
        .map(handle)
        .filter(|other| whole(*other).is_ok_and(|other| level(&target, &other) == wanted))
        .collect();
    // SAFETY: it is not null, and so valid for a read, as the caller promises.
    let room = unsafe { count.read() } as usize;
    if !out.is_null() {
        for (place, other) in near.iter().take(room).enumerate() {
            // SAFETY: `place` is below the number of writes that the caller allows.
            unsafe { out.add(place).write(*other) };
        }
    }
    // SAFETY: as the caller promises.
    unsafe { give(near.len() as c_uint, count) }
}

/// # Safety
/// `out` must be null or valid for `words` writes.
unsafe fn give_set(
    device: nvmlDevice_t,
    words: c_uint,
    out: *mut c_ulong,
    has: impl Fn(&Gpu, u32) -> bool,
) -> nvmlReturn_t {
    let target = match whole(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    if out.is_null() {
        return INVALID;
    }
    if words == 0 {
        return TOO_SMALL;
    }
    for word in 0..words {
        let bits = (0..c_ulong::BITS).filter(|bit| has(target.gpu(), word * c_ulong::BITS + bit));
        let value = bits.fold(0, |set, bit| set | 1 << bit);
        // SAFETY: `word` is below the number of writes that the caller allows.
        unsafe { out.add(word as usize).write(value) };
    }
    0
}

fn has_cpu(gpu: &Gpu, cpu: u32) -> bool {
    (gpu.cpus.0..=gpu.cpus.1).contains(&cpu)
}

/// NVML: processors near a GPU.
///
/// # Safety
/// `out` must be null or valid for `words` writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCpuAffinity(
    device: nvmlDevice_t,
    words: c_uint,
    out: *mut c_ulong,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give_set(device, words, out, has_cpu) }
}

/// NVML: processors of a GPU's node or socket, which are one here.
///
/// # Safety
/// `out` must be null or valid for `words` writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCpuAffinityWithinScope(
    device: nvmlDevice_t,
    words: c_uint,
    out: *mut c_ulong,
    _scope: nvmlAffinityScope_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give_set(device, words, out, has_cpu) }
}

/// NVML: memory near a GPU, as a set of NUMA nodes.
///
/// # Safety
/// `out` must be null or valid for `words` writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMemoryAffinity(
    device: nvmlDevice_t,
    words: c_uint,
    out: *mut c_ulong,
    _scope: nvmlAffinityScope_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give_set(device, words, out, |gpu, node| gpu.numa_node == node) }
}
