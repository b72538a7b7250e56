//! The model signature's statement: every file with its digest.
//!
//! Source: OpenSSF Model Signing v1, method `files`.

pub use super::provenance::{Provenance, check_provenance, provenance, with_logs};

use super::canonical;
use domain::tree::Tree;
use serde_json::{Value, json};

/// Names in a model's top folder that verifiers leave out by default, and so are no part of it.
const LEFT_OUT: [&str; 4] = [".git", ".gitattributes", ".github", ".gitignore"];

/// Whether a path, or the folder that it is in, is one of `names` in the top folder.
pub(super) fn is_under<'a>(path: &str, names: impl IntoIterator<Item = &'a str>) -> bool {
    names.into_iter().any(|name| {
        path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// Whether a file of an output is no part of the model: the files of a version control in its top
/// folder. A root over them would be one that no verifier computes.
#[must_use]
pub fn is_left_out(path: &str) -> bool {
    is_under(path, LEFT_OUT)
}

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
                "ignore_paths": LEFT_OUT,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_the_top_folder_is_left_out() {
        for path in [".gitattributes", ".git/config", ".github/workflows/ci.yml", ".gitignore"] {
            assert!(is_left_out(path), "{path}");
        }
        for path in [".gitmodules", ".git.txt", "a/.gitattributes", "model/.git/config", ".githubx"]
        {
            assert!(!is_left_out(path), "{path}");
        }
    }
}
