//! The audit chain and sealed artifacts, to look at (contract, 2 and 6.2).

use super::{
    answer::{Answer, found},
    caller::Caller,
    calls,
    fault::{Fault, Faults},
    input::{self, Asked, Word},
};
use crate::api::context::Context;
use axum::extract::State;
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    audit::AuditEvent,
    view::{ArtifactView, AuditPage, AuditProofView},
};
use proto::v1::{self, query_request::What};
use registry::ledger::rfc3339;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// From this number on.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 999_999_999_999_999_u64)]
    from: Option<u64>,
    /// How many at most.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// One event of the chain: `hash` is SHA-256 over the payload's bytes and those of `prevHash`.
#[derive(Debug, Serialize, ToSchema)]
struct Event {
    /// Place in the chain, from 1.
    id: u64,
    /// Canonical JSON (RFC 8785), as a text: its bytes are what is hashed.
    payload: String,
    /// The hash of the event before; none at genesis.
    #[serde(rename = "prevHash")]
    prev: Option<String>,
    /// This event's hash.
    hash: String,
    /// Ed25519 over the bytes of the hash, in base64; none before it is signed.
    signature: Option<String>,
    /// Who signed.
    #[serde(rename = "signerId")]
    signer: Option<String>,
    /// When, strictly increasing.
    created_at: String,
}

impl From<AuditEvent> for Event {
    fn from(event: AuditEvent) -> Self {
        let signature = event.signature.as_ref().map(|it| STANDARD.encode(&it.bytes));
        Self {
            id: event.seq,
            payload: event.payload,
            prev: event.prev.map(|hash| hash.to_string()),
            hash: event.hash.to_string(),
            signature,
            signer: event.signature.map(|it| it.signer),
            created_at: rfc3339(event.ts_us),
        }
    }
}

/// A page of the chain.
#[derive(Debug, Serialize, ToSchema)]
pub struct Events {
    /// Always true.
    ok: bool,
    /// Ascending.
    events: Vec<Event>,
    /// The newest event of the chain.
    head: u64,
    /// Its hash; none before the first.
    head_hash: Option<String>,
    /// The newest event with a signature.
    signed: u64,
}

/// Events of the audit chain, oldest first.
#[utoipa::path(
    get, path = "/audit/events", tag = "audit", params(Page),
    responses((status = 200, description = "A page of them.", body = Events), Faults)
)]
pub async fn events(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Answer<Events>, Fault> {
    let (from, limit) =
        (input::within("from", page.from, input::NUMBER_MAX)?, input::page(page.limit)?);
    let what = What::Audit(v1::AuditQuery { from, limit });
    let page: AuditPage = calls::query(&context, &caller, what).await?;
    Ok(found(Events {
        ok: true,
        events: page.events.into_iter().map(Into::into).collect(),
        head: page.head,
        head_hash: page.head_hash.map(|hash| hash.to_string()),
        signed: page.signed,
    }))
}

/// An event with what proves it to a stranger.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventProof {
    /// Always true.
    ok: bool,
    event: Event,
    /// The proof, with a signed head of the log (C2SP tlog-proof).
    proof: String,
    /// The log's public key, as verifiers of transparency logs take it.
    log_key: String,
    /// By what a model key vouches for the log's key: a DSSE envelope.
    delegation: String,
}

/// Proves one event against a signed head of the log.
#[utoipa::path(
    get, path = "/audit/events/{seq}/proof", tag = "audit",
    params(("seq" = u64, Path, description = "The event's place", minimum = 1,
            maximum = 999_999_999_999_999_u64)),
    responses((status = 200, description = "The proof.", body = EventProof), Faults)
)]
pub async fn proof(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Word(seq): Word,
) -> Result<Answer<EventProof>, Fault> {
    let plain = seq.bytes().all(|byte| byte.is_ascii_digit()) && !seq.starts_with('0');
    let event = seq.parse().ok().filter(|_| plain);
    let event = event.ok_or_else(|| Fault::absent("event of this number"))?;
    let what = What::AuditProof(v1::AuditProofQuery { event });
    let proven: AuditProofView = calls::query(&context, &caller, what).await?;
    Ok(found(EventProof {
        ok: true,
        event: proven.event.into(),
        proof: proven.proof,
        log_key: proven.log_key,
        delegation: proven.delegation,
    }))
}

/// A sealed artifact.
#[derive(Debug, Serialize, ToSchema)]
pub struct Artifact {
    /// Always true.
    ok: bool,
    /// `a7`
    #[serde(rename = "artifactId")]
    artifact: String,
    /// `assay:a7`
    artifact_url: String,
    /// SHA-256 root over its files.
    artifact_sha256: String,
    /// The job that made it: `j7`.
    #[serde(rename = "trainingJobId")]
    job: String,
    /// Its files.
    files: u64,
    /// Their bytes together.
    size_bytes: u64,
    /// SHA-256 of the signer's public key in PEM.
    #[serde(rename = "signerId")]
    signer: String,
    /// SHA-256 of its signature.
    signature: String,
    /// When it was sealed.
    #[serde(rename = "createdAt")]
    at: String,
    /// All that is recorded of it, with Assay's own names.
    #[schema(value_type = Object)]
    record: ArtifactView,
}

/// One sealed artifact.
#[utoipa::path(
    get, path = "/artifact/{id}", tag = "registry",
    params(("id" = String, Path, description = "`a7`", pattern = "^a[1-9][0-9]{0,14}$")),
    responses((status = 200, description = "The artifact.", body = Artifact), Faults)
)]
pub async fn artifact(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Word(id): Word,
) -> Result<Answer<Artifact>, Fault> {
    input::id("artifact", 'a', &id)?;
    let view: ArtifactView = calls::query(&context, &caller, What::Artifact(id)).await?;
    let artifact = &view.artifact;
    let id = artifact.id.to_string();
    Ok(found(Artifact {
        ok: true,
        artifact_url: format!("assay:{id}"),
        artifact: id,
        artifact_sha256: artifact.ticket.output.root.to_string(),
        job: artifact.ticket.element.to_string(),
        files: artifact.ticket.output.files,
        size_bytes: artifact.ticket.output.size.0,
        signer: artifact.signer.to_string(),
        signature: artifact.signature.to_string(),
        at: super::answer::time(artifact.sealed),
        record: view,
    }))
}
