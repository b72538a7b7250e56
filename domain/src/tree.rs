//! A folder as a list of files by digest.

use crate::{digest::Digest, unit::Bytes};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// One regular file of a tree.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct TreeFile {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Whether its owner may execute it.
    pub executable: bool,
    /// Relative, with `/`, no `.` or `..` parts.
    pub path: String,
    /// Its length.
    pub size: Bytes,
}

/// A folder: its files, ordered by Unicode code point of the path.
///
/// Empty folders and times are not part of it. Symbolic links are refused at capture.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Tree {
    /// The files, strictly ascending by path.
    pub files: Vec<TreeFile>,
}

const KIND: &str = "assay-tree/v1";

#[derive(Serialize, Deserialize)]
struct Stored {
    files: Vec<TreeFile>,
    kind: String,
}

/// A tree that may not be laid out on a disk.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// A path that could leave its folder.
    #[error("path `{0}` is not a plain relative path; use names joined by `/` without `.` or `..`")]
    Path(String),
    /// Not the stored form of a tree.
    #[error("not an `{KIND}` document: {0}; the blob is damaged or is something else")]
    Form(String),
    /// Two entries out of order or equal.
    #[error("path `{0}` stands out of order or twice; list files once, ascending")]
    Order(String),
}

impl Tree {
    /// Root digest: SHA-256 over the files' raw digests in order.
    ///
    /// Source: OpenSSF Model Signing v1, the subject's digest.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut all = Vec::with_capacity(self.files.len() * 32);
        for file in &self.files {
            all.extend_from_slice(&file.digest.0);
        }
        Digest::of(&all)
    }

    /// Digest over names, modes and contents: what names captured code and data.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The stored form of the tree, whose SHA-256 is [`Tree::digest`].
    ///
    /// Canonical JSON (RFC 8785: fields stand in order, numbers are integers), so that an
    /// auditor may read it with any tool.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored { files: self.files.clone(), kind: KIND.into() };
        serde_json::to_vec(&stored).expect("a tree of strings and integers is JSON")
    }

    /// Reads the stored form and checks it.
    ///
    /// # Errors
    /// When the bytes are not a tree, or the tree breaks a rule of [`Tree::check`].
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let stored: Stored =
            serde_json::from_slice(bytes).map_err(|fault| TreeError::Form(fault.to_string()))?;
        if stored.kind != KIND {
            return Err(TreeError::Form(format!("kind `{}`", stored.kind)));
        }
        let tree = Self { files: stored.files };
        tree.check()?;
        Ok(tree)
    }

    /// Bytes over all files.
    #[must_use]
    pub fn size(&self) -> Bytes {
        Bytes(self.files.iter().map(|file| file.size.0).sum())
    }

    /// Checks order and paths.
    ///
    /// # Errors
    /// Names the first path that breaks a rule.
    pub fn check(&self) -> Result<(), TreeError> {
        let mut last: Option<&str> = None;
        for file in &self.files {
            let plain = !file.path.is_empty()
                && !file.path.contains('\0')
                && file.path.split('/').all(|part| !matches!(part, "" | "." | ".."));
            if !plain {
                return Err(TreeError::Path(file.path.clone()));
            }
            if last.is_some_and(|last| last >= file.path.as_str()) {
                return Err(TreeError::Order(file.path.clone()));
            }
            last = Some(&file.path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeFile {
        TreeFile {
            path: path.into(),
            digest: Digest::of(path.as_bytes()),
            size: Bytes(1),
            executable: false,
        }
    }

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        for path in ["", "/etc/passwd", "a/../b", "a//b", "./a"] {
            let tree = Tree { files: vec![file(path)] };
            assert_eq!(tree.check(), Err(TreeError::Path(path.into())));
        }
    }

    #[test]
    fn files_stand_once_and_in_order() {
        let tree = Tree { files: vec![file("b"), file("a")] };
        assert_eq!(tree.check(), Err(TreeError::Order("a".into())));
        let tree = Tree { files: vec![file("a"), file("a")] };
        assert!(tree.check().is_err());
    }

    #[test]
    fn a_stored_tree_reads_back() {
        let tree = Tree { files: vec![file("a"), file("b/c")] };
        assert_eq!(Tree::decode(&tree.encode()), Ok(tree));
        assert!(Tree::decode(b"junk").is_err());
    }
}
