//! NVML's calls on the processes that use a GPU.

use crate::{
    library::{give, give_text},
    state::{self, Process},
    target::{Target, any},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlProcessInfo_t, nvmlProcessUtilizationSample_t,
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as TOO_SMALL,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_t,
};
use std::{
    ffi::{c_char, c_uint, c_ulonglong},
    time::{SystemTime, UNIX_EPOCH},
};

/// NVML's number for "no instance".
const NO_INSTANCE: c_uint = 0xFFFF_FFFF;

/// Those of the GPU, or of the slice alone.
fn processes(target: &Target) -> Vec<&Process> {
    let of = |process: &&Process| target.place().is_none() || process.slice == target.place();
    target.gpu().processes.iter().filter(of).collect()
}

/// Writes a list by NVML's custom: the room comes in, the number goes out.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
unsafe fn give_list<T>(all: &[T], count: *mut c_uint, out: *mut T) -> nvmlReturn_t
where
    T: Copy,
{
    if count.is_null() {
        return INVALID;
    }
    // SAFETY: it is not null, and so valid for a read, as the caller promises.
    let room = unsafe { count.read() } as usize;
    // SAFETY: as the caller promises.
    unsafe { give(all.len() as c_uint, count) };
    if all.is_empty() {
        return 0;
    }
    if out.is_null() || room < all.len() {
        return TOO_SMALL;
    }
    // SAFETY: there is room for all, as was just checked.
    unsafe { std::ptr::copy_nonoverlapping(all.as_ptr(), out, all.len()) };
    0
}

/// NVML: processes that compute.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    out: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    let target = match any(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    let info = |process: &&Process| {
        let slice = process.slice.and_then(|place| target.gpu().slices.get(place));
        nvmlProcessInfo_t {
            pid: process.pid,
            usedGpuMemory: process.memory_bytes,
            gpuInstanceId: slice.map_or(NO_INSTANCE, |slice| slice.gpu_instance),
            computeInstanceId: slice.map_or(NO_INSTANCE, |_| 0),
        }
    };
    let all: Vec<_> = processes(&target).iter().map(info).collect();
    // SAFETY: as the caller promises.
    unsafe { give_list(&all, count, out) }
}

/// NVML: processes that draw: none.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    out: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    match any(device) {
        // SAFETY: as the caller promises.
        Ok(_) => unsafe { give_list(&[], count, out) },
        Err(fault) => fault,
    }
}

/// NVML: processes of NVIDIA's multi-process service: none.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMPSComputeRunningProcesses_v3(
    device: nvmlDevice_t,
    count: *mut c_uint,
    out: *mut nvmlProcessInfo_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { nvmlDeviceGetGraphicsRunningProcesses_v3(device, count, out) }
}

/// NVML: what each process takes of the GPU's time.
///
/// # Safety
/// `count` must be null or valid for a read and a write; `out` null or valid for so many writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetProcessUtilization(
    device: nvmlDevice_t,
    out: *mut nvmlProcessUtilizationSample_t,
    count: *mut c_uint,
    _after_us: c_ulonglong,
) -> nvmlReturn_t {
    let target = match any(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let sample = |process: &&Process| nvmlProcessUtilizationSample_t {
        pid: process.pid,
        timeStamp: now.as_micros() as u64,
        smUtil: process.utilization_pct,
        memUtil: process.utilization_pct,
        encUtil: 0,
        decUtil: 0,
    };
    let all: Vec<_> = processes(&target).iter().map(sample).collect();
    // SAFETY: as the caller promises.
    unsafe { give_list(&all, count, out) }
}

/// NVML: a process's program.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetProcessName(
    pid: c_uint,
    out: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    let machine = state::now();
    let mut all = machine.gpus.iter().flat_map(|gpu| &gpu.processes);
    match all.find(|process| process.pid == pid) {
        None => NOT_FOUND,
        // SAFETY: as the caller promises.
        Some(process) => unsafe { give_text(&process.name, out, length) },
    }
}
