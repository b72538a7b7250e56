//! GPUs that a node offers in shares.

use super::{Cut, GpuError, Gpus};
use crate::machine::health::Reading;
use domain::hardware::{GpuHardware, GpuSet, share::GpuShares};

/// GPUs of which some are offered in shares. Their health is that of the whole.
struct Shared {
    gpus: Box<dyn Gpus>,
    /// Of those that were there when the agent started.
    kept: Cut,
    /// Of those that answer later.
    asked: GpuShares,
}

/// The same GPUs, offered as they are cut, and as is asked for where that is not known.
#[must_use]
pub fn shared(gpus: Box<dyn Gpus>, kept: Cut, asked: GpuShares) -> Box<dyn Gpus> {
    if kept.is_empty() && asked == GpuShares::None {
        return gpus;
    }
    Box::new(Shared { gpus, kept, asked })
}

impl Gpus for Shared {
    fn read(&self) -> Result<GpuSet, GpuError> {
        let set = self.gpus.read()?;
        let count = |gpu: &GpuHardware| {
            let kept = self.kept.get(&gpu.gpu.uuid).copied();
            (gpu.gpu.uuid.clone(), kept.unwrap_or_else(|| self.asked.count(gpu)))
        };
        let shares = GpuShares::Of(set.all.iter().map(count).collect());
        Ok(set.in_shares(&shares))
    }

    fn gauge(&self, index: u32) -> Reading {
        self.gpus.gauge(index)
    }

    fn used_pct(&self, index: u32) -> Option<u32> {
        self.gpus.used_pct(index)
    }

    fn xids(&self, index: u32, go_on: &dyn Fn() -> bool, tell: &dyn Fn(u64)) {
        self.gpus.xids(index, go_on, tell);
    }
}
