//! Lays a checkpoint out again: chunks stream from several requests at once into its files, each
//! verified before it is written, with a bounded number in memory.
//!
//! The list is verified by the digest in the log, and each chunk by the name in the list. Nothing
//! is synced: a node that loses power loses its lease, too, and the next attempt restores again.

use super::{
    CacheError, StoreError,
    chunks::{ChunkPlace, Chunks, PlaceFault},
};
use domain::{
    Digest,
    chunks::{Chunk, ChunkManifest},
    limit,
};
use futures::stream::{self, StreamExt, TryStreamExt};
use registry::blob::chunks::Piece;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;

/// Requests for chunks at the same time.
const REQUESTS: usize = 4;
/// Bytes of one request.
const REQUEST: u64 = 32 << 20;
/// Chunks of one request that wait to be written.
const AHEAD: usize = 8;
/// First and longest wait after no place has answered.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// A chunk and where it goes.
#[derive(Clone)]
struct Target {
    chunk: Chunk,
    file: usize,
    at: u64,
}

/// Writes the checkpoint with this list into `folder`, which is made.
///
/// # Errors
/// When no place has a part of it, or the disk refuses.
pub async fn restore(
    chunks: &impl Chunks,
    digest: Digest,
    what: &str,
    folder: &Path,
) -> Result<ChunkManifest, CacheError> {
    let lost =
        |why| CacheError::Blob { what: what.to_owned(), why: StoreError::Lost { digest, why } };
    let list = ask(chunks, |place| async move { place.list(digest).await }).await.map_err(lost)?;
    let manifest = ChunkManifest::decode(&list).map_err(|why| lost(why.to_string()))?;
    let paths: Arc<[PathBuf]> =
        manifest.files.iter().map(|it| folder.join(&it.file.path)).collect();
    make(&paths, folder)?;
    stream::iter(requests(&manifest))
        .map(|request| fill(chunks, request, Arc::clone(&paths)))
        .buffer_unordered(REQUESTS)
        .try_collect::<()>()
        .await
        .map_err(|fault| match fault {
            Fault::Lost(why) => lost(why),
            Fault::Disk(fault) => fault,
        })?;
    for (path, file) in paths.iter().zip(&manifest.files) {
        let sealed = File::open(path).and_then(|it| super::cache::seal(&it, file.file.executable));
        sealed.map_err(|why| write_fault(path, why))?;
    }
    Ok(manifest)
}

enum Fault {
    Lost(String),
    Disk(CacheError),
}

fn write_fault(path: &Path, why: io::Error) -> CacheError {
    CacheError::Write { path: path.display().to_string(), why }
}

/// Asks one place after another until one gives an answer; goes on while any is silent.
async fn ask<C: Chunks, T, F>(
    chunks: &C,
    mut question: impl FnMut(C::Place) -> F,
) -> Result<T, String>
where
    F: Future<Output = Result<T, PlaceFault>>,
{
    let mut backoff = BACKOFF.0;
    loop {
        let mut silent = false;
        let mut no = "there is no server to ask".to_owned();
        for place in chunks.places() {
            match question(place).await {
                Ok(answer) => return Ok(answer),
                Err(PlaceFault::Refused(why)) => no = why,
                Err(PlaceFault::Silent(_)) => silent = true,
            }
        }
        if !silent {
            return Err(no);
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

fn make(paths: &[PathBuf], folder: &Path) -> Result<(), CacheError> {
    fs::create_dir_all(folder).map_err(|why| write_fault(folder, why))?;
    for path in paths {
        let parent = path.parent().unwrap_or(folder);
        let made = fs::create_dir_all(parent).and_then(|()| File::create_new(path).map(drop));
        made.map_err(|why| write_fault(path, why))?;
    }
    Ok(())
}

/// All chunks of all files, in parts of bounded size.
fn requests(manifest: &ChunkManifest) -> Vec<Vec<Target>> {
    let mut requests: Vec<Vec<Target>> = Vec::new();
    let mut size = u64::MAX;
    for (file, of) in manifest.files.iter().enumerate() {
        let mut at = 0;
        for chunk in &of.chunks {
            size = size.saturating_add(u64::from(chunk.len));
            let full = requests.last().is_none_or(|it| it.len() >= limit::CHUNK_NAMES_MAX);
            if size > REQUEST || full {
                requests.push(Vec::new());
                size = u64::from(chunk.len);
            }
            if let Some(request) = requests.last_mut() {
                request.push(Target { chunk: *chunk, file, at });
            }
            at += u64::from(chunk.len);
        }
    }
    requests
}

/// Fetches and writes one request; what one place has given is not asked of the next.
async fn fill(
    chunks: &impl Chunks,
    request: Vec<Target>,
    paths: Arc<[PathBuf]>,
) -> Result<(), Fault> {
    let request: Arc<[Target]> = request.into();
    let mut done = 0;
    let mut backoff = BACKOFF.0;
    loop {
        let (mut silent, before) = (false, done);
        let mut no = "there is no server to ask".to_owned();
        for place in chunks.places() {
            let wanted = request[done..].iter().map(|target| target.chunk).collect();
            let (out, pieces) = mpsc::channel(AHEAD);
            let (targets, paths) = (Arc::clone(&request), Arc::clone(&paths));
            let writing =
                tokio::task::spawn_blocking(move || write(&targets[done..], &paths, pieces));
            let fetched = place.fetch(wanted, out).await;
            let wrote = writing.await.map_err(|why| Fault::Lost(why.to_string()))?;
            done += wrote.map_err(Fault::Disk)?;
            if done == request.len() {
                return Ok(());
            }
            match fetched {
                Err(PlaceFault::Refused(why)) => no = why,
                Ok(()) | Err(PlaceFault::Silent(_)) => silent = true,
            }
        }
        if !silent && done == before {
            return Err(Fault::Lost(no));
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// Writes pieces as they come, in order. Returns how many.
fn write(
    targets: &[Target],
    paths: &[PathBuf],
    mut pieces: mpsc::Receiver<Piece>,
) -> Result<usize, CacheError> {
    let mut open: Option<(usize, File)> = None;
    let mut done = 0;
    for target in targets {
        let Some(piece) = pieces.blocking_recv() else { break };
        let path = &paths[target.file];
        let failed = |why| write_fault(path, why);
        let bytes = piece.unpacked().map_err(|why| failed(io::Error::other(why.to_string())))?;
        let file = match open.take() {
            Some((file, open)) if file == target.file => open,
            _ => OpenOptions::new().write(true).open(path).map_err(failed)?,
        };
        file.write_all_at(&bytes, target.at).map_err(failed)?;
        open = Some((target.file, file));
        done += 1;
    }
    Ok(done)
}
