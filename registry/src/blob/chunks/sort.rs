//! From packs to an index: what is where, and what of it is needed.

use super::{
    ChunkFault, Form, Piece,
    batch::{self, Head, Kind, Record},
    direct::{self, ALIGNMENT, Buffer},
    store::{Held, HeldList, Index, Pack, Place},
};
use crate::blob::local::BlobError;
use domain::{
    Digest,
    chunks::{ChunkManifest, ChunkName, Pin},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

/// The path of a pack.
pub fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:08}.pack"))
}

/// Reads the packs in a folder.
///
/// # Errors
/// When one is damaged or cannot be read.
pub fn read(dir: &Path) -> Result<Index, ChunkFault> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| BlobError::of(dir, source))? {
        let name = entry.map_err(|source| BlobError::of(dir, source))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".pack"));
        numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    let mut index = Index::default();
    for (at, number) in numbers.iter().enumerate() {
        let path = path(dir, *number);
        let fault = |source| BlobError::of(&path, source);
        let file = Arc::new(direct::open(&path).map_err(fault)?);
        let newest = at + 1 == numbers.len();
        read_pack(&mut index, *number, &file, &path, newest).map_err(fault)?;
    }
    count(&mut index, dir)?;
    Ok(index)
}

fn read_pack(
    index: &mut Index,
    number: u32,
    file: &Arc<File>,
    path: &Path,
    newest: bool,
) -> io::Result<()> {
    let whole = file.metadata()?.len();
    index.packs.insert(number, Pack::new(Arc::clone(file), path.to_owned(), 0));
    let mut at = 0;
    while let Some(head) = head(file, at, whole)? {
        let last = newest && at + head.whole == whole;
        // The last batch may have been under way when the server was killed: its head is whole,
        // its bytes perhaps not.
        if last && !is_whole(file, at, &head)? {
            break;
        }
        index.take(number, at, &head);
        pins(index, number, file, at, &head)?;
        at += head.whole;
    }
    if at == whole {
        return Ok(());
    }
    if !newest || follows(file, at, whole)? {
        let why = format!(
            "batch at byte {at} is damaged; nothing was removed: replace this server with `assay \
             cluster remove` and `add`, its checkpoints are on others"
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    file.set_len(at)
}

/// The head of the batch at `at`, if there is one that fits.
fn head(file: &File, at: u64, whole: u64) -> io::Result<Option<Head>> {
    if at + ALIGNMENT as u64 > whole {
        return Ok(None);
    }
    let first = read_at(file, at, ALIGNMENT)?;
    let Some(len) = batch::head_at(&first) else { return Ok(None) };
    if at + len > whole {
        return Ok(None);
    }
    let bytes = read_at(file, at, len as usize)?;
    Ok(batch::decode(&bytes).filter(|head| at + head.whole <= whole))
}

/// Whether a batch follows one that cannot be read: that was written whole once.
fn follows(file: &File, at: u64, whole: u64) -> io::Result<bool> {
    let mut next = at + ALIGNMENT as u64;
    while next + ALIGNMENT as u64 <= whole {
        if head(file, next, whole)?.is_some() {
            return Ok(true);
        }
        next += ALIGNMENT as u64;
    }
    Ok(false)
}

fn is_whole(file: &File, at: u64, head: &Head) -> io::Result<bool> {
    for record in &head.records {
        let bytes = read_at(file, at + record.at, record.stored as usize)?;
        let good = match form(record.kind) {
            Some(form) => {
                Piece::checked(ChunkName(record.name), record.len, form, bytes.into()).is_ok()
            }
            None if record.kind == Kind::List => Digest::of(&bytes).0 == record.name,
            None => true,
        };
        if !good {
            return Ok(false);
        }
    }
    Ok(true)
}

fn form(kind: Kind) -> Option<Form> {
    match kind {
        Kind::Raw => Some(Form::Raw),
        Kind::Zstd => Some(Form::Zstd),
        Kind::List | Kind::Pin | Kind::NoChunk | Kind::NoList => None,
    }
}

/// Who needs the lists that a batch names.
fn pins(index: &mut Index, number: u32, file: &File, at: u64, head: &Head) -> io::Result<()> {
    for record in head.records.iter().filter(|record| record.kind == Kind::Pin) {
        let bytes = read_at(file, at + record.at, record.stored as usize)?;
        let by: Pin = borsh::from_slice(&bytes)?;
        if let Some(held) = index.lists.get_mut(&Digest(record.name)) {
            held.pins.insert(by, number);
        }
    }
    Ok(())
}

/// Bytes of a pack.
///
/// # Errors
/// When the disk fails or the file is too short.
pub fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Buffer::default();
    let skip = direct::read(file, at, len, &mut buffer)?;
    let bytes = buffer.bytes().get(skip..skip + len);
    bytes.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

/// Counts how often each chunk is named, and gives up lists that are not whole.
fn count(index: &mut Index, dir: &Path) -> Result<(), ChunkFault> {
    let fault = |source| BlobError::of(dir, source);
    let all: Vec<(Digest, Place)> =
        index.lists.iter().map(|(digest, held)| (*digest, held.place)).collect();
    for (digest, place) in all {
        let Some(pack) = index.packs.get(&place.pack) else { continue };
        let bytes = read_at(&pack.file, place.at, place.stored as usize).map_err(fault)?;
        let whole = Digest::of(&bytes) == digest;
        match ChunkManifest::decode(&bytes) {
            Ok(list) if whole && list.chunks().all(|it| index.chunks.contains_key(&it.name)) => {
                index.name(&list);
            }
            _ => index.lose_list(&digest),
        }
    }
    Ok(())
}

impl Index {
    /// Takes note of a batch that was written at `at`.
    pub(super) fn take(&mut self, number: u32, at: u64, head: &Head) {
        for record in &head.records {
            self.take_record(number, at, record);
        }
        if let Some(pack) = self.packs.get_mut(&number) {
            pack.len = at + head.whole;
        }
    }

    fn take_record(&mut self, number: u32, at: u64, record: &Record) {
        let place = |form| Place {
            pack: number,
            at: at + record.at,
            stored: record.stored,
            len: record.len,
            form,
        };
        let mut live = 1;
        match record.kind {
            Kind::Raw | Kind::Zstd => {
                let name = ChunkName(record.name);
                let form = form(record.kind).unwrap_or(Form::Raw);
                let orphan = Some(Instant::now());
                match self.chunks.entry(name) {
                    std::collections::btree_map::Entry::Vacant(free) => {
                        free.insert(Held { place: place(form), refs: 0, orphan });
                    }
                    // Two uploads brought it at the same time.
                    std::collections::btree_map::Entry::Occupied(_) => live = 0,
                }
            }
            Kind::List => {
                let held = HeldList { place: place(Form::Raw), pins: BTreeMap::new() };
                self.lists.insert(Digest(record.name), held);
            }
            // Whose it is, the bytes say.
            Kind::Pin => {}
            Kind::NoChunk => {
                live = 0;
                self.lose_chunk(&ChunkName(record.name));
                self.gone(number, record);
            }
            Kind::NoList => {
                live = 0;
                self.lose_list(&Digest(record.name));
                self.gone(number, record);
            }
        }
        if let Some(pack) = self.packs.get_mut(&number) {
            pack.live += live;
        }
    }

    fn gone(&mut self, number: u32, record: &Record) {
        if let Some(pack) = self.packs.get_mut(&number) {
            pack.gone.push((record.kind, record.name));
        }
    }

    /// A list is here: its chunks are needed.
    pub(super) fn name(&mut self, list: &ChunkManifest) {
        for chunk in list.chunks() {
            if let Some(held) = self.chunks.get_mut(&chunk.name) {
                held.refs = held.refs.saturating_add(1);
                held.orphan = None;
            }
        }
    }

    pub(super) fn lose_chunk(&mut self, name: &ChunkName) {
        if let Some(held) = self.chunks.remove(name) {
            self.less(held.place.pack);
        }
    }

    pub(super) fn lose_list(&mut self, digest: &Digest) {
        if let Some(held) = self.lists.remove(digest) {
            self.less(held.place.pack);
            for pack in held.pins.into_values() {
                self.less(pack);
            }
        }
    }

    fn less(&mut self, pack: u32) {
        if let Some(pack) = self.packs.get_mut(&pack) {
            pack.live = pack.live.saturating_sub(1);
        }
    }
}
