//! NVML's fields: values by number, several in one call.

use crate::{
    nvlink,
    state::{Gpu, NvLink},
    target::whole,
};
use nvml_wrapper_sys::bindings::{
    field_id::{
        NVML_FI_DEV_ECC_DBE_AGG_TOTAL, NVML_FI_DEV_ECC_DBE_VOL_TOTAL,
        NVML_FI_DEV_ECC_SBE_AGG_TOTAL, NVML_FI_DEV_ECC_SBE_VOL_TOTAL, NVML_FI_DEV_MEMORY_TEMP,
        NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL,
        NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL, NVML_FI_DEV_NVLINK_LINK_COUNT,
        NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL, NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL,
        NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_REMAPPED_COR,
        NVML_FI_DEV_REMAPPED_FAILURE, NVML_FI_DEV_REMAPPED_PENDING, NVML_FI_DEV_REMAPPED_UNC,
    },
    nvmlDevice_t, nvmlFieldValue_t, nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_t, nvmlValue_t,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_INT as UNSIGNED_INT,
    nvmlValueType_enum_NVML_VALUE_TYPE_UNSIGNED_LONG_LONG as UNSIGNED_LONG_LONG,
};
use std::{
    ffi::{c_int, c_uint},
    time::{SystemTime, UNIX_EPOCH},
};

/// A field's value, of one of the two types that are used.
enum Value {
    Int(c_uint),
    Long(u64),
}

fn value(gpu: &Gpu, field: c_uint) -> Option<Value> {
    let rows = gpu.row_remaps;
    let links = |counter| {
        let errors = |link: &NvLink| nvlink::errors(*link, counter).unwrap_or_default();
        (!gpu.nvlinks.is_empty()).then(|| Value::Long(gpu.nvlinks.iter().map(errors).sum()))
    };
    Some(match field {
        NVML_FI_DEV_ECC_SBE_VOL_TOTAL => Value::Long(gpu.ecc_corrected_volatile),
        NVML_FI_DEV_ECC_DBE_VOL_TOTAL => Value::Long(gpu.ecc_volatile),
        NVML_FI_DEV_ECC_SBE_AGG_TOTAL => Value::Long(gpu.ecc_corrected_aggregate),
        NVML_FI_DEV_ECC_DBE_AGG_TOTAL => Value::Long(gpu.ecc_aggregate),
        NVML_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL => return links(2),
        NVML_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL => return links(3),
        NVML_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL => return links(0),
        NVML_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL => return links(1),
        NVML_FI_DEV_MEMORY_TEMP => Value::Int(gpu.memory_temperature_c),
        NVML_FI_DEV_NVLINK_LINK_COUNT => Value::Int(gpu.nvlinks.len() as c_uint),
        NVML_FI_DEV_POWER_AVERAGE | NVML_FI_DEV_POWER_INSTANT => Value::Int(gpu.power_mw),
        NVML_FI_DEV_REMAPPED_COR => Value::Int(rows.corrected),
        NVML_FI_DEV_REMAPPED_UNC => Value::Int(rows.uncorrected),
        NVML_FI_DEV_REMAPPED_PENDING => Value::Int(rows.pending.into()),
        NVML_FI_DEV_REMAPPED_FAILURE => Value::Int(rows.failed.into()),
        _ => return None,
    })
}

fn fill(gpu: &Gpu, field: &mut nvmlFieldValue_t) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    field.timestamp = now.as_micros() as i64;
    field.latencyUsec = 0;
    field.nvmlReturn = 0;
    match value(gpu, field.fieldId) {
        None => field.nvmlReturn = NOT_SUPPORTED,
        Some(Value::Int(value)) => {
            field.valueType = UNSIGNED_INT;
            field.value = nvmlValue_t { uiVal: value };
        }
        Some(Value::Long(value)) => {
            field.valueType = UNSIGNED_LONG_LONG;
            field.value = nvmlValue_t { ullVal: value };
        }
    }
}

/// NVML: values by number. Those that are not simulated say so one by one.
///
/// # Safety
/// `values` must be null or valid for `count` reads and writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nvmlDeviceGetFieldValues(
    device: nvmlDevice_t,
    count: c_int,
    values: *mut nvmlFieldValue_t,
) -> nvmlReturn_t {
    let target = match whole(device) {
        Ok(target) => target,
        Err(fault) => return fault,
    };
    let Ok(count) = usize::try_from(count) else { return INVALID };
    if values.is_null() || count == 0 {
        return INVALID;
    }
    for place in 0..count {
        // SAFETY: `place` is below the number that the caller allows.
        fill(target.gpu(), unsafe { &mut *values.add(place) });
    }
    0
}
