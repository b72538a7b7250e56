//! Blobs in a store elsewhere: there and not here, and never lost on the way.

use super::{BlobError, BlobStore};
use crate::blob::remote::Remote;
use domain::Digest;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Read},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

/// A store in memory, which can be out of reach.
#[derive(Debug, Default)]
struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
    renewed: Mutex<BTreeSet<String>>,
    away: AtomicBool,
}

const LOCKED: Duration = Duration::from_secs(900);

impl Memory {
    fn ask(&self) -> io::Result<std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>>> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "out of reach")),
            false => Ok(self.objects.lock().expect("no test panics with it")),
        }
    }

    fn names(&self) -> Vec<String> {
        self.ask().expect("it is within reach").keys().cloned().collect()
    }
}

impl Remote for Memory {
    fn place(&self) -> String {
        "memory://one".into()
    }

    fn put(&self, name: &str, file: &Path) -> io::Result<()> {
        self.ask()?.insert(name.to_owned(), fs::read(file)?);
        Ok(())
    }

    fn put_bytes(&self, objects: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        self.ask()?.extend(objects);
        Ok(())
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        let found = self.ask()?.get(name).cloned();
        let found = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Box::new(io::Cursor::new(found)))
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        self.ask()?.remove(name);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut objects = self.ask()?;
        let found = objects.remove(from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        objects.insert(to.to_owned(), found);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.ask()?.keys().cloned().collect())
    }

    fn renew_after(&self) -> Option<Duration> {
        Some(LOCKED)
    }

    fn renew(&self, names: Vec<String>) -> (usize, Option<io::Error>) {
        let there = match self.ask() {
            Ok(objects) => objects.clone(),
            Err(why) => return (0, Some(why)),
        };
        let (found, gone): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|name| there.contains_key(name));
        let count = found.len();
        self.renewed.lock().expect("no test panics with it").extend(found);
        let fault = |name: &String| io::Error::new(io::ErrorKind::ConnectionAborted, name.clone());
        (count, gone.first().map(fault))
    }
}

struct Bench {
    dir: tempfile::TempDir,
    memory: Arc<Memory>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder can be made");
        Self { dir, memory: Arc::default() }
    }

    fn open(&self) -> BlobStore {
        BlobStore::open_with(self.dir.path(), Some(self.memory.clone())).expect("it opens")
    }
}

fn put(store: &BlobStore, bytes: &[u8]) -> Result<Digest, BlobError> {
    let digest = Digest::of(bytes);
    if bytes.len() < 1_000 {
        store.put_bytes(&[(digest, bytes.to_vec())])?;
    } else {
        let mut writer = store.writer(bytes.len() as u64)?;
        writer.write(bytes)?;
        writer.finish(digest)?;
    }
    Ok(digest)
}

/// A small blob, one that compresses, and one that does not.
fn blobs() -> [Vec<u8>; 3] {
    let noise = (0..20_000_u32).flat_map(|at| Digest::of(&at.to_le_bytes()).0[..16].to_vec());
    [b"small".to_vec(), vec![7; 300_000], noise.collect()]
}

fn large_files(dir: &Path) -> u64 {
    let files = walkdir::WalkDir::new(dir).into_iter().flatten();
    let files = files.filter(|it| it.file_type().is_file() && it.file_name() != "pack");
    files.map(|it| it.metadata().map_or(0, |meta| meta.len())).max().unwrap_or(0)
}

#[test]
fn what_is_stored_is_there_and_not_here_and_is_read_again() {
    let bench = Bench::new();
    let mut store = bench.open();
    let all = blobs().map(|bytes| put(&store, &bytes).unwrap());
    for _ in 0..2 {
        for (digest, bytes) in all.iter().zip(blobs()) {
            assert!(store.has(digest));
            assert_eq!(store.read_bytes(digest, 1 << 20).unwrap(), bytes);
        }
        let sorted: BTreeSet<Digest> = all.into();
        assert_eq!(store.held(None, 9).unwrap(), sorted.into_iter().collect::<Vec<_>>());
        drop(store);
        store = bench.open();
    }
    assert!(large_files(bench.dir.path()) < 1_000, "no large bytes are on the disk");
    let ends = |end: &str| bench.memory.names().iter().filter(|name| name.ends_with(end)).count();
    assert_eq!((bench.memory.names().len(), ends(".zst"), ends(".raw")), (3, 1, 1));
}

#[test]
fn what_goes_is_deleted_there_too_and_comes_back_whole() {
    let bench = Bench::new();
    let store = bench.open();
    let all = blobs().map(|bytes| put(&store, &bytes).unwrap());
    store.doom(all);
    bench.memory.away.store(true, Ordering::Relaxed);
    let fault = store.delete_doomed(&all).unwrap_err().to_string();
    assert_eq!(fault, "blobs in memory://one: out of reach");
    bench.memory.away.store(false, Ordering::Relaxed);
    assert!(all.iter().all(|digest| store.is_here(digest) && store.is_doomed(digest)));
    // It may have gone there before the answer was lost: who sends it again is not told otherwise.
    bench.memory.ask().unwrap().clear();
    put(&store, &blobs()[0]).unwrap();
    store.doom([all[0]]);
    assert_eq!(bench.memory.names().len(), 1);
    put(&store, &blobs()[1]).unwrap();
    assert_eq!(store.delete_doomed(&all).unwrap().0, 2, "the one that came again stays");
    assert!(store.has(&all[1]) && !store.is_here(&all[0]) && !store.is_here(&all[2]));
    assert_eq!(bench.memory.names().len(), 1);
    put(&store, &blobs()[2]).unwrap();
    assert_eq!(store.read_bytes(&all[2], 1 << 20).unwrap(), blobs()[2]);
}

#[test]
fn a_disk_with_blobs_sends_them_and_an_empty_one_finds_them() {
    let bench = Bench::new();
    let before = BlobStore::open(bench.dir.path()).unwrap();
    let all = blobs().map(|bytes| put(&before, &bytes).unwrap());
    drop(before);
    bench.memory.away.store(true, Ordering::Relaxed);
    let fault = BlobStore::open_with(bench.dir.path(), Some(bench.memory.clone()));
    assert!(matches!(fault, Err(BlobError::Away { .. })), "nothing is begun that cannot be ended");
    bench.memory.away.store(false, Ordering::Relaxed);
    drop(bench.open());
    assert_eq!(bench.memory.names().len(), 3);
    assert!(large_files(bench.dir.path()) < 1_000, "they have moved");
    let other = Bench { dir: tempfile::tempdir().unwrap(), memory: bench.memory.clone() };
    for store in [bench.open(), other.open()] {
        for (digest, bytes) in all.iter().zip(blobs()) {
            assert_eq!(store.read_bytes(digest, 1 << 20).unwrap(), bytes);
        }
    }
    let fault = BlobStore::open(bench.dir.path()).err().unwrap().to_string();
    assert!(fault.contains("are in memory://one, and the configuration says none"), "{fault}");
}

#[test]
fn what_is_damaged_or_gone_there_is_set_aside_and_what_is_out_of_reach_is_not() {
    let bench = Bench::new();
    let store = bench.open();
    let all = blobs().map(|bytes| put(&store, &bytes).unwrap());
    bench.memory.away.store(true, Ordering::Relaxed);
    for digest in &all[1..] {
        let fault = store.read_bytes(digest, 1 << 20).unwrap_err().to_string();
        assert!(fault.contains("out of reach"), "{fault}");
    }
    let fault = put(&store, b"more").unwrap_err().to_string();
    assert!(fault.contains("out of reach"), "{fault}");
    assert!(!store.has(&Digest::of(b"more")) && all.iter().all(|digest| store.has(digest)));
    bench.memory.away.store(false, Ordering::Relaxed);
    let name = |end: &str| bench.memory.names().into_iter().find(|it| it.ends_with(end)).unwrap();
    let (raw, zst) = (name(".raw"), name(".zst"));
    bench.memory.ask().unwrap().insert(raw, b"other".to_vec());
    bench.memory.ask().unwrap().remove(&zst);
    for (digest, bytes) in all.iter().zip(blobs()).skip(1) {
        let fault = store.read_bytes(digest, 1 << 20);
        assert!(matches!(fault, Err(BlobError::Damaged(_))), "{fault:?}");
        assert!(!store.has(digest), "whoever asks is told to send it again");
        put(&store, &bytes).unwrap();
        assert_eq!(store.read_bytes(digest, 1 << 20).unwrap(), bytes);
    }
    assert!(bench.memory.names().iter().any(|it| it.ends_with(".raw.damaged")));
}

#[test]
fn locks_are_renewed_once_it_is_time_on_what_is_kept() {
    let bench = Bench::new();
    let store = bench.open();
    let all = blobs().map(|bytes| put(&store, &bytes).unwrap());
    assert_eq!(store.renew_locks().unwrap(), 3, "how old they are is not known at first");
    assert_eq!(store.renew_locks().unwrap(), 0);
    bench.memory.renewed.lock().unwrap().clear();
    let mark = bench.dir.path().join("renewed");
    let age = |time: Duration| {
        let file = File::options().write(true).open(&mark).unwrap();
        file.set_modified(SystemTime::now() - time).unwrap();
    };
    age(LOCKED + Duration::from_secs(1));
    store.doom([all[0]]);
    bench.memory.away.store(true, Ordering::Relaxed);
    store.renew_locks().unwrap_err();
    bench.memory.away.store(false, Ordering::Relaxed);
    assert_eq!(store.renew_locks().unwrap(), 2, "what failed is tried again");
    assert_eq!(store.renew_locks().unwrap(), 0);
    // One that is gone there does not keep the others from it.
    age(LOCKED + Duration::from_secs(1));
    let gone = bench.memory.names().into_iter().find(|it| it.ends_with(".zst")).unwrap();
    bench.memory.ask().unwrap().remove(&gone);
    assert!(store.renew_locks().unwrap_err().to_string().contains(&gone));
    assert_eq!(store.renew_locks().unwrap(), 0, "its next turn comes with the others'");
    let renewed = bench.memory.renewed.lock().unwrap().clone();
    assert!(renewed.iter().all(|name| !name.starts_with("small/")) && renewed.len() == 2);
}
