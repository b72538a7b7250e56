//! How a GPU does, through NVML.

use super::read::optional;
use crate::machine::health::Gauges;
use nvml_wrapper::{
    Device, Nvml,
    bitmasks::{device::ThrottleReasons, event::EventTypes},
    enum_wrappers::{
        device::{EccCounter, MemoryError, TemperatureSensor, TemperatureThreshold},
        nv_link::ErrorCounter,
    },
    enums::{device::SampleValue, event::XidError},
    error::NvmlError,
    structs::device::FieldId,
    sys_exports::field_id::{NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING},
};

/// NVLinks of one GPU at most. Source: NVML_NVLINK_MAX_LINKS.
const LINKS_MAX: u32 = 18;
/// Time between two looks whether anybody still wants to hear of Xids. Unit: ms.
const LOOK_MS: u32 = 1_000;
/// NVML's number of an Xid that it does not know.
const XID_UNKNOWN: u64 = 999;

/// Slowed down for heat, by the hardware or by the driver.
const HEAT: ThrottleReasons =
    ThrottleReasons::HW_THERMAL_SLOWDOWN.union(ThrottleReasons::SW_THERMAL_SLOWDOWN);

/// Reads one GPU's gauges.
pub(super) fn read(nvml: &Nvml, index: u32) -> Result<Gauges, NvmlError> {
    let device = nvml.device_by_index(index)?;
    let ecc = |kind, counter| {
        Ok::<_, NvmlError>(optional(device.total_ecc_errors(kind, counter))?.unwrap_or(0))
    };
    let reasons = optional(device.current_throttle_reasons())?;
    let reasons = reasons.unwrap_or(ThrottleReasons::NONE);
    let (row_remap_pending, row_remap_failed) = remaps(&device)?;
    let (nvlinks_down, nvlink_errors) = links(&device)?;
    Ok(Gauges {
        ecc_corrected: ecc(MemoryError::Corrected, EccCounter::Volatile)?,
        ecc_uncorrected: ecc(MemoryError::Uncorrected, EccCounter::Volatile)?,
        ecc_uncorrected_ever: ecc(MemoryError::Uncorrected, EccCounter::Aggregate)?,
        row_remap_pending,
        row_remap_failed,
        temperature_c: device.temperature(TemperatureSensor::Gpu)?,
        slowdown_c: optional(device.temperature_threshold(TemperatureThreshold::Slowdown))?,
        thermal_slowdown: reasons.intersects(HEAT),
        power_brake: reasons.contains(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
        // Older GPUs set this bit alone, newer ones beside that of the cause.
        hw_slowdown: reasons.contains(ThrottleReasons::HW_SLOWDOWN)
            && !reasons.intersects(HEAT | ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
        nvlinks_down,
        nvlink_errors,
    })
}

/// Whether a row remap is pending, and whether one failed: nvml-wrapper 0.13 has them as fields.
fn remaps(device: &Device<'_>) -> Result<(bool, bool), NvmlError> {
    let fields = [NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_FAILURE].map(FieldId);
    let values = optional(device.field_values_for(&fields))?.unwrap_or_default();
    let is_set = |at: usize| {
        let value = values.get(at).and_then(|sample| sample.as_ref().ok()?.value.as_ref().ok());
        matches!(value, Some(SampleValue::U32(1..)) | Some(SampleValue::U64(1..)))
    };
    Ok((is_set(0), is_set(1)))
}

fn links(device: &Device<'_>) -> Result<(u32, u64), NvmlError> {
    const COUNTERS: [ErrorCounter; 4] = [
        ErrorCounter::DlReplay,
        ErrorCounter::DlRecovery,
        ErrorCounter::DlCrcFlit,
        ErrorCounter::DlCrcData,
    ];
    let (mut down, mut errors) = (0, 0u64);
    for number in 0..LINKS_MAX {
        let link = device.link_wrapper_for(number);
        let Some(up) = optional(link.is_active())? else { break };
        down += u32::from(!up);
        for counter in COUNTERS {
            errors = errors.saturating_add(optional(link.error_counter(counter))?.unwrap_or(0));
        }
    }
    Ok((down, errors))
}

/// Tells a GPU's Xids for as long as `go_on` says so.
///
/// One set for one GPU: an event names its GPU by a handle alone, which is no use once the GPU is
/// lost, and a wait that hangs holds up no other.
pub(super) fn xids(
    nvml: &Nvml,
    index: u32,
    go_on: &dyn Fn() -> bool,
    tell: &dyn Fn(u64),
) -> Result<(), NvmlError> {
    let set = nvml.create_event_set()?;
    let device = nvml.device_by_index(index)?;
    let set = device.register_events(EventTypes::CRITICAL_XID_ERROR, set);
    let set = set.map_err(|fault| fault.error)?;
    while go_on() {
        match set.wait(LOOK_MS) {
            Ok(event) => match event.event_data {
                Some(XidError::Value(number)) => tell(number),
                Some(XidError::Unknown) => tell(XID_UNKNOWN),
                None => {}
            },
            Err(NvmlError::Timeout) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}
