//! NVML's calls on slices.

use crate::target::{calls, handle, slice_handle, tell, whole};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlDeviceAttributes_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_FOUND as NOT_FOUND,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_t,
};
use std::ffi::c_uint;

/// Slices of one GPU at most.
const SLICES_MAX: c_uint = 7;
/// Multiprocessors of one slice of an A100 or H100.
const MULTIPROCESSORS: c_uint = 14;

/// Whether GPUs of this model can be sliced: those with HBM can.
fn can_be_sliced(capability: (i32, i32)) -> bool {
    matches!(capability, (8, 0) | (9, 0))
}

/// NVML: whether it is sliced, now and after the next reset.
///
/// # Safety
/// `current` and `pending` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(
    device: nvmlDevice_t,
    current: *mut c_uint,
    pending: *mut c_uint,
) -> nvmlReturn_t {
    let mode = |it: &crate::target::Target| {
        let able = can_be_sliced(it.gpu().compute_capability);
        if able { Ok(it.gpu().mig.into()) } else { Err(NOT_SUPPORTED) }
    };
    // SAFETY: as the caller promises.
    match unsafe { tell(whole(device), current, mode) } {
        // SAFETY: as the caller promises.
        0 => unsafe { tell(whole(device), pending, mode) },
        fault => fault,
    }
}

calls! {
    /// NVML: slices at most.
    whole nvmlDeviceGetMaxMigDeviceCount() -> c_uint = |it| {
        Ok(if can_be_sliced(it.gpu().compute_capability) { SLICES_MAX } else { 0 })
    };
    /// NVML: whether a handle is a slice's.
    any nvmlDeviceIsMigDeviceHandle() -> c_uint = |it| Ok(it.slice().is_some().into());
    /// NVML: number of a slice's instance on its GPU.
    slice nvmlDeviceGetGpuInstanceId() -> c_uint =
        |it| it.slice().map(|slice| slice.gpu_instance).ok_or(INVALID);
    /// NVML: number of a slice's cores in its instance.
    slice nvmlDeviceGetComputeInstanceId() -> c_uint = |_| Ok(0);
    /// NVML: the GPU of a slice.
    slice nvmlDeviceGetDeviceHandleFromMigDeviceHandle() -> nvmlDevice_t =
        |it| Ok(handle(it.index));
    /// NVML: handle of a slice.
    whole nvmlDeviceGetMigDeviceHandleByIndex(place: c_uint) -> nvmlDevice_t = |it| {
        let place = place as usize;
        if it.gpu().mig && place < it.gpu().slices.len() {
            Ok(slice_handle(it.index, place))
        } else {
            Err(NOT_FOUND)
        }
    };
    /// NVML: what a slice has of its GPU.
    slice nvmlDeviceGetAttributes_v2() -> nvmlDeviceAttributes_t = |it| {
        let slice = it.slice().ok_or(INVALID)?;
        Ok(nvmlDeviceAttributes_t {
            multiprocessorCount: slice.compute_slices * MULTIPROCESSORS,
            sharedCopyEngineCount: 1,
            sharedDecoderCount: 0,
            sharedEncoderCount: 0,
            sharedJpegCount: 0,
            sharedOfaCount: 0,
            gpuInstanceSliceCount: slice.compute_slices,
            computeInstanceSliceCount: slice.compute_slices,
            memorySizeMB: slice.memory_bytes >> 20,
        })
    };
}
