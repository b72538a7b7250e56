//! Evaluations: a job that measures a version, and what its sealed result says (contract, 6.2).

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{self, Body, ModelId},
    record::{self, Found},
    train::{self, Submitted, Train},
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use domain::{
    evaluation::{Evaluation, EvaluationView},
    model::ModelView,
};
use proto::v1::{self, registry_request::Change};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// The job's name for the version's files.
const INPUT: &str = "model";

/// A job that is to measure a version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationRun {
    /// `digits@3`
    #[serde(rename = "modelId")]
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}@[a-z0-9][a-z0-9._-]{0,63}$")]
    model: String,
    /// The job. It finds the version's files in `$ASSAY_DATASET_MODEL`, and leaves its metrics in
    /// `$ASSAY_OUTPUT_DIR/metrics.json`.
    job: Train,
}

/// Takes in a job that measures a version. Once it is sealed, its result is recorded by
/// `POST /models/{id}/evaluations`.
#[utoipa::path(
    post, path = "/eval/run", tag = "evaluation", params(Key), request_body = EvaluationRun,
    responses((status = 201, description = "It is taken in, and durable.", body = Submitted), Faults)
)]
pub async fn run(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<EvaluationRun>,
) -> Result<Answer<Submitted>, Fault> {
    let Found { model, artifact, .. } = record::find(&context, &asked.model).await?;
    let output = artifact.artifact.ticket.output;
    let files = v1::Captured {
        tree: output.tree.0.to_vec().into(),
        files: output.files,
        size_bytes: output.size.0,
        origin: model.version.model.to_string(),
    };
    train::take_in(&context, &caller, &key, asked.job, Some((INPUT, files))).await
}

/// A sealed result that measured a version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluationResult {
    /// `a7`
    #[serde(rename = "artifactId")]
    #[schema(pattern = "^a[1-9][0-9]{0,14}$")]
    artifact: String,
}

/// What a sealed job measured of a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct Measurement {
    /// The sealed result that says so: `a7`.
    #[serde(rename = "artifactId")]
    artifact: String,
    /// The job: `j7`.
    #[serde(rename = "jobId")]
    job: String,
    /// What it measured, as decimal texts.
    metrics: BTreeMap<String, String>,
    /// SHA-256 of the file that says so.
    metrics_sha256: String,
    /// SHA-256 of the signed statement over the result.
    #[serde(rename = "manifestDigest")]
    manifest: String,
    /// SHA-256 of that statement's signature.
    #[serde(rename = "manifestSignatureId")]
    signature: String,
    /// The data that it read beside the version's files: its own names, and SHA-256 of each tree.
    #[serde(rename = "datasetRefs")]
    datasets: BTreeMap<String, String>,
    /// SHA-256 of the job's recipe without the version's files: how it measured.
    method: String,
    /// When it was recorded.
    #[serde(rename = "createdAt")]
    at: String,
    /// By whom.
    #[serde(rename = "createdBy")]
    by: String,
    /// Why it counts no more, if it does not.
    void: Option<String>,
}

impl From<EvaluationView> for Measurement {
    fn from(view: EvaluationView) -> Self {
        let EvaluationView { evaluation, void } = view;
        let Evaluation { artifact, job, metrics, file, manifest, .. } = evaluation;
        let texts = metrics.into_iter().map(|(name, value)| (name, value.to_string()));
        let datasets = evaluation.datasets.into_iter();
        Self {
            artifact: artifact.to_string(),
            job: job.to_string(),
            metrics: texts.collect(),
            metrics_sha256: file.to_string(),
            manifest: manifest.to_string(),
            signature: evaluation.signature.to_string(),
            datasets: datasets.map(|(name, tree)| (name, tree.to_string())).collect(),
            method: evaluation.method.to_string(),
            at: time(evaluation.since),
            by: evaluation.by,
            void,
        }
    }
}

/// The evaluations of a version.
#[derive(Debug, Serialize, ToSchema)]
pub struct Evaluations {
    /// Always true.
    ok: bool,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// Newest first.
    evaluations: Vec<Measurement>,
}

impl From<ModelView> for Evaluations {
    fn from(view: ModelView) -> Self {
        let evaluations = view.evaluations.into_iter().map(Measurement::from).collect();
        Self { ok: true, model: view.version.model.to_string(), evaluations }
    }
}

/// Records what a sealed result says of a version. Every replica checks its metrics against what
/// was sealed.
#[utoipa::path(
    post, path = "/models/{id}/evaluations", tag = "evaluation", params(ModelId, Key),
    request_body = EvaluationResult,
    responses((status = 201, description = "It is on record.", body = Evaluations), Faults)
)]
pub async fn record(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    ModelId(id): ModelId,
    Body(asked): Body<EvaluationResult>,
) -> Result<Answer<Evaluations>, Fault> {
    input::id("artifact", 'a', &asked.artifact)?;
    let model = record::find(&context, &id).await?.model.version.model.to_string();
    let evaluate = v1::RecordEvaluation { model: model.clone(), artifact: asked.artifact };
    calls::change(&context, &caller, &key, Change::Evaluate(evaluate)).await?;
    let Found { model, .. } = record::find(&context, &model).await?;
    Ok(Answer(StatusCode::CREATED, model.into()))
}

/// What sealed jobs measured of a version, newest first.
#[utoipa::path(
    get, path = "/models/{id}/evaluations", tag = "evaluation", params(ModelId),
    responses((status = 200, description = "The evaluations.", body = Evaluations), Faults)
)]
pub async fn evaluations(
    State(context): State<Arc<Context>>,
    ModelId(id): ModelId,
) -> Result<Answer<Evaluations>, Fault> {
    let Found { model, .. } = record::find(&context, &id).await?;
    Ok(found(model.into()))
}
