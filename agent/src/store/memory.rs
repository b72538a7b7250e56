//! Blobs in memory, for tests.

use super::{Blob, Blobs, StoreError, beside::Beside, chunks::Chunks};
use domain::Digest;
use registry::blob::chunks::ChunkStore;
use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    sync::{Mutex, OnceLock},
};
use tempfile::TempDir;

/// A store that counts what is fetched from it.
#[derive(Default)]
pub struct MemoryBlobs {
    /// The blobs.
    pub held: Mutex<BTreeMap<Digest, Vec<u8>>>,
    /// Digests in the order in which they were fetched.
    pub fetched: Mutex<Vec<Digest>>,
    /// Chunks, in a folder that goes with it.
    chunks: OnceLock<(TempDir, Beside)>,
}

impl MemoryBlobs {
    /// The place where chunks are kept.
    pub fn beside(&self) -> &Beside {
        let made = self.chunks.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            let store = ChunkStore::open(dir.path()).unwrap();
            (dir, Beside(store))
        });
        &made.1
    }
}

impl Chunks for MemoryBlobs {
    type Place = Beside;

    fn places(&self) -> Vec<Beside> {
        vec![self.beside().clone()]
    }

    fn copies(&self) -> usize {
        1
    }
}

impl MemoryBlobs {
    /// Keeps `bytes`.
    pub fn keep(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.held.lock().unwrap().insert(digest, bytes.to_vec());
        digest
    }
}

impl Blobs for MemoryBlobs {
    async fn get(&self, digest: Digest, mut into: fs::File) -> Result<u64, StoreError> {
        self.fetched.lock().unwrap().push(digest);
        let held = self.held.lock().unwrap();
        let lost = || StoreError::Lost { digest, why: "not held".into() };
        let bytes = held.get(&digest).ok_or_else(lost)?;
        into.write_all(bytes)?;
        Ok(bytes.len() as u64)
    }

    async fn put(&self, blobs: Vec<Blob>) -> Result<(), StoreError> {
        for blob in blobs {
            let guessed = matches!(blob, Blob::File { sure: false, .. });
            if !guessed && self.held.lock().unwrap().contains_key(&blob.digest()) {
                continue;
            }
            let bytes = match &blob {
                Blob::Bytes { bytes, .. } => bytes.clone(),
                Blob::File { path, .. } => {
                    let mut bytes = Vec::new();
                    fs::File::open(path)?.read_to_end(&mut bytes)?;
                    bytes
                }
            };
            if Digest::of(&bytes) != blob.digest() {
                return Err(StoreError::Changed("digest differs".into()));
            }
            self.held.lock().unwrap().insert(blob.digest(), bytes);
        }
        Ok(())
    }
}
