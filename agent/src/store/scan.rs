//! Hashes and cuts the files of a folder on all cores, each byte read once, and hands the chunks
//! on while they are in memory.

use super::{describe, meter::Meter};
use bytes::Bytes;
use domain::{
    Bytes as Size, Digest,
    chunks::{Chunk, ChunkManifest, ChunkedFile},
    job::EndCause,
    tree::TreeFile,
};
use registry::{
    blob::chunks::{Cutter, Piece},
    files::walk,
};
use sha2::Digest as _;
use std::{
    collections::BTreeSet,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::mpsc;

/// Files that are hashed at the same time at most.
const THREADS_MAX: usize = 8;

/// Hashes every file below `folder`; `hot` gets the chunks in any order of files, and is waited
/// for. Each byte is counted. A listener that is gone ends nothing: the chunks are read again later.
///
/// # Errors
/// When a file cannot be read or is none, or the names are not those of a tree.
pub fn scan(
    folder: &Path,
    hot: &mpsc::Sender<Vec<Piece>>,
    meter: &Meter,
) -> Result<ChunkManifest, EndCause> {
    let failed = |fault| describe::walk_cause(folder, fault);
    let paths = walk::files(folder).map_err(failed)?;
    let root = File::open(folder).map_err(|why| io_cause(folder, &why))?;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<ChunkedFile>> = Mutex::default();
    let work = || -> Result<(), EndCause> {
        while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
            let inside = path.strip_prefix(folder).unwrap_or(path);
            let name = walk::name(path, inside).map_err(failed)?;
            let open = walk::open_below(&root, inside).map_err(|why| io_cause(path, &why))?;
            let file = scan_file(&open, name, hot, meter).map_err(|why| io_cause(path, &why))??;
            done.lock().unwrap_or_else(PoisonError::into_inner).push(file);
        }
        Ok(())
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = cores.min(THREADS_MAX).min(paths.len().max(1));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let ended = threads.into_iter().map(|thread| {
            let fault = || EndCause::Seal { detail: "a thread that hashed ended early".into() };
            thread.join().unwrap_or_else(|_| Err(fault()))
        });
        ended.collect::<Result<Vec<()>, _>>()
    })?;
    let mut files = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    files.sort_by(|one, other| one.file.path.cmp(&other.file.path));
    let manifest = ChunkManifest { files };
    manifest.check().map_err(|fault| EndCause::Seal { detail: fault.to_string() })?;
    Ok(manifest)
}

fn io_cause(path: &Path, why: &io::Error) -> EndCause {
    EndCause::Seal { detail: format!("`{}`: {why}", path.display()) }
}

fn scan_file(
    file: &File,
    name: &str,
    hot: &mpsc::Sender<Vec<Piece>>,
    meter: &Meter,
) -> io::Result<Result<ChunkedFile, EndCause>> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("is a special file or folder; only regular files are saved"));
    }
    let mut cutter = Cutter::new(file);
    let mut hasher = sha2::Sha256::new();
    let (mut chunks, mut size) = (Vec::new(), 0);
    while let Some(block) = cutter.next_block()? {
        hasher.update(&block.bytes);
        size += block.bytes.len() as u64;
        meter.add(block.bytes.len() as u64);
        let pieces: Vec<Piece> = block.chunks.into_iter().map(Piece::of).collect();
        chunks.extend(pieces.iter().map(|it| Chunk { name: it.name(), len: it.len() }));
        // Waits while the places do not keep up.
        let _ = hot.blocking_send(pieces);
    }
    if size != meta.len() {
        return Ok(Err(EndCause::OutputChanged { path: name.to_owned() }));
    }
    let file = TreeFile {
        digest: Digest(hasher.finalize().into()),
        executable: meta.mode() & 0o100 != 0,
        path: name.to_owned(),
        size: Size(size),
    };
    Ok(Ok(ChunkedFile { file, chunks }))
}

/// Where a chunk of a folder can be read again.
#[derive(Clone, Debug)]
pub struct Source {
    /// The chunk.
    pub chunk: Chunk,
    root: Arc<File>,
    inside: Arc<Path>,
    at: u64,
}

/// Where each chunk of a folder can be read, each once.
///
/// # Errors
/// When the folder is gone.
pub fn sources(manifest: &ChunkManifest, folder: &Path) -> Result<Vec<Source>, EndCause> {
    let root = Arc::new(File::open(folder).map_err(|why| io_cause(folder, &why))?);
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for ChunkedFile { file, chunks } in &manifest.files {
        let inside: Arc<Path> = Path::new(&file.path).into();
        let mut at = 0;
        for chunk in chunks {
            if seen.insert(chunk.name) {
                let (root, inside) = (Arc::clone(&root), Arc::clone(&inside));
                sources.push(Source { chunk: *chunk, root, inside, at });
            }
            at += u64::from(chunk.len);
        }
    }
    Ok(sources)
}

impl Source {
    /// Reads the chunk again.
    ///
    /// # Errors
    /// When it cannot be read, or the bytes are others by now.
    pub fn read(&self) -> Result<Piece, EndCause> {
        use std::os::unix::fs::FileExt;
        let changed = || EndCause::OutputChanged { path: self.inside.display().to_string() };
        let mut bytes = vec![0; self.chunk.len as usize];
        let file = walk::open_below(&self.root, &self.inside).map_err(|_| changed())?;
        file.read_exact_at(&mut bytes, self.at).map_err(|_| changed())?;
        let piece = Piece::of(Bytes::from(bytes));
        if piece.name() == self.chunk.name { Ok(piece) } else { Err(changed()) }
    }
}
