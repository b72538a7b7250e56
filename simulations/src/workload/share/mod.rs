//! Tasks that come and stay: where each goes, on shares of GPUs.

pub mod assay;
pub mod baseline;
pub mod engine;
pub mod fgd;
pub mod openb;
pub mod scorer;
pub mod stats;
pub mod stream;

#[cfg(test)]
#[path = "published_test.rs"]
mod published_test;
#[cfg(test)]
#[path = "share_test.rs"]
mod share_test;
