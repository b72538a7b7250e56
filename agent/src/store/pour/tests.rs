//! A checkpoint is stored once, whatever happens on the way, and comes back as it was.

use super::*;
use crate::store::{beside::Beside, restore::restore};
use domain::{
    Digest, LeaseId,
    chunks::{Chunk, ChunkName},
};
use registry::blob::chunks::{ChunkStore, Figures};
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};
use tempfile::TempDir;

const LEASE: Pin = Pin { lease: LeaseId { index: 7, ordinal: 0 }, step: 1 };

/// A place that a link may part from us.
#[derive(Clone)]
struct Far {
    beside: Beside,
    /// Calls until the link is cut, and then until it is back.
    cut: Arc<AtomicUsize>,
    put: Arc<AtomicUsize>,
}

impl Far {
    fn reach(&self) -> Result<(), PlaceFault> {
        let left = self.cut.load(Ordering::SeqCst);
        self.cut.store(left.saturating_sub(1), Ordering::SeqCst);
        if left == 1 || left == 2 { Err(PlaceFault::Silent("cut".into())) } else { Ok(()) }
    }
}

impl ChunkPlace for Far {
    async fn lacking(&self, names: &[ChunkName]) -> Result<Vec<bool>, PlaceFault> {
        self.reach()?;
        self.beside.lacking(names).await
    }

    async fn put(&self, pieces: Vec<Piece>) -> Result<(), PlaceFault> {
        self.reach()?;
        self.put.fetch_add(pieces.len(), Ordering::SeqCst);
        self.beside.put(pieces).await
    }

    async fn keep(&self, by: Pin, list: Bytes) -> Result<u64, PlaceFault> {
        self.reach()?;
        self.beside.keep(by, list).await
    }

    async fn list(&self, list: Digest) -> Result<Vec<u8>, PlaceFault> {
        self.reach()?;
        self.beside.list(list).await
    }

    async fn fetch(&self, wanted: Vec<Chunk>, out: mpsc::Sender<Piece>) -> Result<(), PlaceFault> {
        self.reach()?;
        self.beside.fetch(wanted, out).await
    }
}

struct World {
    dir: TempDir,
    places: Vec<Far>,
}

impl Chunks for World {
    type Place = Far;

    fn places(&self) -> Vec<Far> {
        self.places.clone()
    }

    fn copies(&self) -> usize {
        2
    }
}

impl World {
    fn new(servers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = |at: usize| {
            let store = ChunkStore::open(&dir.path().join(format!("store-{at}"))).unwrap();
            Far { beside: Beside(store), cut: Arc::default(), put: Arc::default() }
        };
        let places = (0..servers).map(place).collect();
        Self { dir, places }
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn figures(&self) -> Vec<Figures> {
        self.places.iter().map(|place| place.beside.0.figures()).collect()
    }

    fn sent(&self) -> usize {
        self.places.iter().map(|place| place.put.swap(0, Ordering::SeqCst)).sum()
    }
}

fn noise(len: usize, mut state: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    for word in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes()[..word.len()]);
    }
    bytes
}

fn write(folder: &Path, weights: &[u8]) {
    fs::create_dir_all(folder.join("optimizer")).unwrap();
    fs::write(folder.join("weights"), weights).unwrap();
    fs::write(folder.join("optimizer/state"), &weights[..weights.len() / 2]).unwrap();
    fs::write(folder.join("epoch"), "3").unwrap();
    fs::write(folder.join("empty"), "").unwrap();
}

async fn check(world: &World, list: Digest, weights: &[u8], to: &str) {
    let to = world.folder(to);
    restore(world, list, "checkpoint", &to).await.unwrap();
    assert!(fs::read(to.join("weights")).unwrap() == weights);
    assert!(fs::read(to.join("optimizer/state")).unwrap() == weights[..weights.len() / 2]);
    assert_eq!(fs::read(to.join("epoch")).unwrap(), b"3");
    assert_eq!(fs::metadata(to.join("empty")).unwrap().len(), 0);
}

#[tokio::test]
async fn a_checkpoint_is_kept_twice_and_the_next_one_sends_what_changed() {
    let world = World::new(3);
    let mut weights = noise(40 << 20, 5);
    write(&world.folder("one"), &weights);
    let (manifest, list) = pour(world.folder("one"), LEASE, &world).await.unwrap();
    let tree = crate::store::describe::hash(&world.folder("one"), &Default::default()).unwrap();
    assert_eq!(manifest.tree(), tree, "whole files have the digests that they always had");
    let held: Vec<u64> = world.figures().iter().map(|it| it.lists).collect();
    assert_eq!(held, [1, 1, 0]);
    let first = world.sent();
    check(&world, Digest::of(&list), &weights, "out-one").await;

    let at = 30 << 20;
    weights[at..at + (4 << 20)].copy_from_slice(&noise(4 << 20, 9));
    write(&world.folder("two"), &weights);
    let (_, list) = pour(world.folder("two"), LEASE, &world).await.unwrap();
    let second = world.sent();
    assert!(second * 100 < first * 15, "{second} chunks after {first}");
    check(&world, Digest::of(&list), &weights, "out-two").await;
}

#[tokio::test]
async fn a_link_that_is_cut_anywhere_costs_little_and_loses_nothing() {
    let weights = noise(24 << 20, 5);
    let whole = World::new(2);
    write(&whole.folder("one"), &weights);
    pour(whole.folder("one"), LEASE, &whole).await.unwrap();
    let whole = whole.sent();
    for cut in 2..12 {
        let world = World::new(2);
        write(&world.folder("one"), &weights);
        world.places[cut % 2].cut.store(cut, Ordering::SeqCst);
        let (_, list) = pour(world.folder("one"), LEASE, &world).await.unwrap();
        let sent = world.sent();
        assert!(sent <= whole, "{sent} of {whole} chunks were sent, cut after {cut}");
        world.places[0].cut.store(1 + cut % 2, Ordering::SeqCst);
        check(&world, Digest::of(&list), &weights, "out").await;
    }
}

#[tokio::test]
async fn a_server_that_is_lost_for_good_is_replaced_by_another() {
    let weights = noise(10 << 20, 5);
    let world = World::new(3);
    write(&world.folder("one"), &weights);
    world.places[0].cut.store(2, Ordering::SeqCst);
    let (_, list) = pour(world.folder("one"), LEASE, &world).await.unwrap();
    assert_eq!(world.figures().iter().map(|it| it.lists).sum::<u64>(), 2);
    check(&world, Digest::of(&list), &weights, "out").await;
}

#[tokio::test]
async fn a_chunk_that_no_place_has_is_named() {
    let world = World::new(2);
    let fault = restore(&world, Digest::of(b"x"), "checkpoint", &world.folder("out")).await;
    let text = fault.unwrap_err().to_string();
    assert!(text.starts_with("checkpoint: ") && text.contains("2d711642"), "{text}");
}
