//! Promotions: asked for, cleared, approved, looked at (contract, 4.2 and 6.3).

use super::{
    answer::{Answer, found, time},
    caller::{Caller, Key},
    calls,
    fault::{Fault, Faults},
    input::{self, Asked, Body, ModelId, Word},
    record, shapes,
};
use crate::api::context::Context;
use axum::{extract::State, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    PromotionId, limit,
    promotion::{Promotion, PromotionState},
};
use proto::v1::{self, query_request, registry_query::What, registry_request::Change};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, timeout_at};
use utoipa::{IntoParams, ToSchema};

/// Longest time within which a promotion has to be cleared.
const WITHIN_MAX: u64 = limit::PROMOTION_KEPT.0;

/// A stage to promote to.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Env {
    Staging,
    Prod,
}

/// What is at stake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Stake {
    #[default]
    Low,
    High,
}

/// Where a version is to go.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Target {
    env: Env,
    /// A promotion moves the whole of it: 100.
    #[serde(default)]
    #[schema(minimum = 0, maximum = 100)]
    traffic_percent: Option<u8>,
}

/// Who promotes, and how.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PromotionMetadata {
    /// The caller.
    #[serde(default)]
    #[schema(max_length = 256)]
    promoted_by: Option<String>,
    /// What is at stake; the cluster's rules may say more.
    #[serde(default)]
    risk: Stake,
    /// Whether it is applied on one word and ratified later.
    #[serde(default)]
    emergency: bool,
    /// Time within which it has to be cleared; left out, the longest.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 1_209_600_000)]
    within_ms: Option<u64>,
}

/// A version of a model is to be promoted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promote {
    /// The artifact or the version, as in the path.
    #[serde(rename = "artifactId", default)]
    #[schema(max_length = 130)]
    artifact: Option<String>,
    target: Target,
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    rationale: String,
    #[serde(default)]
    promotion_metadata: PromotionMetadata,
    /// The header's key, if it is given here as well.
    #[serde(default)]
    #[schema(max_length = 255)]
    idempotency_key: Option<String>,
}

/// A promotion that was asked for.
#[derive(Debug, Serialize, ToSchema)]
pub struct Requested {
    /// Always true.
    ok: bool,
    /// `p7`
    promotion_id: String,
    /// `pending_multisig` where approvers have to agree, else `pending`.
    status: &'static str,
}

/// Asks for the promotion of a version. A policy or a gate that says no within two seconds is
/// told with 403; what takes longer is told by the promotion itself.
#[utoipa::path(
    post, path = "/registry/{id}/promote", tag = "promotion",
    params(Key, ModelId),
    request_body = Promote,
    responses((status = 202, description = "It is under way.", body = Requested), Faults)
)]
pub async fn promote(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    ModelId(id): ModelId,
    Body(asked): Body<Promote>,
) -> Result<Answer<Requested>, Fault> {
    requested(&context, &caller, &key, &id, asked).await
}

/// The same under the name of models.
#[utoipa::path(
    post, path = "/models/{id}/promote", tag = "model",
    params(Key, ModelId),
    request_body = Promote,
    responses((status = 202, description = "It is under way.", body = Requested), Faults)
)]
pub async fn promote_model(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    ModelId(id): ModelId,
    Body(asked): Body<Promote>,
) -> Result<Answer<Requested>, Fault> {
    requested(&context, &caller, &key, &id, asked).await
}

async fn requested(
    context: &Context,
    caller: &Caller,
    key: &Key,
    id: &str,
    asked: Promote,
) -> Result<Answer<Requested>, Fault> {
    let about = asked.promotion_metadata;
    caller.is("promotion_metadata.promoted_by", about.promoted_by.as_deref())?;
    key.is(asked.idempotency_key.as_deref())?;
    shapes::range("promotion_metadata.within_ms", about.within_ms, 1, WITHIN_MAX)?;
    shapes::range("target.traffic_percent", asked.target.traffic_percent.map(u64::from), 0, 100)?;
    shapes::length("rationale", asked.rationale.chars().count(), 1, limit::REASON_MAX)?;
    if let Some(percent @ 0..=99) = asked.target.traffic_percent {
        let why = format!("`target.traffic_percent` is {percent}: no traffic is split here");
        return Err(Fault::unfit(why, "leave it out, or give 100"));
    }
    let version = record::find(context, id).await?.model.version;
    let names = [id.to_owned(), version.model.to_string(), version.artifact.to_string()];
    if let Some(artifact) = asked.artifact.filter(|artifact| !names.contains(artifact)) {
        let why = format!("`artifactId` is `{artifact}`, the path names {}", names.join(", "));
        return Err(Fault::unfit(why, "leave it out, or name the same"));
    }
    let change = v1::RequestPromotion {
        model: version.model.to_string(),
        to: match asked.target.env {
            Env::Staging => "staging".into(),
            Env::Prod => "prod".into(),
        },
        high_risk: about.risk == Stake::High,
        emergency: about.emergency,
        reason: asked.rationale,
        within_ms: about.within_ms.unwrap_or_default(),
    };
    let number = calls::change(context, caller, key, Change::Promote(change)).await?;
    let promotion = decided(context, caller, PromotionId(number)).await?;
    if let PromotionState::Refused { why } = &promotion.state {
        let why = format!("{} was refused: {why}", promotion.id);
        let hint = "GET /registry/promotions/{pid} shows what was asked and found";
        let fault = Fault::new(StatusCode::FORBIDDEN, "policy.denied", why, hint);
        return Err(fault.about(promotion.id));
    }
    let (promotion_id, status) = (promotion.id.to_string(), status(&promotion, Told::Request));
    Ok(Answer(StatusCode::ACCEPTED, Requested { ok: true, promotion_id, status }))
}

async fn one(context: &Context, caller: &Caller, id: &str) -> Result<Promotion, Fault> {
    let query = v1::RegistryQuery { what: Some(What::Promotion(id.to_owned())) };
    calls::query(context, caller, query_request::What::Registry(query)).await
}

/// The promotion once gates and policy have decided, or after the longest wait for them.
async fn decided(context: &Context, caller: &Caller, id: PromotionId) -> Result<Promotion, Fault> {
    let end = Instant::now() + Duration::from_millis(limit::REST_GATES.0);
    let mut applied = context.node.applied();
    loop {
        applied.borrow_and_update();
        let promotion = one(context, caller, &id.to_string()).await?;
        let waits = matches!(promotion.state, PromotionState::Gated | PromotionState::Signing);
        // Without a change within the time it is told as it stands.
        if !waits || !matches!(timeout_at(end, applied.changed()).await, Ok(Ok(()))) {
            return Ok(promotion);
        }
    }
}

/// To whom a status is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// Whoever asks for the promotion.
    Request,
    /// Whoever looks at it.
    Look,
}

/// The platform's word for where a promotion stands.
fn status(promotion: &Promotion, told: Told) -> &'static str {
    match (&promotion.state, told) {
        (PromotionState::Pending, _) => "pending_multisig",
        (PromotionState::Gated | PromotionState::Signing, _) | (_, Told::Request) => "pending",
        (PromotionState::Applied | PromotionState::Unratified { .. }, Told::Look) => "applied",
        (PromotionState::Reversed { .. }, Told::Look) => "rolled_back",
        (
            PromotionState::Refused { .. }
            | PromotionState::Rejected { .. }
            | PromotionState::Expired,
            Told::Look,
        ) => "rejected",
    }
}

/// A promotion, with what cleared or stopped it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PromotionRecord {
    /// Always true.
    ok: bool,
    /// `p7`
    promotion_id: String,
    /// `a7`
    #[serde(rename = "artifactId")]
    artifact: String,
    /// `digits@3`
    #[serde(rename = "modelId")]
    model: String,
    /// staging or prod.
    target_env: String,
    /// pending, pending_multisig, applied, rejected or rolled_back.
    status: &'static str,
    /// SHA-256 of the signed manifest; none before it is signed.
    #[serde(rename = "manifestSignatureId")]
    manifest: Option<String>,
    /// When it was applied; none before.
    applied_at: Option<String>,
    /// Why it came to nothing, if it did.
    outcome: Option<String>,
    /// Why it is wanted.
    rationale: String,
    /// Who wants it.
    requested_by: String,
    /// When.
    requested_at: String,
    /// Approvers that have to agree.
    required: u32,
    /// Those who have.
    approvals: Vec<PromotionApproval>,
    /// All that is recorded of it, with Assay's own names.
    #[schema(value_type = Object)]
    record: Promotion,
}

/// An approver's word.
#[derive(Debug, Serialize, ToSchema)]
struct PromotionApproval {
    /// Who.
    #[serde(rename = "approverId")]
    approver: String,
    /// Ed25519, in base64.
    signature: String,
    /// When.
    #[serde(rename = "approvedAt")]
    since: String,
}

impl From<Promotion> for PromotionRecord {
    fn from(promotion: Promotion) -> Self {
        let applied = promotion
            .history
            .iter()
            .find(|step| matches!(step.state.as_str(), "applied" | "unratified"));
        let outcome = match &promotion.state {
            PromotionState::Refused { why } | PromotionState::Reversed { why } => Some(why.clone()),
            PromotionState::Rejected { by, why } => Some(format!("{by}: {why}")),
            PromotionState::Expired => Some("nobody cleared it in time".to_owned()),
            _ => None,
        };
        let approval = |it: &domain::promotion::Approval| PromotionApproval {
            approver: it.approver.clone(),
            signature: STANDARD.encode(hex::decode(&it.signature).unwrap_or_default()),
            since: time(it.since),
        };
        Self {
            ok: true,
            promotion_id: promotion.id.to_string(),
            artifact: promotion.artifact.to_string(),
            model: promotion.model.to_string(),
            target_env: promotion.to.word().to_owned(),
            status: status(&promotion, Told::Look),
            manifest: promotion.manifest.as_ref().map(|it| it.manifest.to_string()),
            applied_at: applied.map(|step| time(step.since)),
            outcome,
            rationale: promotion.reason.clone(),
            requested_by: promotion.requested_by.clone(),
            requested_at: time(promotion.requested),
            required: promotion.required,
            approvals: promotion.approvals.iter().map(approval).collect(),
            record: promotion,
        }
    }
}

/// One promotion.
#[utoipa::path(
    get, path = "/registry/promotions/{pid}", tag = "promotion",
    params(("pid" = String, Path, description = "`p7`", pattern = "^p[1-9][0-9]{0,14}$")),
    responses((status = 200, description = "The promotion.", body = PromotionRecord), Faults)
)]
pub async fn promotion(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Word(id): Word,
) -> Result<Answer<PromotionRecord>, Fault> {
    input::id("promotion", 'p', &id)?;
    Ok(found(one(&context, &caller, &id).await?.into()))
}

/// Which promotions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Page {
    /// Only those below this number.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 999_999_999_999_999_u64)]
    before: Option<u64>,
    /// How many at most.
    #[serde(default, deserialize_with = "input::count")]
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u64>,
}

/// Promotions, newest first.
#[derive(Debug, Serialize, ToSchema)]
pub struct Promotions {
    /// Always true.
    ok: bool,
    promotions: Vec<PromotionRecord>,
}

/// Promotions, newest first.
#[utoipa::path(
    get, path = "/registry/promotions", tag = "promotion", params(Page),
    responses((status = 200, description = "A page of them.", body = Promotions), Faults)
)]
pub async fn promotions(
    State(context): State<Arc<Context>>,
    caller: Caller,
    Asked(page): Asked<Page>,
) -> Result<Answer<Promotions>, Fault> {
    let query = v1::PromotionsQuery {
        before: input::within("before", page.before, input::NUMBER_MAX)?,
        limit: input::page(page.limit)?,
    };
    let query = v1::RegistryQuery { what: Some(What::Promotions(query)) };
    let what = query_request::What::Registry(query);
    let all: Vec<Promotion> = calls::query(&context, &caller, what).await?;
    Ok(found(Promotions { ok: true, promotions: all.into_iter().map(Into::into).collect() }))
}

/// An approver's word for a promotion.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// The caller.
    #[serde(rename = "approverId", default)]
    #[schema(max_length = 256)]
    approver: Option<String>,
    /// Ed25519 over the approval statement in its DSSE encoding, in base64.
    #[schema(pattern = "^[A-Za-z0-9+/]{85}[AQgw]==$")]
    signature: String,
}

/// A change that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct Done {
    /// Always true.
    ok: bool,
    /// `p7`
    promotion_id: String,
}

/// Adds the caller's signed word for a promotion.
#[utoipa::path(
    post, path = "/registry/promotions/{pid}/approve", tag = "promotion",
    params(Key, ("pid" = String, Path, description = "`p7`", pattern = "^p[1-9][0-9]{0,14}$")),
    request_body = Approve,
    responses((status = 201, description = "It counts.", body = Done), Faults)
)]
pub async fn approve(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Word(id): Word,
    Body(asked): Body<Approve>,
) -> Result<Answer<Done>, Fault> {
    input::id("promotion", 'p', &id)?;
    caller.is("approverId", asked.approver.as_deref())?;
    let signature = STANDARD.decode(&asked.signature).ok().filter(|bytes| bytes.len() == 64);
    let signature = signature.ok_or_else(|| {
        let why = "`signature` is not 64 bytes in base64";
        Fault::malformed("invalid_body", why, "`assay promotion approve` makes one")
    })?;
    let change = v1::ApprovePromotion { promotion: id.clone(), signature: signature.into() };
    calls::change(&context, &caller, &key, Change::Approve(change)).await?;
    Ok(Answer(StatusCode::CREATED, Done { ok: true, promotion_id: id }))
}

/// An approver's word against a promotion.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reject {
    /// Why.
    #[schema(min_length = 1, max_length = 1024)]
    reason: String,
}

/// Ends a promotion by the caller's word.
#[utoipa::path(
    post, path = "/registry/promotions/{pid}/reject", tag = "promotion",
    params(Key, ("pid" = String, Path, description = "`p7`", pattern = "^p[1-9][0-9]{0,14}$")),
    request_body = Reject,
    responses((status = 200, description = "It is ended.", body = Done), Faults)
)]
pub async fn reject(
    State(context): State<Arc<Context>>,
    caller: Caller,
    key: Key,
    Word(id): Word,
    Body(asked): Body<Reject>,
) -> Result<Answer<Done>, Fault> {
    input::id("promotion", 'p', &id)?;
    shapes::length("reason", asked.reason.chars().count(), 1, limit::REASON_MAX)?;
    let change = v1::RejectPromotion { promotion: id.clone(), reason: asked.reason };
    calls::change(&context, &caller, &key, Change::Reject(change)).await?;
    Ok(found(Done { ok: true, promotion_id: id }))
}
