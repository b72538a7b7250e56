//! Wire types with their conversions: the only crate that knows both vocabularies.
#![forbid(unsafe_code)]

pub mod chunks;
pub mod cipher;
pub mod convert;
pub mod frame;
pub mod transfer;

/// The generated wire types of version 1.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files hold the documentation")]
pub mod v1 {
    tonic::include_proto!("assay.v1");
}

/// The longest message that any of our services reads or writes.
pub const MESSAGE_MAX: usize = domain::limit::WIRE_MESSAGE_MAX.0 as usize;

/// Header of the reply to a change that a follower passed on: where the leader is reached,
/// `host:port`. A client that makes many changes saves them the detour by asking there.
pub const LEADER_HEADER: &str = "assay-leader";
