//! Workloads in virtual time: published and own policies over traces, held against each other.

pub mod command;
#[cfg(test)]
mod command_test;
pub mod error;
pub mod estimate;
pub mod file;
#[cfg(test)]
mod given;
pub mod job;
pub mod load;
pub mod name;
pub mod plot;
pub mod report;
mod run_share;
mod run_time;
pub mod share;
pub mod time;
