//! A store of chunks on this machine as a place, without a server between: for measuring what the
//! agent and the disk do, and for tests.

use super::chunks::{ChunkPlace, PlaceFault};
use bytes::Bytes;
use domain::{
    Digest,
    chunks::{Chunk, ChunkName, Pin},
};
use registry::blob::chunks::{ChunkFault, ChunkStore, Piece};
use tokio::sync::mpsc;

/// The store.
#[derive(Clone)]
pub struct Beside(pub ChunkStore);

impl Beside {
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&ChunkStore) -> Result<T, ChunkFault> + Send + 'static,
    ) -> Result<T, PlaceFault> {
        let store = self.0.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|why| PlaceFault::Silent(why.to_string()))?;
        done.map_err(|why| PlaceFault::Refused(why.to_string()))
    }
}

impl ChunkPlace for Beside {
    async fn lacking(&self, names: &[ChunkName]) -> Result<Vec<bool>, PlaceFault> {
        Ok(self.0.lacking(names))
    }

    async fn put(&self, pieces: Vec<Piece>) -> Result<(), PlaceFault> {
        self.blocking(move |store| store.put(&pieces).map(drop)).await
    }

    async fn keep(&self, by: Pin, list: Bytes) -> Result<u64, PlaceFault> {
        self.blocking(move |store| match store.keep(&list, by) {
            Ok(_) => Ok(0),
            Err(ChunkFault::Lacks { count, .. }) => Ok(count as u64),
            Err(fault) => Err(fault),
        })
        .await
    }

    async fn list(&self, list: Digest) -> Result<Vec<u8>, PlaceFault> {
        self.blocking(move |store| store.list(&list)).await
    }

    async fn fetch(&self, wanted: Vec<Chunk>, out: mpsc::Sender<Piece>) -> Result<(), PlaceFault> {
        self.blocking(move |store| {
            let mut left = wanted.as_slice();
            while !left.is_empty() {
                let run = store.read_run(left)?;
                left = &left[run.len()..];
                for piece in run {
                    if out.blocking_send(piece).is_err() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
        .await
    }
}
