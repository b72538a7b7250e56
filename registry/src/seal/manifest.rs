//! The manifest of a promotion, and the document that its approvers sign.
//!
//! Both are pure functions of the promotion's row. The manifest is signed as the platform's Go
//! kernel signs (contract, 3.2, scheme B): Ed25519 over SHA-256 of its canonical JSON. Approvers
//! sign one and the same in-toto statement, a verification summary, in a DSSE envelope (contract
//! on proofs, SLSA v1), so that any tool for such envelopes counts their words.

use super::{canonical, dsse};
use crate::ledger::rfc3339;
use domain::{Digest, Millis, promotion::Promotion};
use serde_json::{Value, json};

fn time(at: Millis) -> String {
    rfc3339(at.0.saturating_mul(1_000))
}

fn text(value: &Value) -> String {
    canonical::to_string(value).expect("it holds texts, booleans and small integers only")
}

/// The manifest in canonical JSON. `kind` keeps it apart from every other signed text.
#[must_use]
pub fn manifest(promotion: &Promotion) -> String {
    let gates: Vec<Value> = promotion
        .gates
        .iter()
        .map(|result| {
            json!({
                "bound": result.gate.bound,
                "evaluation": result.evaluation,
                "method": result.gate.method,
                "metric": result.gate.metric,
                "needed": result.gate.needed,
                "value": result.value,
            })
        })
        .collect();
    let policy = promotion.policy.as_ref();
    text(&json!({
        "artifactId": promotion.artifact.to_string(),
        "artifactRoot": promotion.root.to_string(),
        "artifactSignature": promotion.artifact_signature.to_string(),
        "emergency": promotion.emergency,
        "evaluation": gates,
        "expiresAt": time(promotion.expires),
        "from": promotion.from.word(),
        "kind": "assay-promotion/v1",
        "manifestId": promotion.id.to_string(),
        "model": promotion.model.to_string(),
        "policy": policy.map(super::super::ledger::promotion::decision_value),
        "policyId": policy.and_then(|policy| policy.policy_id.clone()),
        "provenance": promotion.provenance.to_string(),
        "reason": promotion.reason,
        "requestEvent": promotion.request_event.to_string(),
        "requestedAt": time(promotion.requested),
        "requestedBy": promotion.requested_by,
        "required": promotion.required,
        "risk": promotion.risk.to_string(),
        "to": promotion.to.word(),
    }))
}

/// SHA-256 of the manifest.
#[must_use]
pub fn digest(promotion: &Promotion) -> Digest {
    Digest::of(manifest(promotion).as_bytes())
}

/// The statement that approvers sign: the promotion's manifest in short, with its digest.
#[must_use]
pub fn approval_statement(promotion: &Promotion) -> String {
    let digest = digest(promotion);
    text(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "assayPromotion": {
                "artifactId": promotion.artifact.to_string(),
                "emergency": promotion.emergency,
                "expiresAt": time(promotion.expires),
                "promotionId": promotion.id.to_string(),
                "requestedBy": promotion.requested_by,
                "risk": promotion.risk.to_string(),
                "targetEnv": promotion.to.word(),
            },
            "inputAttestations": [
                { "digest": { "sha256": promotion.artifact_signature.to_string() } },
                { "digest": { "sha256": promotion.provenance.to_string() } },
            ],
            "policy": {
                "digest": { "sha256": digest.to_string() },
                "uri": format!("assay:promotion/{}/manifest", promotion.id),
            },
            "resourceUri": format!("assay:model/{}", promotion.model),
            "timeVerified": time(promotion.requested),
            "verificationResult": "PASSED",
            "verifiedLevels": [],
            "verifier": { "id": "assay:promotion" },
        },
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "subject": [{
            "digest": { "sha256": promotion.root.to_string() },
            "name": promotion.model.to_string(),
        }],
    }))
}

/// The bytes that an approver signs.
#[must_use]
pub fn approval_bytes(promotion: &Promotion) -> Vec<u8> {
    dsse::pae(approval_statement(promotion).as_bytes())
}

/// Whether a signature is this key's word on this promotion.
#[must_use]
pub fn verify_approval(promotion: &Promotion, key: &[u8; 32], signature: &[u8]) -> bool {
    is_signed(&approval_bytes(promotion), key, signature)
}

/// Whether a signature is this key's, over these bytes.
pub(super) fn is_signed(bytes: &[u8], key: &[u8; 32], signature: &[u8]) -> bool {
    let key = ed25519_dalek::VerifyingKey::from_bytes(key);
    let signature = ed25519_dalek::Signature::from_slice(signature);
    match (key, signature) {
        (Ok(key), Ok(signature)) => key.verify_strict(bytes, &signature).is_ok(),
        _ => false,
    }
}
