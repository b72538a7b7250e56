//! Bytes by digest.

pub mod local;
mod pack;
pub mod room;
