//! One cluster a folder: a lock that its process holds, with the process's id in it.

use crate::fault::{Fault, Kind};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::DirBuilderExt,
    path::Path,
};

const FILE: &str = "assay-dev.lock";

/// A held lock; let go when dropped, however the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the folder, and makes it if need be.
    ///
    /// # Errors
    /// When another process holds it, or it holds something that is no development cluster.
    pub fn take(dir: &Path) -> Result<Self, Fault> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|fault| Fault::file(dir, &fault))?;
        let path = dir.join(FILE);
        let foreign =
            !path.exists() && fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if foreign {
            let detail =
                format!("{} holds something else than a development cluster", dir.display());
            return Err(Fault::usage("folder", detail).hint("assay dev --dir EMPTY_DIR"));
        }
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|fault| Fault::file(&path, &fault))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            let detail = format!("{} is in use by process {}", dir.display(), pid.trim());
            return Err(Fault::new(Kind::Refused, "in_use", detail)
                .hint(format!("end it: kill {}; or use another folder: --dir DIR", pid.trim())));
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.map_err(|fault| Fault::file(&path, &fault))?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_in_use_names_the_process_that_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let fault = Lock::take(dir.path()).unwrap_err();
        assert_eq!(fault.reason, "in_use");
        assert!(fault.detail.contains(&std::process::id().to_string()), "{}", fault.detail);
        drop(lock);
        assert!(Lock::take(dir.path()).is_ok());
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.tex"), "x").unwrap();
        assert_eq!(Lock::take(dir.path()).unwrap_err().reason, "folder");
    }
}
