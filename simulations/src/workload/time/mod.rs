//! Jobs that come and end: who runs when, on whole GPUs.

pub mod assay;
pub mod cluster;
pub mod easy;
pub mod engine;
pub mod las;
pub mod metric;
pub mod order;
pub mod pack;
pub mod state;

#[cfg(test)]
#[path = "published_test.rs"]
mod published_test;
#[cfg(test)]
#[path = "time_test.rs"]
mod time_test;
