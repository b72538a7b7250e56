//! Drift: other systems' word that a model drifts, and where a model stands (contract, 6.2).

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{Body, ModelId, Scalar},
    record, shapes,
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use domain::{
    drift::{FeatureFinding, MonitorView, Observation},
    limit,
};
use proto::v1::{self, registry_query::What, registry_request::Change};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use utoipa::ToSchema;

/// A model drifts, as another system has found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// `digits@3`, which has a monitor.
    #[serde(rename = "modelId")]
    #[schema(pattern = "^[a-z0-9][a-z0-9._-]{0,63}@[a-z0-9][a-z0-9._-]{0,63}$")]
    model: String,
    /// Why, for people.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
    /// Features that have drifted, with that system's scores: `{"inputs/age": {"psi": 0.31}}`.
    #[serde(default)]
    features: BTreeMap<String, BTreeMap<String, Scalar>>,
    /// Parts of the data in which they have.
    #[serde(default)]
    #[schema(max_items = 256)]
    slices: Vec<String>,
    /// New data for a retrain: the job's own name of it, and the data set `reviews@4`.
    #[serde(default)]
    data: BTreeMap<String, String>,
}

/// An alert that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Taken {
    /// Always true.
    ok: bool,
    /// The number of the observation that it is.
    observation: u64,
}

/// Tells that a model drifts. The `Idempotency-Key` is the trigger: it has one effect, however
/// often and at whichever server the call is made.
#[utoipa::path(
    post, path = "/drift/alert", tag = "drift", params(Key), request_body = Alert,
    responses((status = 202, description = "It is on record.", body = Taken), Faults)
)]
pub async fn alert(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Body(asked): Body<Alert>,
) -> Result<Answer<Taken>, Fault> {
    let Alert { model, reason, features, slices, data } = asked;
    shapes::length("reason", reason.chars().count(), 1, limit::REASON_MAX)?;
    let scores = |(name, scores): (String, BTreeMap<String, Scalar>)| {
        Ok((name, v1::DriftScores { scores: shapes::decimals(scores)? }))
    };
    let features = features.into_iter().map(scores).collect::<Result<_, Fault>>()?;
    let trigger = key.trigger();
    let alert = v1::DriftAlert { model, trigger, reason, features, slices, data };
    let observation = calls::change(&context, &caller, &key, Change::DriftAlert(alert)).await?;
    Ok(Answer(StatusCode::ACCEPTED, Taken { ok: true, observation }))
}

/// What was found of one feature.
#[derive(Debug, Serialize, ToSchema)]
pub struct Finding {
    /// Whether it has drifted.
    drifted: bool,
    /// Samples of the window; 0 where another system has scored it.
    samples: u64,
    /// Scores by name, as texts.
    scores: BTreeMap<String, String>,
}

/// A window that was scored, or an alert of another system.
#[derive(Debug, Serialize, ToSchema)]
pub struct Observed {
    /// Its number within the monitor.
    observation: u64,
    /// When, by the cluster's clock.
    #[serde(rename = "createdAt")]
    created_at: String,
    /// Who sent it.
    #[serde(rename = "createdBy")]
    created_by: String,
    /// What another system says; none where windows were scored here.
    reason: Option<String>,
    /// Slices of data that it is of; none is all data.
    slices: Vec<String>,
    /// What was found, by feature.
    features: BTreeMap<String, Finding>,
}

/// Where a version stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Drift {
    /// Always true.
    ok: bool,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// Whether it drifts: an episode is open.
    drifted: bool,
    /// The episode that is open: `e7`.
    episode: Option<String>,
    /// Observations so far.
    observations: u64,
    /// When retrains were started, oldest first.
    retrains: Vec<String>,
    /// The newest observations, newest first.
    recent: Vec<Observed>,
}

impl From<FeatureFinding> for Finding {
    fn from(of: FeatureFinding) -> Self {
        let scores = of.scores.into_iter().map(|(name, score)| (name, score.to_string()));
        Self { drifted: of.drifted, samples: of.samples, scores: scores.collect() }
    }
}

impl From<Observation> for Observed {
    fn from(of: Observation) -> Self {
        Self {
            observation: of.number,
            created_at: time(of.since),
            created_by: of.by,
            reason: of.reason,
            slices: of.slices,
            features: of.features.into_iter().map(|it| (it.feature.clone(), it.into())).collect(),
        }
    }
}

impl From<MonitorView> for Drift {
    fn from(of: MonitorView) -> Self {
        Self {
            ok: true,
            model: of.monitor.model.to_string(),
            drifted: of.open.is_some(),
            episode: of.open.map(|episode| episode.to_string()),
            observations: of.observations,
            retrains: of.retrains.into_iter().map(time).collect(),
            recent: of.recent.into_iter().map(Observed::from).collect(),
        }
    }
}

/// Whether a version with a monitor drifts, and what was found last.
#[utoipa::path(
    get, path = "/drift/{id}", tag = "drift", params(ModelId),
    responses((status = 200, description = "Where it stands.", body = Drift), Faults)
)]
pub async fn drift(
    State(context): State<Arc<Context>>,
    caller: Caller,
    ModelId(id): ModelId,
) -> Result<Answer<Drift>, Fault> {
    let model = record::find(&context, &id).await?.model.version.model.to_string();
    let query = v1::RegistryQuery { what: Some(What::Monitor(model)) };
    let asked = v1::query_request::What::Registry(query);
    let monitor: MonitorView = calls::query(&context, &caller, asked).await?;
    Ok(found(monitor.into()))
}
