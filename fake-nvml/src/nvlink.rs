//! NVML's calls on NVLinks.

use crate::{
    pci::{SWITCH_BUS, pci},
    state::{NvLink, Peer},
    target::{Target, calls},
};
use nvml_wrapper_sys::bindings::{
    nvmlEnableState_t, nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_GPU as TO_GPU,
    nvmlIntNvLinkDeviceType_enum_NVML_NVLINK_DEVICE_TYPE_SWITCH as TO_SWITCH,
    nvmlIntNvLinkDeviceType_t, nvmlNvLinkCapability_t, nvmlNvLinkErrorCounter_t, nvmlPciInfo_t,
    nvmlReturn_enum_NVML_ERROR_INVALID_ARGUMENT as INVALID,
    nvmlReturn_enum_NVML_ERROR_NOT_SUPPORTED as NOT_SUPPORTED, nvmlReturn_t,
};
use std::ffi::{c_uint, c_ulonglong};

fn link(it: &Target, number: c_uint) -> Result<NvLink, nvmlReturn_t> {
    let links = &it.gpu().nvlinks;
    match links.get(number as usize) {
        Some(link) => Ok(*link),
        None if links.is_empty() => Err(NOT_SUPPORTED),
        None => Err(INVALID),
    }
}

/// A counter of a link, by NVML's number of it.
pub(crate) fn errors(link: NvLink, counter: nvmlNvLinkErrorCounter_t) -> Result<u64, nvmlReturn_t> {
    match counter {
        0 => Ok(link.replay_errors),
        1 => Ok(link.recovery_errors),
        2 => Ok(link.crc_errors),
        3 | 4 => Ok(0),
        _ => Err(INVALID),
    }
}

calls! {
    /// NVML: whether a link is up.
    whole nvmlDeviceGetNvLinkState(number: c_uint) -> nvmlEnableState_t =
        |it| Ok(link(it, number)?.active.into());
    /// NVML: version of a link: 4 on Hopper, 3 before.
    whole nvmlDeviceGetNvLinkVersion(number: c_uint) -> c_uint = |it| {
        link(it, number)?;
        Ok(if it.gpu().compute_capability.0 >= 9 { 4 } else { 3 })
    };
    /// NVML: what a link can do: all that is asked.
    whole nvmlDeviceGetNvLinkCapability(
        number: c_uint, capability: nvmlNvLinkCapability_t
    ) -> c_uint = |it| link(it, number).map(|_| 1);
    /// NVML: errors of a link.
    whole nvmlDeviceGetNvLinkErrorCounter(
        number: c_uint, counter: nvmlNvLinkErrorCounter_t
    ) -> c_ulonglong = |it| errors(link(it, number)?, counter);
    /// NVML: what is at a link's other end.
    whole nvmlDeviceGetNvLinkRemoteDeviceType(number: c_uint) -> nvmlIntNvLinkDeviceType_t =
        |it| match link(it, number)?.peer {
            Peer::Switch => Ok(TO_SWITCH),
            Peer::Gpu(_) => Ok(TO_GPU),
        };
    /// NVML: where a link's other end is.
    whole nvmlDeviceGetNvLinkRemotePciInfo_v2(number: c_uint) -> nvmlPciInfo_t =
        |it| match link(it, number)?.peer {
            Peer::Switch => Ok(pci(SWITCH_BUS)),
            Peer::Gpu(index) => Ok(pci(index)),
        };
}
