//! What operators and their programs ask: does it live, how does it fare, what does it serve.

use super::{
    answer::Answer,
    fault::{Fault, Faults},
    router,
};
use crate::api::context::Context;
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Whether this server can answer.
#[derive(Serialize, ToSchema)]
pub struct Health {
    /// Whether it knows a leader.
    ok: bool,
    /// `ready`, or `no_leader`.
    status: &'static str,
    /// This server.
    server: String,
    /// What it is: leader, follower, candidate.
    role: String,
    /// The newest log index that it has applied.
    applied: u64,
}

/// Whether this server can take calls. Needs no certificate.
#[utoipa::path(
    get, path = "/healthz", tag = "operations", security(()),
    responses(
        (status = 200, description = "It knows a leader.", body = Health),
        (status = 503, description = "It knows none.", body = Health),
    )
)]
pub async fn healthz(State(context): State<Arc<Context>>) -> Answer<Health> {
    let status = context.node.status();
    let ok = status.leader.is_some();
    let health = Health {
        ok,
        status: if ok { "ready" } else { "no_leader" },
        server: context.me.to_string(),
        role: format!("{:?}", status.role).to_lowercase(),
        applied: context.node.applied().borrow().0,
    };
    Answer(if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, health)
}

/// What this server measures, as Prometheus reads it (OpenMetrics 1.0).
#[utoipa::path(
    get, path = "/metrics", tag = "operations",
    responses(
        (status = 200, description = "Measurements.", body = String,
         content_type = "application/openmetrics-text"),
        Faults,
    )
)]
pub async fn metrics(State(context): State<Arc<Context>>) -> Result<Response, Fault> {
    let text = context.metrics.text(&context).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This document.
#[utoipa::path(
    get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "OpenAPI 3.1.", body = Object), Faults)
)]
pub async fn document() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], router::document()).into_response()
}
