//! From a folder to a tree of digests, in parallel.

use super::begun::Begun;
use domain::{
    Bytes, Digest, limit,
    tree::{Tree, TreeError, TreeFile},
};
use rayon::prelude::*;
use rustix::{
    fs::{Advice, Mode, OFlags, ResolveFlags, openat, openat2},
    io::Errno,
};
use sha2::Digest as _;
use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read, Seek as _, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Bytes read at once.
const READ: usize = 256 << 10;
/// Bytes that the disk is asked for before they are needed, so that it reads while a core hashes.
const AHEAD: u64 = 8 << 20;

/// A folder that cannot be captured.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A file or folder that cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Neither a regular file nor a folder.
    #[error("{} is a {kind}; only regular files and folders can be captured", path.display())]
    Special {
        /// Which.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A name that is not UTF-8.
    #[error("{} is not named in UTF-8; rename it", path.display())]
    Name {
        /// Which.
        path: PathBuf,
    },
    /// A file that changed while it was read.
    #[error("{} changed while it was read; stop whatever writes to it and try again", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// Too many files.
    #[error("{} holds more than {max} files; pack them into fewer", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
        /// The bound.
        max: usize,
    },
    /// Names that no tree may hold.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

fn io_fault(path: &Path) -> impl FnOnce(io::Error) -> WalkError + '_ {
    move |source| WalkError::Io { path: path.to_owned(), source }
}

/// The tree of all files under `dir`.
///
/// # Errors
/// Names the first file that cannot be captured.
pub fn hash_tree(dir: &Path) -> Result<Tree, WalkError> {
    hash_tree_on(dir, &BTreeMap::new())
}

/// The same, going on with files that were begun, by inode, while they were written.
///
/// # Errors
/// Names the first file that cannot be captured.
pub fn hash_tree_on(dir: &Path, begun: &BTreeMap<u64, Begun>) -> Result<Tree, WalkError> {
    let paths = files(dir)?;
    let root = File::open(dir).map_err(io_fault(dir))?;
    let hashed: Result<Vec<_>, _> = paths
        .par_iter()
        .map(|path| {
            let inside = path.strip_prefix(dir).unwrap_or(path);
            let name = name(path, inside)?;
            hash_open(open_below(&root, inside).map_err(io_fault(path))?, path, name, begun)
        })
        .collect();
    let mut files = hashed?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let tree = Tree { files };
    tree.check()?;
    Ok(tree)
}

/// The name of a file in a tree.
///
/// # Errors
/// When it is not UTF-8.
pub fn name<'a>(path: &Path, inside: &'a Path) -> Result<&'a str, WalkError> {
    inside.to_str().ok_or_else(|| WalkError::Name { path: path.to_owned() })
}

/// All files under `dir`, in no order.
///
/// # Errors
/// Names the first one that is neither a file nor a folder.
pub fn files(dir: &Path) -> Result<Vec<PathBuf>, WalkError> {
    let mut paths = Vec::new();
    for entry in walkdir::WalkDir::new(dir).min_depth(1) {
        let entry = entry.map_err(|fault| WalkError::Io {
            path: fault.path().unwrap_or(dir).to_owned(),
            source: fault.into(),
        })?;
        let kind = entry.file_type();
        if kind.is_dir() {
            continue;
        }
        if !kind.is_file() {
            let kind = if kind.is_symlink() { "symbolic link" } else { "special file" };
            return Err(WalkError::Special { path: entry.into_path(), kind });
        }
        if paths.len() == limit::TREE_FILES_MAX {
            return Err(WalkError::TooMany { path: dir.to_owned(), max: limit::TREE_FILES_MAX });
        }
        paths.push(entry.into_path());
    }
    Ok(paths)
}

/// The entry of one file, under the name `name`.
///
/// # Errors
/// When it cannot be read, is not a regular file, or changes meanwhile.
pub fn hash_file(path: &Path, name: &str) -> Result<TreeFile, WalkError> {
    hash_open(File::open(path).map_err(io_fault(path))?, path, name, &BTreeMap::new())
}

/// Opens a file below a folder without leaving it: whoever writes there may put a link in place of
/// what was a file, or a folder, a moment ago, and may have fewer rights than we.
///
/// # Errors
/// When there is none, or a link.
pub fn open_below(root: &File, inside: &Path) -> io::Result<File> {
    // A pipe in place of a file must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let within = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
    match openat2(root, inside, flags, Mode::empty(), within) {
        Ok(file) => Ok(file.into()),
        // Kernels before 5.6, and filters that do not know the call: the last part is safe.
        Err(Errno::NOSYS) => Ok(openat(root, inside, flags, Mode::empty())?.into()),
        Err(why) => Err(why.into()),
    }
}

fn hash_open(
    mut file: File,
    path: &Path,
    name: &str,
    begun: &BTreeMap<u64, Begun>,
) -> Result<TreeFile, WalkError> {
    let before = file.metadata().map_err(io_fault(path))?;
    if !before.is_file() {
        return Err(WalkError::Special { path: path.to_owned(), kind: "special file or folder" });
    }
    let begun = match begun.get(&before.ino()) {
        Some(it) if it.was_only_appended_to(&file, &before).map_err(io_fault(path))? => Some(it),
        Some(_) | None => None,
    };
    let (mut hasher, mut size) =
        begun.map_or_else(Default::default, |begun| (begun.hasher.clone(), begun.read));
    file.seek(SeekFrom::Start(size)).map_err(io_fault(path))?;
    let mut ahead = ReadAhead { file: &mut file, at: size, asked: size };
    size += read_into(&mut hasher, &mut ahead).map_err(io_fault(path))?;
    let digest = Digest(hasher.finalize().into());
    let after = std::fs::metadata(path).map_err(io_fault(path))?;
    if size != before.len() || mark(&before) != mark(&after) {
        return Err(WalkError::Changed { path: path.to_owned() });
    }
    let executable = before.mode() & 0o100 != 0;
    Ok(TreeFile { digest, executable, path: name.to_owned(), size: Bytes(size) })
}

/// Digest and length of all that a reader gives.
///
/// # Errors
/// When it fails.
pub fn hash_reader(reader: &mut impl Read) -> io::Result<(Digest, u64)> {
    let mut hasher = sha2::Sha256::new();
    let size = read_into(&mut hasher, reader)?;
    Ok((Digest(hasher.finalize().into()), size))
}

/// Hashes all that a reader gives; returns how much that was.
pub(super) fn read_into(hasher: &mut sha2::Sha256, reader: &mut impl Read) -> io::Result<u64> {
    let mut buffer = vec![0; READ];
    let mut size = 0;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(size),
            Ok(read) => read,
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => continue,
            Err(fault) => return Err(fault),
        };
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
}

/// A file of which the system is told what will be read next.
struct ReadAhead<'a> {
    file: &'a mut File,
    at: u64,
    asked: u64,
}

impl Read for ReadAhead<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.asked < self.at + AHEAD {
            let length = std::num::NonZeroU64::new(AHEAD);
            // Advice only: where it is not taken, reading is slower.
            let _ = rustix::fs::fadvise(&*self.file, self.asked, length, Advice::WillNeed);
            self.asked += AHEAD;
        }
        let read = self.file.read(buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// What changes when a file is written or replaced.
fn mark(meta: &Metadata) -> (u64, u64, i64, i64, i64, i64) {
    (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_becomes_its_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("b")).unwrap();
        for (name, text) in [("b/c", "two"), ("a", "one"), ("b.txt", "")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let tree = hash_tree(dir.path()).unwrap();
        let names: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, ["a", "b.txt", "b/c"]);
        assert_eq!(tree.files[0].digest, Digest::of(b"one"));
        assert_eq!(tree.size(), Bytes(6));
    }

    #[test]
    fn a_file_is_not_opened_by_way_of_a_link() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc", dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("file")).unwrap();
        let root = File::open(dir.path()).unwrap();
        for inside in ["folder/passwd", "file", "../../etc/passwd"] {
            assert!(open_below(&root, Path::new(inside)).is_err(), "{inside}");
        }
    }

    #[test]
    fn a_symbolic_link_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        let fault = hash_tree(dir.path()).unwrap_err();
        assert!(fault.to_string().contains("link is a symbolic link"), "{fault}");
    }
}
