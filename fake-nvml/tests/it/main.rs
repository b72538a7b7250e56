//! Real NVML clients read the stand-in without noticing.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod events;
mod strangers;

mod support;
mod wrapper;
