//! The transparency log over the events, made again and compared with its signed head.

use super::{
    Context, prove,
    verify::{Trusted, broken},
};
use crate::fault::Fault;
use domain::{Digest, audit::AuditEvent};
use registry::seal::tlog::{
    Checkpoint, CheckpointFault, Frontier, NoteFault, NoteKey, Proof, leaf_hash, verify_inclusion,
};
use std::{fs, path::Path};

/// The tree of the events that were checked so far.
#[derive(Default)]
pub struct EventTree {
    frontier: Frontier,
    expected: Option<Expected>,
}

/// A proof that these events must bear out, whose head is signed by a trusted key.
struct Expected {
    proof: Proof,
    head: Checkpoint,
    /// The hash of the event that it proves.
    leaf: Option<Digest>,
    /// The root at its head's size.
    root: Option<Digest>,
}

impl EventTree {
    /// A tree whose events must bear out the proof in a file.
    ///
    /// # Errors
    /// When it cannot be read, is no proof, or its head is not signed by a trusted key.
    pub fn expecting(path: &Path, trusted: &Trusted) -> Result<Self, Fault> {
        let text = fs::read_to_string(path).map_err(|fault| Fault::file(path, &fault))?;
        let proof = Proof::parse(&text).map_err(|fault| Fault::file(path, &fault))?;
        let (head, _) = open(&proof, trusted)?;
        let expected = Some(Expected { proof, head, leaf: None, root: None });
        Ok(Self { expected, ..Self::default() })
    }

    /// Takes the next event.
    pub fn push(&mut self, event: &AuditEvent) {
        let leaf = leaf_hash(event.payload.as_bytes());
        self.frontier.push(leaf, |_| {});
        if let Some(expected) = &mut self.expected {
            if self.frontier.size() == expected.proof.index + 1 {
                expected.leaf = Some(leaf);
            }
            if self.frontier.size() == expected.head.size {
                expected.root = Some(self.frontier.root());
            }
        }
    }

    /// The root over all events.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.frontier.root()
    }

    /// Checks the proof, if there is one, against these very events. Returns the newest event
    /// under its head.
    ///
    /// # Errors
    /// When it is of other events, or of more than there are.
    pub fn check_proof(&self) -> Result<Option<u64>, Fault> {
        let Some(Expected { proof, head, leaf, root }) = &self.expected else { return Ok(None) };
        let (Some(leaf), Some(root)) = (leaf, root) else {
            let (ends, size) = (self.frontier.size(), head.size);
            return Err(broken(&format!("the events end at {ends}, the signed head has {size}")));
        };
        if *root != head.root {
            return Err(other_root(head.size, *root, head.root));
        }
        verify_inclusion(&proof.hashes, *leaf, proof.index, head.size, head.root)
            .map_err(|fault| broken(&fault))?;
        Ok(Some(head.size))
    }

    /// Compares with the head that the cluster signs now. Returns the newest event under it that
    /// was checked.
    ///
    /// # Errors
    /// When the newest event is not under a signed head, or the head is of other events.
    pub async fn check_head(
        &self,
        context: &Context,
        trusted: &Trusted,
    ) -> Result<Option<u64>, Fault> {
        let newest = self.frontier.size();
        if newest == 0 {
            return Ok(None);
        }
        let (view, head) = prove::proved(context, newest, trusted).await?;
        let ours = self.frontier.root();
        // Events that came since are under a head of their own.
        if head.size == newest && head.root != ours {
            return Err(other_root(newest, ours, head.root));
        }
        Ok(Some(view.event.seq))
    }
}

fn other_root(size: u64, ours: Digest, signed: Digest) -> Fault {
    broken(&format!("the root over {size} events is {ours}, the signed head says {signed}"))
}

/// Opens a proof's head with the trusted key that signed it, whatever name the log has.
///
/// # Errors
/// When the head is signed by none.
pub fn open(proof: &Proof, trusted: &Trusted) -> Result<(Checkpoint, NoteKey), Fault> {
    let note = proof.checkpoint.to_string();
    let origin = note.lines().next().unwrap_or_default();
    let mut fault = None;
    for pem in trusted.pems() {
        let key = NoteKey::of_pem(origin, pem).map_err(|fault| broken(&fault))?;
        match Checkpoint::open(&proof.checkpoint, &key) {
            Ok(head) => return Ok((head, key)),
            // That of the key whose signature is there tells most.
            Err(why @ CheckpointFault::Note(NoteFault::Unsigned(_))) => {
                fault = fault.or(Some(why));
            }
            Err(why) => fault = Some(why),
        }
    }
    Err(fault.map_or_else(|| broken(&"no key of the log is trusted"), |why| broken(&why)))
}
