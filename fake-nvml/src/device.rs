//! NVML's calls on one GPU. A handle is the GPU's index plus one, so that null is none.

use crate::{
    library::{give, give_text},
    state::{self, Gpu},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEccCounterType_t, nvmlMemory_t, nvmlMemory_v2_t, nvmlMemoryErrorType_t,
    nvmlPciInfo_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_t, nvmlTemperatureSensors_t,
    nvmlUtilization_t,
};
use std::{
    ffi::{CStr, c_char, c_int, c_uint, c_ulonglong},
    time::Duration,
};

fn handle(index: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(index + 1)
}

/// The GPU behind a handle, after its scripted delay.
fn gpu(device: nvmlDevice_t) -> Result<(usize, Gpu), nvmlReturn_t> {
    let index = device.addr().checked_sub(1).ok_or(INVALID)?;
    let gpu = state::now().gpus.get(index).cloned().ok_or(INVALID)?;
    if gpu.hang_ms > 0 {
        std::thread::sleep(Duration::from_millis(gpu.hang_ms));
    }
    if gpu.lost { Err(LOST) } else { Ok((index, gpu)) }
}

/// Writes a property of a GPU.
///
/// # Safety
/// `out` must be null or valid for a write.
unsafe fn tell<T>(
    device: nvmlDevice_t,
    out: *mut T,
    property: impl FnOnce(usize, &Gpu) -> T,
) -> nvmlReturn_t {
    match gpu(device) {
        // SAFETY: as the caller promises.
        Ok((index, gpu)) => unsafe { give(property(index, &gpu), out) },
        Err(fault) => fault,
    }
}

/// Writes a text of a GPU.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
unsafe fn tell_text(
    device: nvmlDevice_t,
    out: *mut c_char,
    length: c_uint,
    property: impl FnOnce(usize, &Gpu) -> String,
) -> nvmlReturn_t {
    match gpu(device) {
        // SAFETY: as the caller promises.
        Ok((index, gpu)) => unsafe { give_text(&property(index, &gpu), out, length) },
        Err(fault) => fault,
    }
}

macro_rules! properties {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $kind:ty),*) -> $out:ty = $property:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `out` must be null or valid for a write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvmlDevice_t, $($argument: $kind,)* out: *mut $out,
        ) -> nvmlReturn_t {
            $(let _ = $argument;)*
            // SAFETY: as the caller promises.
            unsafe { tell(device, out, $property) }
        }
    )*};
}

properties! {
    /// NVML: place in the driver's order.
    nvmlDeviceGetIndex() -> c_uint = |index, _| index as c_uint;
    /// NVML: number of the device file.
    nvmlDeviceGetMinorNumber() -> c_uint = |index, _| index as c_uint;
    /// NVML: memory.
    nvmlDeviceGetMemoryInfo() -> nvmlMemory_t = |_, gpu| nvmlMemory_t {
        total: gpu.memory_bytes,
        free: gpu.memory_bytes.saturating_sub(gpu.memory_used_bytes),
        used: gpu.memory_used_bytes,
    };
    /// NVML: memory, with what the driver keeps.
    nvmlDeviceGetMemoryInfo_v2() -> nvmlMemory_v2_t = |_, gpu| nvmlMemory_v2_t {
        version: 2,
        total: gpu.memory_bytes,
        reserved: 0,
        free: gpu.memory_bytes.saturating_sub(gpu.memory_used_bytes),
        used: gpu.memory_used_bytes,
    };
    /// NVML: share of time in use.
    nvmlDeviceGetUtilizationRates() -> nvmlUtilization_t = |_, gpu| nvmlUtilization_t {
        gpu: gpu.utilization_pct,
        memory: gpu.utilization_pct,
    };
    /// NVML: temperature.
    nvmlDeviceGetTemperature(sensor: nvmlTemperatureSensors_t) -> c_uint =
        |_, gpu| gpu.temperature_c;
    /// NVML: power draw.
    nvmlDeviceGetPowerUsage() -> c_uint = |_, gpu| gpu.power_mw;
    /// NVML: power limit.
    nvmlDeviceGetEnforcedPowerLimit() -> c_uint = |_, gpu| gpu.power_limit_mw;
    /// NVML: place on the bus.
    nvmlDeviceGetPciInfo_v3() -> nvmlPciInfo_t = |index, _| pci(index);
}

/// NVML: memory errors. The first kind is corrected errors, of which there are none.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTotalEccErrors(
    device: nvmlDevice_t,
    kind: nvmlMemoryErrorType_t,
    counter: nvmlEccCounterType_t,
    out: *mut c_ulonglong,
) -> nvmlReturn_t {
    let count = |_, gpu: &Gpu| match (kind, counter) {
        (0, _) => 0,
        (_, 0) => gpu.ecc_volatile,
        _ => gpu.ecc_aggregate,
    };
    // SAFETY: as the caller promises.
    unsafe { tell(device, out, count) }
}

/// NVML: compute capability.
///
/// # Safety
/// `major` and `minor` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    device: nvmlDevice_t,
    major: *mut c_int,
    minor: *mut c_int,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    match unsafe { tell(device, major, |_, gpu| gpu.compute_capability.0) } {
        // SAFETY: as the caller promises.
        0 => unsafe { tell(device, minor, |_, gpu| gpu.compute_capability.1) },
        fault => fault,
    }
}

/// NVML: model.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetName(
    device: nvmlDevice_t,
    out: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { tell_text(device, out, length, |_, gpu| gpu.model.clone()) }
}

/// NVML: unique name.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetUUID(
    device: nvmlDevice_t,
    out: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { tell_text(device, out, length, |_, gpu| gpu.uuid.clone()) }
}

/// NVML: handle by place.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(
    index: c_uint,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    match state::now().gpus.get(index as usize) {
        None => INVALID,
        Some(gpu) if gpu.lost => LOST,
        // SAFETY: as the caller promises.
        Some(_) => unsafe { give(handle(index as usize), out) },
    }
}

/// NVML: handle by unique name.
///
/// # Safety
/// `uuid` must be null or a text that ends with NUL; `out` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { find(uuid, out, |_, gpu| gpu.uuid.clone()) }
}

/// NVML: handle by place on the bus.
///
/// # Safety
/// `bus` must be null or a text that ends with NUL; `out` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByPciBusId_v2(
    bus: *const c_char,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { find(bus, out, |index, _| bus_id(index)) }
}

/// # Safety
/// `text` must be null or end with NUL; `out` null or valid for a write.
unsafe fn find(
    text: *const c_char,
    out: *mut nvmlDevice_t,
    name: impl Fn(usize, &Gpu) -> String,
) -> nvmlReturn_t {
    if text.is_null() {
        return INVALID;
    }
    // SAFETY: the text ends with NUL, as the caller promises.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned();
    let gpus = state::now().gpus;
    match gpus.iter().enumerate().position(|(index, gpu)| name(index, gpu) == text) {
        None => NOT_FOUND,
        // SAFETY: as the caller promises.
        Some(index) => unsafe { give(handle(index), out) },
    }
}

fn bus_id(index: usize) -> String {
    format!("00000000:{:02X}:00.0", index + 1)
}

fn pci(index: usize) -> nvmlPciInfo_t {
    let mut info = nvmlPciInfo_t {
        busIdLegacy: [0; 16],
        domain: 0,
        bus: index as c_uint + 1,
        device: 0,
        pciDeviceId: 0x2330_10de,
        pciSubSystemId: 0x16c1_10de,
        busId: [0; 32],
    };
    let name = bus_id(index);
    for (place, byte) in info.busId.iter_mut().zip(name.bytes()) {
        *place = byte as c_char;
    }
    // The legacy form has four digits of domain.
    for (place, byte) in info.busIdLegacy.iter_mut().zip(name.bytes().skip(4)) {
        *place = byte as c_char;
    }
    info
}
