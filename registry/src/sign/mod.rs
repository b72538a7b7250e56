//! Keys that sign on behalf of the cluster.

pub mod approver;
pub mod event;
pub mod local;
