//! GPUs that a node offers in shares.

use super::{GpuError, Gpus};
use crate::machine::health::Reading;
use domain::hardware::{GpuSet, share::GpuShares};

/// GPUs of which some are offered in shares. Their health is that of the whole.
struct Shared {
    gpus: Box<dyn Gpus>,
    shares: GpuShares,
}

/// The same GPUs, offered in these shares.
#[must_use]
pub fn shared(gpus: Box<dyn Gpus>, shares: GpuShares) -> Box<dyn Gpus> {
    match shares {
        GpuShares::None => gpus,
        GpuShares::All(_) | GpuShares::Of(_) => Box::new(Shared { gpus, shares }),
    }
}

impl Gpus for Shared {
    fn read(&self) -> Result<GpuSet, GpuError> {
        Ok(self.gpus.read()?.in_shares(&self.shares))
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
