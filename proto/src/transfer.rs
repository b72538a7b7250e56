//! Moves blobs over the wire: asks first, sends many in one stream, verifies what arrives.

use crate::v1::{GetRequest, HaveRequest, PutChunk, blobs_client::BlobsClient};
use domain::{Digest, limit};
use std::{
    io::{self, Read, Write},
    path::PathBuf,
};
use tonic::{Status, transport::Channel};

/// Digests asked about in one request.
const HAVE_BATCH: usize = 4_096;
/// Chunks that wait for the network.
const CHUNKS_AHEAD: usize = 4;

/// Opens a blob's bytes.
pub type Open = Box<dyn FnOnce() -> io::Result<Box<dyn Read + Send>> + Send>;

/// A blob to send.
pub struct Source {
    /// Its digest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// How to read it. Called only when the server lacks it.
    pub open: Open,
    /// The file that it is, if it is one.
    pub path: Option<PathBuf>,
}

impl Source {
    /// A blob in memory.
    #[must_use]
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
            open: Box::new(move || Ok(Box::new(io::Cursor::new(bytes)) as _)),
            path: None,
        }
    }

    /// A file whose digest is known.
    #[must_use]
    pub fn file(digest: Digest, size: u64, path: PathBuf) -> Self {
        let opened = path.clone();
        let open = move || Ok(Box::new(std::fs::File::open(opened)?) as Box<dyn Read + Send>);
        Self { digest, size, open: Box::new(open), path: Some(path) }
    }
}

/// A transfer that did not come about.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The server refused or was lost.
    #[error("{}", .0.message())]
    Wire(#[from] Status),
    /// The local file could not be read or written.
    #[error("local file: {0}")]
    Local(#[from] io::Error),
    /// The bytes are not those of the digest.
    #[error("blob {wanted} arrived as {got}; the copy is damaged, fetch it from another server")]
    Mismatch {
        /// What was asked for.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
}

/// A client for blobs with our message bound.
#[must_use]
pub fn client(channel: Channel) -> BlobsClient<Channel> {
    BlobsClient::new(channel)
        .max_decoding_message_size(crate::MESSAGE_MAX)
        .max_encoding_message_size(crate::MESSAGE_MAX)
}

/// Which of `digests` the server lacks.
///
/// # Errors
/// When the server does not answer.
pub async fn missing(channel: &Channel, digests: &[Digest]) -> Result<Vec<Digest>, TransferError> {
    let mut missing = Vec::new();
    for batch in digests.chunks(HAVE_BATCH) {
        let asked = batch.iter().map(|digest| digest.0.to_vec().into()).collect();
        let reply = client(channel.clone()).have(HaveRequest { digests: asked }).await?;
        let lacks = batch.iter().zip(reply.into_inner().have).filter(|(_, have)| !have);
        missing.extend(lacks.map(|(digest, _)| *digest));
    }
    Ok(missing)
}

/// Sends what the server lacks; returns after it is durable there.
///
/// # Errors
/// When a source cannot be read or the server refuses.
pub async fn put(channel: &Channel, sources: Vec<Source>) -> Result<(), TransferError> {
    let digests: Vec<_> = sources.iter().map(|source| source.digest).collect();
    let lacking: std::collections::BTreeSet<_> =
        missing(channel, &digests).await?.into_iter().collect();
    put_all(channel, sources.into_iter().filter(|s| lacking.contains(&s.digest)).collect()).await
}

/// Sends all, without asking first.
///
/// # Errors
/// When a source cannot be read or the server refuses.
pub async fn put_all(channel: &Channel, sources: Vec<Source>) -> Result<(), TransferError> {
    if sources.is_empty() {
        return Ok(());
    }
    let (chunks, receiver) = tokio::sync::mpsc::channel(CHUNKS_AHEAD);
    let feed = tokio::task::spawn_blocking(move || feed(sources, &chunks));
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let sent = client(channel.clone()).put(stream).await;
    let fed = feed.await.map_err(|fault| io::Error::other(fault.to_string()))?;
    fed?;
    sent?;
    Ok(())
}

/// Reads sources into chunks; stops quietly when the call has ended, which says why itself.
fn feed(sources: Vec<Source>, chunks: &tokio::sync::mpsc::Sender<PutChunk>) -> io::Result<()> {
    for source in sources {
        let mut reader = (source.open)()?;
        let mut left = source.size;
        loop {
            let want = left.min(limit::BLOB_CHUNK.0) as usize;
            let mut data = vec![0; want];
            reader.read_exact(&mut data)?;
            left -= want as u64;
            let chunk = PutChunk {
                digest: source.digest.0.to_vec().into(),
                size: source.size,
                data: data.into(),
                last: left == 0,
            };
            if chunks.blocking_send(chunk).is_err() {
                return Ok(());
            }
            if left == 0 {
                break;
            }
        }
    }
    Ok(())
}

/// Fetches a blob into `out` and verifies it. Returns its length.
///
/// # Errors
/// When the server lacks it, or the bytes differ from the digest: `out` is then worthless.
pub async fn get(
    channel: &Channel,
    digest: Digest,
    out: &mut (impl Write + Send),
) -> Result<u64, TransferError> {
    use sha2::Digest as _;
    let request = GetRequest { digest: digest.0.to_vec().into(), offset: 0 };
    let mut stream = client(channel.clone()).get(request).await?.into_inner();
    let mut hasher = sha2::Sha256::new();
    let mut size = 0;
    while let Some(chunk) = stream.message().await? {
        hasher.update(&chunk.data);
        out.write_all(&chunk.data)?;
        size += chunk.data.len() as u64;
    }
    let got = Digest(hasher.finalize().into());
    if got != digest {
        return Err(TransferError::Mismatch { wanted: digest, got });
    }
    Ok(size)
}

/// Fetches a blob into memory.
///
/// # Errors
/// As [`get`]; also when it is longer than `max` bytes.
pub async fn get_bytes(
    channel: &Channel,
    digest: Digest,
    max: usize,
) -> Result<Vec<u8>, TransferError> {
    let mut out = Bounded { bytes: Vec::new(), max };
    get(channel, digest, &mut out).await?;
    Ok(out.bytes)
}

struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + data.len() > self.max {
            let why = format!("blob is longer than the {} bytes allowed here", self.max);
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
