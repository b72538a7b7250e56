//! The GPUs of this node, behind a port.

mod bounded;
mod cut;
mod gauge;
mod nvml;
mod read;
mod shared;

#[cfg(test)]
mod tests;

pub use bounded::{Hung, Worker};
pub use cut::{Cut, keep};
pub use nvml::NvmlGpus;
pub use shared::shared;

use crate::machine::health::Reading;
use domain::hardware::{GpuSet, share::ShareError};
use nvml_wrapper::{Nvml, error::NvmlError};
use std::{path::Path, time::Duration};

/// Time that the driver has to start. Source: without persistence it wakes every GPU, at up to
/// some seconds each.
const OPEN_MAX: Duration = Duration::from_secs(60);

/// GPUs that cannot be listed.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    /// The driver answers with an error.
    #[error(
        "GPUs cannot be listed ({what}): {why}; check `nvidia-smi`, or `nvml` in the configuration"
    )]
    Driver {
        /// What was asked of the driver.
        what: String,
        /// Its answer.
        why: NvmlError,
    },
    /// They cannot be offered in shares as the configuration says.
    #[error("`gpu_shares` {0}")]
    Shares(#[from] ShareError),
    /// How they were cut in shares is not known.
    #[error("how GPUs are cut in shares cannot be kept in the agent's folder: {0}")]
    Cut(std::io::Error),
    /// The driver does not answer.
    #[error("GPUs cannot be listed: {0}; check `dmesg` for the driver, then boot the machine")]
    Hung(#[from] Hung),
}

/// Where a node's GPUs come from.
pub trait Gpus: Send + Sync {
    /// All GPUs, now. Those that do not answer are listed as such.
    ///
    /// # Errors
    /// When there is a driver and it does not answer.
    fn read(&self) -> Result<GpuSet, GpuError>;

    /// How one GPU does, now.
    fn gauge(&self, index: u32) -> Reading;

    /// How much one GPU computes, now; none where the driver cannot say. Unit: percent.
    fn used_pct(&self, index: u32) -> Option<u32>;

    /// Tells every Xid of one GPU from now on, for as long as `go_on` says so. Returns at once
    /// where none can be told.
    fn xids(&self, index: u32, go_on: &dyn Fn() -> bool, tell: &dyn Fn(u64));
}

/// A node without GPUs.
pub struct NoGpus;

impl Gpus for NoGpus {
    fn read(&self) -> Result<GpuSet, GpuError> {
        Ok(GpuSet::default())
    }

    fn gauge(&self, _index: u32) -> Reading {
        Reading::Lost
    }

    fn used_pct(&self, _index: u32) -> Option<u32> {
        None
    }

    fn xids(&self, _index: u32, _go_on: &dyn Fn() -> bool, _tell: &dyn Fn(u64)) {}
}

/// The GPUs of this machine: through `library` if given, else through the installed driver, else
/// none.
///
/// # Errors
/// When a library was named and cannot be used, or the installed one is broken.
pub fn open(library: Option<&Path>) -> Result<Box<dyn Gpus>, GpuError> {
    let what = "the driver's library".to_owned();
    let limit_ms = u64::try_from(OPEN_MAX.as_millis()).unwrap_or(u64::MAX);
    let worker = Worker::new(what.clone(), OPEN_MAX).map_err(|_| Hung { what, limit_ms })?;
    let path = library.map(Path::to_owned);
    let opened = worker.call(move || match path {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    })?;
    match opened {
        Ok(nvml) => Ok(Box::new(NvmlGpus::new(nvml))),
        Err(
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded,
        ) if library.is_none() => Ok(Box::new(NoGpus)),
        Err(why) => {
            let what = library.map_or_else(
                || "opening the driver's library".to_owned(),
                |path| format!("opening `{}`", path.display()),
            );
            Err(GpuError::Driver { what, why })
        }
    }
}
