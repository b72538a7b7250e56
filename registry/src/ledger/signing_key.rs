//! The table of keys: introduced by servers, put into use and revoked by admins.

use super::{Ledger, command::Act, command::check_text, key};
use crate::seal::{bundle, dsse, keys};
use domain::{
    Digest, Millis,
    artifact::Artifact,
    audit::EventSignature,
    limit,
    port::RowRead,
    refusal::RegistryRefusal,
    scratch,
    signing::{Custody, Delegation, KeyPurpose, KeyRevocation, KeysView, SigningKey},
};
use serde_json::json;
use std::collections::BTreeSet;

/// How far a server's clock may be ahead of the log's when it delegates.
const AHEAD: Millis = Millis(300_000);

impl Ledger {
    /// Takes a model key in. The first of a cluster seals at once; later ones stand by until an
    /// admin puts them into use. One that is known changes nothing.
    pub(super) fn introduce_key<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        public_pem: String,
        custody: Custody,
        proof: &[u8],
    ) -> Result<(), RegistryRefusal> {
        let kid = bundle::hint(&public_pem);
        if keys::model_pem(&public_pem).as_ref() != Some(&public_pem) {
            return Err(unproven(&kid, "it is no ECDSA P-256 key in PEM"));
        }
        if !keys::signed_by(&public_pem, &keys::introduction(&kid), proof) {
            return Err(unproven(&kid, "it did not sign its own introduction"));
        }
        if find(act.rows, &kid).is_some() {
            return Ok(());
        }
        self.room(act, &kid)?;
        let first = act.rows.get(&key::seals_now()).is_none() && model_keys(act.rows) == 0;
        let new = SigningKey {
            kid,
            purpose: KeyPurpose::Model,
            public_pem,
            custody,
            introduced: act.now,
            from: first.then_some(act.now),
            until: None,
            revoked: None,
            delegation: None,
        };
        let body = json!({
            "custody": custody.to_string(), "inUse": first, "key": new.kid,
            "publicKey": new.public_pem,
        });
        self.event(act, "key.introduced", body);
        if first {
            act.rows.put(key::seals_now(), &new.kid);
        }
        act.rows.put(key::signing_key(&new.kid), &new);
        Ok(())
    }

    /// Takes in an event key that a model key vouches for.
    pub(super) fn delegate_key<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        said: Delegation,
        signature: &[u8],
    ) -> Result<(), RegistryRefusal> {
        let Some(model) = find(act.rows, &said.by) else {
            return Err(not_found(&said.by));
        };
        usable(&model, act.now)?;
        let refuse = |why: &str| Err(unproven(&said.kid, why));
        let Some(public_pem) = keys::event_pem(&said.public) else {
            return refuse("it is no Ed25519 key");
        };
        if said.kid != keys::event_kid(model.custody, &said.public) {
            return refuse("its id is not that of its public key");
        }
        let longest = said.from.plus(limit::DELEGATION_MAX);
        // A key in a file is replaced by hand, like the model key beside it.
        let bounded = said.until.map_or(model.custody == Custody::Local, |until| until <= longest);
        if !bounded || said.from > act.now.plus(AHEAD) {
            return refuse("it is delegated to for too long, or from a later time on");
        }
        if !keys::signed_by(&model.public_pem, &dsse::pae(&keys::delegation(&said)), signature) {
            return refuse("the model key did not sign its delegation");
        }
        if let Some(known) = find(act.rows, &said.kid) {
            return usable(&known, act.now);
        }
        self.room(act, &said.kid)?;
        let new = SigningKey {
            kid: said.kid.clone(),
            purpose: KeyPurpose::Event,
            public_pem,
            custody: model.custody,
            introduced: act.now,
            from: Some(said.from.min(act.now)),
            until: said.until,
            revoked: None,
            delegation: Some(keys::delegation_envelope(&said, signature)),
        };
        let body = json!({ "by": said.by, "key": new.kid, "publicKey": new.public_pem });
        self.event(act, "key.delegated", body);
        act.rows.put(key::signing_key(&new.kid), &new);
        Ok(())
    }

    /// Seals with another key from now on; the one before counts for a while beside it.
    pub(super) fn rotate_key<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        to: &str,
        overlap: Millis,
    ) -> Result<(), RegistryRefusal> {
        if overlap > limit::KEY_OVERLAP_MAX {
            let (asked, most) = (overlap.0, limit::KEY_OVERLAP_MAX.0);
            let why = format!("an overlap of {asked} ms; {most} ms is the longest");
            return Err(RegistryRefusal::Invalid(why));
        }
        let mut new = find(act.rows, to).ok_or_else(|| not_found(to))?;
        if new.purpose != KeyPurpose::Model {
            let remedy = "servers rotate event keys by themselves".to_owned();
            let state = "it signs events".to_owned();
            return Err(RegistryRefusal::Key { kid: to.to_owned(), state, remedy });
        }
        let before = seals_now(act.rows);
        if before.as_deref() == Some(to) {
            return Ok(());
        }
        if new.from.is_some() {
            usable(&new, act.now)?;
        }
        if let Some(revoked) = &new.revoked {
            let state = format!("it was revoked: {}", revoked.reason);
            let remedy = "make a new key".to_owned();
            return Err(RegistryRefusal::Key { kid: to.to_owned(), state, remedy });
        }
        new.from = new.from.or(Some(act.now));
        new.until = None;
        let body = json!({ "before": before, "key": new.kid, "overlapMs": overlap.0.to_string() });
        self.event(act, "key.rotated", body);
        if let Some(mut old) = before.as_deref().and_then(|kid| find(act.rows, kid)) {
            let end = act.now.plus(overlap);
            old.until = Some(old.until.map_or(end, |until| until.min(end)));
            act.rows.put(key::signing_key(&old.kid), &old);
        }
        act.rows.put(key::signing_key(&new.kid), &new);
        act.rows.put(key::seals_now(), &new.kid);
        Ok(())
    }

    /// Has a key's word count no more from a time on. A later word may only name an earlier time.
    pub(super) fn revoke_key<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        kid: &str,
        since: Option<Millis>,
        reason: String,
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut known = find(act.rows, kid).ok_or_else(|| not_found(kid))?;
        let since = since.unwrap_or(act.now).min(act.now);
        if let Some(before) = &known.revoked
            && since >= before.since
        {
            let state = format!("it was revoked already, from {} ms on", before.since.0);
            let remedy = "name an earlier time, or leave it at that".to_owned();
            return Err(RegistryRefusal::Key { kid: kid.to_owned(), state, remedy });
        }
        let body = json!({ "key": kid, "reason": reason, "sinceMs": since.0.to_string() });
        self.event(act, "key.revoked", body);
        let by = act.user().to_owned();
        known.revoked = Some(KeyRevocation { since, at: act.now, by, reason });
        act.rows.put(key::signing_key(kid), &known);
        if seals_now(act.rows).as_deref() == Some(kid) {
            act.rows.remove(key::seals_now());
        }
        Ok(())
    }

    fn room<R: RowRead>(&self, act: &mut Act<'_, '_, R>, kid: &str) -> Result<(), RegistryRefusal> {
        let count = act.rows.read::<u64>(&key::signing_keys()).unwrap_or(0);
        if count >= limit::KEYS_MAX {
            return Err(RegistryRefusal::Full {
                what: format!("the number of keys, with {kid},"),
                most: limit::KEYS_MAX,
                remedy: "found a new cluster".into(),
            });
        }
        act.rows.put(key::signing_keys(), &(count + 1));
        Ok(())
    }
}

fn unproven(kid: &str, why: &str) -> RegistryRefusal {
    RegistryRefusal::KeyUnproven { kid: kid.to_owned(), why: why.to_owned() }
}

fn not_found(kid: &str) -> RegistryRefusal {
    RegistryRefusal::NotFound { what: format!("key {kid}"), list: "key list".into() }
}

fn usable(known: &SigningKey, at: Millis) -> Result<(), RegistryRefusal> {
    known.check(at).map_err(|fault| RegistryRefusal::Key {
        kid: known.kid.clone(),
        state: fault.to_string(),
        remedy: "`assay key list` shows which one seals now".into(),
    })
}

fn find(rows: &impl RowRead, kid: &str) -> Option<SigningKey> {
    let key = key::signing_key(kid);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

fn seals_now(rows: &impl RowRead) -> Option<String> {
    let key = key::seals_now();
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

fn all(rows: &impl RowRead) -> Vec<SigningKey> {
    let (from, to) = key::all_signing_keys();
    let page = rows.range(&from, &to, limit::KEYS_MAX as usize);
    page.iter().map(|(key, value)| scratch::decode(key, value)).collect()
}

fn model_keys(rows: &impl RowRead) -> usize {
    all(rows).iter().filter(|key| key.purpose == KeyPurpose::Model).count()
}

/// All keys. The authority is the server's to add.
#[must_use]
pub fn view(rows: &impl RowRead, now: Millis) -> KeysView {
    let mut keys = all(rows);
    keys.sort_by(|a, b| (a.introduced, &a.kid).cmp(&(b.introduced, &b.kid)));
    KeysView { active: seals_now(rows), authority: String::new(), keys, now }
}

/// Whether a seal may be completed with this key's signatures now. Before a cluster knows of any
/// key, each is as good as another.
///
/// # Errors
/// Why not.
pub fn check_signer(
    rows: &impl RowRead,
    signer: Digest,
    now: Millis,
) -> Result<(), RegistryRefusal> {
    let kid = signer.to_string();
    match find(rows, &kid) {
        Some(known) => usable(&known, now),
        None if rows.get(&key::signing_keys()).is_none() => Ok(()),
        None => Err(not_found(&kid)),
    }
}

/// Whether the key of a sealed artifact counted when it was sealed.
pub(super) fn check_seal(rows: &impl RowRead, of: &Artifact) -> Result<(), RegistryRefusal> {
    match find(rows, &of.signer.to_string()) {
        // Sealed before keys were kept in the log.
        None => Ok(()),
        Some(known) => known.check(of.sealed).map_err(|fault| RegistryRefusal::Key {
            kid: known.kid.clone(),
            state: fault.to_string(),
            remedy: format!("artifact {} was sealed with it: use another one", of.id),
        }),
    }
}

/// Whether the keys of all these signatures may sign events now.
pub fn may_sign_events(rows: &impl RowRead, signatures: &[EventSignature], now: Millis) -> bool {
    if rows.get(&key::signing_keys()).is_none() {
        return true;
    }
    let signers: BTreeSet<&str> = signatures.iter().map(|it| it.signer.as_str()).collect();
    signers.into_iter().all(|signer| {
        find(rows, signer)
            .is_some_and(|key| key.purpose == KeyPurpose::Event && key.check(now).is_ok())
    })
}

#[cfg(test)]
#[path = "signing_key_test.rs"]
mod tests;
