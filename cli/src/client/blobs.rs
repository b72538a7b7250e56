//! Bytes to and from the servers.

use super::Client;
use crate::fault::{Fault, Kind};
use domain::{Bytes, Digest, limit, tree::Tree};
use proto::transfer::{self, Source, TransferError};
use registry::files::walk;
use std::{
    fs::{self, File},
    path::Path,
};

/// Longest stored tree, statement or envelope that is read into memory.
const DOCUMENT_MAX: usize = 256 << 20;

impl Client {
    /// Uploads what `sources` makes to as many servers as must hold a blob; what they have is
    /// skipped.
    ///
    /// # Errors
    /// When a file cannot be read, or too few servers take it.
    pub async fn upload(&self, sources: impl Fn() -> Vec<Source>) -> Result<(), Fault> {
        if sources().is_empty() {
            return Ok(());
        }
        let wanted = limit::BLOB_COPIES.min(self.servers.len());
        let (mut copies, mut last) = (0, None);
        for (address, channel) in self.channels() {
            if copies == wanted {
                break;
            }
            match transfer::put(channel, sources()).await {
                Ok(()) => copies += 1,
                Err(TransferError::Local(fault)) => {
                    let changed = changed(sources());
                    let unread = || Fault::usage("capture", format!("upload: {fault}"));
                    return Err(changed.unwrap_or_else(unread));
                }
                Err(fault) => last = Some(of_transfer(&fault, address)),
            }
        }
        if copies == wanted {
            return Ok(());
        }
        // A server refuses bytes that are not those of the digest, and cannot know why.
        if let Some(fault) = changed(sources()) {
            return Err(fault);
        }
        let last = last.map_or_else(String::new, |fault| format!("; {}", fault.detail));
        let detail = format!("{copies} of {wanted} servers took the files{last}");
        Err(Fault::new(Kind::Unavailable, "too_few_copies", detail)
            .hint("`assay cluster status` shows the servers; then try again"))
    }

    /// Fetches a small blob from any server.
    ///
    /// # Errors
    /// When no server has it whole.
    pub async fn blob(&self, digest: Digest) -> Result<Vec<u8>, Fault> {
        let mut last = None;
        for (address, channel) in self.channels() {
            match transfer::get_bytes(channel, digest, DOCUMENT_MAX).await {
                Ok(bytes) => return Ok(bytes),
                Err(fault) => last = Some(of_transfer(&fault, address)),
            }
        }
        Err(last.unwrap_or_else(super::nobody))
    }

    /// Fetches a stored tree.
    ///
    /// # Errors
    /// When no server has it, or it is none.
    pub async fn tree(&self, digest: Digest) -> Result<Tree, Fault> {
        let bytes = self.blob(digest).await?;
        Tree::decode(&bytes).map_err(|fault| Fault::mismatch("tree", fault.to_string()))
    }

    /// Fetches a blob into a new file.
    ///
    /// # Errors
    /// When no server has it whole, or the file cannot be written.
    pub async fn blob_to_file(&self, digest: Digest, path: &Path) -> Result<(), Fault> {
        let mut last = None;
        for (address, channel) in self.channels() {
            let mut file = fs::File::create(path).map_err(|fault| Fault::file(path, &fault))?;
            match transfer::get(channel, digest, &mut file).await {
                Ok(_) => return Ok(()),
                Err(TransferError::Local(fault)) => return Err(Fault::file(path, &fault)),
                Err(fault) => last = Some(of_transfer(&fault, address)),
            }
        }
        Err(last.unwrap_or_else(super::nobody))
    }

    /// Fetches a tree's files into a new folder, each verified. Returns how many bytes.
    ///
    /// # Errors
    /// When the folder is there already, or a file cannot be had whole.
    pub async fn fetch_tree(&self, tree: &Tree, dir: &Path) -> Result<Bytes, Fault> {
        fs::create_dir_all(dir).map_err(|fault| Fault::file(dir, &fault))?;
        let occupied = fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some());
        if occupied {
            let detail = format!("{} is not empty", dir.display());
            return Err(Fault::usage("folder", detail).hint("name a folder that does not exist"));
        }
        for file in &tree.files {
            let path = dir.join(&file.path);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|fault| Fault::file(parent, &fault))?;
            }
            self.blob_to_file(file.digest, &path).await?;
            if file.executable {
                use std::os::unix::fs::PermissionsExt;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                    .map_err(|fault| Fault::file(&path, &fault))?;
            }
        }
        Ok(tree.size())
    }
}

/// The first file that is not any more what it was when it was captured.
fn changed(sources: Vec<Source>) -> Option<Fault> {
    sources.into_iter().find_map(|source| {
        let path = source.path?;
        let read = File::open(&path).and_then(|mut file| walk::hash_reader(&mut file));
        match read {
            Err(fault) => Some(Fault::file(&path, &fault)),
            Ok((digest, _)) if digest == source.digest => None,
            Ok(_) => {
                let detail = format!("{} has changed since it was captured", path.display());
                let fault = Fault::usage("changed", detail);
                Some(fault.hint("nothing was submitted; submit again when nobody writes to it"))
            }
        }
    })
}

pub(super) fn of_transfer(fault: &TransferError, address: &str) -> Fault {
    match fault {
        TransferError::Wire(status) => super::of_status(status, address),
        TransferError::Local(fault) => Fault::usage("local_file", fault.to_string()),
        TransferError::Mismatch { .. } => {
            Fault::mismatch("damaged_blob", format!("server {address}: {fault}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(write: impl FnOnce(&Path)) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data.csv");
        fs::write(&path, "1,2,3\n").unwrap();
        let source = || Source::file(Digest::of(b"1,2,3\n"), 6, path.clone());
        assert_eq!(changed(vec![Source::bytes(vec![1]), source()]), None, "nothing has changed");
        write(&path);
        changed(vec![Source::bytes(vec![1]), source()])
            .map(|fault| format!("{fault}").replace(&dir.path().display().to_string(), "DIR"))
    }

    #[test]
    fn a_file_that_changed_between_capture_and_upload_is_named() {
        let changed = "DIR/data.csv has changed since it was captured";
        for write in [
            |path: &Path| fs::write(path, "1,2,4\n").unwrap(),
            |path: &Path| fs::write(path, "1,").unwrap(),
            |path: &Path| fs::write(path, "1,2,3\n4,5,6\n").unwrap(),
        ] {
            let told = told(write).expect("it is found");
            assert!(told.contains(changed) && told.contains("submit again"), "{told}");
        }
        let gone = told(|path| fs::remove_file(path).unwrap()).expect("it is found");
        assert!(gone.contains("DIR/data.csv"), "{gone}");
    }
}
