//! A stand-in for `libnvidia-ml.so.1` on machines without NVIDIA GPUs.
//!
//! Real NVML clients load it and read simulated devices, so that the code that reads real ones is
//! the code that runs. Which devices: the JSON file named by `FAKE_NVML_STATE`, read again at each
//! call when it has changed, or the profile named by `FAKE_NVML_PROFILE` (`h100x8` by default;
//! also `a100x4`, `l40sx2`, `a100mig`, `h100x2`, `none`).
//!
//! A fault is scripted by replacing the state file whole (write a new one, rename it): see
//! [`state::Gpu`] for the keys, each of which may be left out. An Xid that is added to `xids`
//! goes to whoever waits for events, `lost` makes every call say that the GPU is lost, `hang_ms`
//! makes every call wait until the script says less.

mod device;
mod events;
mod fields;
mod gauges;
mod library;
mod lookup;
mod memory;
mod mig;
mod nvlink;
mod pci;
mod process;
pub mod state;
mod target;
mod topology;

pub use device::*;
pub use events::*;
pub use fields::*;
pub use gauges::*;
pub use library::*;
pub use lookup::*;
pub use memory::*;
pub use mig::*;
pub use nvlink::*;
pub use process::*;
pub use topology::*;
