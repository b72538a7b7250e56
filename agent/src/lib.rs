//! One node: runs tasks under leases, and keeps nothing that the log does not know.
#![deny(unsafe_code)]

pub mod driver;
pub mod link;
pub mod machine;
mod shell;
pub mod store;

pub use shell::{AgentError, Config, Ready, ready, run, serve};
