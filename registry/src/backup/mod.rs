//! A backup's folder: what it holds, and how it is checked without the cluster that it is of.
//!
//! ```text
//! backups/<log index, 20 digits>.json   one backup each, written last
//! lists/<log index>.sha256              its blobs, in the form of sha256sum
//! lists/<log index>.checkpoints         its checkpoints: list of chunks, lease, step
//! rows/<log index>.rows                 its rows
//! blobs/<two digits>/<sha256>           bytes of all backups, each once
//! chunks/<two digits>/<blake3>          parts of checkpoints, each once
//! ```
//!
//! `sha256sum --check lists/<log index>.sha256` checks the blobs with a tool that is not ours. The
//! form is described in docs/BACKUP.md.

mod checkpoints;
mod manifest;
mod rows;

pub use checkpoints::SavedCheckpoint;
pub use manifest::{Blobs, Checkpoints, Manifest, Part};
pub use rows::{RowsReader, RowsWriter};

use domain::{Digest, LogIndex};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, BufRead, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Bytes that are read at a time.
const READ: usize = 1 << 20;
/// Longest document that describes a backup.
const MANIFEST_MAX: u64 = 1 << 20;

/// What is wrong with a backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupFault {
    /// The disk.
    #[error("{}: {source}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No backup was ever finished there.
    #[error("{} holds no finished backup; `assay backup take` makes one", .0.display())]
    None(PathBuf),
    /// None of this index.
    #[error("no backup at log entry {wanted}; there are {known}")]
    NoSuch {
        /// What was asked for.
        wanted: LogIndex,
        /// Those that are there.
        known: String,
    },
    /// A file is not what was written.
    #[error(
        "{} is damaged: it has SHA-256 {got}, the backup says {wanted}; take the file from another \
         copy of the backup, or use another backup",
        path.display()
    )]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What it should be.
        wanted: Digest,
        /// What it is.
        got: Digest,
    },
    /// A file has not the form that it should have.
    #[error("{} {why}; the backup is damaged, or of a later version", path.display())]
    Form {
        /// Where.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl BackupFault {
    /// A fault of the disk at a path.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source }
    }

    fn form(path: &Path, why: impl ToString) -> Self {
        Self::Form { path: path.to_owned(), why: why.to_string() }
    }
}

/// A folder of backups.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The folder of this path, whether it is there or not.
    #[must_use]
    pub fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// Makes what is missing of it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn make(&self) -> Result<(), BackupFault> {
        ["backups", "lists", "rows", "blobs", "chunks"].into_iter().try_for_each(|name| {
            let path = self.dir.join(name);
            fs::create_dir_all(&path).map_err(|why| BackupFault::io(&path, why))
        })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Where a blob is.
    #[must_use]
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join(blob_name(digest))
    }

    /// Where a file of the folder is that a manifest names.
    ///
    /// # Errors
    /// When the name leads out of the folder.
    pub fn file(&self, name: &str) -> Result<PathBuf, BackupFault> {
        let inside =
            Path::new(name).components().all(|it| matches!(it, std::path::Component::Normal(_)));
        match inside {
            true => Ok(self.dir.join(name)),
            false => Err(BackupFault::form(&self.dir, format!("names a file {name}"))),
        }
    }

    /// The finished backups, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn known(&self) -> Result<Vec<LogIndex>, BackupFault> {
        let dir = self.dir.join("backups");
        let entries = match fs::read_dir(&dir) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|why| BackupFault::io(&dir, why))?,
        };
        let mut known = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(|why| BackupFault::io(&dir, why))?.file_name();
            let index = name.to_str().and_then(|name| name.strip_suffix(".json")?.parse().ok());
            known.extend(index.map(LogIndex));
        }
        Ok(known.into_iter().collect())
    }

    /// A backup: of this log entry, or the newest.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn manifest(&self, at: Option<LogIndex>) -> Result<Manifest, BackupFault> {
        let known = self.known()?;
        let newest = known.last().ok_or_else(|| BackupFault::None(self.dir.clone()))?;
        let index = at.unwrap_or(*newest);
        if !known.contains(&index) {
            let known: Vec<_> = known.iter().map(|it| it.0.to_string()).collect();
            return Err(BackupFault::NoSuch { wanted: index, known: known.join(", ") });
        }
        let path = self.dir.join(manifest_name(index));
        let file = File::open(&path).map_err(|why| BackupFault::io(&path, why))?;
        let mut bytes = Vec::new();
        let read = file.take(MANIFEST_MAX).read_to_end(&mut bytes);
        read.map_err(|why| BackupFault::io(&path, why))?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|why| BackupFault::form(&path, why))?;
        match manifest.schema == Manifest::SCHEMA && manifest.log_index == index {
            true => Ok(manifest),
            false => Err(BackupFault::form(&path, "is not the backup that its name says")),
        }
    }

    /// The blobs of a backup, in order, from a list that is whole.
    ///
    /// # Errors
    /// When the list is damaged.
    pub fn blobs(&self, manifest: &Manifest) -> Result<Vec<Digest>, BackupFault> {
        let part = &manifest.blobs.list;
        let path = self.file(&part.file)?;
        self.check(part)?;
        let file = File::open(&path).map_err(|why| BackupFault::io(&path, why))?;
        let mut found = Vec::new();
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|why| BackupFault::io(&path, why))?;
            let digest = line.split(' ').next().and_then(|word| word.parse::<Digest>().ok());
            let digest = digest.filter(|digest| line == list_line(digest));
            found.push(digest.ok_or_else(|| BackupFault::form(&path, format!("says `{line}`")))?);
        }
        Ok(found)
    }

    /// Writes the list of a backup's blobs.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_list(&self, at: LogIndex, blobs: &[Digest]) -> Result<Part, BackupFault> {
        let name = format!("lists/{:020}.sha256", at.0);
        let path = self.dir.join(&name);
        let write = || {
            let mut out = BufWriter::new(File::create(&path)?);
            for digest in blobs {
                writeln!(out, "{}", list_line(digest))?;
            }
            out.into_inner()?.sync_all()
        };
        write().map_err(|why| BackupFault::io(&path, why))?;
        let (sha256, size) = hash(&path)?;
        Ok(Part { file: name, sha256, size })
    }

    /// Begins the rows of a backup.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write_rows(&self, at: LogIndex) -> Result<RowsWriter, BackupFault> {
        RowsWriter::create(&self.dir, format!("rows/{:020}.rows", at.0))
    }

    /// Ends a backup: from here on it is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(&self, manifest: &Manifest) -> Result<PathBuf, BackupFault> {
        let path = self.dir.join(manifest_name(manifest.log_index));
        let part = path.with_extension("part");
        let text = serde_json::to_string_pretty(manifest).expect("a manifest is plain data");
        let write = || {
            // All that it names is on the disk before it is.
            rustix::fs::syncfs(File::open(&self.dir)?)?;
            let mut file = File::create(&part)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)?;
            File::open(self.dir.join("backups"))?.sync_all()
        };
        write().map_err(|why| BackupFault::io(&path, why))?;
        Ok(path)
    }

    /// Checks that a file is what was written; returns its length.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, part: &Part) -> Result<u64, BackupFault> {
        let path = self.file(&part.file)?;
        let (got, size) = hash(&path)?;
        match got == part.sha256 {
            true => Ok(size),
            false => Err(BackupFault::Damaged { path, wanted: part.sha256, got }),
        }
    }

    /// Checks that a blob is here and whole; returns its length.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_blob(&self, digest: &Digest) -> Result<u64, BackupFault> {
        self.check(&Part { file: blob_name(digest), sha256: *digest, size: 0 })
    }
}

fn manifest_name(at: LogIndex) -> String {
    format!("backups/{:020}.json", at.0)
}

fn blob_name(digest: &Digest) -> String {
    let name = digest.to_string();
    format!("blobs/{}/{name}", &name[..2])
}

fn list_line(digest: &Digest) -> String {
    format!("{digest}  {}", blob_name(digest))
}

/// A file's digest and length.
fn hash(path: &Path) -> Result<(Digest, u64), BackupFault> {
    let run = || {
        let mut file = File::open(path)?;
        let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; READ]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok((Digest(hasher.finalize().into()), size)),
                more => {
                    hasher.update(&buffer[..more]);
                    size += more as u64;
                }
            }
        }
    };
    run().map_err(|why| BackupFault::io(path, why))
}

#[cfg(test)]
mod tests;
