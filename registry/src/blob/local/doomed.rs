//! Blobs that are to go: they count as not there, and are deleted later unless they come again.
//!
//! Whoever asks from then on whether such a blob is here is told that it is not, and sends it
//! again, which keeps it. So nobody comes to rely on bytes that are about to go. Source: ADR-0054.

use super::{BlobError, BlobStore, PACKED, PLAIN};
use domain::Digest;
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    sync::MutexGuard,
};

/// Holds how far the collections of the log were carried out here.
const MARK: &str = "collected";

impl BlobStore {
    fn doomed(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.0.doomed.lock().expect("no holder of this lock can panic")
    }

    /// Lets blobs count as not there from now on.
    pub fn doom(&self, blobs: impl IntoIterator<Item = Digest>) {
        self.doomed().extend(blobs);
    }

    /// Lets blobs that were to go count as there again.
    pub fn spare(&self, blobs: impl IntoIterator<Item = Digest>) {
        for blob in blobs {
            if self.is_doomed(&blob) {
                let _held = self.0.busy.hold([blob]);
                self.spare_now([blob]);
            }
        }
    }

    /// The same, by who holds them.
    pub(super) fn spare_now(&self, blobs: impl IntoIterator<Item = Digest>) {
        let mut doomed = self.doomed();
        for blob in blobs {
            doomed.remove(&blob);
        }
    }

    /// Whether a blob is to go.
    #[must_use]
    pub fn is_doomed(&self, blob: &Digest) -> bool {
        self.doomed().contains(blob)
    }

    /// Deletes those of these blobs that are still to go. Gives how many there were, with their
    /// bytes on the disk.
    ///
    /// # Errors
    /// When the disk fails. What is not deleted is still to go.
    pub fn delete_doomed(&self, blobs: &[Digest]) -> Result<(u64, u64), BlobError> {
        let (mut count, mut bytes) = (0, 0);
        for blob in blobs {
            // While it is held: what comes again meanwhile is stored after this, or spares it first.
            // Who only asks whether a blob is here does not wait for a store elsewhere.
            let _held = self.0.busy.hold([*blob]);
            if !self.is_doomed(blob) {
                continue;
            }
            let was_away = self.delete_away(blob)?;
            let mut doomed = self.doomed();
            let freed = self.delete(blob)?.or(was_away.then_some(0));
            count += u64::from(freed.is_some());
            bytes += freed.unwrap_or_default();
            doomed.remove(blob);
        }
        Ok((count, bytes))
    }

    fn delete(&self, blob: &Digest) -> Result<Option<u64>, BlobError> {
        let mut pack = self.0.pack.write().expect("no holder of this lock can panic");
        let mut freed = pack.remove(blob)?;
        drop(pack);
        for form in [PLAIN, PACKED] {
            let path = self.file(blob, form);
            let size = match fs::metadata(&path) {
                Ok(found) => found.len(),
                Err(why) if why.kind() == io::ErrorKind::NotFound => continue,
                Err(why) => return Err(BlobError::of(&path, why)),
            };
            fs::remove_file(&path).map_err(|why| BlobError::of(&path, why))?;
            freed = Some(freed.unwrap_or_default() + size);
        }
        Ok(freed)
    }

    fn mark(&self) -> PathBuf {
        self.0.dir.join(MARK)
    }

    /// The event up to which the collections of the log were carried out here.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub fn collected(&self) -> Result<u64, BlobError> {
        let path = self.mark();
        match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|why| {
                BlobError::of(&path, io::Error::new(io::ErrorKind::InvalidData, why))
            }),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(why) => Err(BlobError::of(&path, why)),
        }
    }

    /// Remembers it; durable when it returns.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_collected(&self, seq: u64) -> Result<(), BlobError> {
        let (path, beside) = (self.mark(), self.0.dir.join("tmp").join(MARK));
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(seq.to_string().as_bytes())?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.0.dir)?.sync_all()
        });
        written.map_err(|why| BlobError::of(&path, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, BlobStore) {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        (dir, store)
    }

    fn put(store: &BlobStore, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        if bytes.len() < 1_000 {
            store.put_bytes(&[(digest, bytes.to_vec())]).unwrap();
        } else {
            let mut writer = store.writer(bytes.len() as u64).unwrap();
            writer.write(bytes).unwrap();
            writer.finish(digest).unwrap();
        }
        digest
    }

    /// Bytes of a small blob and of a large one.
    fn both() -> [Vec<u8>; 2] {
        [b"small".to_vec(), (0..200_000u32).flat_map(u32::to_le_bytes).collect()]
    }

    #[test]
    fn what_is_doomed_is_not_there_for_those_who_ask_and_is_read_until_it_goes() {
        let (dir, store) = store();
        for bytes in both() {
            let blob = put(&store, &bytes);
            store.doom([blob]);
            assert!(!store.has(&blob) && store.is_here(&blob));
            assert_eq!(store.read_bytes(&blob, 1 << 20).unwrap(), bytes, "a backup may read it");
            let (count, freed) = store.delete_doomed(&[blob]).unwrap();
            assert!(count == 1 && freed > 0);
            assert!(!store.is_here(&blob) && !store.is_doomed(&blob));
            assert_eq!(store.delete_doomed(&[blob]).unwrap(), (0, 0), "it goes once");
        }
        drop(store);
        let again = BlobStore::open(dir.path()).unwrap();
        for bytes in both() {
            assert!(!again.is_here(&Digest::of(&bytes)), "it does not come back with a restart");
        }
    }

    #[test]
    fn what_comes_again_or_is_spared_stays() {
        let (_dir, store) = store();
        for bytes in both() {
            let blob = put(&store, &bytes);
            store.doom([blob]);
            put(&store, &bytes);
            assert_eq!(store.delete_doomed(&[blob]).unwrap(), (0, 0));
            assert!(store.has(&blob));
            store.doom([blob]);
            store.spare([blob]);
            assert_eq!(store.delete_doomed(&[blob]).unwrap(), (0, 0));
            assert_eq!(store.read_bytes(&blob, 1 << 20).unwrap(), bytes);
        }
    }

    #[test]
    fn what_went_can_come_back_among_its_neighbours() {
        let (dir, store) = store();
        let (first, gone, last) = (put(&store, b"a"), put(&store, b"bb"), put(&store, b"ccc"));
        store.doom([gone]);
        store.delete_doomed(&[gone]).unwrap();
        put(&store, b"bb");
        drop(store);
        let store = BlobStore::open(dir.path()).unwrap();
        for (blob, bytes) in [(first, &b"a"[..]), (gone, b"bb"), (last, b"ccc")] {
            assert_eq!(store.read_bytes(&blob, 10).unwrap(), bytes);
        }
        store.set_collected(7).unwrap();
        drop(store);
        assert_eq!(BlobStore::open(dir.path()).unwrap().collected().unwrap(), 7);
    }
}
