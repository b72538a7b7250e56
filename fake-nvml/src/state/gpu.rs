//! One simulated GPU: what it is, how it does and what is scripted to go wrong.

use super::{Clocks, NvLink, Process, RowRemaps, Slice};
use serde::{Deserialize, Serialize};

/// One simulated GPU. What a state file leaves out is as on a healthy H100 SXM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gpu {
    /// As the driver prints it.
    pub uuid: String,
    /// As the driver prints it.
    pub model: String,
    /// Bytes.
    pub memory_bytes: u64,
    /// Bytes in use.
    pub memory_used_bytes: u64,
    /// CUDA compute capability.
    pub compute_capability: (i32, i32),
    /// Degrees Celsius.
    pub temperature_c: u32,
    /// Degrees Celsius at which it slows down.
    pub temperature_slowdown_c: u32,
    /// Degrees Celsius of its memory.
    pub memory_temperature_c: u32,
    /// Percent.
    pub utilization_pct: u32,
    /// Milliwatts.
    pub power_mw: u32,
    /// Milliwatts.
    pub power_limit_mw: u32,
    /// The least limit that may be set. Milliwatts.
    pub power_limit_min_mw: u32,
    /// The limit it left the factory with, which is the greatest. Milliwatts.
    pub power_limit_max_mw: u32,
    /// Clocks now.
    pub clocks: Clocks,
    /// Clocks at most.
    pub clocks_max: Clocks,
    /// Why its clocks are below the most: NVML's bits.
    pub throttle_reasons: u64,
    /// Uncorrected memory errors since the driver was loaded.
    pub ecc_volatile: u64,
    /// Uncorrected memory errors over its life.
    pub ecc_aggregate: u64,
    /// Corrected memory errors since the driver was loaded.
    pub ecc_corrected_volatile: u64,
    /// Corrected memory errors over its life.
    pub ecc_corrected_aggregate: u64,
    /// Rows of memory that spare ones stand in for.
    pub row_remaps: RowRemaps,
    /// The Xids of its life, oldest first. One that is added goes to whoever waits for events.
    pub xids: Vec<u64>,
    /// Whether whoever waits for its events is told of an error.
    pub events_fail: bool,
    /// Its NVLinks, in order.
    pub nvlinks: Vec<NvLink>,
    /// Generation of its PCIe link.
    pub pcie_generation: u32,
    /// Lanes of its PCIe link.
    pub pcie_width: u32,
    /// Packets that were sent again over PCIe.
    pub pcie_replays: u32,
    /// The PCIe switch above it: GPUs under one are near each other.
    pub pcie_switch: u32,
    /// The NUMA node it hangs on.
    pub numa_node: u32,
    /// First and last processor of that node.
    pub cpus: (u32, u32),
    /// Whether it is sliced; it then computes nothing as a whole.
    pub mig: bool,
    /// Its slices.
    pub slices: Vec<Slice>,
    /// Processes that compute on it.
    pub processes: Vec<Process>,
    /// It has fallen off the bus: every call on it says so.
    pub lost: bool,
    /// Every call on it takes this long, or until the script says less. Unit: ms.
    pub hang_ms: u64,
}

impl Default for Gpu {
    fn default() -> Self {
        Self {
            uuid: String::new(),
            model: "NVIDIA H100 80GB HBM3".into(),
            memory_bytes: 80 << 30,
            memory_used_bytes: 0,
            compute_capability: (9, 0),
            temperature_c: 34,
            temperature_slowdown_c: 87,
            memory_temperature_c: 45,
            utilization_pct: 0,
            power_mw: 71_000,
            power_limit_mw: 700_000,
            power_limit_min_mw: 200_000,
            power_limit_max_mw: 700_000,
            clocks: Clocks { graphics_mhz: 345, memory_mhz: 2_619 },
            clocks_max: Clocks { graphics_mhz: 1_980, memory_mhz: 2_619 },
            throttle_reasons: 0,
            ecc_volatile: 0,
            ecc_aggregate: 0,
            ecc_corrected_volatile: 0,
            ecc_corrected_aggregate: 0,
            row_remaps: RowRemaps::default(),
            xids: Vec::new(),
            events_fail: false,
            nvlinks: vec![NvLink::default(); 18],
            pcie_generation: 5,
            pcie_width: 16,
            pcie_replays: 0,
            pcie_switch: 0,
            numa_node: 0,
            cpus: (0, 55),
            mig: false,
            slices: Vec::new(),
            processes: Vec::new(),
            lost: false,
            hang_ms: 0,
        }
    }
}
