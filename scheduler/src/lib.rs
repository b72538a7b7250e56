//! The replicated truth and who runs where.
#![forbid(unsafe_code)]

pub mod api;
pub mod consensus;
pub mod foresee;
pub mod leader;
pub mod planner;
pub mod state;
