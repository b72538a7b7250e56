//! The model signature file: a sigstore bundle around a DSSE envelope.
//!
//! Source: OpenSSF Model Signing v1; sigstore bundle v0.3.

use super::dsse::Envelope;
use domain::Digest;
use serde::{Deserialize, Serialize};

/// The one media type that verifiers accept.
pub const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A bundle as JSON has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bundle {
    /// [`MEDIA_TYPE`].
    pub media_type: String,
    /// Which key.
    pub verification_material: Material,
    /// What is signed.
    pub dsse_envelope: Envelope,
}

/// Which key signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Material {
    /// The key.
    pub public_key: Hint,
    /// No transparency log.
    #[serde(default)]
    pub tlog_entries: Vec<serde_json::Value>,
}

/// Names a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hint {
    /// Lower-case hex SHA-256 of the public key's PEM text.
    pub hint: String,
}

/// The hint that names a public key.
#[must_use]
pub fn hint(public_pem: &str) -> String {
    Digest::of(public_pem.as_bytes()).to_string()
}

/// The file `model.sig`.
#[must_use]
pub fn model_bundle(payload: &[u8], sig_der: &[u8], public_pem: &str) -> Vec<u8> {
    model_bundle_of(payload, sig_der, &hint(public_pem))
}

/// The file `model.sig`, by the hint of the key.
#[must_use]
pub fn model_bundle_of(payload: &[u8], sig_der: &[u8], hint: &str) -> Vec<u8> {
    let bundle = Bundle {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: Material {
            public_key: Hint { hint: hint.to_owned() },
            tlog_entries: Vec::new(),
        },
        dsse_envelope: Envelope::new(payload, sig_der),
    };
    serde_json::to_vec(&bundle).expect("a bundle of strings is JSON")
}
