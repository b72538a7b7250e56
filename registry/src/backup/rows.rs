//! The rows of a backup: pages one after another, each with its length before it, little-endian in
//! four bytes. A page is one zstd frame of the rows in floor 0's canonical encoding.

use super::{BackupFault, Part};
use domain::{Digest, port::Row};
use sha2::{Digest as _, Sha256};
use std::{
    fs::File,
    io::{BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

/// Largest page before and after compression.
const PAGE_MAX: usize = 256 << 20;

/// Takes pages in.
pub struct RowsWriter {
    name: String,
    path: PathBuf,
    out: BufWriter<File>,
    hasher: Sha256,
    size: u64,
}

impl RowsWriter {
    pub(super) fn create(dir: &Path, name: String) -> Result<Self, BackupFault> {
        let path = dir.join(&name);
        let file = File::create(&path).map_err(|why| BackupFault::io(&path, why))?;
        Ok(Self { name, path, out: BufWriter::new(file), hasher: Sha256::new(), size: 0 })
    }

    /// Adds a page as it came.
    ///
    /// # Errors
    /// When the disk refuses, or it is too long.
    pub fn page(&mut self, zstd: &[u8]) -> Result<(), BackupFault> {
        let len = u32::try_from(zstd.len()).ok().filter(|_| zstd.len() <= PAGE_MAX);
        let len = len.ok_or_else(|| BackupFault::form(&self.path, "would get too long a page"))?;
        for bytes in [&len.to_le_bytes()[..], zstd] {
            self.hasher.update(bytes);
            self.size += bytes.len() as u64;
            self.out.write_all(bytes).map_err(|why| BackupFault::io(&self.path, why))?;
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self) -> Result<Part, BackupFault> {
        let Self { name, path, out, hasher, size } = self;
        let ended = out.into_inner().map_err(std::io::IntoInnerError::into_error);
        let synced = ended.and_then(|file| file.sync_all());
        synced.map_err(|why| BackupFault::io(&path, why))?;
        Ok(Part { file: name, sha256: Digest(hasher.finalize().into()), size })
    }
}

/// Gives pages out.
pub struct RowsReader {
    path: PathBuf,
    input: BufReader<File>,
}

impl RowsReader {
    /// Opens a backup's rows. Whoever reads them has checked the file's digest.
    ///
    /// # Errors
    /// When it is not there.
    pub fn open(path: PathBuf) -> Result<Self, BackupFault> {
        let file = File::open(&path).map_err(|why| BackupFault::io(&path, why))?;
        Ok(Self { path, input: BufReader::new(file) })
    }

    fn next_page(&mut self) -> Result<Option<Vec<Row>>, BackupFault> {
        let mut len = [0; 4];
        let fault = |path: &Path, why| BackupFault::io(path, why);
        match self.input.read(&mut len[..1]).map_err(|why| fault(&self.path, why))? {
            0 => return Ok(None),
            _ => self.input.read_exact(&mut len[1..]).map_err(|why| fault(&self.path, why))?,
        }
        let len = u32::from_le_bytes(len) as usize;
        if len > PAGE_MAX {
            return Err(BackupFault::form(&self.path, format!("has a page of {len} bytes")));
        }
        let mut zstd = vec![0; len];
        self.input.read_exact(&mut zstd).map_err(|why| fault(&self.path, why))?;
        let form = |why: String| BackupFault::form(&self.path, why);
        let bytes = zstd::bulk::decompress(&zstd, PAGE_MAX).map_err(|why| form(why.to_string()))?;
        let rows = borsh::from_slice(&bytes).map_err(|why| form(why.to_string()))?;
        Ok(Some(rows))
    }
}

impl Iterator for RowsReader {
    type Item = Result<Vec<Row>, BackupFault>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_page().transpose()
    }
}
