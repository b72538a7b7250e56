//! NVML's calls on what a GPU is.

use crate::{
    pci::pci,
    state::Gpu,
    target::{Target, calls, pairs, texts},
};
use nvml_wrapper_sys::bindings::{
    NVML_DEVICE_ARCH_ADA, NVML_DEVICE_ARCH_AMPERE, NVML_DEVICE_ARCH_HOPPER,
    NVML_DEVICE_ARCH_UNKNOWN, nvmlBrandType_enum_NVML_BRAND_NVIDIA as BRAND, nvmlBrandType_t,
    nvmlComputeMode_t, nvmlDeviceArchitecture_t, nvmlEnableState_t, nvmlPciInfo_t,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED,
};
use std::ffi::{c_int, c_uint};

texts! {
    /// NVML: model.
    any nvmlDeviceGetName = |it| match it.slice() {
        None => it.gpu().model.clone(),
        Some(slice) => format!("{} MIG {}", it.gpu().model, slice.profile),
    };
    /// NVML: unique name.
    any nvmlDeviceGetUUID =
        |it| it.slice().map_or(&it.gpu().uuid, |slice| &slice.uuid).clone();
    /// NVML: the board's number.
    whole nvmlDeviceGetSerial = serial;
    /// NVML: version of its firmware.
    whole nvmlDeviceGetVbiosVersion = |_| "96.00.74.00.01".to_owned();
}

/// The end of the UUID, which differs by GPU, in the digits that a serial number has.
fn serial(it: &Target) -> String {
    format!("16{:011}", it.index + 1)
}

calls! {
    /// NVML: place in the driver's order.
    any nvmlDeviceGetIndex() -> c_uint =
        |it| Ok(it.place().unwrap_or(it.index) as c_uint);
    /// NVML: number of the device file.
    whole nvmlDeviceGetMinorNumber() -> c_uint = |it| Ok(it.index as c_uint);
    /// NVML: place on the bus.
    any nvmlDeviceGetPciInfo_v3() -> nvmlPciInfo_t = |it| Ok(pci(it.index));
    /// NVML: brand.
    whole nvmlDeviceGetBrand() -> nvmlBrandType_t = |_| Ok(BRAND);
    /// NVML: architecture.
    any nvmlDeviceGetArchitecture() -> nvmlDeviceArchitecture_t = |it| Ok(architecture(it.gpu()));
    /// NVML: who may compute on it: everyone.
    whole nvmlDeviceGetComputeMode() -> nvmlComputeMode_t = |_| Ok(0);
    /// NVML: whether the driver keeps it ready without clients.
    whole nvmlDeviceGetPersistenceMode() -> nvmlEnableState_t = |_| Ok(1);
    /// NVML: whether a screen shows it.
    whole nvmlDeviceGetDisplayActive() -> nvmlEnableState_t = |_| Ok(0);
    /// NVML: whether a screen hangs on it.
    whole nvmlDeviceGetDisplayMode() -> nvmlEnableState_t = |_| Ok(0);
    /// NVML: speed of its fan; these have none.
    whole nvmlDeviceGetFanSpeed() -> c_uint = |_| Err(NOT_SUPPORTED);
    /// NVML: speed of one of its fans; these have none.
    whole nvmlDeviceGetFanSpeed_v2(fan: c_uint) -> c_uint = |_| Err(NOT_SUPPORTED);
    /// NVML: number of its fans.
    whole nvmlDeviceGetNumFans() -> c_uint = |_| Ok(0);
    /// NVML: PCIe generation at most.
    whole nvmlDeviceGetMaxPcieLinkGeneration() -> c_uint = |it| Ok(it.gpu().pcie_generation);
    /// NVML: PCIe generation now.
    whole nvmlDeviceGetCurrPcieLinkGeneration() -> c_uint = |it| Ok(it.gpu().pcie_generation);
    /// NVML: PCIe lanes at most.
    whole nvmlDeviceGetMaxPcieLinkWidth() -> c_uint = |it| Ok(it.gpu().pcie_width);
    /// NVML: PCIe lanes now.
    whole nvmlDeviceGetCurrPcieLinkWidth() -> c_uint = |it| Ok(it.gpu().pcie_width);
    /// NVML: packets sent again over PCIe.
    whole nvmlDeviceGetPcieReplayCounter() -> c_uint = |it| Ok(it.gpu().pcie_replays);
}

pairs! {
    /// NVML: compute capability.
    any nvmlDeviceGetCudaComputeCapability() -> c_int = |it| it.gpu().compute_capability;
}

fn architecture(gpu: &Gpu) -> nvmlDeviceArchitecture_t {
    match gpu.compute_capability {
        (8, 0) => NVML_DEVICE_ARCH_AMPERE,
        (8, 9) => NVML_DEVICE_ARCH_ADA,
        (9, _) => NVML_DEVICE_ARCH_HOPPER,
        _ => NVML_DEVICE_ARCH_UNKNOWN,
    }
}
