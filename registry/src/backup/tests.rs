//! What was written comes back; what was changed is named.

use super::*;
use domain::{
    LeaseId, Millis,
    chunks::{Chunk, ChunkManifest, ChunkName, ChunkedFile, Pin},
    port::Row,
};

const BY: Pin = Pin { lease: LeaseId { index: 7, ordinal: 1 }, step: 3 };

fn backup(dir: &Path) -> (Folder, Manifest) {
    let folder = Folder::at(dir);
    folder.make().unwrap();
    let digest = Digest::of(b"weights");
    fs::create_dir_all(folder.blob(&digest).parent().unwrap()).unwrap();
    fs::write(folder.blob(&digest), b"weights").unwrap();
    let at = LogIndex(7);
    let rows: Vec<Row> = vec![(vec![1], vec![2, 3])];
    let mut out = folder.write_rows(at).unwrap();
    for _ in 0..2 {
        let bytes = borsh::to_vec(&rows).unwrap();
        out.page(&zstd::bulk::compress(&bytes, 1).unwrap()).unwrap();
    }
    let bytes = bytes::Bytes::from_static(b"part");
    let name = ChunkName::of(&bytes);
    let file = domain::tree::TreeFile {
        path: "w".into(),
        digest: Digest::of(b"part"),
        size: domain::Bytes(4),
        executable: false,
    };
    let chunks = vec![Chunk { name, len: 4 }];
    let list = ChunkManifest { files: vec![ChunkedFile { file, chunks }] }.encode();
    let list_name = Digest::of(&list);
    for (path, bytes) in [(folder.blob(&list_name), &list[..]), (folder.chunk(name), &bytes[..])] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let saved = [SavedCheckpoint { list: list_name, by: BY }];
    let list = folder.write_checkpoints(at, &saved).unwrap();
    let manifest = Manifest {
        schema: Manifest::SCHEMA.into(),
        cluster: "c".into(),
        log_index: at,
        log_term: 2,
        state: None,
        time: Millis(1),
        rows: out.finish().unwrap(),
        blobs: Blobs { count: 1, size: 7, list: folder.write_list(at, &[digest]).unwrap() },
        checkpoints: Checkpoints { count: 1, size: 4, list },
        silent: Vec::new(),
    };
    folder.finish(&manifest).unwrap();
    (folder, manifest)
}

#[test]
fn what_was_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, manifest) = backup(dir.path());
    assert_eq!(folder.manifest(None).unwrap(), manifest);
    assert_eq!(folder.manifest(Some(LogIndex(7))).unwrap(), manifest);
    assert_eq!(folder.blobs(&manifest).unwrap(), [Digest::of(b"weights")]);
    let rows = RowsReader::open(folder.file(&manifest.rows.file).unwrap()).unwrap();
    let rows: Result<Vec<_>, _> = rows.collect();
    assert_eq!(rows.unwrap(), vec![vec![(vec![1], vec![2, 3])]; 2]);
    assert_eq!(folder.check_blob(&Digest::of(b"weights")).unwrap(), 7);
    let [saved] = folder.checkpoints(&manifest).unwrap()[..] else { panic!("one was saved") };
    assert_eq!(saved.by, BY);
    let (_, chunks) = folder.chunks_of(&saved.list).unwrap();
    assert_eq!(folder.read_chunk(&chunks[0]).unwrap()[..], b"part"[..]);
}

#[test]
fn each_damage_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (folder, manifest) = backup(dir.path());
    let said = |fault: BackupFault| fault.to_string();
    let text = said(folder.manifest(Some(LogIndex(8))).unwrap_err());
    assert_eq!(text, "no backup at log entry 8; there are 7");
    let blob = folder.blob(&Digest::of(b"weights"));
    fs::write(&blob, b"weightz").unwrap();
    let text = said(folder.check_blob(&Digest::of(b"weights")).unwrap_err());
    assert!(text.contains("is damaged") && text.contains("blobs/"), "{text}");
    for part in [&manifest.rows, &manifest.blobs.list, &manifest.checkpoints.list] {
        let path = folder.file(&part.file).unwrap();
        let mut bytes = fs::read(&path).unwrap();
        bytes[5] ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(said(folder.check(part).unwrap_err()).contains(&part.file));
    }
    let chunk = folder.chunk(ChunkName::of(b"part"));
    fs::write(&chunk, b"pars").unwrap();
    let part = Chunk { name: ChunkName::of(b"part"), len: 4 };
    assert!(said(folder.read_chunk(&part).unwrap_err()).contains("chunks/"));
    let empty = tempfile::tempdir().unwrap();
    let text = said(Folder::at(empty.path()).manifest(None).unwrap_err());
    assert!(text.contains("holds no finished backup"), "{text}");
    assert!(folder.file("../out").is_err());
    fs::write(dir.path().join("backups/00000000000000000009.json"), "{}").unwrap();
    assert!(said(folder.manifest(None).unwrap_err()).contains("00000000000000000009.json"));
}
