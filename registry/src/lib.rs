//! The ledger and the seal: what was made, of what, by whom, and how a stranger can tell.
#![forbid(unsafe_code)]

pub mod backup;
pub mod blob;
pub mod drift;
pub mod files;
pub mod gate;
pub mod ledger;
pub mod pii;
pub mod seal;
pub mod sign;
