//! Checking the audit chain from its genesis, with public keys alone.

mod payloads;
mod signatures;

use crate::ledger::event_hash;
use domain::{Digest, audit::AuditEvent};
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey};
use payloads::Payloads;
use signatures::Signatures;
use std::collections::BTreeMap;

/// A head that was verified before and kept outside of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The number of its newest event.
    pub seq: u64,
    /// That event's hash.
    pub hash: Digest,
    /// The newest event that had a signature.
    pub signed: u64,
}

/// What a checked chain ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The newest event's number, 0 for an empty chain.
    pub seq: u64,
    /// Its hash.
    pub hash: Option<Digest>,
    /// The newest signed event's number.
    pub signed: u64,
}

/// The first thing that is wrong with a chain.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A number is left out, stands twice or out of order.
    #[error("event {wanted} is missing: {found} stands in its place")]
    Gap {
        /// What should come.
        wanted: u64,
        /// What came.
        found: u64,
    },
    /// An event does not hold the hash of the one before it.
    #[error("event {seq} names another predecessor than event {}", seq - 1)]
    Fork {
        /// Which.
        seq: u64,
    },
    /// An event's bytes were changed.
    #[error("event {seq} was changed: its bytes hash to {computed}, it says {stored}")]
    Hash {
        /// Which.
        seq: u64,
        /// What its bytes give.
        computed: Digest,
        /// What it says.
        stored: Digest,
    },
    /// A payload that is not canonical, or speaks of another number.
    #[error("event {seq} has a payload that is not its own: {why}")]
    Payload {
        /// Which.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// Time does not increase.
    #[error("event {seq} is not later than the one before it")]
    Time {
        /// Which.
        seq: u64,
    },
    /// A signature that is not the named signer's.
    #[error("event {seq}: {why}")]
    Signature {
        /// Which.
        seq: u64,
        /// What is wrong.
        why: String,
    },
    /// The chain ends before an event that is known to exist.
    #[error("the chain was cut: it ends at event {seq}, but event {anchored} is known")]
    Cut {
        /// Where it ends.
        seq: u64,
        /// What is known.
        anchored: u64,
    },
    /// An event is not the one that was verified before.
    #[error("event {seq} is {found}, but was {anchored} when it was verified before")]
    Rewritten {
        /// Which.
        seq: u64,
        /// Its hash now.
        found: Digest,
        /// Its hash then.
        anchored: Digest,
    },
    /// Signatures that were there are gone.
    #[error("event {anchored} was signed when it was verified before, now none after {signed} is")]
    Unsigned {
        /// The newest signed one now.
        signed: u64,
        /// The newest signed one then.
        anchored: u64,
    },
}

/// Events that are gathered before payloads and signatures are checked.
const GATHERED_MAX: usize = 8_192;

/// Checks a chain piece by piece, in order.
pub struct ChainCheck {
    payloads: Payloads,
    signatures: Signatures,
    checked: Checked,
    ts_us: u64,
    anchor: Option<Anchor>,
}

impl ChainCheck {
    /// Starts at genesis. `keys` holds public keys (SPKI in PEM) by signer.
    ///
    /// # Errors
    /// The signer whose key cannot be read.
    pub fn new(keys: &BTreeMap<String, String>) -> Result<Self, String> {
        let read = |(signer, pem): (&String, &String)| {
            let key = VerifyingKey::from_public_key_pem(pem)
                .map_err(|fault| format!("public key of `{signer}`: {fault}"))?;
            match key.is_weak() {
                true => Err(format!("public key of `{signer}`: anybody can sign for it")),
                false => Ok((signer.clone(), key)),
            }
        };
        let keys = keys.iter().map(read).collect::<Result<_, String>>()?;
        let signatures = Signatures::new(keys);
        let (payloads, checked) = (Payloads::default(), Checked::default());
        Ok(Self { payloads, signatures, checked, ts_us: 0, anchor: None })
    }

    /// Starts within a chain, at event `seq` whose predecessor has the hash `prev`: what comes
    /// before it is taken on trust.
    ///
    /// # Errors
    /// The signer whose key cannot be read.
    pub fn resume(
        keys: &BTreeMap<String, String>,
        seq: u64,
        prev: Option<Digest>,
    ) -> Result<Self, String> {
        let before = seq.saturating_sub(1);
        let checked = Checked { seq: before, hash: prev, signed: before };
        Ok(Self { checked, ..Self::new(keys)? })
    }

    /// The chain must extend this head.
    #[must_use]
    pub fn extending(self, anchor: Option<Anchor>) -> Self {
        Self { anchor, ..self }
    }

    /// Takes the next event.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn next(&mut self, event: &AuditEvent) -> Result<(), ChainFault> {
        self.take(event)?;
        self.flush()
    }

    /// Takes the next event of many. Its payload and its signature are checked together with
    /// others: [`Self::finish`] must follow.
    ///
    /// # Errors
    /// The first thing that is wrong with it, or with payload or signature of one before it.
    pub fn take(&mut self, event: &AuditEvent) -> Result<(), ChainFault> {
        self.follow(event).or_else(|fault| {
            // What is wrong with an earlier event comes first.
            self.flush()?;
            Err(fault)
        })?;
        if self.payloads.len() >= GATHERED_MAX { self.flush() } else { Ok(()) }
    }

    /// Checks what was gathered. Returns the first thing that is wrong.
    fn flush(&mut self) -> Result<(), ChainFault> {
        let faults = [self.payloads.flush(), self.signatures.flush()];
        let first = faults.into_iter().flatten().min_by_key(|(seq, _)| *seq);
        first.map_or(Ok(()), |(_, fault)| Err(fault))
    }

    fn follow(&mut self, event: &AuditEvent) -> Result<(), ChainFault> {
        let seq = self.checked.seq + 1;
        if event.seq != seq {
            return Err(ChainFault::Gap { wanted: seq, found: event.seq });
        }
        if event.prev != self.checked.hash {
            return Err(ChainFault::Fork { seq });
        }
        let computed = event_hash(&event.payload, event.prev);
        if computed != event.hash {
            return Err(ChainFault::Hash { seq, computed, stored: event.hash });
        }
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.seq == seq)
            && anchor.hash != computed
        {
            return Err(ChainFault::Rewritten { seq, found: computed, anchored: anchor.hash });
        }
        self.payloads.push(event);
        if event.ts_us <= self.ts_us {
            return Err(ChainFault::Time { seq });
        }
        if let Some(signature) = &event.signature {
            // Signatures are attached in order: after a gap, others were taken away.
            if self.checked.signed + 1 != seq {
                let missing = self.checked.signed + 1;
                let why = format!("it is signed, though event {missing} before it is not");
                return Err(ChainFault::Signature { seq, why });
            }
            self.signatures.push(seq, event.hash, signature)?;
            self.checked.signed = seq;
        }
        self.checked.seq = seq;
        self.checked.hash = Some(event.hash);
        self.ts_us = event.ts_us;
        Ok(())
    }

    /// Ends the check. `head` is the newest event that is said to exist.
    ///
    /// # Errors
    /// When a signature does not hold, or the chain ends before it or before the head that it must
    /// extend.
    pub fn finish(mut self, head: Option<u64>) -> Result<Checked, ChainFault> {
        self.flush()?;
        let known = head.max(self.anchor.map(|anchor| anchor.seq)).unwrap_or(0);
        if known > self.checked.seq {
            return Err(ChainFault::Cut { seq: self.checked.seq, anchored: known });
        }
        match self.anchor {
            Some(anchor) if anchor.signed > self.checked.signed => {
                Err(ChainFault::Unsigned { signed: self.checked.signed, anchored: anchor.signed })
            }
            Some(_) | None => Ok(self.checked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ledger::Ledger, sign::event::EventKey};
    use domain::{Millis, audit::EventSignature, scratch::Scratch, signing::Custody};

    fn chain() -> (Vec<AuditEvent>, BTreeMap<String, String>) {
        let signer = EventKey::generate(Custody::Local).unwrap();
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        for _ in 0..4 {
            ledger.record(&mut rows, Millis(9), "job.submitted", "user:ada", Default::default());
        }
        let mut events = crate::ledger::view::events(&rows, 1, 10);
        for event in &mut events[..3] {
            let bytes = signer.sign_event(&event.hash).to_vec();
            event.signature = Some(EventSignature { signer: signer.kid().to_owned(), bytes });
        }
        (events, [(signer.kid().to_owned(), signer.public_pem().to_owned())].into())
    }

    fn check(
        events: &[AuditEvent],
        keys: &BTreeMap<String, String>,
    ) -> Result<Checked, ChainFault> {
        let mut check = ChainCheck::new(keys).unwrap();
        let mut one_by_one = ChainCheck::new(keys).unwrap();
        let taken = events.iter().try_for_each(|event| check.take(event));
        let found = taken.and_then(|()| check.finish(Some(4)));
        let passed = events.iter().try_for_each(|event| one_by_one.next(event));
        assert_eq!(
            passed.and_then(|()| one_by_one.finish(Some(4))),
            found,
            "batches change nothing"
        );
        found
    }

    #[test]
    fn an_untouched_chain_passes_and_says_how_far_it_is_signed() {
        let (events, keys) = chain();
        let checked = check(&events, &keys).unwrap();
        assert_eq!((checked.seq, checked.signed), (4, 3));
    }

    type Edit = fn(&mut Vec<AuditEvent>);

    #[test]
    fn any_edit_gap_or_cut_is_found() {
        let edits: [(&str, Edit); 9] = [
            ("payload", |events| {
                events[1].payload = events[1].payload.replace("ada", "eve");
            }),
            ("gap", |events| drop(events.remove(1))),
            ("cut", |events| drop(events.pop())),
            ("order", |events| events.swap(1, 2)),
            ("genesis", |events| drop(events.remove(0))),
            ("time", |events| events[2].ts_us = 1),
            ("time that keeps the order", |events| events[3].ts_us += 1),
            ("signature taken away", |events| events[1].signature = None),
            ("signature", |events| events[0].signature.as_mut().unwrap().bytes[5] ^= 1),
        ];
        for (what, edit) in edits {
            let (mut events, keys) = chain();
            edit(&mut events);
            assert!(check(&events, &keys).is_err(), "{what}");
        }
    }

    #[test]
    fn a_chain_that_does_not_extend_a_head_that_was_verified_before_is_refused() {
        let (events, keys) = chain();
        let anchored = |anchor: Anchor, events: &[AuditEvent]| {
            let mut check = ChainCheck::new(&keys).unwrap().extending(Some(anchor));
            events.iter().try_for_each(|event| check.next(event))?;
            check.finish(None)
        };
        let known = Anchor { seq: 3, hash: events[2].hash, signed: 3 };
        assert!(anchored(known, &events).is_ok());
        let cut = ChainFault::Cut { seq: 2, anchored: 3 };
        assert_eq!(anchored(known, &events[..2]), Err(cut));
        let other = Anchor { hash: Digest::of(b"another history"), ..known };
        let fault = anchored(other, &events).unwrap_err();
        assert!(matches!(fault, ChainFault::Rewritten { seq: 3, .. }), "{fault}");
        let mut stripped = events.clone();
        stripped[2].signature = None;
        let unsigned = ChainFault::Unsigned { signed: 2, anchored: 3 };
        assert_eq!(anchored(known, &stripped), Err(unsigned));
    }

    #[test]
    fn a_whole_rewritten_chain_lacks_its_signatures() {
        let (events, keys) = chain();
        let (other, _) = chain();
        let forged: Vec<_> = events
            .into_iter()
            .zip(other)
            .map(|(event, other)| AuditEvent { signature: other.signature, ..event })
            .collect();
        assert!(matches!(check(&forged, &keys), Err(ChainFault::Signature { seq: 1, .. })));
    }
}
