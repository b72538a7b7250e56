//! The store of one server: packs of chunks, and the lists that say which of them are needed.

use super::{
    ChunkFault, Form, Piece,
    batch::{self, Entry, Head, Kind},
    direct::{self, Buffer},
    sort,
};
use crate::blob::{local::BlobError, room};
use domain::{
    Digest,
    chunks::{Chunk, ChunkManifest, ChunkName, Pin},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Length from which a pack gets no more batches.
const PACK_FULL: u64 = 1 << 30;
/// Bytes of neighbours that are read together.
const RUN_MAX: u64 = 8 << 20;
/// Buffers for batches that are kept for the next ones.
const BUFFERS_KEPT: usize = 4;

/// Where bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub pack: u32,
    pub at: u64,
    pub stored: u32,
    pub len: u32,
    pub form: Form,
}

/// A chunk that is here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    pub place: Place,
    /// How often lists that are here name it.
    pub refs: u32,
    /// When it came, or this life of the server began; none once a list has named it.
    pub orphan: Option<Instant>,
}

/// A list that is here, and all of whose chunks are.
#[derive(Clone, Debug)]
pub(super) struct HeldList {
    pub place: Place,
    /// Attempts that have put it here, with the pack that says so.
    pub pins: BTreeMap<Pin, u32>,
}

/// One file.
pub(super) struct Pack {
    pub file: Arc<File>,
    pub path: PathBuf,
    pub len: u64,
    /// Records in it that are needed.
    pub live: u64,
    /// What it says is no longer here, as long as an older pack may say otherwise.
    pub gone: Vec<(Kind, [u8; 32])>,
}

/// What is where.
#[derive(Default)]
pub(super) struct Index {
    pub chunks: BTreeMap<ChunkName, Held>,
    pub lists: BTreeMap<Digest, HeldList>,
    pub packs: BTreeMap<u32, Pack>,
}

pub(super) struct Shared {
    pub dir: PathBuf,
    pub index: Mutex<Index>,
    /// Held by whoever writes, from the decision what to write until the index shows it.
    pub writing: Mutex<()>,
    buffers: Mutex<Vec<Buffer>>,
}

/// A store, shared by its threads.
#[derive(Clone)]
pub struct ChunkStore(pub(super) Arc<Shared>);

/// How much is here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Chunks.
    pub chunks: u64,
    /// Bytes that they take.
    pub stored: u64,
    /// Lists of chunks.
    pub lists: u64,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What a panic left is whole: changes of the index are made after the writes.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ChunkStore {
    /// Opens or makes the store in `dir`.
    ///
    /// # Errors
    /// When the folder cannot be used, or a pack is damaged.
    pub fn open(dir: &Path) -> Result<Self, ChunkFault> {
        std::fs::create_dir_all(dir).map_err(|source| BlobError::of(dir, source))?;
        let index = sort::read(dir)?;
        Ok(Self(Arc::new(Shared {
            dir: dir.to_owned(),
            index: Mutex::new(index),
            writing: Mutex::default(),
            buffers: Mutex::default(),
        })))
    }

    pub(super) fn index(&self) -> MutexGuard<'_, Index> {
        locked(&self.0.index)
    }

    /// Which of these are not here, each answered in its place.
    #[must_use]
    pub fn lacking(&self, names: &[ChunkName]) -> Vec<bool> {
        let index = self.index();
        names.iter().map(|name| !index.chunks.contains_key(name)).collect()
    }

    /// Whether a list and all of its chunks are here.
    #[must_use]
    pub fn holds(&self, list: &Digest) -> bool {
        self.index().lists.contains_key(list)
    }

    /// How much is here.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let index = self.index();
        Figures {
            chunks: index.chunks.len() as u64,
            stored: index.chunks.values().map(|held| u64::from(held.place.stored)).sum(),
            lists: index.lists.len() as u64,
        }
    }

    /// Stores what of these is not here, with one fsync. Returns how many bytes were written.
    ///
    /// # Errors
    /// When the disk fails or has no room; nothing is stored then.
    pub fn put(&self, pieces: &[Piece]) -> Result<u64, ChunkFault> {
        let mut new: BTreeMap<ChunkName, &Piece> = BTreeMap::new();
        {
            let index = self.index();
            let lacking = pieces.iter().filter(|it| !index.chunks.contains_key(&it.name()));
            new.extend(lacking.map(|piece| (piece.name(), piece)));
        }
        if new.is_empty() {
            return Ok(0);
        }
        // In the order in which they came, so that they are read in one run.
        let mut entries = Vec::with_capacity(new.len());
        for piece in pieces {
            if let Some(piece) = new.remove(&piece.name()) {
                let kind = match piece.form() {
                    Form::Raw => Kind::Raw,
                    Form::Zstd => Kind::Zstd,
                };
                let (name, len) = (piece.name().0, piece.len());
                entries.push(Entry { kind, name, len, bytes: piece.data() });
            }
        }
        let mut buffer = locked(&self.0.buffers).pop().unwrap_or_default();
        let head = batch::encode(&entries, &mut buffer);
        let written = {
            let _writing = locked(&self.0.writing);
            self.write(&head, &buffer)
        };
        let mut buffers = locked(&self.0.buffers);
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
        written?;
        Ok(head.whole)
    }

    /// Puts a list here for an attempt, which keeps it and its chunks; durable when it returns.
    ///
    /// # Errors
    /// When it is no list, chunks of it are not here, or the disk fails.
    pub fn keep(&self, list: &[u8], by: Pin) -> Result<Digest, ChunkFault> {
        let manifest = ChunkManifest::decode(list)?;
        let digest = Digest::of(list);
        let _writing = locked(&self.0.writing);
        let known = {
            let index = self.index();
            let lacks = manifest.chunks().filter(|it| !index.chunks.contains_key(&it.name));
            let lacks: Vec<_> = lacks.map(|it| it.name).collect();
            if let Some(first) = lacks.first() {
                return Err(ChunkFault::Lacks { first: *first, count: lacks.len() });
            }
            index.lists.get(&digest).map(|held| held.pins.contains_key(&by))
        };
        let pin = borsh::to_vec(&by).map_err(|why| BlobError::of(&self.0.dir, why))?;
        let of = |kind, bytes| Entry { kind, name: digest.0, len: 0, bytes };
        let entries = match known {
            Some(true) => return Ok(digest),
            Some(false) => vec![of(Kind::Pin, pin.as_slice())],
            None => vec![of(Kind::List, list), of(Kind::Pin, pin.as_slice())],
        };
        let mut buffer = Buffer::default();
        let head = batch::encode(&entries, &mut buffer);
        let pack = self.write(&head, &buffer)?;
        let mut index = self.index();
        if let Some(held) = index.lists.get_mut(&digest) {
            held.pins.insert(by, pack);
        }
        if known.is_none() {
            index.name(&manifest);
        }
        Ok(digest)
    }

    /// Writes a batch to the newest pack and shows it in the index. To be called by the holder of
    /// `writing`.
    pub(super) fn write(&self, head: &Head, buffer: &Buffer) -> Result<u32, BlobError> {
        room::check(&self.0.dir, head.whole).map_err(|why| BlobError::of(&self.0.dir, why))?;
        let (number, file, path, at) = self.newest()?;
        let fault = |source| BlobError::of(&path, source);
        use std::os::unix::fs::FileExt;
        let written = file.write_all_at(buffer.bytes(), at).and_then(|()| file.sync_data());
        if let Err(source) = written {
            // What of it reached the file is cut off, now or at the next open.
            let _ = file.set_len(at);
            return Err(fault(source));
        }
        let mut index = self.index();
        index.take(number, at, head);
        Ok(number)
    }

    /// The pack that the next batch goes to, and where in it.
    fn newest(&self) -> Result<(u32, Arc<File>, PathBuf, u64), BlobError> {
        let mut index = self.index();
        let newest = index.packs.last_key_value();
        if let Some((number, pack)) = newest.filter(|(_, pack)| pack.len < PACK_FULL) {
            return Ok((*number, Arc::clone(&pack.file), pack.path.clone(), pack.len));
        }
        let number = newest.map_or(1, |(number, _)| number + 1);
        let path = sort::path(&self.0.dir, number);
        let fault = |source| BlobError::of(&path, source);
        let file = Arc::new(direct::open(&path).map_err(fault)?);
        File::open(&self.0.dir).and_then(|dir| dir.sync_all()).map_err(fault)?;
        index.packs.insert(number, Pack::new(Arc::clone(&file), path.clone(), 0));
        Ok((number, file, path, 0))
    }

    /// The stored form of a list.
    ///
    /// # Errors
    /// When it is not here or damaged, or the disk fails.
    pub fn list(&self, digest: &Digest) -> Result<Vec<u8>, ChunkFault> {
        let place = self.index().lists.get(digest).map(|held| held.place);
        let place = place.ok_or(ChunkFault::NoList(*digest))?;
        let bytes = self.read_place(&place)?;
        if Digest::of(&bytes) != *digest {
            self.index().lose_list(digest);
            return Err(ChunkFault::NoList(*digest));
        }
        Ok(bytes)
    }

    pub(super) fn read_place(&self, place: &Place) -> Result<Vec<u8>, ChunkFault> {
        let pack = self.index().packs.get(&place.pack).map(|it| Arc::clone(&it.file));
        let gone = || BlobError::of(&self.0.dir, io::ErrorKind::NotFound.into());
        let bytes = sort::read_at(&*pack.ok_or_else(gone)?, place.at, place.stored as usize);
        Ok(bytes.map_err(|source| BlobError::of(&self.0.dir, source))?)
    }

    /// Reads the first of `wanted`, with as many as follow it on the disk; returns how many those
    /// are. Each is checked.
    ///
    /// # Errors
    /// When the first is not here or damaged, or the disk fails.
    pub fn read_run(&self, wanted: &[Chunk]) -> Result<Vec<Piece>, ChunkFault> {
        let Some(first) = wanted.first() else { return Ok(Vec::new()) };
        let (places, file) = {
            let index = self.index();
            let place = |chunk: &Chunk| index.chunks.get(&chunk.name).map(|held| held.place);
            let start = place(first).ok_or(ChunkFault::Missing(first.name))?;
            let mut places = vec![start];
            let mut end = start.at + u64::from(start.stored);
            for next in wanted[1..].iter().map_while(place) {
                let far =
                    next.at < start.at || next.at + u64::from(next.stored) > start.at + RUN_MAX;
                let gap =
                    next.at.checked_sub(end).is_none_or(|gap| gap > direct::ALIGNMENT as u64 * 8);
                if next.pack != start.pack || far || gap {
                    break;
                }
                end = next.at + u64::from(next.stored);
                places.push(next);
            }
            let pack = index.packs.get(&start.pack).ok_or(ChunkFault::Missing(first.name))?;
            (places, Arc::clone(&pack.file))
        };
        let (start, last) = (places[0].at, places[places.len() - 1]);
        let len = (last.at + u64::from(last.stored) - start) as usize;
        let run = direct::read_bytes(&file, start, len);
        let run = run.map_err(|source| BlobError::of(&self.0.dir, source))?;
        let mut pieces = Vec::with_capacity(places.len());
        for (place, chunk) in places.iter().zip(wanted) {
            let from = (place.at - start) as usize;
            let data = run.slice(from..from + place.stored as usize);
            match Piece::checked(chunk.name, place.len, place.form, data) {
                Ok(piece) => pieces.push(piece),
                Err(_) if !pieces.is_empty() => break,
                Err(_) => return Err(self.damaged(chunk.name, place)),
            }
        }
        Ok(pieces)
    }

    /// A chunk whose bytes are others: it is here no longer, nor is any list that names it.
    fn damaged(&self, name: ChunkName, place: &Place) -> ChunkFault {
        let _writing = locked(&self.0.writing);
        let lists: Vec<Digest> = {
            let index = self.index();
            match index.chunks.get(&name) {
                Some(held) if held.place == *place => index.lists.keys().copied().collect(),
                // It went, or came anew, while it was read.
                _ => return ChunkFault::Missing(name),
            }
        };
        let mut gone = vec![(Kind::NoChunk, name.0)];
        for digest in lists {
            let Ok(Ok(list)) = self.list(&digest).map(|bytes| ChunkManifest::decode(&bytes)) else {
                continue;
            };
            if list.chunks().any(|chunk| chunk.name == name) {
                gone.push((Kind::NoList, digest.0));
                self.index().unname(&list);
            }
        }
        match self.write_gone(&gone) {
            Ok(()) => ChunkFault::Damaged(name),
            Err(fault) => fault,
        }
    }
}

impl Pack {
    pub(super) fn new(file: Arc<File>, path: PathBuf, len: u64) -> Self {
        Self { file, path, len, live: 0, gone: Vec::new() }
    }
}

#[cfg(test)]
mod tests;
