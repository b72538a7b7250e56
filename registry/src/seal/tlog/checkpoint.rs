//! The head of the log (C2SP tlog-checkpoint): origin, size and root.

use super::note::{NoteFault, NoteKey, SignedNote};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::Digest;

/// A head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log: also the name of its key.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

/// The name of a cluster's log, and of the key that signs it.
#[must_use]
pub fn origin(cluster: &str) -> String {
    format!("assay/{cluster}/audit")
}

/// Why a head is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointFault {
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteFault),
    /// A text that is no head.
    #[error("not a checkpoint: {0}")]
    Form(&'static str),
    /// Another log's.
    #[error("the checkpoint is of log `{found}`, expected `{wanted}`")]
    Origin {
        /// What it says.
        found: String,
        /// What the key is for.
        wanted: String,
    },
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, STANDARD.encode(self.root.0))
    }

    /// Reads a head that `key` signed.
    ///
    /// # Errors
    /// When it is no head, of another log, or not signed by the key.
    pub fn open(note: &SignedNote, key: &NoteKey) -> Result<Self, CheckpointFault> {
        let head = Self::parse(note.open(key)?)?;
        if head.origin != key.name() {
            let (found, wanted) = (head.origin, key.name().to_owned());
            return Err(CheckpointFault::Origin { found, wanted });
        }
        Ok(head)
    }

    fn parse(text: &str) -> Result<Self, CheckpointFault> {
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointFault::Form("it has fewer than three lines"));
        };
        if origin.is_empty() || lines.any(str::is_empty) {
            return Err(CheckpointFault::Form("it has an empty line"));
        }
        let number = size.parse().ok().filter(|number: &u64| number.to_string() == size);
        let size = number.ok_or(CheckpointFault::Form("its size is no plain number"))?;
        let root = STANDARD.decode(root).ok().and_then(|bytes| bytes.try_into().ok());
        let root = root.ok_or(CheckpointFault::Form("its root is not 32 bytes in base64"))?;
        Ok(Self { origin: origin.to_owned(), size, root: Digest(root) })
    }
}
