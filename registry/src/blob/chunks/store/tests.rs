//! What is stored is read back, once however often it came; what is needed is never lost.

use super::*;
use domain::{Bytes as Size, LeaseId, chunks::ChunkedFile, tree::TreeFile};
use proptest::prelude::*;
use std::{collections::BTreeSet, os::unix::fs::MetadataExt, time::Duration};

const LEASE: Pin = Pin { lease: LeaseId { index: 7, ordinal: 0 }, step: 1 };

fn lease(index: u64) -> Pin {
    Pin { lease: LeaseId { index, ordinal: 0 }, step: 1 }
}

/// A chunk that no other number gives.
fn piece(number: u16) -> Piece {
    let len = 10 + usize::from(number % 40) * 700;
    Piece::of(number.to_le_bytes().repeat(len).into())
}

fn list(numbers: &[u16]) -> Vec<u8> {
    let chunks: Vec<_> = numbers
        .iter()
        .map(|number| Chunk { name: piece(*number).name(), len: piece(*number).len() })
        .collect();
    let size = Size(chunks.iter().map(|chunk| u64::from(chunk.len)).sum());
    let digest = Digest::of(&[]);
    let file = TreeFile { digest, executable: false, path: "w".into(), size };
    ChunkManifest { files: vec![ChunkedFile { file, chunks }] }.encode()
}

fn put(store: &ChunkStore, numbers: &[u16]) -> u64 {
    store.put(&numbers.iter().map(|number| piece(*number)).collect::<Vec<_>>()).unwrap()
}

fn read(store: &ChunkStore, list: &Digest) -> Vec<ChunkName> {
    let list = ChunkManifest::decode(&store.list(list).unwrap()).unwrap();
    let wanted: Vec<Chunk> = list.chunks().copied().collect();
    let mut found = Vec::new();
    while found.len() < wanted.len() {
        let run = store.read_run(&wanted[found.len()..]).unwrap();
        found.extend(run.iter().map(Piece::name));
    }
    assert!(wanted.iter().map(|chunk| chunk.name).eq(found.iter().copied()));
    found
}

#[test]
fn chunks_are_stored_once_and_a_list_is_kept_only_with_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    assert!(put(&store, &[1, 2, 3]) > 0);
    assert_eq!(put(&store, &[3, 2]), 0);
    assert!(matches!(store.keep(&list(&[1, 4]), LEASE), Err(ChunkFault::Lacks { count: 1, .. })));
    put(&store, &[4, 4]);
    let kept = store.keep(&list(&[1, 4, 1]), LEASE).unwrap();
    assert!(store.holds(&kept));
    for store in [store.clone(), ChunkStore::open(dir.path()).unwrap()] {
        assert_eq!(store.lacking(&[piece(4).name(), piece(5).name()]), [false, true]);
        assert_eq!(read(&store, &kept).len(), 3);
        assert_eq!(store.pinned(None, 9), [(kept, BTreeSet::from([LEASE]))]);
    }
}

#[test]
fn what_is_given_up_frees_its_room_and_what_others_need_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    let big = Piece::of(vec![9; 1 << 20].into());
    store.put(std::slice::from_ref(&big)).unwrap();
    put(&store, &[1, 2]);
    let chunk = Chunk { name: big.name(), len: big.len() };
    let mut manifest = ChunkManifest::decode(&list(&[1])).unwrap();
    manifest.files[0].chunks.push(chunk);
    manifest.files[0].file.size.0 += 1 << 20;
    let first = store.keep(&manifest.encode(), lease(1)).unwrap();
    let second = store.keep(&list(&[1, 2]), lease(2)).unwrap();
    let pack = sort::path(dir.path(), 1);
    let before = pack.metadata().unwrap().blocks() * 512;

    let seen = store.pinned(None, 9).into_iter().find(|(digest, _)| *digest == first).unwrap();
    store.keep(&manifest.encode(), lease(3)).unwrap();
    assert_eq!(store.forget(&[seen]).unwrap(), 0, "another lease has come to need it");
    let seen = store.pinned(None, 9).into_iter().find(|(digest, _)| *digest == first).unwrap();
    assert_eq!(store.forget(&[seen]).unwrap(), 1);
    assert_eq!(store.reclaim(Duration::MAX).unwrap(), 1 << 20);
    let after = pack.metadata().unwrap().blocks() * 512;
    assert!(before - after >= (1 << 20) - (128 << 10), "{before} then {after}");
    for store in [store, ChunkStore::open(dir.path()).unwrap()] {
        assert_eq!(store.lacking(&[big.name()]), [true]);
        assert!(!store.holds(&first));
        assert_eq!(read(&store, &second).len(), 2);
    }
}

#[test]
fn a_chunk_that_no_list_names_waits_for_one_and_then_goes() {
    let dir = tempfile::tempdir().unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    put(&store, &[1]);
    assert_eq!(store.reclaim(Duration::from_secs(3_600)).unwrap(), 0);
    assert!(store.reclaim(Duration::ZERO).unwrap() > 0);
    assert_eq!(store.figures(), Figures::default());
}

#[test]
fn a_batch_that_a_crash_cut_short_is_dropped_and_a_damaged_one_stops_the_store() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    put(&store, &[1, 2]);
    let kept = store.keep(&list(&[1, 2]), LEASE).unwrap();
    let pack = sort::path(dir.path(), 1);
    let whole = pack.metadata().unwrap().len();
    put(&store, &[3, 4]);
    drop(store);
    let file = File::options().write(true).open(&pack).unwrap();
    // The head reached the disk, its bytes did not.
    file.write_all_at(&[0; 4_096], whole + 4_096).unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    assert_eq!(store.lacking(&[piece(3).name()]), [true]);
    assert_eq!(read(&store, &kept).len(), 2);
    put(&store, &[3]);
    drop(store);
    file.write_all_at(&[0; 64], 0).unwrap();
    let fault = ChunkStore::open(dir.path()).err().unwrap().to_string();
    assert!(fault.contains("byte 0 is damaged") && fault.contains("cluster remove"), "{fault}");
}

#[test]
fn a_damaged_chunk_is_given_up_with_the_lists_that_name_it() {
    use std::os::unix::fs::FileExt;
    let dir = tempfile::tempdir().unwrap();
    let store = ChunkStore::open(dir.path()).unwrap();
    put(&store, &[1, 2]);
    let (bad, good) =
        (store.keep(&list(&[1, 2]), LEASE).unwrap(), store.keep(&list(&[2]), LEASE).unwrap());
    let place = store.index().chunks[&piece(1).name()].place;
    let file = File::options().write(true).open(sort::path(dir.path(), 1)).unwrap();
    file.write_all_at(&[0xff], place.at).unwrap();
    let chunk = Chunk { name: piece(1).name(), len: piece(1).len() };
    assert!(matches!(store.read_run(&[chunk]), Err(ChunkFault::Damaged(_))));
    for store in [store, ChunkStore::open(dir.path()).unwrap()] {
        assert!(!store.holds(&bad) && store.holds(&good));
        assert!(matches!(store.read_run(&[chunk]), Err(ChunkFault::Missing(_))));
        put(&store, &[1]);
        let again = store.keep(&list(&[1, 2]), LEASE).unwrap();
        read(&store, &again);
        let seen: Vec<_> =
            store.pinned(None, 9).into_iter().filter(|(digest, _)| *digest == again).collect();
        store.forget(&seen).unwrap();
        store.reclaim(Duration::MAX).unwrap();
    }
}

#[derive(Clone, Debug)]
enum Move {
    Put(Vec<u16>),
    Keep(Vec<u16>, u64),
    Forget(prop::sample::Index),
    Reclaim,
    Reopen,
}

fn any_move() -> impl Strategy<Value = Move> {
    let numbers = || prop::collection::vec(0_u16..12, 1..6);
    prop_oneof![
        3 => numbers().prop_map(Move::Put),
        3 => (numbers(), 1_u64..4).prop_map(|(numbers, lease)| Move::Keep(numbers, lease)),
        2 => any::<prop::sample::Index>().prop_map(Move::Forget),
        2 => Just(Move::Reclaim),
        1 => Just(Move::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_chunk_of_a_list_that_is_held_is_ever_lost(
        moves in prop::collection::vec(any_move(), 1..40)
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ChunkStore::open(dir.path()).unwrap();
        let mut held: BTreeSet<Digest> = BTreeSet::new();
        for step in moves {
            match step {
                Move::Put(numbers) => {
                    put(&store, &numbers);
                }
                Move::Keep(numbers, of) => {
                    if let Ok(digest) = store.keep(&list(&numbers), lease(of)) {
                        held.insert(digest);
                    }
                }
                Move::Forget(which) => {
                    let all = store.pinned(None, 99);
                    if !all.is_empty() {
                        let one = which.get(&all).clone();
                        held.remove(&one.0);
                        prop_assert_eq!(store.forget(&[one]).unwrap(), 1);
                    }
                }
                Move::Reclaim => {
                    store.reclaim(Duration::ZERO).unwrap();
                }
                Move::Reopen => store = ChunkStore::open(dir.path()).unwrap(),
            }
            let now: BTreeSet<_> = store.pinned(None, 99).into_iter().map(|(it, _)| it).collect();
            prop_assert_eq!(&now, &held);
            for digest in &held {
                read(&store, digest);
            }
        }
        let all = store.pinned(None, 99);
        store.forget(&all).unwrap();
        store.reclaim(Duration::ZERO).unwrap();
        prop_assert_eq!(store.figures(), Figures::default(), "and nothing else stays");
    }
}
