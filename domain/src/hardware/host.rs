//! A machine apart from its GPUs.

use crate::unit::{Bytes, CpuMillis, MegaBits};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// Processor, memory, disks and network.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct HostHardware {
    /// Changes with each boot.
    pub boot_id: String,
    /// Processor time.
    pub cpu: CpuMillis,
    /// Processor model.
    pub cpu_model: String,
    /// Instruction-set level (`x86-64-v3`), which decides bits.
    pub cpu_level: String,
    /// Memory.
    pub memory: Bytes,
    /// Kernel release.
    pub kernel: String,
    /// Physical disks by name.
    pub disks: Vec<Disk>,
    /// Physical network interfaces by name; empty where the agent runs in a network of its own.
    pub networks: Vec<Network>,
}

/// One physical disk.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Disk {
    /// As the kernel names it.
    pub name: String,
    /// Its size.
    pub size: Bytes,
    /// Whether it has to move a head.
    pub rotates: bool,
}

/// One physical network interface.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Network {
    /// As the kernel names it.
    pub name: String,
    /// Its rate; none while it is down.
    #[serde(rename = "rate_mbit_s")]
    pub rate: Option<MegaBits>,
}
