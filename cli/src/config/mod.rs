//! The files that tell a process who it is.

pub mod agent;
pub mod profile;
pub mod server;
