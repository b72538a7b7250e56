//! Outputs that were hashed while they were written: sealed as if they had been read at the end.

use super::{
    ahead::Ahead,
    memory::MemoryBlobs,
    seal::{self, Sealing},
};
use crate::{
    driver::dirs::LeaseDirs,
    machine::{tests_inventory, tests_lease},
};
use domain::{Digest, LeaseId, Millis, artifact::OutputDigests, tree::Tree};
use std::{fs, os::unix::fs::FileExt as _, path::PathBuf, sync::Arc};

/// Long enough to be followed.
const PART: usize = 8 << 20;

struct World {
    _dir: tempfile::TempDir,
    dirs: LeaseDirs,
    ahead: Arc<Ahead>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dirs = LeaseDirs { root: dir.path().join("lease") };
        dirs.create().unwrap();
        Self { _dir: dir, dirs, ahead: Arc::default() }
    }

    fn file(&self) -> PathBuf {
        self.dirs.out().join("weights")
    }

    fn append(&self, byte: u8) {
        let file = fs::OpenOptions::new().append(true).create(true).open(self.file()).unwrap();
        std::io::Write::write_all(&mut &file, &vec![byte; PART]).unwrap();
    }

    /// Seals it, and gives what is on record with what is in store.
    async fn seal(&self, ahead: Arc<Ahead>) -> (OutputDigests, Tree) {
        self.seal_in(&MemoryBlobs::default(), ahead).await
    }

    async fn seal_in(&self, blobs: &MemoryBlobs, ahead: Arc<Ahead>) -> (OutputDigests, Tree) {
        let sealing = Sealing {
            wanted: tests_lease(LeaseId { index: 1, ordinal: 0 }),
            dirs: self.dirs.clone(),
            inventory: tests_inventory(),
            started: Millis(0),
            ended: Millis(1),
            node_key: None,
            facts: Vec::new(),
            ahead,
        };
        let digests = seal::output(sealing, blobs).await.unwrap();
        let held = blobs.held.lock().unwrap();
        let tree = Tree::decode(&held[&digests.tree]).unwrap();
        let stored = tree.files.iter().all(|file| held.contains_key(&file.digest));
        assert!(stored, "every file that is on record is in store");
        (digests, tree)
    }
}

#[tokio::test]
async fn what_was_followed_is_sealed_as_what_is_read_at_the_end() {
    let world = World::new();
    for byte in 1..4 {
        world.append(byte);
        world.ahead.look(&world.dirs);
    }
    let (followed, _) = world.seal(Arc::clone(&world.ahead)).await;
    let (read, _) = world.seal(Arc::default()).await;
    assert_eq!(followed, read);
}

#[tokio::test]
async fn what_was_written_over_unseen_is_read_again_and_the_record_is_right() {
    let world = World::new();
    world.append(1);
    world.ahead.look(&world.dirs);
    // In its midst, and it grows before the next look.
    let file = fs::OpenOptions::new().write(true).open(world.file()).unwrap();
    file.write_all_at(b"other", PART as u64 / 2).unwrap();
    world.append(2);
    world.ahead.look(&world.dirs);
    let (_, tree) = world.seal(Arc::clone(&world.ahead)).await;
    let bytes = fs::read(world.file()).unwrap();
    assert_eq!(tree.files[0].digest, Digest::of(&bytes));
}

#[tokio::test]
async fn a_guess_that_is_in_store_already_is_compared_all_the_same() {
    let world = World::new();
    let blobs = MemoryBlobs::default();
    world.append(1);
    let before = fs::metadata(world.file()).unwrap().modified().unwrap();
    blobs.keep(&fs::read(world.file()).unwrap());
    world.ahead.look(&world.dirs);
    // In its midst, with the time that it had before, as copies that keep times have it.
    let file = fs::OpenOptions::new().write(true).open(world.file()).unwrap();
    file.write_all_at(b"other", PART as u64 / 2).unwrap();
    file.set_modified(before).unwrap();
    let (_, tree) = world.seal_in(&blobs, Arc::clone(&world.ahead)).await;
    assert_eq!(tree.files[0].digest, Digest::of(&fs::read(world.file()).unwrap()));
}
