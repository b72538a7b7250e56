//! Data sets with the platform's names (contract, 6.2): registered, looked at.

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{self, Asked, Body, Word},
    shapes::bare,
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use domain::{Digest, dataset::DatasetView};
use proto::v1::{self, query_request, registry_query::What, registry_request::Change};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::{IntoParams, ToSchema};

/// Files that the servers hold and that are to be a version of a data set.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterDataset {
    /// The data set's name.
    #[serde(rename = "datasetId")]
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}$")]
    dataset: String,
    /// Where it comes from.
    #[serde(rename = "sourceRefs", default)]
    #[schema(max_items = 16)]
    sources: Vec<String>,
    /// What was done to it, in order.
    #[serde(default)]
    #[schema(max_items = 64)]
    transformations: Vec<String>,
    /// SHA-256 of the stored tree.
    #[schema(pattern = "^(sha256:)?[0-9a-f]{64}$")]
    checksum: String,
    /// SPDX identifier, or `LicenseRef-...`.
    #[schema(min_length = 1, max_length = 64)]
    license: String,
    /// What personal data it is known to hold; one word or more blocks it until it is cleared.
    #[serde(rename = "piiFlags", default)]
    #[schema(max_items = 64)]
    pii: Vec<String>,
    /// Who answers for it; left out, the caller.
    #[serde(default)]
    #[schema(max_length = 256)]
    owner: Option<String>,
    /// Named parts: each a list of paths.
    #[serde(default)]
    slices: BTreeMap<String, Vec<String>>,
}

/// What was registered.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegisteredDataset {
    /// Always true.
    ok: bool,
    /// `reviews@3`
    #[serde(rename = "datasetId")]
    dataset: String,
    /// Its number.
    version: u64,
}

/// Makes files that the servers hold the next version of a data set. This server looks through
/// them for personal data first: while it does, it answers 503, and the same call is to be made
/// again.
#[utoipa::path(
    post, path = "/dataset/register", tag = "data", params(Key), request_body = RegisterDataset,
    responses((status = 201, description = "It is registered.", body = RegisteredDataset), Faults)
)]
pub async fn register(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<RegisterDataset>,
) -> Result<Answer<RegisteredDataset>, Fault> {
    let hint = "`assay dataset register` uploads a folder and registers it in one step";
    let tree: Digest = bare(&asked.checksum)
        .parse()
        .map_err(|_| Fault::unfit("`checksum` is no SHA-256 digest", hint))?;
    caller.user()?;
    if !context.blobs.store().has(&tree) {
        return Err(Fault::absent(&format!("tree `{tree}` at this server; {hint}")));
    }
    let paths = |(name, paths): (String, Vec<String>)| (name, v1::Paths { paths });
    let change = v1::RegisterDataset {
        name: asked.dataset.clone(),
        tree: tree.0.to_vec().into(),
        source: asked.sources.join(", "),
        transformations: asked.transformations,
        licence: asked.license,
        owner: asked.owner.unwrap_or_default(),
        slices: asked.slices.into_iter().map(paths).collect(),
        pii: !asked.pii.is_empty(),
    };
    let version = calls::change(&context, &caller, &key, Change::RegisterDataset(change)).await?;
    let dataset = format!("{}@{version}", asked.dataset);
    Ok(Answer(StatusCode::CREATED, RegisteredDataset { ok: true, dataset, version }))
}

/// A version of a data set.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dataset {
    /// Always true.
    ok: bool,
    /// `reviews@3`
    #[serde(rename = "datasetId")]
    dataset: String,
    /// Where it comes from.
    #[serde(rename = "sourceRefs")]
    sources: Vec<String>,
    /// What was done to it, in order.
    transformations: Vec<String>,
    /// SHA-256 of the stored tree.
    checksum: String,
    /// SPDX identifier, or `LicenseRef-...`.
    license: String,
    /// Kinds of personal data that were found, and `declared` where its owner said so.
    #[serde(rename = "piiFlags")]
    pii: Vec<String>,
    /// When it was registered.
    #[serde(rename = "createdAt")]
    at: String,
    /// By whom.
    #[serde(rename = "createdBy")]
    by: String,
    /// What keeps it from being used now; empty where it may be.
    blocked: Vec<String>,
    /// Artifacts that were made from it.
    consumers: Vec<String>,
    /// All that is recorded of it, with Assay's own names.
    #[schema(value_type = Object)]
    record: DatasetView,
}

impl From<DatasetView> for Dataset {
    fn from(view: DatasetView) -> Self {
        let facts = &view.version.facts;
        let declared = facts.pii_declared.then(|| "declared".to_owned());
        Self {
            ok: true,
            dataset: view.version.dataset.to_string(),
            sources: Some(facts.source.clone()).filter(|it| !it.is_empty()).into_iter().collect(),
            transformations: facts.transformations.clone(),
            checksum: facts.tree.to_string(),
            license: facts.licence.clone(),
            pii: declared.into_iter().chain(facts.scan.counts.keys().cloned()).collect(),
            at: time(view.version.registered),
            by: view.version.registered_by.clone(),
            blocked: view.blocked.iter().map(ToString::to_string).collect(),
            consumers: view.used_by.iter().map(ToString::to_string).collect(),
            record: view,
        }
    }
}

/// One version of a data set.
#[utoipa::path(
    get, path = "/dataset/{id}", tag = "data",
    params(("id" = String, Path, description = "`reviews@3`",
            pattern = "^[a-z0-9][a-z0-9._-]{0,63}@[1-9][0-9]{0,14}$")),
    responses((status = 200, description = "The version.", body = Dataset), Faults)
)]
pub async fn dataset(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Word(id): Word,
) -> Result<Answer<Dataset>, Fault> {
    let query = v1::RegistryQuery { what: Some(What::Dataset(id)) };
    let what = query_request::What::Registry(query);
    let view: DatasetView = calls::query(&context, &caller, what).await?;
    Ok(found(view.into()))
}

/// Which data sets.
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

/// Data sets by name.
#[derive(Debug, Serialize, ToSchema)]
pub struct Datasets {
    /// Always true.
    ok: bool,
    datasets: Vec<Dataset>,
}

/// Data sets by name, each as its newest version.
#[utoipa::path(
    get, path = "/dataset", tag = "data", params(Page),
    responses((status = 200, description = "A page of them.", body = Datasets), Faults)
)]
pub async fn datasets(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Answer<Datasets>, Fault> {
    let limit = input::page(page.limit)?;
    let query = v1::FamiliesQuery { after: input::family(page.after)?, limit };
    let query = v1::RegistryQuery { what: Some(What::Datasets(query)) };
    let what = query_request::What::Registry(query);
    let all: Vec<DatasetView> = calls::query(&context, &caller, what).await?;
    Ok(found(Datasets { ok: true, datasets: all.into_iter().map(Into::into).collect() }))
}
