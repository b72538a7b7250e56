//! A promotion: a version of a model on its way to a stage, with all that clears the way.

use crate::{
    decimal::Decimal,
    digest::Digest,
    id::{ArtifactId, PromotionId},
    model::{ModelRef, Stage},
    unit::Millis,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What is at stake.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// No approver is asked.
    Low,
    /// A quorum of approvers has to agree.
    High,
}

impl fmt::Display for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Low => "low",
            Self::High => "high",
        })
    }
}

/// On which side of the needed value a metric has to lie; the value itself is good.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Not below it.
    Min,
    /// Not above it.
    Max,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Min => "at least",
            Self::Max => "at most",
        })
    }
}

/// What an evaluation gate asks of a metric.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct EvaluationGate {
    /// The metric's name.
    pub metric: String,
    /// On which side of `needed` it has to lie.
    pub bound: Bound,
    /// The value that just passes.
    pub needed: Decimal,
    /// Whether the word of whoever registered the version is enough.
    pub claimed: bool,
    /// How it has to have been measured, if not in just any way.
    pub method: Option<Digest>,
}

impl EvaluationGate {
    /// Whether a value passes; one that is missing never does.
    #[must_use]
    pub fn passes(&self, value: Option<Decimal>) -> bool {
        value.is_some_and(|value| match self.bound {
            Bound::Min => value >= self.needed,
            Bound::Max => value <= self.needed,
        })
    }
}

/// An evaluation gate with what it met.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct GateResult {
    /// The gate.
    #[serde(flatten)]
    pub gate: EvaluationGate,
    /// The version's metric, if it has one of this name.
    pub value: Option<Decimal>,
    /// Whether it passed.
    pub passed: bool,
    /// The evaluation that measured the value; none where it is claimed.
    pub evaluation: Option<ArtifactId>,
}

impl GateResult {
    /// What a gate meets in a value and the evaluation that measured it, if one did.
    #[must_use]
    pub fn of(gate: EvaluationGate, found: Option<(Decimal, Option<ArtifactId>)>) -> Self {
        let value = found.map(|(value, _)| value);
        let evaluation = found.and_then(|(_, evaluation)| evaluation);
        let believed = evaluation.is_some() || gate.claimed;
        Self { passed: believed && gate.passes(value), gate, value, evaluation }
    }
}

impl fmt::Display for GateResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EvaluationGate { metric, bound, needed, claimed, method } = &self.gate;
        write!(f, "gate `{metric}`: ")?;
        match (self.value, self.evaluation) {
            (Some(value), Some(evaluation)) => write!(f, "{value} (evaluation {evaluation})")?,
            (Some(value), None) if *claimed => write!(f, "{value}")?,
            (Some(value), None) => write!(f, "{value} is only claimed, not evaluated")?,
            (None, _) => f.write_str("no such metric")?,
        }
        write!(f, ", needed {bound} {needed}")?;
        if !claimed && self.evaluation.is_none() {
            f.write_str(" of a sealed evaluation")?;
            if let Some(method) = method {
                write!(f, " by method {}", method.short())?;
            }
            f.write_str(": `assay model evaluate`")?;
        }
        Ok(())
    }
}

/// How a policy decided.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Ruling {
    /// Go on.
    Allow,
    /// Not before something is put right.
    Remediate,
    /// Not, and set aside what it is about.
    Quarantine,
    /// Not.
    Deny,
}

impl fmt::Display for Ruling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Remediate => "remediate",
            Self::Quarantine => "quarantine",
            Self::Deny => "deny",
        })
    }
}

/// A policy's decision, as it enters the log.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct PolicyDecision {
    /// Who decided: `embedded`, or the engine's address.
    pub engine: String,
    /// The id under which it was asked.
    pub request_id: String,
    /// What it is.
    pub decision: Ruling,
    /// The policy that it rests on.
    pub policy_id: Option<String>,
    /// Its version.
    pub policy_version: Option<String>,
    /// The rule within it.
    pub rule_id: Option<String>,
    /// Why.
    pub rationale: String,
    /// Audit events of the engine.
    pub evidence_refs: Vec<String>,
    /// When, as the engine says.
    pub ts: Option<String>,
}

impl PolicyDecision {
    /// Whether to go on.
    #[must_use]
    pub fn allows(&self) -> bool {
        self.decision == Ruling::Allow
    }
}

/// The signed manifest of a promotion.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct ManifestSignature {
    /// SHA-256 of the manifest in canonical JSON.
    pub manifest: Digest,
    /// Ed25519 over the 32 bytes of that digest, in hex.
    pub signature: String,
    /// Key id of the signer.
    pub signer: String,
    /// When it entered the log.
    pub since: Millis,
}

/// One approver's word.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Approval {
    /// Who.
    pub approver: String,
    /// SHA-256 of the public key that verified it.
    pub key: Digest,
    /// Ed25519 over the approval document, in hex.
    pub signature: String,
    /// When, by the log's clock.
    pub since: Millis,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// Where a promotion stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum PromotionState {
    /// Waits for its evaluation gates and the policy.
    Gated,
    /// Waits for its manifest's signature.
    Signing,
    /// Waits for approvers.
    Pending,
    /// Done: the version is in its stage.
    Applied,
    /// Done in an emergency: a quorum has to ratify it.
    Unratified {
        /// When it is reversed unless ratified, by the log's clock.
        due: Millis,
    },
    /// A gate, the policy or the state of things said no.
    Refused {
        /// Which, and what would have been needed.
        why: String,
    },
    /// A person said no.
    Rejected {
        /// Who.
        by: String,
        /// Why.
        why: String,
    },
    /// Nobody cleared it in time.
    Expired,
    /// Applied in an emergency and taken back.
    Reversed {
        /// Why.
        why: String,
    },
}

impl PromotionState {
    /// Its one word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Gated => "gated",
            Self::Signing => "signing",
            Self::Pending => "pending",
            Self::Applied => "applied",
            Self::Unratified { .. } => "unratified",
            Self::Refused { .. } => "refused",
            Self::Rejected { .. } => "rejected",
            Self::Expired => "expired",
            Self::Reversed { .. } => "reversed",
        }
    }

    /// Whether something may still happen to it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self, Self::Gated | Self::Signing | Self::Pending | Self::Unratified { .. })
    }
}

/// One step of a promotion, for the record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Transition {
    /// Where it stood after it.
    pub state: String,
    /// When, by the log's clock.
    pub since: Millis,
    /// Who brought it about.
    pub by: String,
    /// What happened.
    pub what: String,
    /// Sequence number of the audit event that records it.
    pub audit_seq: u64,
}

/// A promotion with its whole history.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Promotion {
    /// Its id.
    pub id: PromotionId,
    /// What is to be promoted.
    pub model: ModelRef,
    /// What that is made of.
    pub artifact: ArtifactId,
    /// Root over the artifact's files.
    pub root: Digest,
    /// Digest of the artifact's signature.
    pub artifact_signature: Digest,
    /// Digest of the artifact's signed provenance.
    pub provenance: Digest,
    /// The stage that it was in.
    pub from: Stage,
    /// The stage that it is to be in.
    pub to: Stage,
    /// What is at stake: what was asked for, or more if the rules say so.
    pub risk: Risk,
    /// Whether it is applied before a quorum agrees.
    pub emergency: bool,
    /// Why it is wanted.
    pub reason: String,
    /// Who wants it.
    pub requested_by: String,
    /// When, by the log's clock.
    pub requested: Millis,
    /// When it is no longer wanted, by the log's clock.
    pub expires: Millis,
    /// Hash of the audit event of the request: no other cluster has it.
    pub request_event: Digest,
    /// Where it stands.
    #[serde(flatten)]
    pub state: PromotionState,
    /// Approvers that have to agree, if any are asked.
    pub required: u32,
    /// What its evaluation gates met.
    pub gates: Vec<GateResult>,
    /// What the policy said.
    pub policy: Option<PolicyDecision>,
    /// Its signed manifest.
    pub manifest: Option<ManifestSignature>,
    /// Who has agreed.
    pub approvals: Vec<Approval>,
    /// The version that the stage's alias named before it was applied.
    pub displaced: Option<u64>,
    /// Every step.
    pub history: Vec<Transition>,
}

/// Someone who may approve, with the key that proves it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Approver {
    /// The user's name, as its certificate has it.
    pub name: String,
    /// The Ed25519 public key, in hex.
    pub key: String,
    /// When it was added, by the log's clock.
    pub since: Millis,
    /// Who added it.
    pub by: String,
}

/// How many of how many approvers have to agree where the risk is high.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Quorum {
    /// So many have to agree.
    pub required: u32,
    /// So many there may be.
    pub of: u32,
}

impl Default for Quorum {
    /// Source: platform contract, 4.
    fn default() -> Self {
        Self { required: 3, of: 5 }
    }
}

/// All approvers with the quorum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApproversView {
    /// How many of how many.
    pub quorum: Quorum,
    /// Who they are.
    pub approvers: Vec<Approver>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_passed_at_its_bound_and_never_without_a_value() {
        let of = |text: &str| text.parse::<Decimal>().unwrap();
        let gate = |bound| EvaluationGate {
            metric: "m".into(),
            bound,
            needed: of("0.9"),
            claimed: false,
            method: None,
        };
        let cases = [("0.899999999", false, true), ("0.9", true, true), ("0.91", true, false)];
        for (value, min, max) in cases {
            assert_eq!(gate(Bound::Min).passes(Some(of(value))), min, "{value}");
            assert_eq!(gate(Bound::Max).passes(Some(of(value))), max, "{value}");
        }
        assert!(!gate(Bound::Min).passes(None) && !gate(Bound::Max).passes(None));
    }
}
