//! The transparency log over the events, made again and compared with its signed head.

use super::{
    Context, prove,
    verify::{Trusted, broken},
};
use crate::fault::Fault;
use domain::{Digest, audit::AuditEvent, limit};
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
        let since = since(context, newest, head.size).await?;
        self.bears(&since, &head)?;
        Ok(Some(view.event.seq))
    }

    /// Checks that a signed head is of the events that were checked, with those that came since.
    fn bears(&self, since: &[AuditEvent], head: &Checkpoint) -> Result<(), Fault> {
        let mut frontier = self.frontier.clone();
        for event in since {
            frontier.push(leaf_hash(event.payload.as_bytes()), |_| {});
        }
        let (size, ours) = (frontier.size(), frontier.root());
        match size == head.size && ours == head.root {
            true => Ok(()),
            false => Err(other_root(size, ours, head.root)),
        }
    }
}

/// The events that came after `newest`, up to `size`.
async fn since(context: &Context, newest: u64, size: u64) -> Result<Vec<AuditEvent>, Fault> {
    let mut events: Vec<AuditEvent> = Vec::new();
    while newest + (events.len() as u64) < size {
        let next = newest + events.len() as u64 + 1;
        let page = super::page(context, next, limit::PAGE_MAX as u32).await?;
        let before = events.len();
        events.extend(page.events.into_iter().filter(|it| (next..=size).contains(&it.seq)));
        if events.len() == before {
            let why = format!("a head over {size} events is signed, and event {next} is not shown");
            return Err(broken(&why));
        }
    }
    Ok(events)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn head(tree: &EventTree, size: u64) -> Checkpoint {
        Checkpoint { origin: "assay/test/audit".into(), size, root: tree.root() }
    }

    fn event(seq: u64) -> AuditEvent {
        let payload = format!("{{\"sequence\":{seq}}}");
        let hash = Digest::of(payload.as_bytes());
        AuditEvent { seq, payload, prev: None, hash, ts_us: seq, signature: None }
    }

    fn tree(events: u64) -> EventTree {
        let mut tree = EventTree::default();
        (1..=events).for_each(|seq| tree.push(&event(seq)));
        tree
    }

    #[test]
    fn a_head_that_was_signed_since_must_be_of_the_events_that_were_checked() {
        let checked = tree(5);
        checked.bears(&[], &head(&tree(5), 5)).unwrap();
        checked.bears(&[event(6), event(7)], &head(&tree(7), 7)).unwrap();
        // A log that was made anew is longer, and of other events.
        let mut other = EventTree::default();
        (1..=7).for_each(|seq| other.push(&event(seq + u64::from(seq == 2) * 90)));
        let fault = checked.bears(&[event(6), event(7)], &head(&other, 7)).unwrap_err();
        assert!(fault.detail.contains("the root over 7 events"), "{}", fault.detail);
        checked.bears(&[event(6)], &head(&tree(7), 7)).unwrap_err();
    }
}
