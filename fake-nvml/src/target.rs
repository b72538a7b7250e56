//! What a call is about: a GPU, or a slice of one.
//!
//! A handle is the GPU's index plus one, so that null is none; a slice's has its place plus one
//! in the bits above.

use crate::{
    library::{give, give_text},
    state::{self, Gpu, Machine, Slice},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlReturn_enum_NVML_ERROR_GPU_IS_LOST as LOST,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_t,
};
use std::{
    ffi::{c_char, c_uint},
    sync::Arc,
    time::{Duration, Instant},
};

/// Bits of a handle that name the GPU.
const GPU_BITS: u32 = 16;
/// Time after which a call that hangs looks whether the script still says so.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The handle of a GPU.
pub(crate) fn handle(index: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut(index + 1)
}

/// The handle of a GPU's slice.
pub(crate) fn slice_handle(index: usize, place: usize) -> nvmlDevice_t {
    std::ptr::without_provenance_mut((place + 1) << GPU_BITS | (index + 1))
}

/// A GPU or a slice of one, as the state says now.
pub(crate) struct Target {
    machine: Arc<Machine>,
    /// The GPU's place in the driver's order.
    pub(crate) index: usize,
    place: Option<usize>,
}

impl Target {
    fn new(device: nvmlDevice_t) -> Result<Self, nvmlReturn_t> {
        let (machine, address) = (state::now(), device.addr());
        let index = (address & ((1 << GPU_BITS) - 1)).checked_sub(1).ok_or(INVALID)?;
        let place = (address >> GPU_BITS).checked_sub(1);
        let gpu = machine.gpus.get(index).ok_or(INVALID)?;
        if place.is_some_and(|place| place >= gpu.slices.len()) {
            return Err(INVALID);
        }
        Ok(Self { machine, index, place })
    }

    /// The GPU.
    pub(crate) fn gpu(&self) -> &Gpu {
        &self.machine.gpus[self.index]
    }

    /// The slice, if the call is about one.
    pub(crate) fn slice(&self) -> Option<&Slice> {
        self.place.map(|place| &self.gpu().slices[place])
    }

    /// The slice's place among the GPU's, if the call is about one.
    pub(crate) fn place(&self) -> Option<usize> {
        self.place
    }

    /// The machine.
    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }
}

/// What is behind a handle, after its scripted delay.
pub(crate) fn any(device: nvmlDevice_t) -> Result<Target, nvmlReturn_t> {
    let began = Instant::now();
    loop {
        let target = Target::new(device)?;
        let hang = Duration::from_millis(target.gpu().hang_ms);
        let left = hang.saturating_sub(began.elapsed());
        if left.is_zero() {
            return if target.gpu().lost { Err(LOST) } else { Ok(target) };
        }
        std::thread::sleep(left.min(LOOK_AGAIN));
    }
}

/// The GPU behind a handle; slices do not have what is asked for.
pub(crate) fn whole(device: nvmlDevice_t) -> Result<Target, nvmlReturn_t> {
    match any(device)? {
        target if target.place.is_some() => Err(NOT_SUPPORTED),
        target => Ok(target),
    }
}

/// The slice behind a handle.
pub(crate) fn slice(device: nvmlDevice_t) -> Result<Target, nvmlReturn_t> {
    match any(device)? {
        target if target.place.is_none() => Err(INVALID),
        target => Ok(target),
    }
}

/// Writes what a call asks for.
///
/// # Safety
/// `out` must be null or valid for a write.
pub(crate) unsafe fn tell<T>(
    target: Result<Target, nvmlReturn_t>,
    out: *mut T,
    property: impl FnOnce(&Target) -> Result<T, nvmlReturn_t>,
) -> nvmlReturn_t {
    match target.and_then(|target| property(&target)) {
        // SAFETY: as the caller promises.
        Ok(value) => unsafe { give(value, out) },
        Err(fault) => fault,
    }
}

/// Writes a text that a call asks for.
///
/// # Safety
/// `out` must be null or point to `length` writable bytes.
pub(crate) unsafe fn tell_text(
    target: Result<Target, nvmlReturn_t>,
    out: *mut c_char,
    length: c_uint,
    property: impl FnOnce(&Target) -> String,
) -> nvmlReturn_t {
    match target {
        // SAFETY: as the caller promises.
        Ok(target) => unsafe { give_text(&property(&target), out, length) },
        Err(fault) => fault,
    }
}

/// Defines calls that write one value: what they are about, name, arguments, value.
macro_rules! calls {
    ($($(#[$doc:meta])* $about:ident $name:ident($($argument:ident: $kind:ty),*) -> $out:ty
        = $property:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `out` must be null or valid for a write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvml_wrapper_sys::bindings::nvmlDevice_t, $($argument: $kind,)* out: *mut $out,
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            $(let _ = $argument;)*
            // SAFETY: as the caller promises.
            unsafe { crate::target::tell(crate::target::$about(device), out, $property) }
        }
    )*};
}

/// Defines calls that write two values.
macro_rules! pairs {
    ($($(#[$doc:meta])* $about:ident $name:ident() -> $out:ty = $property:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `first` and `second` must be null or valid for a write.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvml_wrapper_sys::bindings::nvmlDevice_t, first: *mut $out, second: *mut $out,
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            let property: fn(&crate::target::Target) -> ($out, $out) = $property;
            match crate::target::$about(device) {
                Err(fault) => fault,
                Ok(target) => {
                    let (one, two) = property(&target);
                    // SAFETY: as the caller promises.
                    match unsafe { crate::library::give(one, first) } {
                        // SAFETY: as the caller promises.
                        0 => unsafe { crate::library::give(two, second) },
                        fault => fault,
                    }
                }
            }
        }
    )*};
}

/// Defines calls that write one text.
macro_rules! texts {
    ($($(#[$doc:meta])* $about:ident $name:ident = $property:expr;)*) => {$(
        $(#[$doc])*
        ///
        /// # Safety
        /// `out` must be null or point to `length` writable bytes.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(
            device: nvml_wrapper_sys::bindings::nvmlDevice_t,
            out: *mut std::ffi::c_char,
            length: std::ffi::c_uint,
        ) -> nvml_wrapper_sys::bindings::nvmlReturn_t {
            let about = crate::target::$about(device);
            // SAFETY: as the caller promises.
            unsafe { crate::target::tell_text(about, out, length, $property) }
        }
    )*};
}

pub(crate) use {calls, pairs, texts};
