//! What a gate said.

use domain::promotion::{PolicyDecision, Ruling};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a gate decided. The later one wins where several apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Go on.
    Allow,
    /// Not before something is put right.
    Remediate,
    /// Not, and set aside what it is about.
    Quarantine,
    /// Not.
    Deny,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Remediate => "remediate",
            Self::Quarantine => "quarantine",
            Self::Deny => "deny",
        })
    }
}

/// The policy that a decision rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyRef {
    /// Its id.
    pub policy_id: Option<String>,
    /// Its version, as a text: peers send `3` or `v3`.
    pub policy_version: Option<String>,
    /// The rule within it.
    pub rule_id: Option<String>,
}

/// A decision, in the form in which it becomes an audit event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What it is.
    #[serde(rename = "decision")]
    pub outcome: Outcome,
    /// Whether to go on: for [`Outcome::Allow`] alone.
    pub allowed: bool,
    /// What it rests on.
    #[serde(flatten)]
    pub policy: PolicyRef,
    /// Why.
    pub rationale: String,
    /// Audit events of the engine.
    pub evidence_refs: Vec<String>,
    /// When, as the engine says; none for embedded rules.
    pub ts: Option<String>,
}

impl Decision {
    /// As it enters the log.
    #[must_use]
    pub fn recorded(self, engine: &str, request_id: &str) -> PolicyDecision {
        PolicyDecision {
            engine: engine.to_owned(),
            request_id: request_id.to_owned(),
            decision: match self.outcome {
                Outcome::Allow => Ruling::Allow,
                Outcome::Remediate => Ruling::Remediate,
                Outcome::Quarantine => Ruling::Quarantine,
                Outcome::Deny => Ruling::Deny,
            },
            policy_id: self.policy.policy_id,
            policy_version: self.policy.policy_version,
            rule_id: self.policy.rule_id,
            rationale: self.rationale,
            evidence_refs: self.evidence_refs,
            ts: self.ts,
        }
    }
}

/// What a rationale begins with when no decision could be had.
pub(super) const EVALUATOR_ERROR: &str = "evaluator_error:";

impl Decision {
    /// A decision without evidence.
    #[must_use]
    pub fn new(outcome: Outcome, policy: PolicyRef, rationale: String) -> Self {
        let allowed = outcome == Outcome::Allow;
        Self { outcome, allowed, policy, rationale, evidence_refs: Vec::new(), ts: None }
    }

    /// No, since no decision could be had.
    #[must_use]
    pub fn no_answer(why: impl fmt::Display) -> Self {
        let rationale = format!("{EVALUATOR_ERROR} {why}");
        Self::new(Outcome::Deny, PolicyRef::default(), rationale)
    }

    /// Under strict audit an allowance counts only with evidence that the engine has recorded it.
    #[must_use]
    pub fn with_evidence(self) -> Self {
        if self.allowed && self.evidence_refs.is_empty() {
            return Self::no_answer("the allowance names no audit event; strict audit wants one");
        }
        self
    }
}
