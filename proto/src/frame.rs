//! Bodies of internal links: the canonical encoding behind a version byte.

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;

/// The version that this release writes and reads.
pub const VERSION: u8 = 1;

/// A body that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Another release wrote it.
    #[error("the peer speaks version {0} of the internal link, we speak {VERSION}; upgrade both")]
    Version(u8),
    /// Not a body.
    #[error("the peer sent a damaged message: {0}")]
    Damaged(String),
}

/// Encodes a body.
pub fn encode(value: &impl BorshSerialize) -> Bytes {
    let mut bytes = vec![VERSION];
    value.serialize(&mut bytes).expect("writing to memory cannot fail");
    bytes.into()
}

/// Decodes a body.
///
/// # Errors
/// When the version is unknown or the bytes are damaged.
pub fn decode<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, FrameError> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            borsh::from_slice(rest).map_err(|fault| FrameError::Damaged(fault.to_string()))
        }
        Some((&version, _)) => Err(FrameError::Version(version)),
        None => Err(FrameError::Damaged("empty".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_another_version_or_a_damaged_one_is_refused() {
        let body = encode(&7u32);
        assert_eq!(decode::<u32>(&body), Ok(7));
        assert_eq!(decode::<u32>(&[9, 0]), Err(FrameError::Version(9)));
        assert!(matches!(decode::<u32>(&body[..3]), Err(FrameError::Damaged(_))));
        assert!(matches!(decode::<u32>(&[]), Err(FrameError::Damaged(_))));
    }
}
