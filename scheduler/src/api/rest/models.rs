//! Models with the names of the platform's long specification (contract, 6.2), and their lineage.

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{self, Asked, Body, ModelId, Scalar},
    record::{self, Found},
    registry::{self, Metadata, Registered, Wanted},
    shapes::{self, bare, same},
};
use crate::api::context::Context;
use axum::extract::State;
use domain::{
    limit,
    model::{FamilyView, LineageView, ModelView},
};
use proto::v1::{self, query_request, registry_query::What};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{IntoParams, ToSchema};

/// A sealed artifact that is to be a version of a model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterModel {
    /// The model's family.
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    family: String,
    /// `a7`
    #[serde(rename = "artifactId")]
    #[schema(pattern = "^a[1-9][0-9]{0,14}$")]
    artifact: String,
    /// SHA-256 of the job's code, as captured.
    #[serde(rename = "codeRef", default)]
    #[schema(max_length = 256)]
    code: Option<String>,
    /// What was measured of it.
    #[serde(default)]
    metrics: BTreeMap<String, Scalar>,
    /// Versions that it was made from: `digits@3`.
    #[serde(default)]
    #[schema(max_items = 64)]
    lineage: Vec<String>,
    /// Names for it within its family.
    #[serde(default)]
    #[schema(max_items = 64)]
    aliases: Vec<String>,
    /// Who registers it: the caller.
    #[serde(rename = "createdBy", default)]
    #[schema(max_length = 256)]
    by: Option<String>,
}

/// Makes a sealed artifact the next version of a model.
#[utoipa::path(
    post, path = "/models/register", tag = "model", params(Key), request_body = RegisterModel,
    responses((status = 201, description = "It is registered.", body = Registered), Faults)
)]
pub async fn register(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<RegisterModel>,
) -> Result<Answer<Registered>, Fault> {
    caller.is("createdBy", asked.by.as_deref())?;
    shapes::name("family", &asked.family)?;
    let spec = record::artifact(&context, &asked.artifact).await?.spec;
    let code = spec.code.as_ref().map(|code| code.tree.to_string()).unwrap_or_default();
    same("codeRef", asked.code.as_deref().map(bare), &code)?;
    let RegisterModel { family, artifact, metrics, lineage: parents, aliases, .. } = asked;
    let wanted = Wanted { artifact, metrics, about: Metadata { family, parents, aliases } };
    registry::registered(&context, &caller, &key, wanted).await
}

/// A version of a model.
#[derive(Debug, Serialize, ToSchema)]
pub struct Model {
    /// Always true.
    ok: bool,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// Its family.
    family: String,
    /// Its number.
    version: u64,
    /// SHA-256 of the job's code; none where it had none.
    #[serde(rename = "codeRef")]
    code: Option<String>,
    /// `a7`
    #[serde(rename = "artifactId")]
    artifact: String,
    /// What was measured of it, as decimal texts: by evaluations, else as it was claimed.
    metrics: BTreeMap<String, String>,
    /// When it was registered.
    #[serde(rename = "createdAt")]
    at: String,
    /// By whom.
    #[serde(rename = "createdBy")]
    by: String,
    /// draft, staging, prod or deprecated.
    status: String,
    /// SHA-256 of the signer's public key in PEM.
    #[serde(rename = "signerId")]
    signer: String,
    /// SHA-256 of the artifact's signature.
    signature: String,
    /// Versions that it was made from.
    lineage: Vec<String>,
    /// SHA-256 of the signed provenance.
    provenance: String,
}

impl Model {
    fn new(model: ModelView, code: Option<String>) -> Self {
        let version = model.version;
        let metrics = model.measured.iter();
        Self {
            ok: true,
            model: version.model.to_string(),
            family: version.model.family,
            version: version.model.version,
            code,
            artifact: version.artifact.to_string(),
            metrics: metrics.map(|(name, it)| (name.clone(), it.value.to_string())).collect(),
            at: time(version.registered),
            by: version.registered_by,
            status: version.stage.word().to_owned(),
            signer: model.signer.to_string(),
            signature: model.signature.to_string(),
            lineage: version.parents.iter().map(ToString::to_string).collect(),
            provenance: model.provenance.to_string(),
        }
    }
}

/// One version of a model.
#[utoipa::path(
    get, path = "/models/{id}", tag = "model",
    params(ModelId),
    responses((status = 200, description = "The version.", body = Model), Faults)
)]
pub async fn model(
    State(context): State<Arc<Context>>,
    ModelId(id): ModelId,
) -> Result<Answer<Model>, Fault> {
    let Found { model, spec, .. } = record::find(&context, &id).await?;
    let code = spec.code.as_ref().map(|code| code.tree.to_string());
    Ok(found(Model::new(model, code)))
}

/// Which families.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those after this name.
    #[param(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    after: Option<String>,
    /// How many at most.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Families of models by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Models {
    /// Always true.
    ok: bool,
    /// Each with its newest version.
    #[schema(value_type = Vec<Object>)]
    models: Vec<FamilyView>,
}

/// Families of models by name, each with its newest version.
#[utoipa::path(
    get, path = "/models", tag = "model", params(Page),
    responses((status = 200, description = "A page of them.", body = Models), Faults)
)]
pub async fn models(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Answer<Models>, Fault> {
    let limit = input::page(page.limit)?;
    let query = v1::FamiliesQuery { after: input::family(page.after)?, limit };
    let query = v1::RegistryQuery { what: Some(What::Families(query)) };
    let what = query_request::What::Registry(query);
    Ok(found(Models { ok: true, models: calls::query(&context, &caller, what).await? }))
}

/// How far a lineage is followed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Reach {
    /// Steps from the version.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 50)]
    depth: Option<u64>,
    /// Things in it.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 10_000)]
    nodes: Option<u64>,
}

/// What a version was made of, and what was made of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Lineage {
    /// Always true.
    ok: bool,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// `a7`
    #[serde(rename = "artifactId")]
    artifact: String,
    /// The job that made it: `j7`.
    #[serde(rename = "trainingJobId")]
    job: String,
    /// Data by digest: `datasets` of the graph.
    datasets: Vec<String>,
    /// Versions that it was made from.
    parents: Vec<String>,
    /// Versions that were made from it.
    consumers: Vec<String>,
    /// All of it: things, and what was made of what.
    #[schema(value_type = Object)]
    graph: LineageView,
}

/// What a version was made of, and what was made of it.
#[utoipa::path(
    get, path = "/registry/lineage/{id}", tag = "registry",
    params(ModelId,
        Reach),
    responses((status = 200, description = "The lineage.", body = Lineage), Faults)
)]
pub async fn lineage(
    State(context): State<Arc<Context>>,
    caller: Caller,
    ModelId(id): ModelId,
    Asked(reach): Asked<Reach>,
) -> Result<Answer<Lineage>, Fault> {
    let Found { model, spec, .. } = record::find(&context, &id).await?;
    let depth = input::within("depth", reach.depth, limit::LINEAGE_DEPTH_MAX.into())? as u32;
    let nodes = input::within("nodes", reach.nodes, limit::LINEAGE_NODES_MAX as u64)? as u32;
    let of = model.version.model.to_string();
    let query = v1::LineageQuery { model: of.clone(), depth, nodes };
    let query = v1::RegistryQuery { what: Some(What::Lineage(query)) };
    let what = query_request::What::Registry(query);
    Ok(found(Lineage {
        ok: true,
        model: of,
        artifact: model.version.artifact.to_string(),
        job: model.job.to_string(),
        datasets: spec.datasets.values().map(|set| set.tree.to_string()).collect(),
        parents: model.version.parents.iter().map(ToString::to_string).collect(),
        consumers: model.children.iter().map(ToString::to_string).collect(),
        graph: calls::query(&context, &caller, what).await?,
    }))
}
