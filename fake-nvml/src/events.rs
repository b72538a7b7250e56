//! NVML's events: what waits for an Xid hears of those that are added to the state.

use crate::{
    library::give,
    state,
    target::{calls, handle, whole},
};
use nvml_wrapper_sys::bindings::{
    nvmlDevice_t, nvmlEventData_t, nvmlEventSet_t, nvmlEventTypeDoubleBitEccError as DOUBLE_BIT,
    nvmlEventTypeSingleBitEccError as SINGLE_BIT, nvmlEventTypeXidCriticalError as XID,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
    nvmlReturn_enum_NVML_ERROR_TIMEOUT as TIMED_OUT, nvmlReturn_enum_NVML_ERROR_UNKNOWN as UNKNOWN,
    nvmlReturn_t,
};
use std::{
    collections::BTreeMap,
    ffi::{c_uint, c_ulonglong},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Events that can be registered.
const SUPPORTED: u64 = (XID | DOUBLE_BIT | SINGLE_BIT) as u64;
/// Time between two looks at the state.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// NVML's number for "no instance".
const NO_INSTANCE: c_uint = 0xFFFF_FFFF;

/// Each set by its number: the Xids of each of its GPUs that were already told.
static SETS: Mutex<BTreeMap<usize, BTreeMap<usize, usize>>> = Mutex::new(BTreeMap::new());

fn sets() -> MutexGuard<'static, BTreeMap<usize, BTreeMap<usize, usize>>> {
    SETS.lock().unwrap_or_else(PoisonError::into_inner)
}

calls! {
    /// NVML: events that it can tell.
    whole nvmlDeviceGetSupportedEventTypes() -> c_ulonglong = |_| Ok(SUPPORTED);
}

/// NVML: a new, empty set of events.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetCreate(out: *mut nvmlEventSet_t) -> nvmlReturn_t {
    let mut sets = sets();
    let number = sets.last_key_value().map_or(1, |(last, _)| last + 1);
    sets.insert(number, BTreeMap::new());
    // SAFETY: as the caller promises.
    unsafe { give(std::ptr::without_provenance_mut(number), out) }
}

/// NVML: ends a set of events.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlEventSetFree(set: nvmlEventSet_t) -> nvmlReturn_t {
    if sets().remove(&set.addr()).is_some() { 0 } else { INVALID }
}

/// NVML: adds a GPU's events from now on to a set.
#[unsafe(no_mangle)]
pub extern "C" fn nvmlDeviceRegisterEvents(
    device: nvmlDevice_t,
    kinds: c_ulonglong,
    set: nvmlEventSet_t,
) -> nvmlReturn_t {
    if kinds & !SUPPORTED != 0 {
        return NOT_SUPPORTED;
    }
    let target = match whole(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    let told = if kinds & u64::from(XID) == 0 { usize::MAX } else { target.gpu().xids.len() };
    match sets().get_mut(&set.addr()) {
        None => INVALID,
        Some(known) => {
            known.entry(target.index).or_insert(told);
            0
        }
    }
}

/// The next Xid of a set that was not told.
fn next(set: usize) -> Result<Option<(usize, u64)>, nvmlReturn_t> {
    let machine = state::now();
    let mut sets = sets();
    let known = sets.get_mut(&set).ok_or(INVALID)?;
    for (index, told) in known {
        let gpu = machine.gpus.get(*index);
        if gpu.is_some_and(|gpu| gpu.events_fail) {
            return Err(UNKNOWN);
        }
        let xids = gpu.map_or(&[][..], |gpu| &gpu.xids);
        if let Some(xid) = xids.get(*told) {
            *told += 1;
            return Ok(Some((*index, *xid)));
        }
    }
    Ok(None)
}

/// NVML: waits for an event of a set.
///
/// # Safety
/// `out` must be null or valid for a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlEventSetWait_v2(
    set: nvmlEventSet_t,
    out: *mut nvmlEventData_t,
    timeout_ms: c_uint,
) -> nvmlReturn_t {
    let until = Instant::now() + Duration::from_millis(timeout_ms.into());
    loop {
        match next(set.addr()) {
            Err(fault) => return fault,
            Ok(Some((index, xid))) => {
                let data = nvmlEventData_t {
                    device: handle(index),
                    eventType: XID.into(),
                    eventData: xid,
                    gpuInstanceId: NO_INSTANCE,
                    computeInstanceId: NO_INSTANCE,
                };
                // SAFETY: as the caller promises.
                return unsafe { give(data, out) };
            }
            Ok(None) if Instant::now() >= until => return TIMED_OUT,
            Ok(None) => std::thread::sleep(LOOK_AGAIN),
        }
    }
}
