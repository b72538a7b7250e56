//! Bytes: stored log entries, stored state, messages between replicas.
//!
//! Stored values are `[version][crc32, little endian][payload]`. The checksum is our own because
//! the store's tolerant recovery must not be the only thing that tells a whole entry from a torn
//! one (RocksDB's checksums end where its WAL record ends).

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::{BufMut, Bytes, BytesMut};
use domain::{
    Digest,
    version::{ClusterVersion, Understood},
};
use prost_raft::Message as _;
use raft::eraftpb;

/// The version of all that this module writes.
pub const VERSION: u8 = 1;
const HEADER: usize = 5;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Another release wrote them.
    #[error("has version {0}, this server reads version {VERSION}; upgrade the server")]
    Version(u8),
    /// The checksum does not match.
    #[error("checksum {found:08x} does not match the stored {stored:08x}")]
    Checksum {
        /// The one beside the bytes.
        stored: u32,
        /// The one of the bytes.
        found: u32,
    },
    /// Whole, but not readable.
    #[error("is damaged: {0}")]
    Damaged(String),
}

fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![VERSION, 0, 0, 0, 0];
    fill(&mut bytes);
    let sum = crc32fast::hash(&bytes[HEADER..]);
    bytes[1..HEADER].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn unframe(bytes: &[u8]) -> Result<&[u8], CodecError> {
    let Some((header, payload)) = bytes.split_at_checked(HEADER) else {
        return Err(CodecError::Damaged(format!("{} bytes are too few", bytes.len())));
    };
    if header[0] != VERSION {
        return Err(CodecError::Version(header[0]));
    }
    let stored = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
    let found = crc32fast::hash(payload);
    if stored != found {
        return Err(CodecError::Checksum { stored, found });
    }
    Ok(payload)
}

/// The stored form of a log entry.
#[must_use]
pub fn entry_to_bytes(entry: &eraftpb::Entry) -> Vec<u8> {
    frame(|bytes| {
        bytes.reserve(entry.encoded_len());
        entry.encode(bytes).expect("writing to memory cannot fail");
    })
}

/// Reads a stored log entry.
///
/// # Errors
/// When the bytes are damaged, or are those of another entry than the one at `index`.
pub fn entry_from_bytes(index: u64, bytes: &[u8]) -> Result<eraftpb::Entry, CodecError> {
    let entry = eraftpb::Entry::decode(unframe(bytes)?)
        .map_err(|fault| CodecError::Damaged(fault.to_string()))?;
    if entry.index != index {
        return Err(CodecError::Damaged(format!("is entry {}", entry.index)));
    }
    if eraftpb::EntryType::from_i32(entry.entry_type).is_none() {
        return Err(CodecError::Damaged(format!("has type {}", entry.entry_type)));
    }
    Ok(entry)
}

/// The stored form of a piece of the replica's own state.
#[must_use]
pub fn state_to_bytes(value: &impl BorshSerialize) -> Vec<u8> {
    frame(|bytes| value.serialize(bytes).expect("writing to memory cannot fail"))
}

/// Reads a stored piece of the replica's own state.
///
/// # Errors
/// When the bytes are damaged.
pub fn state_from_bytes<T: BorshDeserialize>(bytes: &[u8]) -> Result<T, CodecError> {
    borsh::from_slice(unframe(bytes)?).map_err(|fault| CodecError::Damaged(fault.to_string()))
}

/// What one replica says to another.
#[expect(clippy::large_enum_variant, reason = "short-lived and moved once; a box would cost more")]
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// A message of raft-rs.
    Raft(eraftpb::Message),
    /// The sender's state digest after `index`.
    Digest {
        /// The entry.
        index: u64,
        /// The digest after it.
        digest: Digest,
    },
    /// Which versions the sender understands.
    Understands(Understood),
    /// Where the sender can be reached: for a server that does not know the members yet.
    Hello {
        /// `host:port`.
        address: String,
    },
}

const RAFT: u8 = 0;
const DIGEST: u8 = 1;
const HELLO: u8 = 2;
const UNDERSTANDS: u8 = 3;

impl PeerMessage {
    /// As sent: `[version][kind][body]`.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        match self {
            Self::Raft(message) => {
                bytes.reserve(1 + message.encoded_len());
                bytes.put_u8(RAFT);
                message.encode(&mut bytes).expect("the buffer grows");
            }
            Self::Digest { index, digest } => {
                bytes.put_u8(DIGEST);
                bytes.put_u64(*index);
                bytes.put_slice(&digest.0);
            }
            Self::Understands(Understood { oldest, newest }) => {
                bytes.put_slice(&[UNDERSTANDS, oldest.0, newest.0]);
            }
            Self::Hello { address } => {
                bytes.put_u8(HELLO);
                bytes.put_slice(address.as_bytes());
            }
        }
        bytes.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When the bytes are not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let damaged = |why: &str| CodecError::Damaged(why.to_owned());
        match bytes {
            [VERSION, RAFT, body @ ..] => eraftpb::Message::decode(body)
                .map(Self::Raft)
                .map_err(|fault| damaged(&fault.to_string())),
            [VERSION, DIGEST, body @ ..] => {
                let (index, digest) =
                    body.split_first_chunk::<8>().ok_or_else(|| damaged("short digest"))?;
                Ok(Self::Digest {
                    index: u64::from_be_bytes(*index),
                    digest: Digest(digest.try_into().map_err(|_| damaged("short digest"))?),
                })
            }
            [VERSION, HELLO, body @ ..] => match std::str::from_utf8(body) {
                Ok(address) => Ok(Self::Hello { address: address.to_owned() }),
                Err(_) => Err(damaged("address is not text")),
            },
            [VERSION, UNDERSTANDS, oldest, newest] => {
                let [oldest, newest] = [*oldest, *newest].map(ClusterVersion);
                Ok(Self::Understands(Understood { oldest, newest }))
            }
            [VERSION, kind, ..] => Err(damaged(&format!("message of kind {kind}"))),
            [VERSION] | [] => Err(damaged("empty message")),
            [version, ..] => Err(CodecError::Version(*version)),
        }
    }
}

/// The address in a [`PeerMessage::Hello`], without decoding anything else.
#[must_use]
pub fn hello(bytes: &[u8]) -> Option<&str> {
    match bytes {
        [VERSION, HELLO, address @ ..] => std::str::from_utf8(address).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry() -> eraftpb::Entry {
        eraftpb::Entry {
            index: 7,
            term: 3,
            data: b"data".to_vec(),
            context: b"context".to_vec(),
            ..eraftpb::Entry::default()
        }
    }

    #[test]
    fn the_stored_form_of_an_entry_does_not_change() {
        let bytes = entry_to_bytes(&entry());
        assert_eq!(hex::encode(&bytes), "015864cb6e100318072204646174613207636f6e74657874");
        assert_eq!(entry_from_bytes(7, &bytes), Ok(entry()));
    }

    #[test]
    fn an_entry_at_another_index_is_refused() {
        let fault = entry_from_bytes(8, &entry_to_bytes(&entry())).unwrap_err();
        assert_eq!(fault.to_string(), "is damaged: is entry 7");
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let raft =
            eraftpb::Message { to: 2, entries: vec![entry()], ..eraftpb::Message::default() };
        let messages = [
            PeerMessage::Raft(raft),
            PeerMessage::Digest { index: 9, digest: Digest::of(b"x") },
            PeerMessage::Understands(Understood::BUILD),
            PeerMessage::Hello { address: "host:1".into() },
        ];
        for message in messages {
            assert_eq!(PeerMessage::decode(&message.encode()), Ok(message));
        }
    }

    proptest! {
        #[test]
        fn any_flipped_bit_of_a_stored_entry_is_noticed(bit in 0usize..24 * 8) {
            let mut bytes = entry_to_bytes(&entry());
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(entry_from_bytes(7, &bytes).is_err());
        }

        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = PeerMessage::decode(&bytes);
            let _ = state_from_bytes::<u64>(&bytes);
            let _ = entry_from_bytes(1, &bytes);
        }
    }
}
