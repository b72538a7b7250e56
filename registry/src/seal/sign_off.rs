//! The document that an approver signs to vouch for a file: a specification, an acceptance list, a
//! deployment guide.

use super::{canonical, manifest::is_signed};
use domain::Digest;
use serde_json::json;

/// The document in canonical JSON. `kind` keeps it apart from every other signed text.
///
/// `name` is what people call the file, `sha256` what it is, `reason` what is vouched for.
#[must_use]
pub fn document(name: &str, sha256: Digest, reason: &str) -> String {
    let value = json!({
        "document": name,
        "kind": "assay-sign-off/v1",
        "reason": reason,
        "sha256": sha256.to_string(),
    });
    canonical::to_string(&value).expect("it holds texts only")
}

/// Whether a signature is this key's, over this document.
#[must_use]
pub fn verify(name: &str, sha256: Digest, reason: &str, key: &[u8; 32], signature: &[u8]) -> bool {
    is_signed(document(name, sha256, reason).as_bytes(), key, signature)
}
