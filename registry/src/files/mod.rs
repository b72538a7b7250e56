//! What the seal needs of disks: folders hashed on all cores, proofs written into files.

mod begun;
mod place;
pub mod tensors;
#[cfg(test)]
mod verify_test;
pub mod walk;

pub use begun::Begun;
