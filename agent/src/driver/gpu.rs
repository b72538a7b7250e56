//! The GPUs of this node, behind a port.

use domain::{Bytes, resource::Gpu};
use nvml_wrapper::{Nvml, cuda_driver_version_major, cuda_driver_version_minor, error::NvmlError};
use std::path::Path;

/// What a GPU driver says of itself and its GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuInventory {
    /// The GPUs, in the driver's order.
    pub gpus: Vec<Gpu>,
    /// The driver's version, or empty.
    pub driver_version: String,
    /// The CUDA version of the driver, or empty.
    pub cuda_version: String,
}

/// GPUs that cannot be listed.
#[derive(Debug, thiserror::Error)]
#[error("GPUs cannot be listed ({what}): {why}; check `nvidia-smi`, or `--nvml PATH`")]
pub struct GpuError {
    /// What was asked of the driver.
    pub what: String,
    /// Its answer.
    pub why: NvmlError,
}

/// Where a node's GPUs come from.
pub trait Gpus: Send + Sync {
    /// All GPUs, now.
    ///
    /// # Errors
    /// When there is a driver and it does not answer.
    fn inventory(&self) -> Result<GpuInventory, GpuError>;
}

/// A node without GPUs.
pub struct NoGpus;

impl Gpus for NoGpus {
    fn inventory(&self) -> Result<GpuInventory, GpuError> {
        Ok(GpuInventory::default())
    }
}

/// GPUs through NVIDIA's management library.
pub struct NvmlGpus(Nvml);

/// The GPUs of this machine: through `library` if given, else through the installed driver, else
/// none.
///
/// # Errors
/// When a library was named and cannot be used, or the installed one is broken.
pub fn open(library: Option<&Path>) -> Result<Box<dyn Gpus>, GpuError> {
    let opened = match library {
        Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
        None => Nvml::init(),
    };
    match opened {
        Ok(nvml) => Ok(Box::new(NvmlGpus(nvml))),
        Err(
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound | NvmlError::DriverNotLoaded,
        ) if library.is_none() => Ok(Box::new(NoGpus)),
        Err(why) => {
            let what = library.map_or_else(
                || "opening the driver's library".to_owned(),
                |path| format!("opening `{}`", path.display()),
            );
            Err(GpuError { what, why })
        }
    }
}

impl Gpus for NvmlGpus {
    fn inventory(&self) -> Result<GpuInventory, GpuError> {
        let asked = |what: &'static str| move |why| GpuError { what: what.to_owned(), why };
        let nvml = &self.0;
        let cuda = nvml.sys_cuda_driver_version().map_err(asked("CUDA version"))?;
        let count = nvml.device_count().map_err(asked("number of GPUs"))?;
        let gpus = (0..count).map(|index| gpu(nvml, index)).collect::<Result<_, _>>()?;
        Ok(GpuInventory {
            gpus,
            driver_version: nvml.sys_driver_version().map_err(asked("driver version"))?,
            cuda_version: format!(
                "{}.{}",
                cuda_driver_version_major(cuda),
                cuda_driver_version_minor(cuda)
            ),
        })
    }
}

fn gpu(nvml: &Nvml, index: u32) -> Result<Gpu, GpuError> {
    let asked =
        |what: &'static str| move |why| GpuError { what: format!("{what} of GPU {index}"), why };
    let device = nvml.device_by_index(index).map_err(asked("handle"))?;
    let capability = device.cuda_compute_capability().map_err(asked("compute capability"))?;
    Ok(Gpu {
        index,
        uuid: device.uuid().map_err(asked("UUID"))?,
        model: device.name().map_err(asked("name"))?,
        memory: Bytes(device.memory_info().map_err(asked("memory"))?.total),
        compute_capability: format!("{}.{}", capability.major, capability.minor),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_driver_has_no_gpus_but_a_named_library_must_exist() {
        assert_eq!(NoGpus.inventory().unwrap(), GpuInventory::default());
        let fault = open(Some(Path::new("/nowhere/libnvidia-ml.so.1"))).err().unwrap();
        assert!(fault.to_string().contains("/nowhere/libnvidia-ml.so.1"));
    }
}
