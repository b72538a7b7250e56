//! NVML's calls on how a GPU does: temperature, power, clocks, use.

use crate::{
    library::give,
    state::Clocks,
    target::{calls, pairs, whole},
};
use nvml_wrapper_sys::bindings::{
    nvmlClockType_t, nvmlDevice_t, nvmlEnableState_t, nvmlPcieUtilCounter_t, nvmlPstates_t,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_t, nvmlTemperature_v1_t,
    nvmlTemperatureSensors_t, nvmlTemperatureThresholds_t, nvmlUtilization_t,
};
use std::ffi::{c_uint, c_ulonglong};

/// All reasons that NVML has a bit for.
const ALL_REASONS: u64 = 0x1FF;

calls! {
    /// NVML: share of time in use.
    whole nvmlDeviceGetUtilizationRates() -> nvmlUtilization_t = |it| Ok(nvmlUtilization_t {
        gpu: it.gpu().utilization_pct,
        memory: it.gpu().utilization_pct,
    });
    /// NVML: temperature.
    whole nvmlDeviceGetTemperature(sensor: nvmlTemperatureSensors_t) -> c_uint =
        |it| Ok(it.gpu().temperature_c);
    /// NVML: temperature at which something happens; slowing down (1) before shutting down (0).
    whole nvmlDeviceGetTemperatureThreshold(kind: nvmlTemperatureThresholds_t) -> c_uint =
        |it| match kind {
            0 => Ok(it.gpu().temperature_slowdown_c + 5),
            1 => Ok(it.gpu().temperature_slowdown_c),
            _ => Err(NOT_SUPPORTED),
        };
    /// NVML: power draw.
    whole nvmlDeviceGetPowerUsage() -> c_uint = |it| Ok(it.gpu().power_mw);
    /// NVML: power limit that is in force.
    whole nvmlDeviceGetEnforcedPowerLimit() -> c_uint = |it| Ok(it.gpu().power_limit_mw);
    /// NVML: power limit that was set.
    whole nvmlDeviceGetPowerManagementLimit() -> c_uint = |it| Ok(it.gpu().power_limit_mw);
    /// NVML: power limit that it starts with.
    whole nvmlDeviceGetPowerManagementDefaultLimit() -> c_uint =
        |it| Ok(it.gpu().power_limit_max_mw);
    /// NVML: whether its power is managed.
    whole nvmlDeviceGetPowerManagementMode() -> nvmlEnableState_t = |_| Ok(1);
    /// NVML: clock now.
    whole nvmlDeviceGetClockInfo(kind: nvmlClockType_t) -> c_uint =
        |it| clock(it.gpu().clocks, kind);
    /// NVML: clock at most.
    whole nvmlDeviceGetMaxClockInfo(kind: nvmlClockType_t) -> c_uint =
        |it| clock(it.gpu().clocks_max, kind);
    /// NVML: clock that was asked for.
    whole nvmlDeviceGetApplicationsClock(kind: nvmlClockType_t) -> c_uint =
        |it| clock(it.gpu().clocks_max, kind);
    /// NVML: why clocks are below the most.
    whole nvmlDeviceGetCurrentClocksThrottleReasons() -> c_ulonglong =
        |it| Ok(it.gpu().throttle_reasons);
    /// NVML: why clocks are below the most, by its newer name.
    whole nvmlDeviceGetCurrentClocksEventReasons() -> c_ulonglong =
        |it| Ok(it.gpu().throttle_reasons);
    /// NVML: reasons that it can give.
    whole nvmlDeviceGetSupportedClocksThrottleReasons() -> c_ulonglong = |_| Ok(ALL_REASONS);
    /// NVML: reasons that it can give, by its newer name.
    whole nvmlDeviceGetSupportedClocksEventReasons() -> c_ulonglong = |_| Ok(ALL_REASONS);
    /// NVML: performance state, from 0 (all) to 15 (none).
    whole nvmlDeviceGetPerformanceState() -> nvmlPstates_t = |_| Ok(0);
    /// NVML: performance state, by its older name.
    whole nvmlDeviceGetPowerState() -> nvmlPstates_t = |_| Ok(0);
    /// NVML: KB/s over PCIe: nothing moves.
    whole nvmlDeviceGetPcieThroughput(counter: nvmlPcieUtilCounter_t) -> c_uint = |_| Ok(0);
}

pairs! {
    /// NVML: power limits that may be set.
    whole nvmlDeviceGetPowerManagementLimitConstraints() -> c_uint =
        |it| (it.gpu().power_limit_min_mw, it.gpu().power_limit_max_mw);
    /// NVML: share of time in which video is encoded, and microseconds it was looked at.
    whole nvmlDeviceGetEncoderUtilization() -> c_uint = |_| (0, 167_000);
    /// NVML: share of time in which video is decoded, and microseconds it was looked at.
    whole nvmlDeviceGetDecoderUtilization() -> c_uint = |_| (0, 167_000);
}

/// Cores and video run at one clock; shaders (1) at the cores'.
fn clock(clocks: Clocks, kind: nvmlClockType_t) -> Result<c_uint, nvmlReturn_t> {
    match kind {
        0 | 1 => Ok(clocks.graphics_mhz),
        2 => Ok(clocks.memory_mhz),
        3 => Ok(clocks.graphics_mhz * 4 / 5),
        _ => Err(INVALID),
    }
}

/// NVML: temperature, by its newer name.
///
/// # Safety
/// `out` must be null or valid for a read and a write.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetTemperatureV(
    device: nvmlDevice_t,
    out: *mut nvmlTemperature_v1_t,
) -> nvmlReturn_t {
    let target = match whole(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    if out.is_null() {
        return INVALID;
    }
    // SAFETY: it is not null, and so valid for a read, as the caller promises.
    let mut answer = unsafe { out.read() };
    answer.temperature = target.gpu().temperature_c as i32;
    // SAFETY: as the caller promises.
    unsafe { give(answer, out) }
}
