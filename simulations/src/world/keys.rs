//! Keys that seal: they are made, put into use and revoked, and now and then their store is out.

use super::World;
use crate::{
    chance::Chance,
    event::Event,
    law::{
        Broken,
        seal_key::{content_of, signature_of},
    },
    session::Caller,
};
use domain::{
    Digest, LeaseId, Millis,
    artifact::SealTicket,
    signing::{Custody, Delegation, KeyPurpose, KeysView, SigningKey},
};
use p256::{
    ecdsa::{self, signature::Signer as _},
    pkcs8::{EncodePublicKey as _, LineEnding},
};
use registry::{
    ledger::RegistryCommand as C,
    seal::{bundle, dsse, keys},
};
use scheduler::state::command::{Command, Request};
use std::collections::{BTreeMap, BTreeSet};

/// Keys of one run at most: while there is room, some are revoked.
const MADE_MAX: usize = 24;

/// Why keys are revoked.
const COPIED: &str = "it was copied";

/// The store of the keys, and who looks after it.
pub(super) struct Keys {
    chance: Chance,
    /// Keys that the store holds.
    made: Vec<Made>,
    /// The store answers nobody until then. Unit: ms.
    out_until: u64,
    /// What was signed for each ticket.
    signed: BTreeMap<LeaseId, Digest>,
    /// Tickets whose seal had to wait for a key.
    waited: BTreeSet<LeaseId>,
}

struct Made {
    key: ecdsa::SigningKey,
    pem: String,
    kid: String,
}

impl Made {
    fn new(number: usize) -> Self {
        let secret = Digest::of_value(&("model key", number as u64));
        let key = ecdsa::SigningKey::from_slice(&secret.0).expect("a fixed digest below the order");
        let pem = key.verifying_key().to_public_key_pem(LineEnding::LF).expect("it is a point");
        let kid = bundle::hint(&pem);
        Self { key, pem, kid }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: ecdsa::Signature = self.key.sign(message);
        signature.to_der().as_bytes().to_vec()
    }

    fn introduction(&self) -> C {
        let proof = self.sign(&keys::introduction(&self.kid));
        C::IntroduceKey { public_pem: self.pem.clone(), custody: Custody::Local, proof }
    }

    /// Its word for the one key that signs events.
    fn delegation(&self) -> C {
        let public = ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
        let delegation = Delegation {
            cluster: "sim".into(),
            by: self.kid.clone(),
            kid: keys::event_kid(Custody::Local, &public),
            public,
            from: Millis(0),
            until: None,
        };
        let signature = self.sign(&dsse::pae(&keys::delegation(&delegation)));
        C::DelegateKey { delegation, signature }
    }
}

fn rotate(to: &SigningKey, overlap: u64) -> C {
    C::RotateKey { to: to.kid.clone(), overlap: Millis(overlap) }
}

impl Keys {
    pub(super) fn new(root: &Chance) -> Self {
        Self {
            chance: root.branch("keys", 0),
            made: Vec::new(),
            out_until: 0,
            signed: BTreeMap::new(),
            waited: BTreeSet::new(),
        }
    }

    /// The store answers from now on.
    pub(super) fn heal(&mut self) {
        self.out_until = 0;
    }

    /// Introduces a key that the log does not know: an old one, whose introduction was lost, or
    /// a new one.
    fn introduce(&mut self, view: &KeysView) -> C {
        let lost = self.made.iter().find(|made| view.of(&made.kid).is_none());
        if let Some(lost) = lost {
            return lost.introduction();
        }
        let new = Made::new(self.made.len());
        let said = new.introduction();
        self.made.push(new);
        said
    }

    fn draw<'a>(&mut self, from: &[&'a SigningKey]) -> Option<&'a SigningKey> {
        (!from.is_empty()).then(|| from[self.chance.below(from.len() as u64) as usize])
    }

    /// What is said next of the keys, as the log has them.
    fn next(&mut self, view: &KeysView, healing: bool) -> Option<C> {
        let models: Vec<&SigningKey> =
            view.keys.iter().filter(|key| key.purpose == KeyPurpose::Model).collect();
        if models.is_empty() {
            return Some(self.introduce(view));
        }
        let free = |key: &&&SigningKey| {
            key.revoked.is_none() && (key.from.is_none() || key.check(view.now).is_ok())
        };
        let others: Vec<&SigningKey> = models.iter().filter(free).copied().collect();
        let Some(active) = &view.active else {
            return match others.first() {
                Some(next) if healing || self.chance.one_in(2) => Some(rotate(next, 0)),
                Some(_) => None,
                None => Some(self.introduce(view)),
            };
        };
        if view.keys.len() == models.len() {
            let by = self.made.iter().find(|made| made.kid == *active)?;
            return Some(by.delegation());
        }
        if healing {
            return None;
        }
        let may_revoke = self.made.len() < MADE_MAX;
        match self.chance.below(8) {
            0 if may_revoke => Some(self.introduce(view)),
            1 | 2 => {
                let overlap = [0, 500, 5_000, 60_000][self.chance.below(4) as usize];
                self.draw(&models).map(|to| rotate(to, overlap))
            }
            3 => self.put_out(view),
            4 if may_revoke => {
                let ago = Millis(self.chance.below(5_000));
                let since = self.chance.one_in(4).then(|| view.now.minus(ago));
                let kid = self.draw(&models)?.kid.clone();
                Some(C::RevokeKey { kid, since, reason: COPIED.into() })
            }
            _ => None,
        }
    }

    /// What puts the key that seals out of use at once.
    fn put_out(&mut self, view: &KeysView) -> Option<C> {
        let active = view.active.as_ref()?;
        if self.made.len() < MADE_MAX && self.chance.one_in(2) {
            let (kid, reason) = (active.clone(), COPIED.to_owned());
            return Some(C::RevokeKey { kid, since: None, reason });
        }
        let next = view.keys.iter().find(|key| {
            key.purpose == KeyPurpose::Model && key.revoked.is_none() && key.from.is_none()
        });
        next.map(|to| rotate(to, 0))
    }
}

impl World {
    /// Somebody looks after the keys, and comes back later.
    pub(super) fn keep_keys(&mut self) -> Result<(), Broken> {
        let wait = match self.healing {
            true => 500,
            false => self.keys.chance.between(200, 4_000),
        };
        self.after(wait, Event::Keys);
        if !self.healing && self.keys.chance.one_in(16) {
            self.coverage.key_outages += 1;
            self.keys.out_until = self.now + self.keys.chance.between(200, 15_000);
        }
        let Some((at, view)) = self.keys_of_leader() else { return Ok(()) };
        match self.keys.next(&view, self.healing) {
            Some(command) => self.tell_keys(at, command),
            None => Ok(()),
        }
    }

    /// Somebody puts the key that seals out of use, by another or by a revocation.
    pub(super) fn put_key_out(&mut self) -> Result<(), Broken> {
        if self.healing {
            return Ok(());
        }
        let Some((at, view)) = self.keys_of_leader() else { return Ok(()) };
        match self.keys.put_out(&view) {
            Some(command) => self.tell_keys(at, command),
            None => Ok(()),
        }
    }

    fn keys_of_leader(&self) -> Option<(usize, KeysView)> {
        let at = self.leader()?;
        let (machine, rows) = self.servers[at].replica.as_ref()?.view();
        Some((at, machine.0.view().keys(rows)))
    }

    fn tell_keys(&mut self, at: usize, command: C) -> Result<(), Broken> {
        let (actor, command) = ("user:admin".to_owned(), Command::Registry(command));
        self.with_server(at, |server, now, asks| {
            server.propose(Caller::Duty, Request { key: None, actor, command }, now, asks);
        })
    }

    /// Has the key that seals sign a ticket, as a server sees it; none while it cannot. Gives the
    /// signer and its signature.
    pub(super) fn sign(
        &mut self,
        at: usize,
        ticket: &SealTicket,
    ) -> Result<Option<(Digest, Digest)>, Broken> {
        let view = self.servers[at].replica.as_ref().map(|replica| {
            let (machine, rows) = replica.view();
            machine.0.view().keys(rows)
        });
        let active = view.and_then(|view| view.active);
        let held = |kid: &String| self.keys.made.iter().any(|made| made.kid == *kid);
        let Some(kid) = active.filter(|kid| self.now >= self.keys.out_until && held(kid)) else {
            self.coverage.key_waits += u64::from(self.keys.waited.insert(ticket.lease));
            return Ok(None);
        };
        let content = content_of(ticket);
        let first = *self.keys.signed.entry(ticket.lease).or_insert(content);
        if first != content {
            let what = format!("seal_key: {} is signed twice, as two results", ticket.lease);
            return Err(Broken::new(what));
        }
        let signer = kid.parse().expect("a model key's id is a digest");
        Ok(Some((signer, signature_of(&kid, content))))
    }

    /// Tickets whose seal had to wait for a key.
    #[must_use]
    pub fn waited_for_keys(&self) -> &BTreeSet<LeaseId> {
        &self.keys.waited
    }
}
