//! Bytes by digest.

pub mod chunks;
pub mod local;
mod pack;
pub mod remote;
pub mod room;
