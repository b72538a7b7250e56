//! A stand-in for `libnvidia-ml.so.1` on machines without NVIDIA GPUs.
//!
//! Real NVML clients load it and read simulated devices, so that the code that reads real ones is
//! the code that runs. Which devices: the JSON file named by `FAKE_NVML_STATE`, read again at each
//! call when it has changed, or the profile named by `FAKE_NVML_PROFILE` (`h100x8` by default).

mod device;
mod library;
pub mod state;

pub use device::*;
pub use library::*;
