//! Bytes by digest.

pub mod local;
mod pack;
