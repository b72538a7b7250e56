//! Data that a job names by a registered version: found at submission, and known by digest from
//! then on.

use super::{
    context::Context,
    error,
    sealing::{self, Peer},
};
use crate::{consensus::shell::Rows, state::command::Refusal};
use domain::{
    Digest,
    dataset::{DatasetRef, DatasetVersion},
    limit,
    promotion::ApproversView,
    refusal::RegistryRefusal,
};
use proto::v1;
use registry::ledger::{dataset, promotion};
use std::collections::{BTreeMap, BTreeSet};
use tonic::Status;

/// Different versions that the jobs of one request may name.
const WORDS_MAX: usize = 1_000;
/// Names that a refusal offers.
const OFFERED: usize = 3;
/// Names among which the near ones are looked for.
const NAMES_MAX: usize = 10_000;

/// The version that a word names: `reviews@3`, or `reviews` for the newest.
///
/// # Errors
/// What there is that is near, where there is no such version.
pub fn find(rows: &Rows, word: &str) -> Result<DatasetVersion, RegistryRefusal> {
    let found = dataset::resolve(rows, word).and_then(|it| dataset::version(rows, &it));
    found.ok_or_else(|| {
        let name = word.split_once('@').map_or(word, |(name, _)| name);
        let known = match dataset::resolve(rows, name) {
            Some(newest) => versions(word, &newest),
            None => near(name, &dataset::names(rows, NAMES_MAX)),
        };
        let asked = word.chars().take(limit::FAMILY_NAME_MAX).collect();
        RegistryRefusal::UnknownDataset { asked, known }
    })
}

/// The versions of a data set are numbered without a gap.
fn versions(asked: &str, newest: &DatasetRef) -> String {
    let DatasetRef { name, version } = newest;
    let number = asked.rsplit_once('@').and_then(|(_, text)| text.parse().ok());
    let nearest = number.unwrap_or(*version).clamp(1, *version);
    let all =
        if *version == 1 { "version 1 alone".into() } else { format!("versions 1 to {version}") };
    format!("`{name}` has {all}; the nearest is `{name}@{nearest}`")
}

fn near(name: &str, known: &[String]) -> String {
    let reach = 1 + name.len() / 3;
    let mut near: Vec<_> = known
        .iter()
        .map(|other| (strsim::osa_distance(name, other), other))
        .filter(|(distance, other)| *distance <= reach || other.starts_with(name))
        .collect();
    near.sort_unstable();
    let near: Vec<_> = near.iter().take(OFFERED).map(|(_, name)| format!("`{name}`")).collect();
    match near.is_empty() {
        true => "no name is near; `assay dataset list` shows what there is".into(),
        false => format!("did you mean {}? `assay dataset list` shows all", near.join(" or ")),
    }
}

/// What one look at the registry gave for the jobs of a request.
struct Found {
    versions: BTreeMap<String, Result<DatasetVersion, RegistryRefusal>>,
    blocked: BTreeMap<DatasetRef, RegistryRefusal>,
    approvers: ApproversView,
}

/// Fills in the files of all data that the jobs of a request name by version.
///
/// # Errors
/// When one is not there, may not be used, or no server that answers has it.
pub async fn resolve(context: &Context, jobs: &mut [v1::Job]) -> Result<(), Status> {
    let named = jobs.iter().flat_map(|job| job.registered_datasets.values());
    let words: BTreeSet<String> = named.cloned().collect();
    if words.is_empty() {
        return Ok(());
    }
    if words.len() > WORDS_MAX {
        let why = format!("the jobs name {} versions of data sets", words.len());
        return Err(error::status("invalid", why, "send several requests", false));
    }
    let found = context.node.read(move |_, rows| look(rows, words));
    let found = found.await.map_err(|fault| super::query::unreadable(&fault))?;
    let refuse = |refusal: &RegistryRefusal| error::refused(&Refusal::Registry(refusal.clone()));
    let mut versions = BTreeMap::new();
    let peers = sealing::peers(context);
    for (word, version) in found.versions {
        let version = version.map_err(|refusal| refuse(&refusal))?;
        if let Some(refusal) = found.blocked.get(&version.dataset) {
            return Err(blocked(refusal, &version, &found.approvers));
        }
        stored(context, &peers, &version).await?;
        versions.insert(word, version);
    }
    jobs.iter_mut().for_each(|job| fill(job, &versions));
    Ok(())
}

fn look(rows: &Rows, words: BTreeSet<String>) -> Found {
    let versions: BTreeMap<_, _> =
        words.into_iter().map(|word| (word.clone(), find(rows, &word))).collect();
    let blocked = |version: &DatasetVersion| {
        let (dataset, blocks) = dataset::blocked(rows, version.facts.tree)?;
        let refusal = RegistryRefusal::DatasetBlocked { dataset, blocks };
        Some((version.dataset.clone(), refusal))
    };
    let blocked = versions.values().flatten().filter_map(blocked).collect();
    Found { versions, blocked, approvers: promotion::approvers(rows) }
}

/// Says who may clear it, beside what stands against it.
fn blocked(refusal: &RegistryRefusal, of: &DatasetVersion, all: &ApproversView) -> Status {
    let who = all.approvers.iter().map(|it| it.name.as_str());
    let who: Vec<_> = who.filter(|name| *name != of.registered_by).take(OFFERED).collect();
    let hint = match who.as_slice() {
        [] => {
            "nobody may clear it yet: an admin registers an approver, `assay approver add`".into()
        }
        some => format!("ask {}; all: `assay approver list`", some.join(" or ")),
    };
    error::status("refused", refusal.to_string(), &hint, false)
}

/// Whether any server has the list of its files. Those that hold it repair the files themselves.
async fn stored(context: &Context, peers: &[Peer], of: &DatasetVersion) -> Result<(), Status> {
    let tree: Digest = of.facts.tree;
    if sealing::document(context, peers, tree).await.is_ok() {
        return Ok(());
    }
    let why =
        format!("no server that answers has the files of {} (tree {})", of.dataset, tree.short());
    let hint = format!(
        "bring the servers up, or upload the files again: `assay dataset register {} DIR` with \
         the same files",
        of.dataset.name
    );
    Err(error::status("unavailable", why, &hint, true))
}

/// What a job has under a name already is checked against the version where it is taken in.
fn fill(job: &mut v1::Job, versions: &BTreeMap<String, DatasetVersion>) {
    for (name, word) in &mut job.registered_datasets {
        let Some(version) = versions.get(word) else { continue };
        *word = version.dataset.to_string();
        let facts = &version.facts;
        let files = v1::Captured {
            tree: facts.tree.0.to_vec().into(),
            files: facts.files,
            size_bytes: facts.size.0,
            origin: word.clone(),
        };
        job.datasets.entry(name.clone()).or_insert(files);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_there_is_answered_with_those_that_are_near() {
        let known = ["mails", "reviews", "reviews-de"].map(str::to_owned);
        assert!(near("reveiws", &known).starts_with("did you mean `reviews`?"));
        assert!(near("review", &known).contains("`reviews` or `reviews-de`"));
        assert!(near("prices", &known).starts_with("no name is near"));
        let newest = DatasetRef { name: "reviews".into(), version: 4 };
        let said = versions("reviews@9", &newest);
        assert_eq!(said, "`reviews` has versions 1 to 4; the nearest is `reviews@4`");
    }
}
