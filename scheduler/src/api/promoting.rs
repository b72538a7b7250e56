//! The leader's work on a promotion: its gates, the policy, and the signature of its manifest.

use super::{context::Context, error, keyring::verifies};
use crate::state::command::Command;
use domain::{
    PromotionId,
    model::ModelView,
    promotion::{GateResult, Promotion},
};
use registry::{gate::GateRequest, ledger::RegistryCommand, seal::manifest};
use serde_json::{Map, Value, json};
use tonic::Status;

/// The promotion with its version, if it is still there.
async fn found(
    context: &Context,
    id: PromotionId,
) -> Result<Option<(Promotion, ModelView)>, Status> {
    let read = context.node.read_local(move |cluster, rows| {
        let view = cluster.view();
        let promotion = view.promotion(rows, id)?;
        let model = view.model(rows, &promotion.model.to_string())?;
        Some((promotion, model))
    });
    read.await.map_err(|fault| super::query::unreadable(&fault))
}

/// Asks gates and policy; none when the promotion is gone.
///
/// # Errors
/// When the state cannot be read now.
pub async fn decide(context: &Context, id: PromotionId) -> Result<Option<Command>, Status> {
    let Some((promotion, model)) = found(context, id).await? else { return Ok(None) };
    let rules = context.gates.stage(promotion.to);
    let metrics = model.metrics();
    let gates: Vec<_> = rules.gates.into_iter().map(|gate| metrics.meet(gate)).collect();
    let question = question(&promotion, &model, &gates);
    let decision = context.gates.decide_for(promotion.to, &question).await;
    let policy = decision.recorded(context.gates.name(), question.request_id());
    tracing::info!(promotion = %id, decision = %policy.decision, "policy decided");
    let (ungated, risk) = (rules.ungated, rules.risk);
    let command = RegistryCommand::DecidePromotion { promotion: id, gates, ungated, risk, policy };
    Ok(Some(Command::Registry(command)))
}

/// What the policy is asked (platform contract, 5.1). Numbers go as texts, as in events.
fn question(promotion: &Promotion, model: &ModelView, gates: &[GateResult]) -> GateRequest {
    let resource = json!({
        "artifactId": promotion.artifact.to_string(),
        "artifactRoot": promotion.root.to_string(),
        "environment": promotion.to.word(),
        "family": promotion.model.family,
        "id": promotion.model.to_string(),
        "type": "model",
        "version": promotion.model.version,
    });
    let passed = gates.iter().all(|gate| gate.passed);
    let measured = model.measured.iter();
    let metrics: Map<_, _> = measured.map(|(name, it)| (name.clone(), json!(it.value))).collect();
    let sources = model.measured.iter().map(|(name, it)| {
        let evaluation = it.evaluation.map(|id| id.to_string());
        (name.clone(), json!(evaluation.unwrap_or_else(|| "claimed".into())))
    });
    let sources: Map<_, _> = sources.collect();
    let context = json!({
        "emergency": promotion.emergency,
        "evaluation": { "metrics": metrics, "passed": passed, "sources": sources },
        "from": promotion.from.word(),
        "promotionId": promotion.id.to_string(),
        "reason": promotion.reason,
        "risk": promotion.risk.to_string(),
    });
    let context = match context {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let actor = json!({ "id": promotion.requested_by, "type": "user" });
    // The same promotion is asked about under the same id, by whichever leader.
    let request_id = format!("{}:{}", promotion.id, promotion.request_event.short());
    GateRequest::new("model.promote", &request_id, actor, resource, context)
        .expect("action and request id are not empty")
}

/// Signs the manifest; none when the promotion is gone.
///
/// # Errors
/// When the key cannot be used now, or the state cannot be read.
pub async fn sign(context: &Context, id: PromotionId) -> Result<Option<Command>, Status> {
    let Some((promotion, _)) = found(context, id).await? else { return Ok(None) };
    let digest = manifest::digest(&promotion);
    let key = context.keyring.event().ok_or_else(super::proof::unvouched)?;
    let signature = key.sign_event(&digest);
    if !verifies(&key, digest, &signature) {
        let why = "the signing proxy gave a signature that its own key does not verify";
        return Err(error::status("mismatch", why, "check the signing key", true));
    }
    let command = RegistryCommand::SignPromotion {
        promotion: id,
        manifest: digest,
        signature: signature.to_vec(),
        signer: key.kid().to_owned(),
    };
    Ok(Some(Command::Registry(command)))
}
