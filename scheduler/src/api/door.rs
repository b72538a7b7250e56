//! The public port's door: who may take a connection, for how long without a word, how many.
//!
//! A connection that says nothing, or speaks something else than TLS, must cost little and end
//! soon; one that runs out of file descriptors must not end the server.

use domain::limit;
use rustix::process::{Resource, getrlimit, setrlimit};
use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

/// Longest wait for the first byte, and for the end of the TLS handshake after it.
pub const PATIENCE: Duration = Duration::from_millis(limit::GREETING.0);
/// Connections that wait to be taken over.
const AHEAD: usize = 64;
/// Pause after a connection could not be taken.
const PAUSE: Duration = Duration::from_millis(100);
/// File descriptors that are not for connections: the log's files, blobs, the rest.
const OTHER_FILES: u64 = 768;
/// The first byte of a TLS connection: a handshake record.
const HANDSHAKE: u8 = 22;
/// Bytes of a stranger's request that are read before the answer.
const REQUEST_MAX: usize = 8 << 10;

const ANSWER: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
    Connection: close\r\nContent-Length: 161\r\n\r\n\
    This is an Assay server. It speaks gRPC over TLS to clients with a certificate of its cluster.\n\
    Use the `assay` command with a profile; `assay --help` lists all.\n";

/// A connection that begins with TLS, and its place among all.
pub struct Visitor {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
}

/// Connections as they come in, until the stream is dropped.
#[must_use]
pub fn open(listener: TcpListener) -> ReceiverStream<io::Result<Visitor>> {
    open_for(listener, places(), ANSWER)
}

/// The same, with so many places and these words for somebody who speaks HTTP without TLS.
#[must_use]
pub fn open_for(
    listener: TcpListener,
    places: usize,
    words: &'static str,
) -> ReceiverStream<io::Result<Visitor>> {
    let (out, visitors) = mpsc::channel(AHEAD);
    let places = Arc::new(Semaphore::new(places));
    tokio::spawn(watch(listener, places, words, out));
    ReceiverStream::new(visitors)
}

/// Places for connections: as many as may be, and fewer where the system grants fewer files.
fn places() -> usize {
    let mut files = getrlimit(Resource::Nofile);
    if files.current != files.maximum {
        files.current = files.maximum;
        if setrlimit(Resource::Nofile, files).is_err() {
            files = getrlimit(Resource::Nofile);
        }
    }
    let granted = files.current.unwrap_or(u64::MAX).saturating_sub(OTHER_FILES);
    usize::try_from(granted).unwrap_or(usize::MAX).clamp(16, limit::CONNECTIONS_MAX)
}

/// Takes connections. While all places are taken newcomers wait in the system's queue: those who
/// say nothing give theirs up soon.
async fn watch(
    listener: TcpListener,
    places: Arc<Semaphore>,
    words: &'static str,
    out: mpsc::Sender<io::Result<Visitor>>,
) {
    let mut greeted = JoinSet::new();
    let mut full = false;
    loop {
        if places.available_permits() == 0 && !std::mem::replace(&mut full, true) {
            tracing::warn!("every place for a connection is taken; newcomers wait");
        }
        // Every arm is cancel-safe; a place that was taken is given back.
        let taken = tokio::select! {
            () = out.closed() => return,
            Some(_) = greeted.join_next() => continue,
            taken = take(&listener, &places) => taken,
        };
        match taken {
            Ok(visitor) => {
                full = false;
                let out = out.clone();
                greeted.spawn(async move {
                    if let Some(visitor) = greet(visitor, words).await {
                        // Without a listener the server is ending.
                        let _ = out.send(Ok(visitor)).await;
                    }
                });
            }
            Err(fault) => {
                tracing::warn!(%fault, "connection not taken");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn take(listener: &TcpListener, places: &Arc<Semaphore>) -> io::Result<Visitor> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(Visitor { stream, _place: place })
}

/// Hears the first byte; lets in who begins with TLS.
async fn greet(mut visitor: Visitor, words: &'static str) -> Option<Visitor> {
    let mut first = [0];
    match timeout(PATIENCE, visitor.stream.peek(&mut first)).await {
        Ok(Ok(1)) if first[0] == HANDSHAKE => return Some(visitor),
        // A method's letter: somebody speaks HTTP without TLS.
        Ok(Ok(1)) if first[0].is_ascii_uppercase() => {
            let _ = timeout(PATIENCE, answer(&mut visitor.stream, words)).await;
        }
        Ok(Ok(_)) => tracing::debug!(byte = first[0], "connection begins with something else"),
        Ok(Err(fault)) => tracing::debug!(%fault, "connection lost before its first byte"),
        Err(_) => tracing::debug!("connection said nothing"),
    }
    None
}

/// Tells somebody who speaks HTTP what this is.
async fn answer(stream: &mut TcpStream, words: &str) -> io::Result<()> {
    // Unread bytes would make the system cut the connection before the answer is read.
    let mut request = vec![0; REQUEST_MAX];
    let _ = stream.read(&mut request).await?;
    stream.write_all(words.as_bytes()).await?;
    stream.shutdown().await?;
    while stream.read(&mut request).await? > 0 {}
    Ok(())
}

impl Connected for Visitor {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Visitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_http_has_the_length_that_it_says() {
        let (head, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
