//! Names of registered data on the wire.

use super::WireError;
use domain::dataset::DatasetRef;
use std::collections::BTreeMap;

pub(super) fn to_wire(registered: &BTreeMap<String, DatasetRef>) -> BTreeMap<String, String> {
    registered.iter().map(|(name, dataset)| (name.clone(), dataset.to_string())).collect()
}

/// Each has to name a version: what stands for the newest was resolved before.
pub(super) fn from_wire(
    registered: BTreeMap<String, String>,
) -> Result<BTreeMap<String, DatasetRef>, WireError> {
    let read = |(name, word): (String, String)| match word.parse() {
        Ok(dataset) => Ok((name, dataset)),
        Err(_) => Err(WireError {
            field: "registered_datasets",
            fault: format!("`{}` names no version", word.chars().take(80).collect::<String>()),
            remedy: "write it like `reviews@3`",
        }),
    };
    registered.into_iter().map(read).collect()
}
