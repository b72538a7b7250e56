//! One node: runs tasks under leases, and keeps nothing that the log does not know.
#![forbid(unsafe_code)]

pub mod driver;
pub mod link;
pub mod machine;
pub mod store;
