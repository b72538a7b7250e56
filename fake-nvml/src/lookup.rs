//! NVML's calls that give handles.

use crate::{
    library::give,
    pci::bus_id,
    state::{self, Gpu, Machine},
    target::{handle, slice_handle},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND, nvmlReturn_t,
};
use std::ffi::{CStr, c_char, c_uint};

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

/// NVML: handle by unique name, of a GPU or of a slice.
///
/// # Safety
/// `uuid` must be null or a text that ends with NUL; `out` null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(
    uuid: *const c_char,
    out: *mut nvmlDevice_t,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    let Some(uuid) = (unsafe { text(uuid) }) else { return INVALID };
    let machine = state::now();
    let slice = machine.gpus.iter().enumerate().find_map(|(index, gpu)| {
        let place = gpu.slices.iter().position(|slice| slice.uuid == uuid)?;
        Some(slice_handle(index, place))
    });
    match slice.or_else(|| find(&machine, |_, gpu| gpu.uuid == uuid)) {
        None => NOT_FOUND,
        // SAFETY: as the caller promises.
        Some(found) => unsafe { give(found, out) },
    }
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
    let Some(bus) = (unsafe { text(bus) }) else { return INVALID };
    match find(&state::now(), |index, _| bus_id(index).eq_ignore_ascii_case(&bus)) {
        None => NOT_FOUND,
        // SAFETY: as the caller promises.
        Some(found) => unsafe { give(found, out) },
    }
}

fn find(machine: &Machine, is: impl Fn(usize, &Gpu) -> bool) -> Option<nvmlDevice_t> {
    let mut all = machine.gpus.iter().enumerate();
    all.find(|(index, gpu)| is(*index, gpu)).map(|(index, _)| handle(index))
}

/// # Safety
/// `text` must be null or end with NUL.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the text ends with NUL, as the caller promises.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
