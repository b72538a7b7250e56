//! NVML's calls on memory and its errors.

use crate::{
    library::give,
    target::{Target, calls, pairs, whole},
};
use nvml_wrapper_sys::bindings::{
    nvmlBAR1Memory_t, nvmlDevice_t, nvmlEccCounterType_t, nvmlEnableState_t, nvmlMemory_t,
    nvmlMemory_v2_t, nvmlMemoryErrorType_t, nvmlMemoryLocation_t, nvmlReturn_t,
};
use std::ffi::{c_uint, c_ulonglong};

/// Where HBM and GDDR errors are counted: NVML_MEMORY_LOCATION_DRAM.
const DRAM: nvmlMemoryLocation_t = 2;

fn total_and_used(it: &Target) -> (u64, u64) {
    it.slice().map_or((it.gpu().memory_bytes, it.gpu().memory_used_bytes), |slice| {
        (slice.memory_bytes, slice.memory_used_bytes)
    })
}

calls! {
    /// NVML: memory.
    any nvmlDeviceGetMemoryInfo() -> nvmlMemory_t = |it| {
        let (total, used) = total_and_used(it);
        Ok(nvmlMemory_t { total, free: total.saturating_sub(used), used })
    };
    /// NVML: memory, with what the driver keeps.
    any nvmlDeviceGetMemoryInfo_v2() -> nvmlMemory_v2_t = |it| {
        let (total, used) = total_and_used(it);
        Ok(nvmlMemory_v2_t {
            version: 2, total, reserved: 0, free: total.saturating_sub(used), used,
        })
    };
    /// NVML: memory that is mapped over PCIe.
    any nvmlDeviceGetBAR1MemoryInfo() -> nvmlBAR1Memory_t = |it| {
        let (total, _) = total_and_used(it);
        let all = total.next_power_of_two();
        Ok(nvmlBAR1Memory_t { bar1Total: all, bar1Free: all - (1 << 20), bar1Used: 1 << 20 })
    };
    /// NVML: memory errors. The first kind is corrected ones.
    whole nvmlDeviceGetTotalEccErrors(
        kind: nvmlMemoryErrorType_t, counter: nvmlEccCounterType_t
    ) -> c_ulonglong = |it| Ok(ecc(it, kind, counter));
    /// NVML: memory errors by place: all are in the main memory.
    whole nvmlDeviceGetMemoryErrorCounter(
        kind: nvmlMemoryErrorType_t, counter: nvmlEccCounterType_t, place: nvmlMemoryLocation_t
    ) -> c_ulonglong = |it| Ok(if place == DRAM { ecc(it, kind, counter) } else { 0 });
}

pairs! {
    /// NVML: whether errors are found and corrected, now and after the next start.
    whole nvmlDeviceGetEccMode() -> nvmlEnableState_t = |_| (1, 1);
}

fn ecc(it: &Target, kind: nvmlMemoryErrorType_t, counter: nvmlEccCounterType_t) -> u64 {
    let gpu = it.gpu();
    match (kind, counter) {
        (0, 0) => gpu.ecc_corrected_volatile,
        (0, _) => gpu.ecc_corrected_aggregate,
        (_, 0) => gpu.ecc_volatile,
        _ => gpu.ecc_aggregate,
    }
}

/// NVML: rows of memory that spare ones stand in for.
///
/// # Safety
/// All but `device` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetRemappedRows(
    device: nvmlDevice_t,
    corrected: *mut c_uint,
    uncorrected: *mut c_uint,
    pending: *mut c_uint,
    failed: *mut c_uint,
) -> nvmlReturn_t {
    let rows = match whole(device) {
        Ok(target) => target.gpu().row_remaps,
        Err(fault) => return fault,
    };
    let all = [
        (corrected, rows.corrected),
        (uncorrected, rows.uncorrected),
        (pending, rows.pending.into()),
        (failed, rows.failed.into()),
    ];
    all.into_iter()
        // SAFETY: as the caller promises.
        .map(|(place, value)| unsafe { give(value, place) })
        .find(|fault| *fault != 0)
        .unwrap_or_default()
}
