//! That a seal is in the audit log: the proof that an export carries.

use super::{
    place::Place,
    tlog::{NoteKey, Proof},
    trust::Trust,
    verify::Found,
};
use crate::ledger::parse_rfc3339;
use domain::{Digest, Millis};
use ed25519_dalek::VerifyingKey;
use serde_json::Value;

/// The event's canonical payload: the entry that is proved.
pub const EVENT: &str = "audit.event.json";
/// The proof, with a signed head of the log.
pub const PROOF: &str = "audit.tlog-proof";
/// The delegation of the key that signed the head.
pub const DELEGATION: &str = "audit.delegation.dsse.json";

fn text(dir: &(impl Place + ?Sized), name: &str) -> Result<String, String> {
    String::from_utf8(dir.read(name)?).map_err(|_| format!("{name} is not UTF-8"))
}

/// Checks the event, its proof and the key of the log. Returns when the seal entered the log.
pub(super) fn check(
    dir: &(impl Place + ?Sized),
    trust: &Trust,
    found: Option<&Found>,
) -> Result<(Millis, String), String> {
    let found = found.ok_or("there is no trusted seal to look for")?;
    let (kid, public) = trust.event(&text(dir, DELEGATION)?)?;
    let proof = Proof::parse(&text(dir, PROOF)?).map_err(|fault| fault.to_string())?;
    let note = proof.checkpoint.to_string();
    let origin = note.lines().next().unwrap_or_default();
    let public = VerifyingKey::from_bytes(&public).map_err(|fault| fault.to_string())?;
    let key = NoteKey::new(origin, public).map_err(|fault| fault.to_string())?;
    let payload = text(dir, EVENT)?;
    let head = proof.verify(payload.as_bytes(), &key).map_err(|fault| fault.to_string())?;
    let event: Value = serde_json::from_str(&payload).map_err(|fault| fault.to_string())?;
    let digest = |name: &str| dir.read(name).map(|bytes| Digest::of(&bytes).to_string());
    let wanted = [
        ("eventType", "registry.artifact.registered".to_owned()),
        ("artifactRoot", found.root.to_string()),
        ("manifestSignature", digest("model.sig")?),
        ("provenance", digest("provenance.dsse.json")?),
        ("signer", found.kid.clone()),
    ];
    for (name, wanted) in wanted {
        let told = event.get(name).and_then(Value::as_str).unwrap_or("nothing");
        if told != wanted {
            return Err(format!("the event tells of {name} {told}, here it is {wanted}"));
        }
    }
    let ts = event.get("ts").and_then(Value::as_str).and_then(parse_rfc3339);
    let ts = ts.ok_or("the event has no time")?;
    let (seq, size) = (proof.index + 1, head.size);
    Ok((Millis(ts / 1_000), format!("event {seq} of {size}, head signed by {kid}")))
}
