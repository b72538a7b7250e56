//! The model signature's statement: every file with its digest.
//!
//! Source: OpenSSF Model Signing v1, method `files`.

pub use super::provenance::{Provenance, check_provenance, provenance};

use super::canonical;
use domain::tree::Tree;
use serde_json::{Value, json};

/// What is left out of a model's manifest by default.
const IGNORED: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// The payload of `model.sig` for a model named `name`.
#[must_use]
pub fn model_statement(name: &str, tree: &Tree) -> Vec<u8> {
    let resources: Vec<Value> = tree
        .files
        .iter()
        .map(|file| {
            json!({
                "algorithm": "sha256",
                "digest": file.digest.to_string(),
                "name": file.path,
            })
        })
        .collect();
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "resources": resources,
            "serialization": {
                "allow_symlinks": false,
                "hash_type": "sha256",
                "ignore_paths": IGNORED,
                "method": "files",
            },
        },
        "predicateType": "https://model_signing/signature/v1.0",
        "subject": [{ "digest": { "sha256": tree.root().to_string() }, "name": name }],
    });
    canonical::to_string(&statement)
        .expect("a statement holds strings and booleans only")
        .into_bytes()
}
