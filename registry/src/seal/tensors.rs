//! Proof metadata of safetensors files: what binds one to its manifest, without a changed weight.
//!
//! Source: rulings, 8. Only values that are the same on every run go in, before anything is hashed.

use domain::Digest;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Version of this form.
const FORMAT: &str = "1";
/// Names in `__metadata__`.
const NAMES: [&str; 3] = ["assay.format", "assay.build_key", "assay.tensors_sha256"];
/// The prefix of a byproduct that names a file's tensors.
const BYPRODUCT: &str = "tensors:";

/// What one file says of itself, and what its tensors are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked {
    /// Its path in the model.
    pub name: String,
    /// Its header.
    pub header: Map<String, Value>,
    /// SHA-256 of all that follows the header.
    pub tensors: Digest,
}

/// The header with the proof in it, padded so that the tensors stay aligned, to `least` bytes.
pub(crate) fn marked(
    header: &Map<String, Value>,
    build_key: Digest,
    tensors: Digest,
    least: u64,
) -> Vec<u8> {
    let mut header = header.clone();
    let mut metadata = match header.remove("__metadata__") {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    let values = [FORMAT.to_owned(), build_key.to_string(), tensors.to_string()];
    metadata.extend(NAMES.map(str::to_owned).into_iter().zip(values.map(Value::from)));
    header.insert("__metadata__".into(), Value::Object(metadata));
    let mut text = serde_json::to_vec(&header).expect("what was JSON is JSON");
    let length = (text.len() as u64).max(least).next_multiple_of(8);
    text.resize(length as usize, b' ');
    text
}

/// The name of a file's tensors among the byproducts of a provenance.
#[must_use]
pub fn byproduct(path: &str) -> String {
    format!("{BYPRODUCT}{path}")
}

/// Checks every safetensors file of a model against the provenance, both ways: the provenance
/// names its tensors, and its own metadata names them and the build.
///
/// # Errors
/// The first file that does not agree.
pub fn check(provenance: &Value, marks: &[Marked]) -> Result<String, String> {
    let byproducts = provenance.pointer("/predicate/runDetails/byproducts");
    let byproducts = byproducts.and_then(Value::as_array).into_iter().flatten();
    let named: BTreeMap<&str, &str> = byproducts
        .filter_map(|entry| {
            let path = entry["name"].as_str()?.strip_prefix(BYPRODUCT)?;
            Some((path, entry.pointer("/digest/sha256")?.as_str()?))
        })
        .collect();
    let key = "/predicate/buildDefinition/internalParameters/buildKey";
    let key = provenance.pointer(key).and_then(Value::as_str).unwrap_or_default();
    let mut seen = 0;
    for Marked { name, header, tensors } in marks {
        let Some(listed) = named.get(name.as_str()) else {
            return Err(format!("`{name}`: the provenance does not name its tensors"));
        };
        let tensors = tensors.to_string();
        let values = [FORMAT, key, &tensors];
        for (field, wanted) in NAMES.into_iter().zip(values) {
            let told = header.get("__metadata__").and_then(|map| map.get(field));
            let told = told.and_then(Value::as_str).unwrap_or("nothing");
            if told != wanted {
                return Err(format!("`{name}`: its {field} is {told}, it should be {wanted}"));
            }
        }
        if **listed != tensors {
            return Err(format!("`{name}`: its tensors are {tensors}, sealed were {listed}"));
        }
        seen += 1;
    }
    if seen < named.len() {
        return Err(format!("the provenance names {} files, {seen} are there", named.len()));
    }
    Ok(match seen {
        0 => "none in this result".to_owned(),
        _ => format!("{seen} bound to their manifest"),
    })
}
