//! The simulated machine: which GPUs it has and what is wrong with them.

use serde::{Deserialize, Serialize};
use std::{os::unix::fs::MetadataExt, path::PathBuf, sync::Mutex, time::SystemTime};

/// One simulated GPU.
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
    /// Percent.
    pub utilization_pct: u32,
    /// Milliwatts.
    pub power_mw: u32,
    /// Milliwatts.
    pub power_limit_mw: u32,
    /// Uncorrected memory errors since the driver was loaded.
    pub ecc_volatile: u64,
    /// Uncorrected memory errors over its life.
    pub ecc_aggregate: u64,
    /// It has fallen off the bus: every call on it says so.
    pub lost: bool,
    /// Every call on it takes this long. Unit: ms.
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
            utilization_pct: 0,
            power_mw: 71_000,
            power_limit_mw: 700_000,
            ecc_volatile: 0,
            ecc_aggregate: 0,
            lost: false,
            hang_ms: 0,
        }
    }
}

/// One simulated machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Machine {
    /// Driver version.
    pub driver: String,
    /// CUDA version as NVML counts it: 1000 × major + 10 × minor.
    pub cuda: i32,
    /// The GPUs, in order.
    pub gpus: Vec<Gpu>,
}

impl Default for Machine {
    fn default() -> Self {
        Self { driver: "550.54.15".into(), cuda: 12_040, gpus: Vec::new() }
    }
}

impl Machine {
    /// `count` GPUs like `like`, with UUIDs that hold `name`.
    #[must_use]
    pub fn of(name: &str, count: usize, like: &Gpu) -> Self {
        let mark = name
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        let gpus = (0..count)
            .map(|n| Gpu {
                uuid: format!("GPU-{mark:08x}-0000-4000-8000-{n:012x}"),
                ..like.clone()
            })
            .collect();
        Self { gpus, ..Self::default() }
    }

    /// A machine by the name of its profile, and of its host so that UUIDs differ.
    #[must_use]
    pub fn profile(profile: &str, host: &str) -> Option<Self> {
        let gpu = |model: &str, gib: u64, compute_capability, power_limit_mw| Gpu {
            model: model.into(),
            memory_bytes: gib << 30,
            compute_capability,
            power_limit_mw,
            ..Gpu::default()
        };
        Some(match profile {
            "none" => Self::default(),
            "h100x2" => Self::of(host, 2, &Gpu::default()),
            "h100x8" => Self::of(host, 8, &Gpu::default()),
            "a100x4" => Self::of(host, 4, &gpu("NVIDIA A100-PCIE-40GB", 40, (8, 0), 250_000)),
            "l40sx2" => Self::of(host, 2, &gpu("NVIDIA L40S", 48, (8, 9), 350_000)),
            _ => return None,
        })
    }
}

struct Cache {
    path: PathBuf,
    /// Time, inode and length: times alone are too coarse to tell two quick writes apart.
    changed: Option<(SystemTime, u64, u64)>,
    machine: Machine,
}

static CACHE: Mutex<Option<Cache>> = Mutex::new(None);

/// The machine as it is now.
///
/// A state file that cannot be read leaves the last good state, and at first no GPUs.
#[must_use]
pub fn now() -> Machine {
    let Some(path) = std::env::var_os("FAKE_NVML_STATE").map(PathBuf::from) else {
        let profile = std::env::var("FAKE_NVML_PROFILE").unwrap_or_else(|_| "h100x8".into());
        return Machine::profile(&profile, "local").unwrap_or_default();
    };
    let changed = std::fs::metadata(&path)
        .and_then(|meta| Ok((meta.modified()?, meta.ino(), meta.len())))
        .ok();
    let mut cache = CACHE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(known) = cache.as_ref()
        && known.path == path
        && known.changed == changed
    {
        return known.machine.clone();
    }
    let read = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let machine: Machine = match (read, cache.take()) {
        (Some(machine), _) => machine,
        (None, Some(known)) if known.path == path => known.machine,
        (None, _) => Machine::default(),
    };
    *cache = Some(Cache { path, changed, machine: machine.clone() });
    machine
}
