//! The registry as the platform asks for it (contract, 6.3): register, look at, verify lineage.

use super::{
    answer::{Answer, found},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{Body, ModelId, Scalar},
    record::{self, Found, Record},
    shapes::{self, NamedDataset, bare, same},
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use domain::job::JobSpec;
use proto::v1::{self, registry_request::Change};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// A sealed artifact that is to be a version of a model. What ran is recorded already: a claim
/// about it may be left out, and is refused where it differs.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// `assay:a7`
    #[schema(pattern = "^assay:a[1-9][0-9]{0,14}$")]
    artifact_url: String,
    /// SHA-256 root over the artifact's files.
    #[schema(pattern = "^(sha256:)?[0-9a-f]{64}$")]
    artifact_sha256: String,
    /// SHA-256 of the job's code, as captured.
    #[serde(rename = "codeRef", default)]
    #[schema(max_length = 256)]
    code: Option<String>,
    /// The digest of the image that the job ran on.
    #[serde(default)]
    #[schema(max_length = 256)]
    container_digest: Option<String>,
    /// The data that the job read.
    #[serde(rename = "datasetRefs", default)]
    #[schema(max_items = 64)]
    datasets: Vec<NamedDataset>,
    /// The job's hyperparameters.
    #[serde(default)]
    hyperparams: Option<BTreeMap<String, Scalar>>,
    /// What was measured of it.
    #[serde(default)]
    metrics: BTreeMap<String, Scalar>,
    /// Who registers it: the caller.
    #[serde(default)]
    #[schema(max_length = 256)]
    created_by: Option<String>,
    metadata: Metadata,
}

/// What is said of a version beside what ran.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// The model's family.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    pub family: String,
    /// Versions that it was made from: `digits@3`.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub parents: Vec<String>,
    /// Names for it within its family.
    #[serde(default)]
    #[schema(max_items = 64)]
    pub aliases: Vec<String>,
}

/// What was registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Registered {
    /// Always true.
    pub ok: bool,
    /// The artifact: `a7`.
    #[serde(rename = "artifactId")]
    pub artifact: String,
    /// The version of the model: `digits@3`.
    #[serde(rename = "modelId")]
    pub model: String,
    /// Its number.
    pub version: u64,
}

/// Makes a sealed artifact the next version of a model.
#[utoipa::path(
    post, path = "/registry/register", tag = "registry", params(Key), request_body = Register,
    responses((status = 201, description = "It is registered.", body = Registered), Faults)
)]
pub async fn register(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<Register>,
) -> Result<Answer<Registered>, Fault> {
    caller.is("created_by", asked.created_by.as_deref())?;
    let artifact = asked.artifact_url.strip_prefix("assay:").ok_or_else(|| {
        let why = format!("`artifact_url` is `{}`", asked.artifact_url);
        Fault::malformed("invalid_body", why, "name a sealed artifact: `assay:a7`")
    })?;
    let artifact = artifact.to_owned();
    shapes::length("datasetRefs", asked.datasets.len(), 0, 64)?;
    shapes::name("metadata.family", &asked.metadata.family)?;
    let made = record::artifact(&context, &artifact).await?;
    same("artifact_sha256", Some(bare(&asked.artifact_sha256)), &made.root.to_string())?;
    claims(&asked, &made.spec)?;
    let wanted = Wanted { artifact, metrics: asked.metrics, about: asked.metadata };
    registered(&context, &caller, &key, wanted).await
}

/// What is to be registered.
pub struct Wanted {
    /// `a7`
    pub artifact: String,
    /// What was measured of it.
    pub metrics: BTreeMap<String, Scalar>,
    /// What is said of it.
    pub about: Metadata,
}

/// Registers it.
///
/// # Errors
/// As the same change through the other port.
pub async fn registered(
    context: &Context,
    caller: &Caller,
    key: &Key,
    wanted: Wanted,
) -> Result<Answer<Registered>, Fault> {
    let Wanted { artifact, metrics, about: Metadata { family, parents, aliases } } = wanted;
    let register = v1::RegisterModel {
        family: family.clone(),
        artifact: artifact.clone(),
        metrics: shapes::decimals(metrics)?.into_iter().collect(),
        parents,
        aliases,
    };
    let version = calls::change(context, caller, key, Change::Register(register)).await?;
    let model = format!("{family}@{version}");
    Ok(Answer(StatusCode::CREATED, Registered { ok: true, artifact, model, version }))
}

/// Compares what a caller claims with what ran.
fn claims(asked: &Register, spec: &JobSpec) -> Result<(), Fault> {
    let code = spec.code.as_ref().map(|code| code.tree.to_string()).unwrap_or_default();
    same("codeRef", asked.code.as_deref().map(bare), &code)?;
    let image = record::image_digest(spec).unwrap_or_default();
    same("container_digest", asked.container_digest.as_deref(), &image)?;
    for named in &asked.datasets {
        let tree = |set: &&domain::job::Captured| {
            let checksum = named.checksum.as_deref().map(bare);
            checksum.is_none_or(|checksum| checksum == set.tree.to_string())
        };
        let word = named.word()?;
        let known = |set: &&domain::job::Captured| {
            named.checksum.is_some()
                || set.origin == word
                || set.origin.starts_with(&format!("{word}@"))
        };
        if !spec.datasets.values().any(|set| tree(&set) && known(&set)) {
            let why = format!("the job did not read `{word}` with this checksum");
            return Err(Fault::mismatch(why, "GET /registry/{id} shows what it read"));
        }
    }
    for (name, value) in asked.hyperparams.iter().flatten() {
        let recorded = spec.hyperparameters.get(name).map(String::as_str).unwrap_or_default();
        same(&format!("hyperparams.{name}"), Some(&value.to_string()), recorded)?;
    }
    Ok(())
}

/// One version of a model with all that is recorded of it.
#[utoipa::path(
    get, path = "/registry/{id}", tag = "registry",
    params(ModelId),
    responses((status = 200, description = "The record.", body = Record), Faults)
)]
pub async fn record(
    State(context): State<Arc<Context>>,
    ModelId(id): ModelId,
) -> Result<Answer<Record>, Fault> {
    let found: Found = record::find(&context, &id).await?;
    Ok(self::found(found.record()))
}
