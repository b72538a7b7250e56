//! Evaluations of versions: taken from what was sealed, and from nothing else.

use super::{
    Ledger,
    command::Act,
    key,
    model::{usable, wanted},
    seal::ArtifactRow,
    signing_key::check_seal,
    view,
};
use crate::seal::{metrics, recipe::recipe_of_element};
use domain::{
    ArtifactId, Decimal, Digest,
    artifact::SealTicket,
    evaluation::{Evaluation, EvaluationView, METRICS_FILE},
    job::JobSpec,
    limit,
    model::ModelRef,
    port::RowRead,
    refusal::RegistryRefusal,
    scratch,
    tree::Tree,
};
use serde_json::json;
use std::collections::BTreeMap;

/// What an artifact is said to hold.
pub(super) struct Said {
    pub model: ModelRef,
    pub artifact: ArtifactId,
    pub listing: Vec<u8>,
    pub metrics: Vec<u8>,
}

/// What a job read, beside how it measured.
struct Way {
    inputs: Vec<String>,
    datasets: BTreeMap<String, Digest>,
    method: Digest,
}

impl Ledger {
    /// Records what a sealed job measured of a version, with its event.
    ///
    /// The metrics come with the list of the output's files. Both are hashed here, by every
    /// replica, down from the digest that was sealed: whoever brings them vouches for nothing.
    /// What was recorded before stays as it is.
    pub(super) fn record_evaluation<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        said: Said,
        made_by: Option<&JobSpec>,
    ) -> Result<u64, RegistryRefusal> {
        let version = wanted(act, &said.model)?;
        let of = usable(act, version.artifact)?.artifact.ticket.output;
        let sealed = usable(act, said.artifact)?.artifact;
        let ticket = &sealed.ticket;
        let Way { inputs, datasets, method } = way(&said, ticket, of.tree, made_by)?;
        let (file, metrics) = measured(&said, ticket)?;
        let at = key::evaluation(&said.model, said.artifact);
        if act.rows.get(&at).is_some() {
            return Ok(said.model.version);
        }
        let (from, to) = key::evaluations(&said.model);
        if act.rows.range(&from, &to, limit::EVALUATIONS_MAX).len() >= limit::EVALUATIONS_MAX {
            return Err(RegistryRefusal::Full {
                what: format!("the number of evaluations of {}", said.model),
                most: limit::EVALUATIONS_MAX as u64,
                remedy: "register the artifact in a family for trials".into(),
            });
        }
        let mut row = Evaluation {
            artifact: said.artifact,
            job: ticket.element,
            metrics,
            file,
            manifest: ticket.output.statement,
            signature: sealed.signature,
            inputs,
            datasets,
            method,
            since: act.now,
            by: act.user().to_owned(),
            audit_seq: 0,
        };
        let body = json!({
            "artifactId": row.artifact.to_string(),
            "artifactRoot": ticket.output.root.to_string(),
            "datasets": row.datasets,
            "job": row.job.to_string(),
            "manifestDigest": row.manifest.to_string(),
            "manifestSignature": row.signature.to_string(),
            "method": row.method.to_string(),
            "metrics": row.metrics,
            "metricsFile": row.file.to_string(),
            "model": said.model.to_string(),
            "modelArtifactId": version.artifact.to_string(),
            "modelArtifactRoot": of.root.to_string(),
            "signer": sealed.signer.to_string(),
        });
        row.audit_seq = self.event(act, "registry.model.evaluated", body);
        act.rows.put_new(at, &row);
        self.retrain_measured(act, &version);
        Ok(said.model.version)
    }
}

/// How the job measured; it has to have read the version's files as data.
fn way(
    said: &Said,
    ticket: &SealTicket,
    tree: Digest,
    made_by: Option<&JobSpec>,
) -> Result<Way, RegistryRefusal> {
    let spec = made_by.ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("specification of {}, which made {}", ticket.element, said.artifact),
        list: "jobs".into(),
    })?;
    let mut without = spec.clone();
    without.datasets.retain(|_, set| set.tree != tree);
    let others = without.datasets.iter();
    let datasets = others.map(|(name, set)| (name.clone(), set.tree)).collect();
    let is_input = |name: &&String| !without.datasets.contains_key(*name);
    let inputs: Vec<_> = spec.datasets.keys().filter(is_input).cloned().collect();
    if inputs.is_empty() {
        let (model, artifact) = (said.model.clone(), said.artifact);
        return Err(RegistryRefusal::NotOfModel { model, artifact, job: ticket.element });
    }
    Ok(Way { inputs, datasets, method: recipe_of_element(&without, ticket.element.index) })
}

/// The metrics with the digest of their file, if all of it is what was sealed.
fn measured(
    said: &Said,
    ticket: &SealTicket,
) -> Result<(Digest, BTreeMap<String, Decimal>), RegistryRefusal> {
    let artifact = said.artifact;
    // A path of the list may be long; what is refused is kept as a reply.
    let none = |why: String| {
        let why = why.chars().take(limit::REASON_MAX / 4).collect();
        RegistryRefusal::NoMetrics { artifact, why }
    };
    let same = |what: &str, bytes: &[u8], sealed: Digest| match Digest::of(bytes) {
        found if found == sealed => Ok(()),
        found => {
            let what = what.to_owned();
            Err(RegistryRefusal::NotSealed { artifact, what, found, sealed })
        }
    };
    if said.listing.len() as u64 > limit::EVALUATION_TREE_MAX.0 {
        return Err(too_many(artifact, said.listing.len()));
    }
    same("the list of files", &said.listing, ticket.output.tree)?;
    let tree = Tree::decode(&said.listing).map_err(|fault| none(fault.to_string()))?;
    let file = tree.files.into_iter().find(|file| file.path == METRICS_FILE);
    let file = file.ok_or_else(|| none("there is no such file".into()))?;
    same(METRICS_FILE, &said.metrics, file.digest)?;
    let metrics = metrics::read(&said.metrics).map_err(|fault| none(fault.to_string()))?;
    Ok((file.digest, metrics))
}

/// An output with more files than an evaluation may have.
#[must_use]
pub fn too_many(artifact: ArtifactId, listing: usize) -> RegistryRefusal {
    let most = limit::EVALUATION_TREE_MAX.0;
    let why = format!("the list of files has {listing} bytes, {most} are the most; keep less");
    RegistryRefusal::NoMetrics { artifact, why }
}

/// The evaluations of a version, newest first.
#[must_use]
pub fn of_version(rows: &impl RowRead, model: &ModelRef) -> Vec<EvaluationView> {
    let (from, to) = key::evaluations(model);
    let page = rows.range(&from, &to, limit::EVALUATIONS_MAX);
    let view = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let evaluation: Evaluation = scratch::decode(key, value);
        EvaluationView { void: void(rows, evaluation.artifact), evaluation }
    };
    page.iter().rev().map(view).collect()
}

/// Why what an artifact says counts no more, if it does not.
fn void(rows: &impl RowRead, artifact: ArtifactId) -> Option<String> {
    if let Some(word) = view::revocation(rows, artifact) {
        return Some(format!("{artifact} was revoked: {}", word.reason));
    }
    let key = key::artifact(artifact);
    let row: ArtifactRow = scratch::decode(&key, &rows.get(&key)?);
    check_seal(rows, &row.artifact).err().map(|fault| fault.to_string())
}
