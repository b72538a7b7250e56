//! What nothing needs any more goes, and its room on the disk with it.

use super::{
    ChunkFault,
    batch::{self, Entry, Kind},
    direct::Buffer,
    store::{ChunkStore, Index, Place, locked},
};
use domain::{
    Digest,
    chunks::{ChunkManifest, ChunkName, Pin},
};
use rustix::fs::FallocateFlags;
use std::{collections::BTreeSet, fs::File, sync::Arc, time::Duration};

/// Records of what is gone in one batch.
const GONE_MAX: usize = 16_384;

/// A list with the attempts that had put it here when it was looked at.
pub type Pinned = (Digest, BTreeSet<Pin>);

impl ChunkStore {
    /// Up to `max` lists after this one, with the attempts that have put them here.
    #[must_use]
    pub fn pinned(&self, after: Option<Digest>, max: usize) -> Vec<Pinned> {
        let index = self.index();
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let lists = index.lists.range((from, std::ops::Bound::Unbounded)).take(max);
        lists.map(|(digest, held)| (*digest, held.pins.keys().copied().collect())).collect()
    }

    /// Gives up lists that nothing needs. One that another attempt has put here meanwhile stays.
    /// Returns how many went.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn forget(&self, doomed: &[Pinned]) -> Result<usize, ChunkFault> {
        let mut went = 0;
        for (digest, pins) in doomed {
            let list = match self.list(digest) {
                Ok(bytes) => ChunkManifest::decode(&bytes)?,
                Err(ChunkFault::NoList(_)) => continue,
                Err(fault) => return Err(fault),
            };
            let _writing = locked(&self.0.writing);
            let same = {
                let index = self.index();
                index.lists.get(digest).is_some_and(|held| held.pins.keys().eq(pins))
            };
            if same {
                self.write_gone(&[(Kind::NoList, digest.0)])?;
                self.index().unname(&list);
                went += 1;
            }
        }
        Ok(went)
    }

    /// Frees the room of chunks that no list names: those that one had named, and those that have
    /// waited for one longer than `patience`. Returns how many bytes that is.
    ///
    /// An upload that was told that a chunk is here, and finds its list refused, sends it again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn reclaim(&self, patience: Duration) -> Result<u64, ChunkFault> {
        let _writing = locked(&self.0.writing);
        let mut freed = 0;
        loop {
            let dead = self.index().unnamed(patience);
            if dead.is_empty() {
                break;
            }
            let gone: Vec<_> = dead.iter().map(|(name, _, _)| (Kind::NoChunk, name.0)).collect();
            self.write_gone(&gone)?;
            for (_, place, file) in &dead {
                freed += u64::from(place.stored);
                punch(file, place);
            }
        }
        self.drop_packs()?;
        Ok(freed)
    }

    pub(super) fn write_gone(&self, gone: &[(Kind, [u8; 32])]) -> Result<(), ChunkFault> {
        let entry = |(kind, name): &(Kind, [u8; 32])| Entry {
            kind: *kind,
            name: *name,
            len: 0,
            bytes: &[],
        };
        let entries: Vec<_> = gone.iter().map(entry).collect();
        let mut buffer = Buffer::default();
        let head = batch::encode(&entries, &mut buffer);
        self.write(&head, &buffer)?;
        Ok(())
    }

    /// Removes packs of which nothing is needed. What they say is gone is said again first, where
    /// an older pack may still say otherwise.
    fn drop_packs(&self) -> Result<(), ChunkFault> {
        loop {
            let (number, path, say_again) = {
                let mut index = self.index();
                let newest = index.packs.keys().next_back().copied();
                let oldest = index.packs.keys().next().copied();
                let dead = |(number, pack): &(&u32, &mut super::store::Pack)| {
                    pack.live == 0 && Some(**number) != newest
                };
                let Some((number, pack)) = index.packs.iter_mut().find(dead) else {
                    return Ok(());
                };
                let gone = std::mem::take(&mut pack.gone);
                let (number, path) = (*number, pack.path.clone());
                let first = oldest == Some(number);
                let say_again = if first { Vec::new() } else { index.still_gone(gone) };
                (number, path, say_again)
            };
            for part in say_again.chunks(GONE_MAX) {
                self.write_gone(part)?;
            }
            let fault = |source| super::BlobError::of(&path, source);
            std::fs::remove_file(&path).map_err(fault)?;
            File::open(&self.0.dir).and_then(|dir| dir.sync_all()).map_err(fault)?;
            self.index().packs.remove(&number);
        }
    }
}

impl Index {
    pub(super) fn unname(&mut self, list: &ChunkManifest) {
        for chunk in list.chunks() {
            if let Some(held) = self.chunks.get_mut(&chunk.name) {
                held.refs = held.refs.saturating_sub(1);
            }
        }
    }

    fn unnamed(&self, patience: Duration) -> Vec<(ChunkName, Place, Arc<File>)> {
        let dead = self.chunks.iter().filter(|(_, held)| {
            held.refs == 0 && held.orphan.is_none_or(|since| since.elapsed() > patience)
        });
        let with_file = dead.filter_map(|(name, held)| {
            let pack = self.packs.get(&held.place.pack)?;
            Some((*name, held.place, Arc::clone(&pack.file)))
        });
        with_file.take(GONE_MAX).collect()
    }

    fn still_gone(&self, gone: Vec<(Kind, [u8; 32])>) -> Vec<(Kind, [u8; 32])> {
        let here = |(kind, name): &(Kind, [u8; 32])| match kind {
            Kind::NoList => self.lists.contains_key(&Digest(*name)),
            _ => self.chunks.contains_key(&ChunkName(*name)),
        };
        gone.into_iter().filter(|it| !here(it)).collect()
    }
}

/// Gives a chunk's room back while its neighbours stay. Where the file system cannot, the room
/// comes back with the pack.
fn punch(file: &File, place: &Place) {
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    let _ = rustix::fs::fallocate(file, flags, place.at, u64::from(place.stored));
}
