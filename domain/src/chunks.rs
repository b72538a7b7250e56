//! A folder as a list of files, and each file as a list of chunks: how a checkpoint is stored.

use crate::{
    digest::{Digest, write_hex},
    id::LeaseId,
    limit,
    tree::{Tree, TreeError, TreeFile},
    unit::Bytes,
};
use borsh::{BorshDeserialize, BorshSerialize};
use std::fmt;

/// The name of a chunk: BLAKE3 over its bytes. Names what is stored and never what is proven: whole
/// files and trees have SHA-256 digests. Source: ADR-0027.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct ChunkName(pub [u8; 32]);

impl ChunkName {
    /// The name of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::hash(bytes).into())
    }
}

impl fmt::Display for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for ChunkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", hex::encode(&self.0[..4]))
    }
}

/// Who has put a list of chunks on a server: an attempt that may commit it as the checkpoint of a
/// step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub struct Pin {
    /// The attempt's lease.
    pub lease: LeaseId,
    /// The step.
    pub step: u64,
}

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Chunk {
    /// Its name.
    pub name: ChunkName,
    /// Its length.
    pub len: u32,
}

/// One file with its parts, in order.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkedFile {
    /// What it is.
    pub file: TreeFile,
    /// Its parts. None for an empty file.
    pub chunks: Vec<Chunk>,
}

/// A folder's files with their parts, ordered by path. Its stored form is named by SHA-256.
#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChunkManifest {
    /// The files.
    pub files: Vec<ChunkedFile>,
}

/// First bytes of the stored form.
const MAGIC: [u8; 8] = *b"assayck1";

/// Bytes that are not the stored form of a folder in chunks.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// Not the form.
    #[error("not a list of chunks: {0}; the blob is damaged or is something else")]
    Form(String),
    /// The files break a rule of trees.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The parts of a file are not as long as the file.
    #[error("`{path}` has {size} bytes and its chunks have {sum}; the list is damaged")]
    Length {
        /// The file.
        path: String,
        /// Its length.
        size: u64,
        /// That of its parts.
        sum: u64,
    },
    /// A part that is empty or too long.
    #[error("`{path}` has a chunk of {len} bytes; chunks have 1 to {max}")]
    Chunk {
        /// The file.
        path: String,
        /// The chunk's length.
        len: u32,
        /// The most.
        max: u64,
    },
}

impl ChunkManifest {
    /// The folder as a tree, which is what is proven of it.
    #[must_use]
    pub fn tree(&self) -> Tree {
        Tree { files: self.files.iter().map(|it| it.file.clone()).collect() }
    }

    /// All parts of all files, in order, repeated where the bytes are.
    pub fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.files.iter().flat_map(|it| &it.chunks)
    }

    /// The stored form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        self.serialize(&mut bytes).expect("writing to memory cannot fail");
        bytes
    }

    /// Whether bytes claim to be the stored form.
    #[must_use]
    pub fn is_form(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// Reads the stored form and checks it.
    ///
    /// # Errors
    /// When it is not the form, or breaks a rule of [`ChunkManifest::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ChunkError> {
        let rest = bytes.strip_prefix(&MAGIC);
        let rest = rest.ok_or_else(|| ChunkError::Form("other first bytes".into()))?;
        let manifest: Self =
            borsh::from_slice(rest).map_err(|fault| ChunkError::Form(fault.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks paths, order and lengths.
    ///
    /// # Errors
    /// Names the first file that breaks a rule.
    pub fn check(&self) -> Result<(), ChunkError> {
        self.tree().check()?;
        let max = limit::CHUNK_MAX.0;
        for ChunkedFile { file, chunks } in &self.files {
            let path = || file.path.clone();
            if let Some(bad) = chunks.iter().find(|it| it.len == 0 || u64::from(it.len) > max) {
                return Err(ChunkError::Chunk { path: path(), len: bad.len, max });
            }
            let sum = chunks.iter().map(|chunk| u64::from(chunk.len)).sum();
            if file.size != Bytes(sum) {
                return Err(ChunkError::Length { path: path(), size: file.size.0, sum });
            }
        }
        Ok(())
    }

    /// The digest of the stored form, by which it is fetched.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(size: u64, lens: &[u32]) -> ChunkManifest {
        let chunks = lens.iter().map(|len| Chunk { name: ChunkName::of(b"x"), len: *len });
        let file = TreeFile {
            digest: Digest::of(b"whole"),
            executable: false,
            path: "weights".into(),
            size: Bytes(size),
        };
        ChunkManifest { files: vec![ChunkedFile { file, chunks: chunks.collect() }] }
    }

    #[test]
    fn the_stored_form_reads_back_and_says_the_same_tree() {
        let whole = manifest(7, &[3, 4]);
        assert_eq!(ChunkManifest::decode(&whole.encode()), Ok(whole.clone()));
        assert_eq!(whole.tree().files[0].digest, Digest::of(b"whole"));
        assert!(!ChunkManifest::is_form(&whole.tree().encode()));
    }

    #[test]
    fn a_list_whose_lengths_do_not_add_up_is_refused() {
        let fault = ChunkManifest::decode(&manifest(8, &[3, 4]).encode()).unwrap_err();
        assert_eq!(fault, ChunkError::Length { path: "weights".into(), size: 8, sum: 7 });
        let long = u32::MAX;
        assert!(ChunkManifest::decode(&manifest(u64::from(long), &[long]).encode()).is_err());
        assert!(ChunkManifest::decode(&manifest(0, &[0]).encode()).is_err());
        assert!(ChunkManifest::decode(b"assayck1junk").is_err());
    }
}
