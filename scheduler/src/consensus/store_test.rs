//! The RocksDB store against its meaning, and against damage.

use super::{
    boot::BootError,
    codec::entry_to_bytes,
    disk::Disk,
    store::{Identity, Store, StoreError},
    testing::{Chance, founders},
    write::*,
};
use domain::{
    Digest, ReplicaId,
    port::{RowChange, RowRead},
};
use raft::eraftpb::Entry;
use std::path::Path;

fn identity() -> Identity {
    Identity { cluster: "test".into(), id: ReplicaId(1) }
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, &identity(), &WriteOp::genesis(founders(3)))
}

fn entry(index: u64, term: u64) -> StoredEntry {
    let mut entry = Entry::default();
    (entry.index, entry.term) = (index, term);
    entry.data = format!("entry {index} of term {term}").into_bytes();
    StoredEntry { index, bytes: entry_to_bytes(&entry) }
}

/// A random but legal life of a replica.
struct Life {
    chance: Chance,
    last: u64,
    applied: u64,
    start: u64,
    term: u64,
}

impl Life {
    fn new(seed: u64) -> Self {
        Self { chance: Chance(seed), last: 1, applied: 1, start: 1, term: 1 }
    }

    fn op(&mut self) -> WriteOp {
        let mut op = WriteOp::default();
        if self.chance.one_in(8) && self.last > self.applied {
            // A new leader replaces the end of the log.
            self.term += 1;
            let from = self.applied + 1 + self.chance.below(self.last - self.applied);
            op.append(self.last, vec![entry(from, self.term)]);
            self.last = from;
        }
        let more = self.chance.below(4);
        let entries = (1..=more).map(|step| entry(self.last + step, self.term)).collect();
        op.append(self.last, entries);
        self.last += more;
        self.applied += self.chance.below(self.last - self.applied + 1);
        for _ in 0..self.chance.below(5) {
            let value = (!self.chance.one_in(3)).then(|| vec![self.chance.draw() as u8]);
            op.rows.push(RowChange { key: vec![self.chance.below(20) as u8], value });
        }
        op.applied = Some(AppliedMark { index: self.applied, term: 1, digest: None });
        op.hard_state = Some(HardState { term: self.term, vote: 1, commit: self.applied });
        if self.chance.one_in(6) && self.applied > self.start {
            self.start += self.chance.below(self.applied - self.start + 1);
            op.compact_to = Some(LogStart { index: self.start, term: 1 });
        }
        op.sync = self.chance.one_in(2);
        op
    }
}

fn assert_same(store: &Store, disk: &Disk) {
    assert_eq!(store.boot().expect("whole"), disk.boot().expect("whole"));
    let rows = store.rows().range(&[], &[0xff; 8], usize::MAX);
    assert_eq!(rows, disk.rows().into_iter().collect::<Vec<_>>());
}

#[test]
fn a_disk_that_was_not_made_to_its_end_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut options = rocksdb::Options::default();
    options.create_if_missing(true);
    drop(rocksdb::DB::open(&options, &path).unwrap());
    assert!(matches!(open(&path), Err(StoreError::NoFamily { .. })), "a stranger's is left alone");
    std::fs::write(path.join("MAKING"), "").unwrap();
    open(&path).unwrap().boot().unwrap();
    assert!(!path.join("MAKING").exists());
    open(&path).unwrap().boot().unwrap();
}

#[test]
fn the_store_holds_what_the_writes_mean_also_after_a_restart() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().expect("a directory");
        let mut disk = Disk::default();
        disk.write(&WriteOp::genesis(founders(3)));
        let mut life = Life::new(seed);
        let mut store = open(dir.path()).expect("a new store");
        assert_same(&store, &disk);
        for round in 0..30 {
            let ops: Vec<_> = (0..3).map(|_| life.op()).collect();
            ops.iter().for_each(|op| disk.write(op));
            store.write(&ops).expect("it is written");
            if round % 10 == 9 {
                drop(store);
                store = open(dir.path()).expect("it opens again");
            }
            assert_same(&store, &disk);
        }
    }
}

#[test]
fn a_snapshot_replaces_log_and_rows_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("a new store");
    let row = |key: &[u8], value: &[u8]| RowChange { key: key.into(), value: Some(value.into()) };
    let mut op = WriteOp { rows: vec![row(b"old", b"1")], ..WriteOp::default() };
    op.append(1, vec![entry(2, 1), entry(3, 1)]);
    store.write([&op]).expect("it is written");

    let family = store.create_family().expect("a family");
    store.fill(family, &[(b"new".to_vec(), b"2".to_vec())]).expect("it is filled");
    store.seal_family(family).expect("it is flushed");
    let applied = AppliedMark { index: 9, term: 4, digest: Some(Digest::of(b"x")) };
    let mark = SnapshotMark { applied, membership: founders(2) };
    let mut op = WriteOp {
        hard_state: Some(HardState { term: 4, vote: 0, commit: 9 }),
        ..WriteOp::default()
    };
    op.start_from(Install { family, mark: mark.clone() });
    store.write([&op]).expect("it is written");
    store.rows().switch(family);
    store.drop_older(family).expect("the old rows go");
    drop(store);

    let store = open(dir.path()).expect("it opens again");
    let boot = store.boot().expect("whole");
    assert_eq!((boot.log_start.index, boot.entries.len()), (9, 0));
    assert_eq!((boot.applied, boot.membership), (applied, founders(2)));
    assert_eq!(store.rows().get(b"new"), Some(b"2".to_vec()));
    assert_eq!(store.rows().get(b"old"), None);

    let copy = store.checkpoint().expect("a copy");
    assert_eq!(*copy.mark(), mark);
    store.write([&WriteOp { rows: vec![row(b"new", b"3")], ..WriteOp::default() }]).expect("ok");
    assert_eq!(copy.page(&[], 1).expect("a page"), [(b"new".to_vec(), b"2".to_vec())]);
    let path = copy.dir().to_owned();
    drop(copy);
    assert!(!path.exists());
}

#[test]
fn a_damaged_or_missing_log_entry_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("a new store");
    let mut op = WriteOp::default();
    let mut bad = entry(3, 1);
    let end = bad.bytes.len() - 1;
    bad.bytes[end] ^= 1;
    op.append(1, vec![entry(2, 1), bad, entry(4, 1)]);
    store.write([&op]).expect("it is written");
    let fault = store.boot().unwrap_err();
    assert!(matches!(fault, StoreError::Boot(BootError::Entry { index: 3, .. })));
    assert!(fault.to_string().contains("`assay cluster remove`"), "{fault}");

    let gap = WriteOp { truncate_from: Some(3), entries: vec![entry(4, 1)], ..WriteOp::default() };
    store.write([&gap]).expect("it is written");
    let fault = store.boot().unwrap_err();
    assert!(matches!(fault, StoreError::Boot(BootError::Missing { index: 3 })));
}

#[test]
fn a_commit_index_beyond_the_log_means_that_acknowledged_entries_are_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("a new store");
    let mut op = WriteOp::default();
    op.append(1, vec![entry(2, 1)]);
    op.hard_state = Some(HardState { term: 1, vote: 0, commit: 3 });
    store.write([&op]).expect("it is written");
    let lost = BootError::Lost { last: 2, commit: 3, applied: 1 };
    assert!(matches!(store.boot(), Err(StoreError::Boot(fault)) if fault == lost));
}

/// The newest write-ahead log of a store.
fn newest_wal(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).expect("the directory").map(|file| file.expect("it").path());
    files.filter(|path| path.extension().is_some_and(|end| end == "log")).max().expect("a log")
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_is_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).expect("a new store");
    for index in 2..10 {
        let mut op = WriteOp { sync: true, ..WriteOp::default() };
        op.append(index - 1, vec![entry(index, 1)]);
        store.write([&op]).expect("it is written");
    }
    // As a crash leaves it: the process is gone before anything was flushed, and the last record
    // is not whole.
    let copy = tempfile::tempdir().expect("a directory");
    for file in std::fs::read_dir(dir.path()).expect("the directory") {
        let path = file.expect("a file").path();
        let name = path.file_name().expect("it has a name");
        if name != "LOCK" {
            std::fs::copy(&path, copy.path().join(name)).expect("copied");
        }
    }
    let wal = newest_wal(copy.path());
    let bytes = std::fs::read(&wal).expect("the log");
    std::fs::write(&wal, &bytes[..bytes.len() - 3]).expect("it is torn");
    let boot = open(copy.path()).expect("it opens").boot().expect("whole");
    assert_eq!(boot.last_index(), 8, "only the torn entry is gone");

    let mut flipped = bytes;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x40;
    let copy_wal = newest_wal(copy.path());
    assert_ne!(copy_wal, wal, "opening began a new log");
    drop(store);
    std::fs::write(newest_wal(dir.path()), &flipped).expect("it is damaged");
    let fault = open(dir.path()).map(|_| ()).unwrap_err();
    assert!(matches!(fault, StoreError::Damaged { .. }), "{fault:?}");
    assert!(fault.to_string().contains("`assay cluster remove`"));
}

#[test]
fn another_servers_directory_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(open(dir.path()).expect("a new store"));
    let other = Identity { cluster: "test".into(), id: ReplicaId(2) };
    let fault = Store::open(dir.path(), &other, &WriteOp::default()).map(|_| ()).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the data directory belongs to r1 of cluster `test`, this server is r2 of cluster `test`; \
         give it its own directory"
    );
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let _store = open(dir.path()).expect("a new store");
    let fault = open(dir.path()).map(|_| ()).unwrap_err();
    assert!(matches!(fault, StoreError::InUse { .. }), "{fault:?}");
}
