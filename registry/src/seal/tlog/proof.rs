//! A proof in a file (C2SP tlog-proof): that an entry is in a log whose head is signed.

use super::{
    checkpoint::{Checkpoint, CheckpointFault},
    inclusion::verify_inclusion,
    note::{NoteFault, NoteKey, SignedNote},
    tree::{TreeFault, leaf_hash},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::Digest;
use std::fmt;

const FIRST: &str = "c2sp.org/tlog-proof@v1";
/// Hashes of a proof at most: one for each bit of an index.
const HASHES_MAX: usize = 64;

/// A proof, not yet trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Place of the entry, from 0: one less than the event's number.
    pub index: u64,
    /// Hashes from the leaf to the root.
    pub hashes: Vec<Digest>,
    /// The signed head.
    pub checkpoint: SignedNote,
}

/// Why a proof is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofFault {
    /// A text that is no proof.
    #[error("not a proof of the form {FIRST}: {0}")]
    Form(&'static str),
    /// Its head.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointFault),
    /// The note around its head.
    #[error(transparent)]
    Note(#[from] NoteFault),
    /// Its hashes.
    #[error(transparent)]
    Tree(#[from] TreeFault),
}

impl Proof {
    /// Reads a proof.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, ProofFault> {
        let form = ProofFault::Form;
        let (body, note) = text.split_once("\n\n").ok_or(form("no empty line ends its hashes"))?;
        let mut lines = body.lines().peekable();
        if lines.next() != Some(FIRST) {
            return Err(form("its first line is another"));
        }
        // What others put there is for them.
        lines.next_if(|line| line.starts_with("extra "));
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.ok_or(form("it has no index"))?;
        let number = index.parse().ok().filter(|number: &u64| number.to_string() == index);
        let hash = |line: &str| {
            let bytes = STANDARD.decode(line).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.map(Digest).ok_or(form("a hash is not 32 bytes in base64"))
        };
        let hashes = lines.map(hash).collect::<Result<Vec<_>, _>>()?;
        if hashes.len() > HASHES_MAX {
            return Err(form("it has over 64 hashes"));
        }
        Ok(Self {
            index: number.ok_or(form("its index is no plain number"))?,
            hashes,
            checkpoint: SignedNote::parse(note)?,
        })
    }

    /// Checks that `entry` is in the log of `key`. Returns the head that proves it.
    ///
    /// # Errors
    /// When the head is not signed by the key, or the entry is not in it.
    pub fn verify(&self, entry: &[u8], key: &NoteKey) -> Result<Checkpoint, ProofFault> {
        let head = Checkpoint::open(&self.checkpoint, key)?;
        verify_inclusion(&self.hashes, leaf_hash(entry), self.index, head.size, head.root)?;
        Ok(head)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash.0))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
