//! Places on the bus.

use nvml_wrapper_sys::bindings::nvmlPciInfo_t;
use std::ffi::{c_char, c_uint};

/// Bus number of an NVSwitch, above those of all GPUs.
pub(crate) const SWITCH_BUS: usize = 0xC0;

/// The place of a GPU, as NVML prints it.
pub(crate) fn bus_id(index: usize) -> String {
    format!("00000000:{:02X}:00.0", index + 1)
}

/// The place of a GPU.
pub(crate) fn pci(index: usize) -> nvmlPciInfo_t {
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
