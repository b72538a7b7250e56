//! The seal: digests, statements, signatures, and their verification.

pub mod audit;
pub mod bundle;
pub mod canonical;
pub mod clearance;
pub mod dsse;
pub mod keys;
pub mod logged;
pub mod manifest;
pub mod metrics;
pub mod node;
pub mod place;
pub mod provenance;
pub mod recipe;
pub mod sign_off;
pub mod statement;
pub mod tensors;
pub mod tlog;
pub mod trust;
pub mod verify;
