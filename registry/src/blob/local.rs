//! A content-addressed store in a folder: verified on write and on read.

mod away;
mod busy;
mod doomed;
mod held;

use super::{
    pack::{self, Pack},
    remote::Remote,
    room,
};
use away::Lazy;
use busy::Busy;
use domain::Digest;
use sha2::Digest as _;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

/// Level at which blobs are compressed where it pays.
const LEVEL: i32 = 1;
/// Bytes that are looked at to see whether compression pays.
const SAMPLE: usize = 64 << 10;
/// Name endings of the two forms of a large blob.
const PLAIN: &str = "raw";
const PACKED: &str = "zst";

/// A blob that cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The disk is full.
    #[error("no room for blobs at {}; free some there, or add a disk", path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// The disk failed otherwise.
    #[error("blob store at {}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not here.
    #[error("blob {0} is not on this server; another may have it")]
    Missing(Digest),
    /// The bytes are not those of the digest that was announced.
    #[error("blob {wanted} came as {got}; nothing was stored, send it again")]
    Mismatch {
        /// What was announced.
        wanted: Digest,
        /// What came.
        got: Digest,
    },
    /// The stored bytes have changed.
    #[error(
        "blob {0} is damaged on this server's disk and set aside; fetch it from another server"
    )]
    Damaged(Digest),
    /// The store elsewhere does not do what it is asked.
    #[error("blobs in {place}: {source}")]
    Away {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The blobs of this folder are not where they are looked for.
    #[error(
        "the blobs of {} are in {known}, and the configuration says {asked}; change it back, or \
         copy them and write the new place into {}/place; to a disk they come with a new server",
        dir.display(), dir.display()
    )]
    OtherPlace {
        /// The folder.
        dir: PathBuf,
        /// Where they are.
        known: String,
        /// Where they are looked for.
        asked: String,
    },
    /// It is longer than the caller allows.
    #[error("blob {digest} has {size} bytes, at most {max} are allowed here")]
    TooLong {
        /// Which.
        digest: Digest,
        /// Its length.
        size: u64,
        /// The bound.
        max: u64,
    },
}

impl BlobError {
    pub(super) fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, source },
        }
    }
}

struct Shared {
    dir: PathBuf,
    pack: RwLock<Pack>,
    temporary: AtomicU64,
    /// Blobs that are to go.
    doomed: Mutex<BTreeSet<Digest>>,
    /// Those that somebody stores or deletes.
    busy: Busy,
    /// What holds the bytes, where it is not this disk.
    remote: Option<Arc<dyn Remote>>,
}

/// The store of one server, shared by its threads.
#[derive(Clone)]
pub struct BlobStore(Arc<Shared>);

impl BlobStore {
    /// Opens or makes the store in `dir`. What an earlier life had not finished is removed.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub fn open(dir: &Path) -> Result<Self, BlobError> {
        Self::open_with(dir, None)
    }

    fn opened(dir: &Path, remote: Option<Arc<dyn Remote>>) -> Result<Self, BlobError> {
        let temporary = dir.join("tmp");
        let made = std::fs::create_dir_all(dir).and_then(|()| {
            if temporary.exists() {
                std::fs::remove_dir_all(&temporary)?;
            }
            std::fs::create_dir(&temporary)
        });
        made.map_err(|source| BlobError::of(dir, source))?;
        let pack = Pack::open(pack::path(dir))?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            pack: RwLock::new(pack),
            temporary: AtomicU64::new(0),
            doomed: Mutex::default(),
            busy: Busy::default(),
            remote,
        })))
    }

    fn file(&self, digest: &Digest, form: &str) -> PathBuf {
        let name = digest.to_string();
        self.0.dir.join(&name[..2]).join(format!("{name}.{form}"))
    }

    fn packed<T>(&self, look: impl FnOnce(&Pack) -> T) -> T {
        look(&self.0.pack.read().expect("no holder of this lock can panic"))
    }

    /// Whether the blob is here, and to be relied on: it is none of those that are to go.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.is_here(digest) && !self.is_doomed(digest)
    }

    /// Whether the blob can be read here now.
    #[must_use]
    pub fn is_here(&self, digest: &Digest) -> bool {
        self.packed(|pack| pack.has(digest))
            || self.file(digest, PLAIN).exists()
            || self.file(digest, PACKED).exists()
            || self.away(digest).is_some()
    }

    /// Refuses bytes that would take what is kept for the replicated log.
    ///
    /// # Errors
    /// When there is no room for `more` bytes.
    pub fn check_room(&self, more: u64) -> Result<(), BlobError> {
        room::check(&self.0.dir, more).map_err(|source| BlobError::of(&self.0.dir, source))
    }

    /// Stores small blobs together, with one fsync.
    ///
    /// # Errors
    /// When one is not what its digest says (none is stored then), or the disk fails.
    pub fn put_bytes(&self, blobs: &[(Digest, Vec<u8>)]) -> Result<(), BlobError> {
        for (wanted, bytes) in blobs {
            let got = Digest::of(bytes);
            if got != *wanted {
                return Err(BlobError::Mismatch { wanted: *wanted, got });
            }
        }
        self.check_room(blobs.iter().map(|(_, bytes)| bytes.len() as u64).sum())?;
        let _held = self.0.busy.hold(blobs.iter().map(|(digest, _)| *digest));
        self.put_away(blobs)?;
        self.spare_now(blobs.iter().map(|(digest, _)| *digest));
        let mut pack = self.0.pack.write().expect("no holder of this lock can panic");
        pack.append(blobs)
    }

    /// Starts to write a large blob of about `size` bytes.
    ///
    /// # Errors
    /// When the disk fails or has no room for it.
    pub fn writer(&self, size: u64) -> Result<BlobWriter, BlobError> {
        self.check_room(size)?;
        let number = self.0.temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.0.dir.join("tmp").join(number.to_string());
        let file = File::create_new(&path).map_err(|source| BlobError::of(&path, source))?;
        Ok(BlobWriter {
            store: self.clone(),
            path,
            hasher: sha2::Sha256::new(),
            out: Out::Undecided(file, Vec::new()),
        })
    }

    /// Reads a blob. The last read fails if the bytes are not those of the digest.
    ///
    /// # Errors
    /// When it is not here or the disk fails.
    pub fn read(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, BlobError> {
        if let Some(bytes) = self.packed(|pack| pack.read(digest))? {
            return Ok(Box::new(self.verified(io::Cursor::new(bytes), *digest)));
        }
        for form in [PLAIN, PACKED] {
            let path = self.file(digest, form);
            let fault = |source| BlobError::of(&path, source);
            match File::open(&path) {
                Ok(file) if form == PLAIN => return Ok(Box::new(self.verified(file, *digest))),
                Ok(file) => {
                    let reader = zstd::Decoder::new(file).map_err(fault)?;
                    return Ok(Box::new(self.verified(reader, *digest)));
                }
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(fault(source)),
            }
        }
        let Some((remote, form)) = self.away(digest) else {
            return Err(BlobError::Missing(*digest));
        };
        let bytes = Lazy::new(remote, away::large(digest, form));
        if form == PLAIN {
            return Ok(Box::new(self.verified(bytes, *digest)));
        }
        let reader = zstd::Decoder::new(bytes).map_err(|why| self.away_fault(why))?;
        Ok(Box::new(self.verified(reader, *digest)))
    }

    fn verified<R: Read>(&self, inner: R, wanted: Digest) -> Verified<R> {
        let since = SystemTime::now();
        Verified { store: self.clone(), inner, hasher: sha2::Sha256::new(), wanted, since }
    }

    /// Keeps a damaged blob where nobody takes it for the blob, so that a whole one may come.
    fn set_aside(&self, digest: &Digest, since: SystemTime) {
        self.0.pack.write().expect("no holder of this lock can panic").forget(digest);
        for form in [PLAIN, PACKED] {
            let path = self.file(digest, form);
            // It is there in one form at most.
            let _ = std::fs::rename(&path, path.with_extension(format!("{form}.damaged")));
        }
        self.set_aside_away(digest, since);
    }

    /// Reads a blob of at most `max` bytes into memory.
    ///
    /// # Errors
    /// When it is not here, too long or damaged, or the disk fails.
    pub fn read_bytes(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, BlobError> {
        let too_long = |size| BlobError::TooLong { digest: *digest, size, max: max as u64 };
        if let Some(size) = self.packed(|pack| pack.len_of(digest))
            && size > max as u64
        {
            return Err(too_long(size));
        }
        let mut bytes = Vec::new();
        let read = self.read(digest)?.take(max as u64 + 1).read_to_end(&mut bytes);
        match read {
            Err(fault) if fault.kind() == io::ErrorKind::InvalidData => {
                Err(BlobError::Damaged(*digest))
            }
            Err(source) if is_away(source.kind()) => Err(self.away_fault(source)),
            Err(source) => Err(BlobError::of(&self.0.dir, source)),
            Ok(_) if bytes.len() > max => Err(too_long(bytes.len() as u64)),
            Ok(_) => Ok(bytes),
        }
    }
}

enum Out {
    /// The first bytes are gathered to see whether compression pays.
    Undecided(File, Vec<u8>),
    Plain(File),
    Packed(Box<zstd::Encoder<'static, File>>),
}

/// A large blob on its way; dropped unfinished, it leaves nothing.
pub struct BlobWriter {
    store: BlobStore,
    path: PathBuf,
    hasher: sha2::Sha256,
    out: Out,
}

impl BlobWriter {
    fn fault(&self, source: io::Error) -> BlobError {
        BlobError::of(&self.path, source)
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.hasher.update(bytes);
        let written = match &mut self.out {
            Out::Undecided(_, gathered) => {
                gathered.extend_from_slice(bytes);
                if gathered.len() >= SAMPLE { self.decide() } else { Ok(()) }
            }
            Out::Plain(file) => file.write_all(bytes),
            Out::Packed(encoder) => encoder.write_all(bytes),
        };
        written.map_err(|source| self.fault(source))
    }

    /// Compresses from here on if the gathered bytes shrink by a twentieth.
    fn decide(&mut self) -> io::Result<()> {
        let Out::Undecided(file, gathered) = &mut self.out else { return Ok(()) };
        let sample = &gathered[..gathered.len().min(SAMPLE)];
        let pays = zstd::bulk::compress(sample, LEVEL)?.len() * 20 < sample.len() * 19;
        let mut file = file.try_clone()?;
        let gathered = std::mem::take(gathered);
        if pays {
            let mut encoder = Box::new(zstd::Encoder::new(file, LEVEL)?);
            encoder.write_all(&gathered)?;
            self.out = Out::Packed(encoder);
        } else {
            file.write_all(&gathered)?;
            self.out = Out::Plain(file);
        }
        Ok(())
    }

    /// Ends the blob, which must be `wanted`; durable when it returns.
    ///
    /// # Errors
    /// When the bytes are others, or the disk fails; nothing is stored then.
    pub fn finish(mut self, wanted: Digest) -> Result<(), BlobError> {
        let got = Digest(self.hasher.clone().finalize().into());
        if got != wanted {
            return Err(BlobError::Mismatch { wanted, got });
        }
        if let (Some(_), Out::Undecided(_, gathered)) = (&self.store.0.remote, &mut self.out) {
            // A small one is on this disk as well, however it came.
            let bytes = std::mem::take(gathered);
            return self.store.put_bytes(&[(wanted, bytes)]);
        }
        let (file, form) = self.close().map_err(|source| self.fault(source))?;
        let _held = self.store.0.busy.hold([wanted]);
        match self.store.0.remote.clone() {
            None => self.place(&file, &wanted, form).map_err(|source| self.fault(source))?,
            Some(remote) => self.send(remote.as_ref(), &wanted, form)?,
        }
        self.store.spare_now([wanted]);
        Ok(())
    }

    /// Ends the file.
    fn close(&mut self) -> io::Result<(File, &'static str)> {
        self.decide()?;
        let none = Out::Undecided(File::open(&self.path)?, Vec::new());
        Ok(match std::mem::replace(&mut self.out, none) {
            Out::Packed(encoder) => (encoder.finish()?, PACKED),
            Out::Plain(file) | Out::Undecided(file, _) => (file, PLAIN),
        })
    }

    /// Sends the bytes elsewhere, and lets a file stand for them.
    fn send(
        &self,
        remote: &dyn Remote,
        digest: &Digest,
        form: &'static str,
    ) -> Result<(), BlobError> {
        let sent = remote.put(&away::large(digest, form), &self.path);
        sent.map_err(|why| self.store.away_fault(why))?;
        let path = self.store.file(digest, away::away(form));
        self.store.stand_in(&path).map_err(|why| BlobError::of(&path, why))
    }

    fn place(&self, file: &File, digest: &Digest, form: &str) -> io::Result<()> {
        file.sync_all()?;
        let target = self.store.file(digest, form);
        let folder = target.parent().expect("the path has a folder");
        if !folder.exists() {
            std::fs::create_dir_all(folder)?;
            File::open(&self.store.0.dir)?.sync_all()?;
        }
        std::fs::rename(&self.path, &target)?;
        File::open(folder)?.sync_all()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // Gone already when it was put into place.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Checks the digest of what it has read when the end is reached.
struct Verified<R> {
    store: BlobStore,
    inner: R,
    hasher: sha2::Sha256,
    wanted: Digest,
    /// When it was begun: what was stored later is not what was read.
    since: SystemTime,
}

/// Whether a fault is of the way to a store elsewhere.
fn is_away(kind: io::ErrorKind) -> bool {
    kind == io::ErrorKind::ConnectionAborted
}

fn is_damage(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, Other, UnexpectedEof};
    matches!(kind, InvalidData | InvalidInput | Other | UnexpectedEof)
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let (store, wanted, since) = (&self.store, self.wanted, self.since);
        let damaged = || {
            store.set_aside(&wanted, since);
            let why = BlobError::Damaged(wanted).to_string();
            io::Error::new(io::ErrorKind::InvalidData, why)
        };
        let read = match self.inner.read(out) {
            // A damaged frame of compressed bytes, or one that seems to go on after the end.
            Err(fault) if is_damage(fault.kind()) => return Err(damaged()),
            other => other?,
        };
        if read == 0 && !out.is_empty() {
            let got = Digest(self.hasher.clone().finalize().into());
            if got != self.wanted {
                return Err(damaged());
            }
        }
        self.hasher.update(&out[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod away_test;
#[cfg(test)]
mod local_test;
