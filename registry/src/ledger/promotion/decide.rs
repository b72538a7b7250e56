//! What gates and policy said, and the signature of the manifest.

use super::super::{
    Ledger, approver,
    command::{Act, DataRule},
    evaluation, key,
};
use super::{Step, request::electorate};
use crate::seal::manifest;
use domain::{
    Digest, PromotionId,
    evaluation::Metrics,
    limit,
    model::ModelVersion,
    port::RowRead,
    promotion::{GateResult, ManifestSignature, PolicyDecision, Promotion, PromotionState, Risk},
    refusal::RegistryRefusal,
};
use serde_json::json;

/// What the leader found out.
pub(in crate::ledger) struct Found {
    pub gates: Vec<GateResult>,
    pub ungated: bool,
    pub risk: Risk,
    pub policy: PolicyDecision,
}

/// A manifest's signature.
pub(in crate::ledger) struct Signed {
    pub manifest: Digest,
    pub signature: Vec<u8>,
    pub signer: String,
}

fn elsewhere(promotion: &Promotion) -> RegistryRefusal {
    RegistryRefusal::State {
        promotion: promotion.id,
        state: promotion.state.word().to_owned(),
        remedy: format!("look at it: `assay promotion show {}`", promotion.id),
    }
}

/// Refuses evidence that the state does not bear out.
fn check_evidence(
    promotion: &Promotion,
    metrics: &Metrics<'_>,
    gates: &[GateResult],
) -> Result<(), RegistryRefusal> {
    let differs = |why: String| RegistryRefusal::Evidence { promotion: promotion.id, why };
    if gates.len() > limit::METRICS_MAX {
        return Err(differs(format!("{} evaluation gates are too many", gates.len())));
    }
    for result in gates {
        if *result != metrics.meet(result.gate.clone()) {
            return Err(differs(format!("{result} is not what {} has", promotion.model)));
        }
    }
    Ok(())
}

/// Why gates and policy say no, if they do: which gate, what value, what was needed.
fn no(promotion: &Promotion, ungated: bool) -> Option<String> {
    let failed = promotion.gates.iter().filter(|gate| !gate.passed).map(ToString::to_string);
    let mut why: Vec<String> = failed.collect();
    if promotion.gates.is_empty() && !ungated {
        let stage = promotion.to;
        why.push(format!(
            "no evaluation gate is configured for {stage}; name them in the server's `gate_rules`"
        ));
    }
    if let Some(policy) = promotion.policy.as_ref().filter(|policy| !policy.allows()) {
        why.push(format!("policy: {}: {}", policy.decision, policy.rationale));
    }
    (!why.is_empty()).then(|| why.join("; "))
}

impl Ledger {
    /// Records what evaluation gates and policy said.
    pub(in crate::ledger) fn decide_promotion<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
        found: Found,
        data: &DataRule<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        let mut promotion = Self::promotion(act, id)?;
        if promotion.state != PromotionState::Gated {
            return Err(elsewhere(&promotion));
        }
        let version: Option<ModelVersion> = act.rows.read(&key::model(&promotion.model));
        let version = version.ok_or_else(|| elsewhere(&promotion))?;
        let evaluations = evaluation::of_version(&*act.rows, &version.model);
        let metrics = Metrics { claimed: &version.metrics, evaluations: &evaluations };
        check_evidence(&promotion, &metrics, &found.gates)?;
        self.still_stands(act, &mut promotion, data)?;
        promotion.gates = found.gates;
        promotion.policy = Some(cut(found.policy));
        // The rules may see more risk than whoever asked, never less.
        promotion.risk = promotion.risk.max(found.risk);
        if promotion.risk == Risk::High && promotion.required == 0 {
            promotion.required = approver::quorum(act.rows).required;
        }
        self.decision_event(act, &promotion);
        let requester = promotion.requested_by.clone();
        let people = electorate(act, &requester, promotion.required).err();
        let why = no(&promotion, found.ungated).or(people.map(|why| why.to_string()));
        if let Some(why) = why {
            self.refuse(act, &mut promotion, &why);
            return Ok(id.0);
        }
        let passed = promotion.gates.len();
        let step = Step {
            state: PromotionState::Signing,
            kind: "registry.promotion.cleared",
            what: format!("{passed} evaluation gates passed, the policy allows it"),
            more: json!({ "gates": promotion.gates, "required": promotion.required }),
        };
        self.transit(act, &mut promotion, step);
        Ok(id.0)
    }

    /// The event that the platform knows a decision by (platform contract, 5.7).
    fn decision_event<R: RowRead>(&mut self, act: &mut Act<'_, '_, R>, promotion: &Promotion) {
        let Some(policy) = &promotion.policy else { return };
        let body = json!({
            "context": { "model": promotion.model.to_string(), "to": promotion.to.word() },
            "decision": decision_value(policy),
            "policy": policy.policy_id,
            "principal": promotion.requested_by,
            "promotionId": promotion.id.to_string(),
            "requestId": policy.request_id,
        });
        self.event(act, "policy.decision", body);
    }

    /// Records the signature of the manifest. Where no person is asked, the promotion is applied.
    pub(in crate::ledger) fn sign_promotion<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: PromotionId,
        signed: Signed,
        data: &DataRule<'_, R>,
    ) -> Result<u64, RegistryRefusal> {
        let Signed { manifest: digest, signature, signer } = signed;
        let mut promotion = Self::promotion(act, id)?;
        if promotion.state != PromotionState::Signing {
            return Err(elsewhere(&promotion));
        }
        if digest != manifest::digest(&promotion) || signature.len() != 64 || signer.is_empty() {
            let why = "the signature is for another manifest".to_owned();
            return Err(RegistryRefusal::Evidence { promotion: id, why });
        }
        self.still_stands(act, &mut promotion, data)?;
        promotion.manifest = Some(ManifestSignature {
            manifest: digest,
            signature: hex::encode(signature),
            signer,
            since: act.now,
        });
        let step = Step {
            state: PromotionState::Pending,
            kind: "registry.manifest.signed",
            what: format!("manifest {} signed", digest.short()),
            more: json!({}),
        };
        self.transit(act, &mut promotion, step);
        if promotion.required == 0 {
            self.apply_promotion(act, &mut promotion);
        }
        Ok(id.0)
    }
}

/// A decision as the platform's own events have it.
#[must_use]
pub fn decision_value(policy: &PolicyDecision) -> serde_json::Value {
    json!({
        "allowed": policy.allows(),
        "decision": policy.decision.to_string(),
        "engine": policy.engine,
        "evidenceRefs": policy.evidence_refs,
        "policyVersion": policy.policy_version,
        "rationale": policy.rationale,
        "ruleId": policy.rule_id,
        "ts": policy.ts,
    })
}

/// A decision whose texts fit a row.
fn cut(mut policy: PolicyDecision) -> PolicyDecision {
    let most = limit::REASON_MAX;
    let short = |text: &mut String| {
        if text.len() > most {
            let end = (0..=most).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
        }
    };
    short(&mut policy.rationale);
    short(&mut policy.engine);
    [&mut policy.policy_id, &mut policy.policy_version, &mut policy.rule_id, &mut policy.ts]
        .into_iter()
        .flatten()
        .for_each(short);
    policy.evidence_refs.truncate(16);
    policy.evidence_refs.iter_mut().for_each(short);
    policy
}
