//! The document that an approver signs to clear a data set.

use super::{canonical, manifest::is_signed};
use domain::dataset::{Block, DatasetVersion};
use serde_json::json;

/// The document in canonical JSON. `kind` keeps it apart from every other signed text.
#[must_use]
pub fn document(version: &DatasetVersion, blocks: &[Block], reason: &str) -> String {
    let value = json!({
        "blocks": blocks,
        "dataset": version.dataset.to_string(),
        "kind": "assay-dataset-clearance/v1",
        "licence": version.facts.licence,
        "reason": reason,
        "registeredBy": version.registered_by,
        "root": version.facts.root.to_string(),
        "tree": version.facts.tree.to_string(),
    });
    canonical::to_string(&value).expect("it holds texts only")
}

/// Whether a signature is this key's, over this document.
#[must_use]
pub fn verify(
    version: &DatasetVersion,
    blocks: &[Block],
    reason: &str,
    key: &[u8; 32],
    signature: &[u8],
) -> bool {
    is_signed(document(version, blocks, reason).as_bytes(), key, signature)
}
