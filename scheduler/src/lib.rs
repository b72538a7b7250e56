//! The replicated truth and who runs where.
#![forbid(unsafe_code)]

pub mod consensus;
pub mod state;
