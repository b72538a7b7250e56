//! Other systems' word that a model drifts (contract, 6.2).

use super::{
    answer::Answer,
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{Body, Scalar},
    shapes,
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use domain::limit;
use proto::v1::{self, registry_request::Change};
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
    /// Features that have drifted, with that system's scores: `{"age": {"psi": 0.31}}`.
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
    let scores = |scores: BTreeMap<String, Scalar>| v1::DriftScores {
        scores: scores.into_iter().map(|(name, score)| (name, score.to_string())).collect(),
    };
    let features = features.into_iter().map(|(name, of)| (name, scores(of))).collect();
    let trigger = key.trigger();
    let alert = v1::DriftAlert { model, trigger, reason, features, slices, data };
    let observation = calls::change(&context, &caller, &key, Change::DriftAlert(alert)).await?;
    Ok(Answer(StatusCode::ACCEPTED, Taken { ok: true, observation }))
}
