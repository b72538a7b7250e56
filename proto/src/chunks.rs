//! Chunks over the wire, as a client sees it: what is lacking is asked in bounded questions, what
//! is sent or fetched travels in bounded streams.

use crate::{
    transfer::TransferError,
    v1::{
        ChunkPiece, CopyRequest, FetchRequest, HoldsRequest, KeepPart, LackingRequest, ListRequest,
        chunks_client::ChunksClient,
    },
};
use domain::{
    Digest,
    chunks::{Chunk, ChunkName, Pin},
    limit,
};
use std::io;
use tonic::{Code, Status, Streaming, transport::Channel};

/// Pieces of one stream that wait for the network.
pub const PIECES_AHEAD: usize = 4;
/// Lists in one question.
const HOLDS_BATCH: usize = 4_096;

/// A client for chunks with our message bound.
#[must_use]
pub fn client(channel: Channel) -> ChunksClient<Channel> {
    ChunksClient::new(channel)
        .max_decoding_message_size(crate::MESSAGE_MAX)
        .max_encoding_message_size(crate::MESSAGE_MAX)
}

/// Names one after another, as they travel.
#[must_use]
pub fn pack(names: &[ChunkName]) -> Vec<u8> {
    names.iter().flat_map(|name| name.0).collect()
}

/// Names as they travel; none when the bytes are no whole names or too many.
#[must_use]
pub fn unpack(bytes: &[u8]) -> Option<Vec<ChunkName>> {
    let (names, rest) = bytes.as_chunks::<32>();
    let good = rest.is_empty() && names.len() <= limit::CHUNK_NAMES_MAX;
    good.then(|| names.iter().map(|name| ChunkName(*name)).collect())
}

/// Which of `names` the server lacks, each answered in its place.
///
/// # Errors
/// When the server does not answer.
pub async fn lacking(channel: &Channel, names: &[ChunkName]) -> Result<Vec<bool>, TransferError> {
    let mut lacking = Vec::with_capacity(names.len());
    for batch in names.chunks(limit::CHUNK_NAMES_MAX) {
        let request = LackingRequest { names: pack(batch).into() };
        let reply = client(channel.clone()).lacking(request).await?.into_inner().lacking;
        if reply.len() != batch.len() {
            let why = format!("{} answers for {} chunks", reply.len(), batch.len());
            return Err(Status::new(Code::Internal, why).into());
        }
        lacking.extend(reply);
    }
    Ok(lacking)
}

/// Sends pieces; returns after all are durable there.
///
/// # Errors
/// When the server refuses or is lost. What it has stored by then need not be sent again.
pub async fn put(channel: &Channel, pieces: Vec<ChunkPiece>) -> Result<(), TransferError> {
    let stream = tokio_stream::iter(pieces);
    client(channel.clone()).put(stream).await?;
    Ok(())
}

/// Has a list kept for an attempt. Returns how many of its chunks the server lacks: none means that
/// it is kept, and durable.
///
/// # Errors
/// When the server refuses or is lost.
pub async fn keep(channel: &Channel, by: Pin, list: &[u8]) -> Result<u64, TransferError> {
    let parts: Vec<_> = list
        .chunks(limit::BLOB_CHUNK.0 as usize)
        .map(|part| KeepPart {
            lease_index: by.lease.index,
            lease_ordinal: by.lease.ordinal,
            data: part.to_vec().into(),
            step: by.step,
        })
        .collect();
    let reply = client(channel.clone()).keep(tokio_stream::iter(parts)).await?;
    Ok(reply.into_inner().lacking)
}

/// Which of these lists the server holds with all their chunks.
///
/// # Errors
/// When the server does not answer.
pub async fn holds(channel: &Channel, lists: &[Digest]) -> Result<Vec<bool>, TransferError> {
    let mut holds = Vec::with_capacity(lists.len());
    for batch in lists.chunks(HOLDS_BATCH) {
        let lists = batch.iter().map(|list| list.0.to_vec().into()).collect();
        let reply = client(channel.clone()).holds(HoldsRequest { lists }).await?;
        holds.extend(reply.into_inner().holds);
    }
    Ok(holds)
}

/// A list's stored form, verified.
///
/// # Errors
/// When the server lacks it or is lost, or the bytes are others.
pub async fn list(channel: &Channel, list: Digest) -> Result<Vec<u8>, TransferError> {
    let request = ListRequest { list: list.0.to_vec().into() };
    let mut parts = client(channel.clone()).list(request).await?.into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await? {
        if bytes.len() + part.data.len() > limit::CHUNK_LIST_MAX.0 as usize {
            let why = format!("list {list} is longer than {} bytes", limit::CHUNK_LIST_MAX.0);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why).into());
        }
        bytes.extend_from_slice(&part.data);
    }
    let got = Digest::of(&bytes);
    if got != list {
        return Err(TransferError::Mismatch { wanted: list, got });
    }
    Ok(bytes)
}

/// Begins to fetch chunks, which come in order. At most [`limit::CHUNK_NAMES_MAX`].
///
/// # Errors
/// When the server does not answer.
pub async fn fetch(
    channel: &Channel,
    wanted: &[Chunk],
) -> Result<Streaming<ChunkPiece>, TransferError> {
    let names: Vec<_> = wanted.iter().map(|chunk| chunk.name).collect();
    let lens = wanted.iter().map(|chunk| chunk.len).collect();
    let request = FetchRequest { names: pack(&names).into(), lens };
    Ok(client(channel.clone()).fetch(request).await?.into_inner())
}

/// Has a server copy a list with its chunks from the server at `from`.
///
/// # Errors
/// When either does not do its part.
pub async fn copy(
    channel: &Channel,
    list: Digest,
    by: Pin,
    from: &str,
) -> Result<(), TransferError> {
    let request = CopyRequest {
        list: list.0.to_vec().into(),
        lease_index: by.lease.index,
        lease_ordinal: by.lease.ordinal,
        from: from.to_owned(),
        step: by.step,
    };
    client(channel.clone()).copy(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_whole_and_in_bounded_number() {
        let names: Vec<_> = (0..3_u8).map(|of| ChunkName([of; 32])).collect();
        assert_eq!(unpack(&pack(&names)), Some(names.clone()));
        assert_eq!(unpack(&pack(&names)[1..]), None);
        assert_eq!(unpack(&vec![0; 32 * (limit::CHUNK_NAMES_MAX + 1)]), None);
    }
}
