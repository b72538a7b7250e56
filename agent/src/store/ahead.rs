//! Outputs hashed while they are written, so that to seal them costs no second read.
//!
//! A file that only grows is followed; one that was written over is left to the seal, which reads it
//! from its first byte, as does every file that was never looked at. What the digest proposes is
//! compared by the servers that store the bytes: if it does not hold, all is read again.

use crate::driver::dirs::LeaseDirs;
use registry::files::{Begun, walk::open_below};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Shorter files are read when they are sealed, which takes as long as a look at them.
pub(super) const LEAST: u64 = 8 << 20;
/// Files that are followed in one output; more are read when they are sealed.
const MOST: usize = 256;
/// Files and folders in an output that is looked at; one with more is sealed as it is found.
const LISTED: usize = 4_096;
/// Time for one look; the next goes on from there.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Files of an output, by inode.
#[derive(Default)]
struct Files {
    begun: BTreeMap<u64, Begun>,
    /// Those that were written over.
    left: BTreeSet<u64>,
    /// Whether there are too many to look at.
    given_up: bool,
}

/// What of an output is hashed before it is sealed.
#[derive(Default)]
pub struct Ahead {
    files: Mutex<Files>,
    over: AtomicBool,
}

impl Ahead {
    /// Hashes what was appended to the files of an output since the last look.
    pub fn look(&self, dirs: &LeaseDirs) {
        let mut files = self.files();
        if files.given_up || self.is_over() {
            return;
        }
        let out = dirs.out();
        let end = Instant::now() + LOOK_MAX;
        let stop = || self.is_over() || Instant::now() > end;
        // What may not be there is for the seal to say.
        let Ok(root) = File::open(&out) else { return };
        let Some(paths) = listed(&out, &stop) else {
            files.given_up = !stop();
            return;
        };
        for path in paths {
            if stop() {
                return;
            }
            let inside = path.strip_prefix(&out).unwrap_or(&path);
            if let Err(why) = follow(&root, inside, &mut files, &stop) {
                tracing::debug!(path = %path.display(), %why, "not hashed while it is written");
            }
        }
    }

    /// Ends the looks, also one that is under way.
    pub fn stop(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// The same, and gives what they have come to.
    pub fn end(&self) -> BTreeMap<u64, Begun> {
        self.stop();
        std::mem::take(&mut self.files().begun)
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Goes on with a file, if it is one to be followed.
fn follow(
    root: &File,
    inside: &Path,
    files: &mut Files,
    stop: &impl Fn() -> bool,
) -> io::Result<()> {
    // Tasks still run, and may put anything in its place.
    let mut file = open_below(root, inside)?;
    let meta = file.metadata()?;
    let id = meta.ino();
    // A hole takes no time to make, and as long to read as bytes do.
    let whole = meta.blocks().saturating_mul(512) >= meta.len() / 2;
    let wanted = meta.is_file() && meta.len() >= LEAST && whole && !files.left.contains(&id);
    let full = files.begun.len() + files.left.len() >= MOST;
    if !wanted || full && !files.begun.contains_key(&id) {
        return Ok(());
    }
    let begun = files.begun.entry(id).or_default();
    if !matches!(begun.go_on(&mut file, stop), Ok(true)) {
        files.begun.remove(&id);
        files.left.insert(id);
    }
    Ok(())
}

/// Files that may be followed; none where there are too many, or something cannot be listed. Proofs
/// are written into safetensors files before they are sealed.
fn listed(out: &Path, stop: &impl Fn() -> bool) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (count, entry) in walkdir::WalkDir::new(out).min_depth(1).into_iter().enumerate() {
        if count >= LISTED || stop() {
            return None;
        }
        let entry = match entry {
            Ok(entry) => entry,
            // It went while it was looked for.
            Err(why) if why.io_error().is_some_and(|it| it.kind() == io::ErrorKind::NotFound) => {
                continue;
            }
            Err(_) => return None,
        };
        let proof = entry.path().extension().is_some_and(|kind| kind == "safetensors");
        if entry.file_type().is_file() && !proof {
            found.push(entry.into_path());
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::files::walk::{hash_tree, hash_tree_on};
    use std::{fs, io::Write as _};

    fn output() -> (tempfile::TempDir, LeaseDirs) {
        let dir = tempfile::tempdir().unwrap();
        let dirs = LeaseDirs { root: dir.path().join("lease") };
        dirs.create().unwrap();
        (dir, dirs)
    }

    fn append(dirs: &LeaseDirs, name: &str, byte: u8, length: u64) {
        let path = dirs.out().join(name);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(&vec![byte; usize::try_from(length).unwrap()]).unwrap();
    }

    #[test]
    fn what_grows_is_hashed_to_its_end_and_what_is_small_or_a_proof_is_left() {
        let (_dir, dirs) = output();
        let ahead = Ahead::default();
        for byte in 0..3 {
            append(&dirs, "weights", byte, LEAST);
            append(&dirs, "small", byte, 1);
            append(&dirs, "model.safetensors", byte, LEAST);
            ahead.look(&dirs);
        }
        let begun = ahead.end();
        let read: Vec<u64> = begun.values().map(Begun::read).collect();
        assert_eq!(read, [3 * LEAST]);
        let tree = hash_tree(&dirs.out()).unwrap();
        assert_eq!(hash_tree_on(&dirs.out(), &begun).unwrap(), tree);
        append(&dirs, "weights", 9, LEAST);
        ahead.look(&dirs);
        assert!(ahead.end().is_empty(), "it is over");
    }

    #[test]
    fn what_is_cut_is_left_to_the_seal() {
        let (_dir, dirs) = output();
        let ahead = Ahead::default();
        append(&dirs, "weights", 1, 2 * LEAST);
        ahead.look(&dirs);
        fs::File::options()
            .write(true)
            .open(dirs.out().join("weights"))
            .unwrap()
            .set_len(LEAST)
            .unwrap();
        ahead.look(&dirs);
        append(&dirs, "weights", 2, LEAST);
        ahead.look(&dirs);
        assert!(ahead.end().is_empty());
    }

    #[test]
    fn a_link_is_not_followed() {
        let (dir, dirs) = output();
        let secret = dir.path().join("secret");
        fs::write(&secret, vec![1; usize::try_from(LEAST).unwrap()]).unwrap();
        let root = File::open(dirs.out()).unwrap();
        std::os::unix::fs::symlink(&secret, dirs.out().join("weights")).unwrap();
        let mut files = Files::default();
        assert!(follow(&root, Path::new("weights"), &mut files, &|| false).is_err());
        assert!(files.begun.is_empty());
    }

    #[test]
    fn a_folder_of_too_many_names_is_not_looked_at_again_and_a_hole_is_not_read() {
        let (_dir, dirs) = output();
        let hole = File::create(dirs.out().join("hole")).unwrap();
        hole.set_len(1 << 40).unwrap();
        let ahead = Ahead::default();
        ahead.look(&dirs);
        assert!(ahead.files().begun.is_empty());
        for n in 0..LISTED {
            fs::create_dir(dirs.out().join(n.to_string())).unwrap();
        }
        ahead.look(&dirs);
        assert!(ahead.files().given_up);
    }
}
