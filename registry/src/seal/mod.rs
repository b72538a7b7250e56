//! The seal: digests, statements, signatures, and their verification.

pub mod audit;
pub mod bundle;
pub mod canonical;
pub mod clearance;
pub mod dsse;
pub mod manifest;
pub mod provenance;
pub mod recipe;
pub mod statement;
pub mod tlog;
pub mod verify;
pub mod walk;
