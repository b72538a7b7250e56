//! Between wire types and domain types, both ways.

mod after;
mod job;
mod queue;
mod registered;
mod reservation;
mod topology;

pub use after::{when, when_word};
pub use job::WireError;

use domain::{Digest, RequestKey};

/// Reads a digest of 32 bytes.
///
/// # Errors
/// When the length is another.
pub fn digest(field: &'static str, bytes: &[u8]) -> Result<Digest, WireError> {
    let bytes = bytes.try_into().map_err(|_| WireError {
        field,
        fault: format!("has {} bytes", bytes.len()),
        remedy: "send the 32 bytes of a SHA-256 digest",
    })?;
    Ok(Digest(bytes))
}

/// Reads a request key of 16 bytes.
///
/// # Errors
/// When the length is another.
pub fn key(bytes: &[u8]) -> Result<RequestKey, WireError> {
    let bytes = bytes.try_into().map_err(|_| WireError {
        field: "key",
        fault: format!("has {} bytes", bytes.len()),
        remedy: "send 16 random bytes, and the same ones on a retry",
    })?;
    Ok(RequestKey(bytes))
}
