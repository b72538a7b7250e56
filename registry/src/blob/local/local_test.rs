//! What the store keeps, what it refuses, what it notices.

use super::*;

fn put(store: &BlobStore, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let mut writer = store.writer(0).unwrap();
    writer.write(bytes).unwrap();
    writer.finish(digest).unwrap();
    digest
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn what_is_stored_is_read_back_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let text = "the same again ".repeat(50_000).into_bytes();
    let blobs = [text, noise(200_000), b"short".to_vec(), Vec::new()];
    let large: Vec<_> = blobs.iter().map(|bytes| put(&store, bytes)).collect();
    let small = [(Digest::of(b"one"), b"one".to_vec()), (Digest::of(b""), Vec::new())];
    store.put_bytes(&small).unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    for (digest, bytes) in large.iter().zip(&blobs) {
        assert_eq!(store.read_bytes(digest, 1 << 20).unwrap(), *bytes);
    }
    assert_eq!(store.read_bytes(&small[0].0, 10).unwrap(), b"one");
    assert!(store.file(&large[0], PACKED).exists(), "text is compressed");
    assert!(store.file(&large[1], PLAIN).exists(), "noise is not");
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let wanted = Digest::of(b"right");
    let mut writer = store.writer(0).unwrap();
    writer.write(b"wrong").unwrap();
    assert!(matches!(writer.finish(wanted), Err(BlobError::Mismatch { .. })));
    let both = [(Digest::of(b"a"), b"a".to_vec()), (wanted, b"wrong".to_vec())];
    assert!(matches!(store.put_bytes(&both), Err(BlobError::Mismatch { .. })));
    assert!(!store.has(&wanted) && !store.has(&both[0].0));
    assert_eq!(std::fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn a_flipped_bit_on_the_disk_is_found_on_reading() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let text = "the same again ".repeat(50_000).into_bytes();
    for bytes in [text, noise(100_000)] {
        let digest = put(&store, &bytes);
        let found = [PLAIN, PACKED].map(|form| store.file(&digest, form));
        let path = found.iter().find(|path| path.exists()).unwrap();
        let mut stored = std::fs::read(path).unwrap();
        let middle = stored.len() / 2;
        stored[middle] ^= 1;
        std::fs::write(path, stored).unwrap();
        let fault = store.read_bytes(&digest, 1 << 20).unwrap_err();
        assert!(matches!(fault, BlobError::Damaged(_)), "{fault}");
        assert!(!store.has(&digest), "what is damaged is not offered");
        put(&store, &bytes);
        assert_eq!(store.read_bytes(&digest, 1 << 20).unwrap(), bytes, "a whole one may come");
    }
}

#[test]
fn a_flipped_bit_in_a_small_blob_is_found_and_a_whole_one_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let blob = (Digest::of(b"small"), b"small".to_vec());
    store.put_bytes(std::slice::from_ref(&blob)).unwrap();
    let path = pack::path(dir.path());
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(matches!(store.read_bytes(&blob.0, 10), Err(BlobError::Damaged(_))));
    assert!(!store.has(&blob.0));
    store.put_bytes(std::slice::from_ref(&blob)).unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    assert_eq!(store.read_bytes(&blob.0, 10).unwrap(), b"small", "the newer record counts");
}

#[test]
fn a_damaged_record_stops_the_store_and_costs_no_neighbour() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let blob = |text: &str| (Digest::of(text.as_bytes()), text.as_bytes().to_vec());
    store.put_bytes(&[blob("first"), blob("second"), blob("third")]).unwrap();
    drop(store);
    let path = pack::path(dir.path());
    let whole = std::fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    // The second record's mark.
    bytes[40 + 5] ^= 0xff;
    std::fs::write(&path, &bytes).unwrap();
    let fault = BlobStore::open(dir.path()).err().unwrap();
    assert!(fault.to_string().contains("record at byte 45 is damaged"), "{fault}");
    assert_eq!(std::fs::read(&path).unwrap(), bytes, "nothing was cut off");
    // Zeros at the end are what a crash leaves.
    let torn = [&whole[..], &[0; 100]].concat();
    std::fs::write(&path, torn).unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    assert!(store.has(&blob("third").0));
}

#[test]
fn a_record_that_was_cut_short_is_dropped_and_the_rest_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let blob = |text: &str| (Digest::of(text.as_bytes()), text.as_bytes().to_vec());
    store.put_bytes(&[blob("first"), blob("second")]).unwrap();
    drop(store);
    let path = pack::path(dir.path());
    let len = std::fs::metadata(&path).unwrap().len();
    File::options().write(true).open(&path).unwrap().set_len(len - 2).unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    assert!(store.has(&blob("first").0) && !store.has(&blob("second").0));
    store.put_bytes(&[blob("third")]).unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    assert_eq!(store.read_bytes(&blob("third").0, 10).unwrap(), b"third");
}

#[test]
fn all_that_is_held_comes_page_by_page_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(dir.path()).unwrap();
    let mut all: Vec<Digest> = (0..40_u8).map(|seed| put(&store, &[seed; 70_000])).collect();
    for seed in 0..40_u8 {
        let bytes = vec![seed, 1];
        all.push(Digest::of(&bytes));
        store.put_bytes(&[(Digest::of(&bytes), bytes)]).unwrap();
    }
    all.sort_unstable();
    for max in [1, 7, 1_000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let page = store.held(after, max).unwrap();
            assert!(page.len() <= max);
            after = page.last().copied();
            if after.is_none() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, all, "by {max}");
    }
}
