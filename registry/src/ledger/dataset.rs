//! Data sets: immutable versions, what keeps them from being used, and who cleared them.

use super::{
    Ledger,
    approver::raw_key,
    command::{Act, check_text},
    key, view as ledger_view,
};
use crate::seal::clearance;
use domain::{
    Digest,
    dataset::{Block, Clearance, DatasetFacts, DatasetRef, DatasetVersion, DatasetView, LegalHold},
    job::JobSpec,
    limit,
    model::check_family,
    port::RowRead,
    promotion::Approver,
    refusal::RegistryRefusal,
    scratch,
};
use serde_json::json;
use std::collections::BTreeMap;

/// Licences that allow training where no admin says otherwise: public-domain marks, permissive
/// and share-alike ones for data and code. Those that forbid commercial use or derived works
/// (`-NC`, `-ND`) are not among them, nor is any that is not known.
const OPEN: [&str; 24] = [
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "C-UDA-1.0",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC-PDDC",
    "CC0-1.0",
    "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0",
    "CDLA-Sharing-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "O-UDA-1.0",
    "ODC-By-1.0",
    "ODbL-1.0",
    "PDDL-1.0",
    "Unlicense",
    "Zlib",
];

fn invalid(fault: impl std::fmt::Display) -> RegistryRefusal {
    RegistryRefusal::Invalid(fault.to_string())
}

fn wanted<R: RowRead>(
    act: &Act<'_, '_, R>,
    dataset: &DatasetRef,
) -> Result<DatasetVersion, RegistryRefusal> {
    act.rows.read(&key::dataset(dataset)).ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("data set {dataset}"),
        list: format!("dataset list {}", dataset.name),
    })
}

/// Letters, digits and `.+-`, as SPDX has it. Whether it is one is for the edge to say.
fn check_licence(id: &str) -> Result<(), RegistryRefusal> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
    match !id.is_empty() && id.len() <= limit::FAMILY_NAME_MAX && id.bytes().all(plain) {
        true => Ok(()),
        false => Err(invalid("the licence is no SPDX identifier, such as CC-BY-4.0")),
    }
}

fn check_facts(facts: &DatasetFacts) -> Result<(), RegistryRefusal> {
    check_licence(&facts.licence)?;
    check_text("the source", &facts.source)?;
    check_family(&facts.owner).map_err(invalid)?;
    facts.transformations.iter().try_for_each(|step| check_text("a transformation", step))?;
    let most = facts.slices.values().map(Vec::len).max().unwrap_or_default();
    let longest = most.max(facts.slices.len()).max(facts.transformations.len());
    if longest > limit::SLICES_MAX {
        return Err(RegistryRefusal::Full {
            what: "a list of slices, paths or transformations".into(),
            most: limit::SLICES_MAX as u64,
            remedy: "name folders rather than files, or fewer steps".into(),
        });
    }
    for (name, paths) in &facts.slices {
        check_family(name).map_err(invalid)?;
        paths.iter().try_for_each(|path| check_text("a slice's path", path))?;
    }
    match facts.scan.files.len() > limit::PII_FILES_MAX {
        true => Err(invalid("the scan names too many files")),
        false => Ok(()),
    }
}

impl Ledger {
    /// Makes a tree of files the next version of a data set.
    pub(super) fn register_dataset<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        name: String,
        facts: DatasetFacts,
    ) -> Result<u64, RegistryRefusal> {
        check_family(&name).map_err(invalid)?;
        check_facts(&facts)?;
        let newest: u64 = act.rows.read(&key::dataset_newest(&name)).unwrap_or_default();
        if newest >= limit::DATASET_VERSIONS_MAX {
            return Err(RegistryRefusal::Full {
                what: format!("the number of versions of `{name}`"),
                most: limit::DATASET_VERSIONS_MAX,
                remedy: "use another name".into(),
            });
        }
        let known = versions_of(act.rows, facts.tree).into_iter().find(|it| it.name == name);
        if let Some(dataset) = known {
            return Err(RegistryRefusal::DatasetKnown { tree: facts.tree, dataset });
        }
        let dataset = DatasetRef { name, version: newest + 1 };
        let audit_seq = self.event(act, "dataset.registered", registered(&dataset, &facts));
        let row = DatasetVersion {
            dataset,
            facts,
            registered: act.now,
            registered_by: act.user().to_owned(),
            audit_seq,
            clearances: Vec::new(),
            hold: None,
        };
        act.rows.put(key::dataset_newest(&row.dataset.name), &row.dataset.version);
        act.rows.put_new(key::dataset_of(row.facts.tree, &row.dataset), &());
        act.rows.put_new(key::dataset(&row.dataset), &row);
        Ok(row.dataset.version)
    }

    /// Takes a named approver's word that a data set may be used.
    ///
    /// Nobody clears what they registered, and the word is signed by the approver's own key.
    pub(super) fn clear_dataset<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        dataset: &DatasetRef,
        reason: String,
        signature: &[u8],
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut row = wanted(act, dataset)?;
        let approver: Option<Approver> = act.rows.read(&key::approver(act.user()));
        let approver = approver.ok_or_else(|| RegistryRefusal::NotApprover(act.user().into()))?;
        if row.registered_by == approver.name {
            let (dataset, user) = (dataset.clone(), approver.name);
            return Err(RegistryRefusal::OwnDataset { dataset, user });
        }
        let blocks = blocks(act.rows, &row);
        if blocks.is_empty() {
            return Err(RegistryRefusal::NotBlocked(dataset.clone()));
        }
        let raw = raw_key(&approver.key).unwrap_or_default();
        if !clearance::verify(&row, &blocks, &reason, &raw, signature) {
            let (dataset, approver) = (dataset.clone(), approver.name);
            return Err(RegistryRefusal::ForgedClearance { dataset, approver });
        }
        let body = json!({
            "blocks": blocks, "dataset": dataset.to_string(), "reason": reason,
            "signature": hex::encode(signature), "tree": row.facts.tree.to_string(),
        });
        let audit_seq = self.event(act, "dataset.cleared", body);
        row.clearances.push(Clearance {
            approver: approver.name,
            blocks,
            reason,
            signature: hex::encode(signature),
            since: act.now,
            audit_seq,
        });
        act.rows.put(key::dataset(dataset), &row);
        Ok(())
    }

    /// Puts a data set under legal hold, or ends that.
    pub(super) fn hold_dataset<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        dataset: &DatasetRef,
        held: bool,
        reason: String,
    ) -> Result<(), RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut row = wanted(act, dataset)?;
        if row.hold.is_some() == held {
            let state = if held { "under legal hold already" } else { "not under legal hold" };
            return Err(invalid(format!("{dataset} is {state}")));
        }
        let kind = if held { "dataset.held" } else { "dataset.released" };
        let body = json!({ "dataset": dataset.to_string(), "reason": reason });
        let audit_seq = self.event(act, kind, body);
        let by = act.user().to_owned();
        row.hold = held.then_some(LegalHold { reason, by, since: act.now, audit_seq });
        act.rows.put(key::dataset(dataset), &row);
        Ok(())
    }

    /// Says whether a licence allows training.
    pub(super) fn set_licence<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: &str,
        allowed: bool,
    ) -> Result<u64, RegistryRefusal> {
        check_licence(id)?;
        if act.rows.get(&key::licence(id)).is_none()
            && licences(act.rows).len() >= limit::LICENCES_MAX
        {
            return Err(RegistryRefusal::Full {
                what: "the number of licences".into(),
                most: limit::LICENCES_MAX as u64,
                remedy: "clear single data sets instead".into(),
            });
        }
        let body = json!({ "allowed": allowed, "licence": id });
        self.event(act, "dataset.licence_set", body);
        act.rows.put(key::licence(id), &allowed);
        Ok(0)
    }
}

fn registered(dataset: &DatasetRef, facts: &DatasetFacts) -> serde_json::Value {
    json!({
        "bytes": facts.size.0.to_string(),
        "dataset": dataset.to_string(),
        "detector": format!("{} {}", facts.scan.detector, facts.scan.detector_version),
        "files": facts.files,
        "licence": facts.licence,
        "owner": facts.owner,
        "piiDeclared": facts.pii_declared,
        "piiFindings": facts.scan.counts,
        "root": facts.root.to_string(),
        "slices": facts.slices,
        "source": facts.source,
        "transformations": facts.transformations,
        "tree": facts.tree.to_string(),
    })
}

/// Whether a licence allows training.
fn allows(rows: &impl RowRead, licence: &str) -> bool {
    let key = key::licence(licence);
    let said = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes));
    said.unwrap_or_else(|| OPEN.contains(&licence))
}

/// What keeps a version from being used now.
#[must_use]
pub fn blocks(rows: &impl RowRead, version: &DatasetVersion) -> Vec<Block> {
    let facts = &version.facts;
    let pii = facts.pii_declared || facts.scan.total() > 0;
    let met = [(Block::Pii, pii), (Block::Licence, !allows(rows, &facts.licence))];
    let stands = |(block, met): &(Block, bool)| *met && !version.is_cleared(*block);
    met.into_iter().filter(stands).map(|(block, _)| block).collect()
}

/// A registered version that has this tree and may not be used, if there is one.
#[must_use]
pub fn blocked(rows: &impl RowRead, tree: Digest) -> Option<(DatasetRef, Vec<Block>)> {
    versions_of(rows, tree).into_iter().find_map(|dataset| {
        let blocks = blocks(rows, &version(rows, &dataset)?);
        (!blocks.is_empty()).then_some((dataset, blocks))
    })
}

/// The refusal for the first of these trees that is of a version that may not be used.
///
/// # Errors
/// When there is one.
pub fn check_trees(
    rows: &impl RowRead,
    trees: impl IntoIterator<Item = Digest>,
) -> Result<(), RegistryRefusal> {
    let blocked = trees.into_iter().find_map(|tree| blocked(rows, tree));
    blocked.map_or(Ok(()), |(dataset, blocks)| {
        Err(RegistryRefusal::DatasetBlocked { dataset, blocks })
    })
}

/// The versions that have this tree, at most a page.
pub(super) fn versions_of(rows: &impl RowRead, tree: Digest) -> Vec<DatasetRef> {
    let (from, to) = key::datasets_of(tree);
    let page = rows.range(&from, &to, limit::PAGE_MAX);
    page.iter().filter_map(|(key, _)| key::dataset_in(key.get(from.len()..)?)).collect()
}

/// Trees of registered versions after a key, each with its key.
#[must_use]
pub fn trees(rows: &impl RowRead, after: Option<Vec<u8>>, max: usize) -> Vec<(Vec<u8>, Digest)> {
    let (first, to) = key::all_dataset_trees();
    let from = after.map_or(first, |key| [&key[..], &[0]].concat());
    let found = rows.range(&from, &to, max).into_iter();
    found.filter_map(|(key, _)| key::dataset_tree_in(&key).map(|tree| (key, tree))).collect()
}

/// One version.
#[must_use]
pub fn version(rows: &impl RowRead, dataset: &DatasetRef) -> Option<DatasetVersion> {
    let key = key::dataset(dataset);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// The version that a word names: `reviews@3`, or `reviews` for the newest.
#[must_use]
pub fn resolve(rows: &impl RowRead, word: &str) -> Option<DatasetRef> {
    if let Ok(dataset) = word.parse() {
        return Some(dataset);
    }
    check_family(word).ok()?;
    let key = key::dataset_newest(word);
    let version: u64 = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))?;
    Some(DatasetRef { name: word.to_owned(), version })
}

/// Names of data sets, ascending.
#[must_use]
pub fn names(rows: &impl RowRead, max: usize) -> Vec<String> {
    let (from, to) = key::datasets_after("");
    let name = |(key, _): &(Vec<u8>, Vec<u8>)| {
        std::str::from_utf8(key.get(1..)?).ok().map(ToOwned::to_owned)
    };
    rows.range(&from, &to, max).iter().filter_map(name).collect()
}

/// Whether the versions that a job names are registered, and have the files that it is given.
///
/// # Errors
/// The first name that does not hold.
pub fn check_names(rows: &impl RowRead, spec: &JobSpec) -> Result<(), RegistryRefusal> {
    let named = spec.registered.iter();
    for (dataset, set) in named.filter_map(|(name, it)| Some((it, spec.datasets.get(name)?))) {
        let Some(version) = version(rows, dataset) else {
            return Err(RegistryRefusal::UnknownDataset {
                asked: dataset.to_string(),
                known: "`assay dataset list` shows what there is".into(),
            });
        };
        let (tree, said) = (version.facts.tree, set.tree);
        if tree != said {
            let dataset = dataset.clone();
            return Err(RegistryRefusal::DatasetDiffers { dataset, tree, said });
        }
    }
    Ok(())
}

/// One version in full.
#[must_use]
pub fn view(rows: &impl RowRead, dataset: &DatasetRef) -> Option<DatasetView> {
    Some(document(rows, version(rows, dataset)?))
}

fn document(rows: &impl RowRead, version: DatasetVersion) -> DatasetView {
    let blocked = blocks(rows, &version);
    let used_by = ledger_view::made_from(rows, version.facts.tree, limit::PAGE_MAX);
    DatasetView { version, blocked, used_by }
}

/// Data sets after a name, ascending, each as its newest version.
#[must_use]
pub fn datasets(rows: &impl RowRead, after: &str, limit: usize) -> Vec<DatasetView> {
    let (from, to) = key::datasets_after(after);
    let newest = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let name = std::str::from_utf8(key.get(1..)?).ok()?.to_owned();
        view(rows, &DatasetRef { name, version: scratch::decode(key, value) })
    };
    rows.range(&from, &to, limit).iter().filter_map(newest).collect()
}

/// Versions of a data set from a number on, ascending.
#[must_use]
pub fn versions(rows: &impl RowRead, name: &str, first: u64, limit: usize) -> Vec<DatasetView> {
    let (from, to) = key::dataset_versions(name, first);
    let page = rows.range(&from, &to, limit);
    page.iter().map(|(key, value)| document(rows, scratch::decode(key, value))).collect()
}

/// Licences and whether they allow training: those that are built in, and what admins said.
#[must_use]
pub fn licences(rows: &impl RowRead) -> BTreeMap<String, bool> {
    let mut all: BTreeMap<String, bool> = OPEN.iter().map(|id| ((*id).to_owned(), true)).collect();
    let (from, to) = key::licences();
    for (key, value) in rows.range(&from, &to, limit::LICENCES_MAX) {
        if let Ok(id) = std::str::from_utf8(&key[1..]) {
            all.insert(id.to_owned(), scratch::decode(&key, &value));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_licences_are_sorted_and_none_restricts_use() {
        assert!(OPEN.is_sorted());
        assert!(OPEN.iter().all(|id| !id.contains("-NC") && !id.contains("-ND")));
        assert!(OPEN.iter().all(|id| check_licence(id).is_ok()));
    }
}
