//! A policy: a JSONLogic rule with what it means where it matches.

use super::Outcome;
use crate::seal::canonical::{self, JsonFault};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Text of a policy at most.
const POLICY_MAX: usize = 64 << 10;

/// How grave a breach is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Hardly.
    Low,
    /// Somewhat.
    Medium,
    /// Very.
    High,
    /// As much as can be.
    Critical,
}

/// Where a policy stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyState {
    /// Not applied.
    Draft,
    /// Not applied either: its matches are only counted elsewhere.
    Simulating,
    /// Applied to `canaryPercent` of requests.
    Canary,
    /// Applied.
    Active,
    /// No longer applied.
    Deprecated,
}

/// What a match means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metadata {
    /// The decision; `deny` where none is named.
    #[serde(default)]
    pub effect: Option<Outcome>,
    /// The rule's id.
    #[serde(default)]
    pub rule_id: Option<String>,
    /// Of a canary.
    #[serde(default)]
    pub canary_percent: Option<u32>,
}

/// A policy, in the row shape of the platform's engine (contract §5.5).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// How grave a breach is.
    pub severity: Severity,
    /// Where it stands.
    pub state: PolicyState,
    /// What a match means.
    #[serde(default)]
    pub metadata: Metadata,
    /// JSONLogic over `{action, actor, context, requestId, resource}`.
    pub rule: Value,
    /// Who made it: the engine's row has that besides, and no decision asks for it.
    #[serde(default, skip_serializing)]
    pub created_by: Option<Value>,
    /// When, likewise.
    #[serde(default, skip_serializing)]
    pub created_at: Option<Value>,
    /// When it was changed, likewise.
    #[serde(default, skip_serializing)]
    pub updated_at: Option<Value>,
}

/// Why a policy cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyFault {
    /// Not a document of ours.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// A member that is missing, or of another type.
    #[error("not a policy: {0}")]
    Form(String),
    /// Too long.
    #[error("the policy has {size} bytes, {POLICY_MAX} are the most; split it")]
    TooLarge {
        /// How many.
        size: usize,
    },
    /// A word that is no operator.
    #[error("`{operator}` at {place} is no operator of JSONLogic; correct its name")]
    Operator {
        /// The word.
        operator: String,
        /// Where, as a JSON pointer.
        place: String,
    },
    /// An object that is no rule: peers take it for true, and so deny everything.
    #[error("the object at {place} has {members} members, a rule has one: its operator")]
    Members {
        /// Where, as a JSON pointer.
        place: String,
        /// How many.
        members: usize,
    },
    /// What the engine has against it.
    #[error("the rule does not compile: {0}")]
    Compile(String),
}

impl Policy {
    /// A canary that does not say of how many requests would be passed over, and let pass what it was
    /// written against.
    ///
    /// # Errors
    /// When it is one.
    pub(super) fn check(&self) -> Result<(), PolicyFault> {
        match (self.state, self.metadata.canary_percent) {
            (PolicyState::Canary, None) => {
                Err(PolicyFault::Form("a canary without `metadata.canaryPercent`".into()))
            }
            _ => Ok(()),
        }
    }

    /// Reads a policy.
    ///
    /// # Errors
    /// When it is none. Its rule is checked where it is compiled.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        if text.len() > POLICY_MAX {
            return Err(PolicyFault::TooLarge { size: text.len() });
        }
        let policy: Self = serde_json::from_value(canonical::parse(text)?)
            .map_err(|fault| PolicyFault::Form(fault.to_string()))?;
        policy.check()?;
        Ok(policy)
    }
}
