//! What keys say of themselves and of each other, and how that is checked.

use super::{canonical, dsse};
use crate::ledger::rfc3339;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Digest, Millis,
    signing::{Custody, Delegation},
};
use p256::{
    ecdsa::{Signature, VerifyingKey, signature::Verifier},
    pkcs8::{DecodePublicKey, EncodePublicKey, LineEnding},
};
use serde_json::{Value, json};

/// The predicate of a delegation: a document in the repository.
pub const DELEGATION: &str = "https://assay.dev/delegation/v1";

/// What a model key signs to show that its holder can sign with it. No statement in an envelope
/// begins like this.
#[must_use]
pub fn introduction(kid: &str) -> Vec<u8> {
    format!("assay-key-introduction/v1\n{kid}\n").into_bytes()
}

/// The id of an Ed25519 key. Source: platform contract §3.4, for keys in files.
#[must_use]
pub fn event_kid(custody: Custody, public: &[u8; 32]) -> String {
    let digest = Digest::of(public);
    match custody {
        Custody::Local => format!("local-ed25519:{}", digest.short()),
        Custody::Pkcs11 | Custody::Kms | Custody::Proxy => {
            format!("assay-ed25519:{}", hex::encode(&digest.0[..8]))
        }
    }
}

/// The PEM text of an Ed25519 public key; none when it is no key, or one that verifies anything.
#[must_use]
pub fn event_pem(public: &[u8; 32]) -> Option<String> {
    let key = ed25519_dalek::VerifyingKey::from_bytes(public).ok().filter(|key| !key.is_weak())?;
    ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_pem(&key, LineEnding::LF).ok()
}

/// The text of a public key that is ECDSA P-256, in the one form whose digest is its id.
#[must_use]
pub fn model_pem(pem: &str) -> Option<String> {
    VerifyingKey::from_public_key_pem(pem).ok()?.to_public_key_pem(LineEnding::LF).ok()
}

/// The same of a key in DER.
#[must_use]
pub fn model_pem_of_der(der: &[u8]) -> Option<String> {
    VerifyingKey::from_public_key_der(der).ok()?.to_public_key_pem(LineEnding::LF).ok()
}

/// Whether a model key signed this message.
#[must_use]
pub fn signed_by(pem: &str, message: &[u8], der: &[u8]) -> bool {
    let key = VerifyingKey::from_public_key_pem(pem);
    let signature = Signature::from_der(der);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verify(message, &signature).is_ok(),
        _ => false,
    }
}

fn time(at: Millis) -> String {
    rfc3339(at.0.saturating_mul(1_000))
}

/// The statement by which a model key vouches for an event key.
#[must_use]
pub fn delegation(said: &Delegation) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "algorithm": "ed25519",
            "by": said.by,
            "cluster": said.cluster,
            "notAfter": said.until.map(time),
            "notBefore": time(said.from),
            "publicKey": STANDARD.encode(said.public),
        },
        "predicateType": DELEGATION,
        "subject": [{
            "digest": { "sha256": Digest::of(&said.public).to_string() },
            "name": said.kid,
        }],
    });
    canonical::to_string(&statement).expect("a statement of texts is JSON").into_bytes()
}

/// The delegation as a file, once signed.
#[must_use]
pub fn delegation_envelope(said: &Delegation, signature: &[u8]) -> String {
    let bytes = dsse::envelope(&delegation(said), signature);
    String::from_utf8(bytes).expect("an envelope is JSON")
}

/// What an envelope delegates: the event key's id and its public half, if the model key with this
/// PEM text signed it.
///
/// # Errors
/// What does not hold.
pub fn open_delegation(envelope: &str, model_pem: &str) -> Result<(String, [u8; 32]), String> {
    let envelope: dsse::Envelope = serde_json::from_str(envelope)
        .map_err(|fault| format!("the delegation is no DSSE envelope: {fault}"))?;
    let (payload, signature) = envelope.open().map_err(|fault| fault.to_string())?;
    if !signed_by(model_pem, &dsse::pae(&payload), &signature) {
        return Err("the model key did not sign the delegation".into());
    }
    let value: Value = serde_json::from_slice(&payload).map_err(|fault| fault.to_string())?;
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str);
    if text("/predicateType") != Some(DELEGATION) {
        return Err("what the model key signed is no delegation".into());
    }
    let public = text("/predicate/publicKey").and_then(|text| STANDARD.decode(text).ok());
    let public: Option<[u8; 32]> = public.and_then(|bytes| bytes.try_into().ok());
    match (text("/subject/0/name"), public) {
        (Some(kid), Some(public)) => Ok((kid.to_owned(), public)),
        _ => Err("the delegation names no key".into()),
    }
}

/// Id of the model key that an envelope says it is by.
#[must_use]
pub fn delegated_by(envelope: &str) -> Option<String> {
    let envelope: dsse::Envelope = serde_json::from_str(envelope).ok()?;
    let (payload, _) = envelope.open().ok()?;
    let value: Value = serde_json::from_slice(&payload).ok()?;
    value.pointer("/predicate/by").and_then(Value::as_str).map(str::to_owned)
}
