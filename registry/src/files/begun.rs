//! Files that are hashed while they are written.
//!
//! What only grows is read once, while the system still holds it in memory; at the end the rest
//! alone is read. A file that is written over is hashed anew from its first byte. That is seen by its
//! time of change and by its first bytes, where archives keep what they fill in later; one that was
//! written over elsewhere, and grew before the next look, is taken for one that grew. So the digest
//! is a proposal, and whoever stores the bytes under it compares.

use super::walk::read_into;
use domain::Digest;
use sha2::{Digest as _, Sha256};
use std::{
    fs::{File, Metadata},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::{FileExt as _, MetadataExt},
};

/// Bytes hashed between two questions whether to stop.
const STRIDE: u64 = 16 << 20;
/// First bytes that are compared.
const HEAD: usize = 4 << 10;

/// A file that was hashed up to where it was written when it was last looked at.
#[derive(Clone)]
pub struct Begun {
    pub(super) hasher: Sha256,
    pub(super) read: u64,
    /// When it was last written to, as it was seen before it was read.
    modified: (i64, i64),
    /// Its first bytes, as they were read.
    head: Vec<u8>,
}

impl Begun {
    /// One of which nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        Self { hasher: Sha256::new(), read: 0, modified: (0, 0), head: Vec::new() }
    }

    /// Bytes that need not be read again.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read
    }

    /// Hashes what was appended, until `stop` says so. Returns whether the file was only appended
    /// to, as far as can be seen.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn go_on(&mut self, file: &mut File, stop: impl Fn() -> bool) -> io::Result<bool> {
        let now = file.metadata()?;
        if !self.was_only_appended_to(file, &now)? {
            return Ok(false);
        }
        if self.read == 0 {
            self.head = first(file, now.len())?;
        }
        self.modified = modified(&now);
        file.seek(SeekFrom::Start(self.read))?;
        while self.read < now.len() && !stop() {
            let most = STRIDE.min(now.len() - self.read);
            let got = read_into(&mut self.hasher, &mut file.by_ref().take(most))?;
            self.read += got;
            if got < most {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a file may be gone on with.
    pub(super) fn was_only_appended_to(&self, file: &File, now: &Metadata) -> io::Result<bool> {
        let same = self.read == now.len() && self.modified == modified(now);
        let grew = self.read < now.len();
        Ok((grew || same) && first(file, self.head.len() as u64)? == self.head)
    }

    /// Digest of what was read.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(self.hasher.clone().finalize().into())
    }
}

impl Default for Begun {
    fn default() -> Self {
        Self::new()
    }
}

/// First bytes of a file, as far as it goes.
fn first(file: &File, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; HEAD.min(usize::try_from(length).unwrap_or(HEAD))];
    match file.read_exact_at(&mut bytes, 0) {
        Err(why) if why.kind() == io::ErrorKind::UnexpectedEof => Ok(Vec::new()),
        read => read.map(|()| bytes),
    }
}

fn modified(meta: &Metadata) -> (i64, i64) {
    (meta.mtime(), meta.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::walk::{hash_tree, hash_tree_on};
    use std::{
        collections::BTreeMap,
        fs::OpenOptions,
        io::Write as _,
        path::Path,
        time::{Duration, SystemTime},
    };

    fn append(path: &Path, bytes: &[u8]) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(bytes).unwrap();
    }

    fn look(begun: &mut Begun, path: &Path) -> bool {
        begun.go_on(&mut File::open(path).unwrap(), || false).unwrap()
    }

    /// As a look later on would find it.
    fn touch(path: &Path, seconds: u64) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds);
        File::open(path).unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn what_only_grows_is_read_once_and_gives_the_digest_of_the_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        let mut begun = Begun::new();
        for part in [&b"one"[..], b"", b"two", b"three"] {
            append(&path, part);
            assert!(look(&mut begun, &path));
        }
        assert_eq!(begun.read(), 11);
        assert_eq!(begun.digest(), Digest::of(b"onetwothree"));
        append(&path, b"rest");
        let inode = path.metadata().unwrap().ino();
        let all = BTreeMap::from([(inode, begun)]);
        assert_eq!(hash_tree_on(dir.path(), &all).unwrap(), hash_tree(dir.path()).unwrap());
    }

    #[test]
    fn what_was_written_over_or_cut_is_hashed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        append(&path, b"first");
        touch(&path, 1);
        let mut begun = Begun::new();
        assert!(look(&mut begun, &path));
        std::fs::write(&path, b"other").unwrap();
        touch(&path, 2);
        let all = BTreeMap::from([(path.metadata().unwrap().ino(), begun.clone())]);
        let tree = hash_tree_on(dir.path(), &all).unwrap();
        assert_eq!(tree.files[0].digest, Digest::of(b"other"));
        assert!(!look(&mut begun.clone(), &path), "written over");
        std::fs::write(&path, b"cut").unwrap();
        assert!(!look(&mut begun, &path), "shorter");
        let tree = hash_tree_on(dir.path(), &all).unwrap();
        assert_eq!(tree.files[0].digest, Digest::of(b"cut"));
    }

    #[test]
    fn an_archive_that_fills_its_first_bytes_in_later_is_hashed_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("arrays.npz");
        append(&path, b"size unknown");
        let mut begun = Begun::new();
        assert!(look(&mut begun, &path));
        std::fs::write(&path, b"size is 7, and more").unwrap();
        let all = BTreeMap::from([(path.metadata().unwrap().ino(), begun.clone())]);
        assert_eq!(hash_tree_on(dir.path(), &all).unwrap(), hash_tree(dir.path()).unwrap());
        assert!(!look(&mut begun, &path));
    }

    #[test]
    fn it_stops_when_it_is_told_to_and_is_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weights");
        append(&path, &vec![7; STRIDE as usize + 1]);
        let mut begun = Begun::new();
        let asked = std::cell::Cell::new(0);
        let stop = || asked.replace(asked.get() + 1) > 0;
        assert!(begun.go_on(&mut File::open(&path).unwrap(), stop).unwrap());
        assert_eq!(begun.read(), STRIDE);
        assert!(look(&mut begun, &path));
        assert_eq!(begun.digest(), Digest::of(&vec![7; STRIDE as usize + 1]));
    }
}
