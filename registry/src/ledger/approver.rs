//! Approvers with their keys, and how many of them have to agree.

use super::{Ledger, command::Act, key};
use domain::{
    limit,
    model::check_family,
    port::RowRead,
    promotion::{Approver, ApproversView, Quorum},
    refusal::RegistryRefusal,
    scratch,
};
use serde_json::json;

impl Ledger {
    pub(super) fn add_approver<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        name: String,
        key: [u8; 32],
    ) -> Result<(), RegistryRefusal> {
        check_family(&name).map_err(|fault| RegistryRefusal::Invalid(fault.to_string()))?;
        // A key of low order verifies anybody's word.
        let sound = ed25519_dalek::VerifyingKey::from_bytes(&key).is_ok_and(|key| !key.is_weak());
        if !sound {
            let why =
                format!("the key of `{name}` is no Ed25519 public key; make one with openssl");
            return Err(RegistryRefusal::Invalid(why));
        }
        if let Some(other) = act.rows.read::<String>(&key::approver_key(&key)) {
            return Err(RegistryRefusal::KeyTaken(other));
        }
        let before: Option<Approver> = act.rows.read(&key::approver(&name));
        let quorum = quorum(act.rows);
        if before.is_none() && all(act.rows).len() >= quorum.of as usize {
            return Err(RegistryRefusal::Full {
                what: "the number of approvers".into(),
                most: u64::from(quorum.of),
                remedy: "remove one, or raise the bound: `assay approver quorum M N`".into(),
            });
        }
        let new = Approver { name, key: hex::encode(key), since: act.now, by: act.user().into() };
        let before = before.map(|before| before.key);
        let body = json!({ "approver": new.name, "key": new.key, "keyBefore": before });
        self.event(act, "approver.added", body);
        if let Some(old) = before.and_then(|text| raw_key(&text)) {
            act.rows.remove(key::approver_key(&old));
        }
        act.rows.put(key::approver_key(&key), &new.name);
        act.rows.put(key::approver(&new.name), &new);
        Ok(())
    }

    pub(super) fn remove_approver<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        name: &str,
    ) -> Result<(), RegistryRefusal> {
        let old: Approver =
            act.rows.read(&key::approver(name)).ok_or_else(|| RegistryRefusal::NotFound {
                what: format!("approver `{name}`"),
                list: "approver list".into(),
            })?;
        self.event(act, "approver.removed", json!({ "approver": name, "key": old.key }));
        if let Some(raw) = raw_key(&old.key) {
            act.rows.remove(key::approver_key(&raw));
        }
        act.rows.remove(key::approver(name));
        Ok(())
    }

    pub(super) fn set_quorum<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        wanted: Quorum,
    ) -> Result<(), RegistryRefusal> {
        let have = u32::try_from(all(act.rows).len()).unwrap_or(u32::MAX);
        let Quorum { required, of } = wanted;
        if required < 2 || required > of || of > limit::APPROVERS_MAX {
            return Err(RegistryRefusal::Invalid(format!(
                "{required} of {of} is no quorum; name 2 to N of at most {}",
                limit::APPROVERS_MAX
            )));
        }
        if of < have {
            return Err(RegistryRefusal::Invalid(format!(
                "{have} approvers are registered, more than {of}; remove some first"
            )));
        }
        let before = quorum(act.rows);
        let body = json!({
            "of": of, "ofBefore": before.of, "required": required,
            "requiredBefore": before.required,
        });
        self.event(act, "approver.quorum_set", body);
        act.rows.put(key::quorum(), &wanted);
        Ok(())
    }
}

/// An approver's key as bytes.
pub(super) fn raw_key(text: &str) -> Option<[u8; 32]> {
    let mut raw = [0; 32];
    hex::decode_to_slice(text, &mut raw).ok()?;
    Some(raw)
}

/// How many of how many have to agree.
pub(super) fn quorum(rows: &impl RowRead) -> Quorum {
    let key = key::quorum();
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default()
}

/// All approvers by name.
pub(super) fn all(rows: &impl RowRead) -> Vec<Approver> {
    let (from, to) = key::approvers();
    let page = rows.range(&from, &to, limit::APPROVERS_MAX as usize);
    page.iter().map(|(key, value)| scratch::decode(key, value)).collect()
}

/// All approvers with the quorum.
#[must_use]
pub fn view(rows: &impl RowRead) -> ApproversView {
    ApproversView { quorum: quorum(rows), approvers: all(rows) }
}
