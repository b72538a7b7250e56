//! NVML's calls on the library and the system.

use crate::state;
use nvml_wrapper_sys::bindings::{
    nvmlReturn_enum_NVML_ERROR_INSUFFICIENT_SIZE as TOO_SMALL,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_SUCCESS as SUCCESS, nvmlReturn_t,
};
use std::ffi::{c_char, c_int, c_uint};

/// Copies `text` with its NUL into a caller's buffer.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
pub(crate) unsafe fn give_text(text: &str, out: *mut c_char, length: c_uint) -> nvmlReturn_t {
    if out.is_null() {
        return INVALID;
    }
    if text.len() >= length as usize {
        return TOO_SMALL;
    }
    // SAFETY: the buffer holds `length` bytes, which is more than the text and its NUL.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), out, text.len());
        out.add(text.len()).write(0);
    }
    SUCCESS
}

/// Writes a value to a caller's place.
///
/// # Safety
/// `out` must be null or valid for a write.
pub(crate) unsafe fn give<T>(value: T, out: *mut T) -> nvmlReturn_t {
    if out.is_null() {
        return INVALID;
    }
    // SAFETY: the caller gave a place that is valid for a write.
    unsafe { out.write(value) };
    SUCCESS
}

/// NVML: start.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInit_v2() -> nvmlReturn_t {
    SUCCESS
}

/// NVML: start, with flags that do not matter here.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlInitWithFlags(_flags: c_uint) -> nvmlReturn_t {
    SUCCESS
}

/// NVML: end.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlShutdown() -> nvmlReturn_t {
    SUCCESS
}

/// NVML: what a result means.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlErrorString(result: nvmlReturn_t) -> *const c_char {
    let text = match result {
        0 => c"Success",
        2 => c"Invalid Argument",
        3 => c"Not Supported",
        6 => c"Not Found",
        7 => c"Insufficient Size",
        10 => c"Timeout",
        15 => c"GPU is lost",
        _ => c"Unknown Error",
    };
    text.as_ptr()
}

/// NVML: driver version.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(
    out: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give_text(&state::now().driver, out, length) }
}

/// NVML: version of the library.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetNVMLVersion(
    out: *mut c_char,
    length: c_uint,
) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give_text(&format!("12.{}", state::now().driver), out, length) }
}

/// NVML: CUDA version of the driver.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion(out: *mut c_int) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give(state::now().cuda, out) }
}

/// NVML: CUDA version of the driver.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlSystemGetCudaDriverVersion_v2(out: *mut c_int) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give(state::now().cuda, out) }
}

/// NVML: number of GPUs.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(out: *mut c_uint) -> nvmlReturn_t {
    // SAFETY: as the caller promises.
    unsafe { give(state::now().gpus.len() as c_uint, out) }
}
