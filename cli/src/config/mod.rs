//! The files that tell a process who it is.

pub mod agent;
pub mod blobs;
pub mod gates;
pub mod profile;
pub mod server;
pub mod signer;
