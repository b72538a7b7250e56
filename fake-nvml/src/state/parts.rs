//! What a simulated GPU is made of.

use serde::{Deserialize, Serialize};

/// Clock rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clocks {
    /// Of the cores. Unit: MHz.
    pub graphics_mhz: u32,
    /// Of the memory. Unit: MHz.
    pub memory_mhz: u32,
}

/// Rows of memory that spare ones stand in for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowRemaps {
    /// For errors that were corrected.
    pub corrected: u32,
    /// For errors that were not.
    pub uncorrected: u32,
    /// One waits for the GPU's reset.
    pub pending: bool,
    /// One failed: no spare row was left.
    pub failed: bool,
}

/// What an NVLink leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Peer {
    /// An NVSwitch, and through it every GPU.
    #[default]
    Switch,
    /// The GPU of this number.
    Gpu(usize),
}

/// One NVLink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NvLink {
    /// Where it leads.
    pub peer: Peer,
    /// Whether it is up.
    pub active: bool,
    /// Packets that were sent again.
    pub replay_errors: u64,
    /// Times that it was trained again.
    pub recovery_errors: u64,
    /// Packets with a wrong checksum.
    pub crc_errors: u64,
}

impl Default for NvLink {
    fn default() -> Self {
        Self {
            peer: Peer::Switch,
            active: true,
            replay_errors: 0,
            recovery_errors: 0,
            crc_errors: 0,
        }
    }
}

/// One slice of a GPU, in MIG mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slice {
    /// As the driver prints it.
    pub uuid: String,
    /// As in `1g.5gb`.
    pub profile: String,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// Sevenths of the cores.
    pub compute_slices: u32,
    /// Its number among the GPU's instances.
    pub gpu_instance: u32,
}

/// A process that computes on a GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its program.
    pub name: String,
    /// Bytes of the GPU's memory that it holds.
    pub memory_bytes: u64,
    /// Percent of the GPU's time that it takes.
    pub utilization_pct: u32,
    /// The place of its slice, in MIG mode.
    pub slice: Option<usize>,
}
