//! `seal_key`: every result is sealed by a key whose word counted when its seal entered the log,
//! over that result alone, and once; what had to wait for a key is sealed after all.
//!
//! The times of keys are kept here anew, from what the log was told, not from the tables of the
//! state.

use super::Broken;
use domain::{
    Digest, LeaseId, LogIndex, Millis,
    artifact::{Artifact, SealTicket},
    port::RowRead,
};
use registry::{ledger::RegistryCommand as C, seal::bundle};
use scheduler::state::{
    command::{Applied, Command, Entry, Reply},
    view::View,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a seal of a ticket has to be over.
#[must_use]
pub fn content_of(ticket: &SealTicket) -> Digest {
    Digest::of_value(&(ticket.lease, &ticket.output, &ticket.logs))
}

/// A key's signature of a ticket's content.
#[must_use]
pub fn signature_of(kid: &str, content: Digest) -> Digest {
    Digest::of_value(&("signature", kid, content))
}

/// From when on and until when a key's word counts.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    from: Option<Millis>,
    until: Option<Millis>,
    revoked: Option<Millis>,
}

impl Times {
    fn count(&self, at: Millis) -> bool {
        self.from.is_some_and(|from| from <= at)
            && self.until.is_none_or(|until| at < until)
            && self.revoked.is_none_or(|since| at < since)
    }
}

/// Keys, and what was sealed with them.
#[derive(Default)]
pub struct SealKey {
    keys: BTreeMap<String, Times>,
    /// The key that seals.
    active: Option<String>,
    sealed: BTreeSet<LeaseId>,
    abandoned: BTreeSet<LeaseId>,
    /// Changes of the key that seals.
    pub rotated: u64,
    /// Keys whose word counts no more.
    pub revoked: u64,
    /// Seals that the log refused, since their key's word counted no more.
    pub refused: u64,
}

impl SealKey {
    /// Looks at what an entry did.
    pub fn look(
        &mut self,
        view: &View<'_>,
        rows: &impl RowRead,
        at: LogIndex,
        entry: &Entry,
        applied: &Applied,
    ) -> Option<String> {
        let now = view.now();
        for (request, reply) in entry.members.iter().zip(&applied.replies) {
            match (&request.command, reply) {
                (Command::Registry(command), Reply::Registry { .. }) => self.hear(command, now),
                (Command::CompleteSeal { ticket, signer, .. }, Reply::Sealed { artifact }) => {
                    let found = view.artifact(rows, *artifact).map(|it| it.artifact);
                    if let Some(what) = self.seal(*ticket, *signer, found.as_ref(), now) {
                        return Some(format!("seal_key: entry {at} seals {ticket}: {what}"));
                    }
                }
                (Command::CompleteSeal { signer, .. }, Reply::Refused(_)) => {
                    let times = self.keys.get(&signer.to_string());
                    self.refused += u64::from(times.is_some_and(|times| !times.count(now)));
                }
                (Command::AbandonSeal { ticket, .. }, Reply::Done { .. }) => {
                    self.abandoned.insert(*ticket);
                }
                _ => {}
            }
        }
        None
    }

    /// A word on keys that was taken in.
    fn hear(&mut self, command: &C, now: Millis) {
        match command {
            C::IntroduceKey { public_pem, .. } => {
                let first = self.keys.is_empty();
                let kid = bundle::hint(public_pem);
                let times = Times { from: first.then_some(now), ..Times::default() };
                self.keys.entry(kid.clone()).or_insert(times);
                if first {
                    self.active = Some(kid);
                }
            }
            C::RotateKey { to, overlap } if self.active.as_ref() != Some(to) => {
                self.rotated += 1;
                let end = now.plus(*overlap);
                let before = self.active.replace(to.clone());
                if let Some(old) = before.and_then(|kid| self.keys.get_mut(&kid)) {
                    old.until = Some(old.until.map_or(end, |until| until.min(end)));
                }
                let new = self.keys.entry(to.clone()).or_default();
                (new.from, new.until) = (new.from.or(Some(now)), None);
            }
            C::RevokeKey { kid, since, .. } => {
                self.revoked += 1;
                let since = since.unwrap_or(now).min(now);
                self.keys.entry(kid.clone()).or_default().revoked = Some(since);
                if self.active.as_ref() == Some(kid) {
                    self.active = None;
                }
            }
            _ => {}
        }
    }

    /// What is wrong with a seal.
    fn seal(
        &mut self,
        ticket: LeaseId,
        signer: Digest,
        found: Option<&Artifact>,
        now: Millis,
    ) -> Option<String> {
        let Some(artifact) = found else { return Some("there is no such result".into()) };
        let kid = signer.to_string();
        if !self.sealed.insert(ticket) {
            return Some("it was sealed before".into());
        }
        if !self.keys.get(&kid).is_some_and(|times| times.count(now)) {
            let times = self.keys.get(&kid);
            return Some(format!("the word of {kid} does not count at {}: {times:?}", now.0));
        }
        let wanted = signature_of(&kid, content_of(&artifact.ticket));
        if artifact.signer != signer || artifact.signature != wanted {
            return Some("its signature is not that key's of this result".into());
        }
        None
    }

    /// All that had to wait for a key must have been sealed, unless its bytes were lost.
    ///
    /// # Errors
    /// When something was not.
    pub fn settled(&self, waited: &BTreeSet<LeaseId>) -> Result<(), Broken> {
        let open = |it: &&LeaseId| !self.sealed.contains(it) && !self.abandoned.contains(it);
        waited.iter().find(open).map_or(Ok(()), |lease| {
            Err(Broken::new(format!("seal_key: {lease} waited for a key and was never sealed")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_counts_from_its_rotation_to_its_end_or_its_revocation() {
        let mut law = SealKey::default();
        let rotate = |to: &str, overlap| C::RotateKey { to: to.into(), overlap: Millis(overlap) };
        law.hear(&rotate("a", 0), Millis(10));
        law.hear(&rotate("b", 5), Millis(20));
        let counts = |law: &SealKey, kid: &str, at| law.keys[kid].count(Millis(at));
        assert_eq!([9, 10, 24, 25].map(|at| counts(&law, "a", at)), [false, true, true, false]);
        let revoke = C::RevokeKey { kid: "b".into(), since: None, reason: "lost".into() };
        law.hear(&revoke, Millis(30));
        assert_eq!([20, 29, 30].map(|at| counts(&law, "b", at)), [true, true, false]);
        assert_eq!((law.active, law.rotated, law.revoked), (None, 2, 1));
    }

    #[test]
    fn what_waited_and_was_never_sealed_breaks_it() {
        let lease = LeaseId { index: 3, ordinal: 0 };
        let mut law = SealKey::default();
        assert!(law.settled(&[lease].into()).is_err());
        law.abandoned.insert(lease);
        assert!(law.settled(&[lease].into()).is_ok());
    }
}
