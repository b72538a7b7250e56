//! The simulated machine: which GPUs it has and what is wrong with them.

mod file;
mod gpu;
mod parts;
mod profile;

pub use file::now;
pub use gpu::Gpu;
pub use parts::{Clocks, NvLink, Peer, Process, RowRemaps, Slice};

use serde::{Deserialize, Serialize};

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
}
