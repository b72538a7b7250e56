//! A machine as its drivers and its kernel describe it.
//!
//! What the scheduler needs of it is a [`crate::node::Inventory`]; the rest is for the health
//! rules, for operators, and for saying what changed.

mod change;
mod cpu_set;
mod gpu;
mod host;
pub mod share;
mod sites;

#[cfg(test)]
mod laws;

pub use change::{GpuPart, HostPart, InventoryChange, changes};
pub use cpu_set::CpuSet;
pub use gpu::{
    GpuDriver, GpuHardware, GpuSet, Nearness, NvLink, NvLinkPeer, PcieLink, PowerLimits, Slice,
    Unread, UnreadGpu, parts_of, whole_index,
};
pub use host::{Disk, HostHardware, Network};

use crate::{limit, node::hardware_class};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// One machine.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Hardware {
    /// Everything but its GPUs.
    pub host: HostHardware,
    /// Its GPUs.
    pub gpus: GpuSet,
}

impl Hardware {
    /// The class of hardware within which equal recipes give equal bits.
    ///
    /// Equal to [`crate::node::Inventory::hardware_class`] of the inventory
    /// that is made of it.
    #[must_use]
    pub fn class(&self) -> String {
        let offered = self.gpus.offered();
        let driver = self.gpus.driver.as_ref().map_or("", |driver| driver.version.as_str());
        let model = offered.first().map(|gpu| gpu.model.as_str());
        hardware_class(model, driver, &self.host.cpu_level)
    }

    /// Whether it is as small as a machine's description is.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        borsh::object_length(self).is_ok_and(|bytes| bytes <= limit::HARDWARE_MAX)
    }
}
