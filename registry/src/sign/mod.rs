//! Keys that sign on behalf of the cluster.

pub mod local;
