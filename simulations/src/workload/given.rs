//! The published workloads and figures, where they are at hand.

use serde_json::Value;
use std::path::PathBuf;

/// The folder of the traces: named by `ASSAY_TRACES`, or beside the repository. Says so when it
/// is not there.
pub fn traces() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/traces");
    let folder =
        std::env::var_os("ASSAY_TRACES").map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if folder.join("published").is_dir() {
        return Some(folder);
    }
    println!("skipped: no published traces; name their folder in ASSAY_TRACES");
    None
}

/// A file of published figures.
pub fn published(name: &str) -> Option<Value> {
    let path = traces()?.join("published").join(name);
    Some(serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap())
}
