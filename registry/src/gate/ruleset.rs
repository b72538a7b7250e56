//! The file with a cluster's own rules: embedded policies, and what each stage asks of a version.

use super::{Policy, PolicyFault, Rules};
use crate::seal::canonical::{self, JsonFault};
use domain::{
    Decimal, Digest, limit,
    model::{Stage, check_family},
    promotion::{Bound, EvaluationGate, Risk},
};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What a stage asks of a version that is promoted to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageRules {
    /// What its metrics have to pass.
    pub gates: Vec<EvaluationGate>,
    /// Whether it may do without gates.
    pub ungated: bool,
    /// The least risk that is seen in it.
    pub risk: Risk,
    /// Whether an allowance counts only with evidence that the policy engine has recorded it.
    pub evidence: bool,
}

impl StageRules {
    /// Where nothing is said: no promotion without a gate, and prod takes a quorum.
    #[must_use]
    pub fn unsaid(stage: Stage) -> Self {
        let risk = if stage == Stage::Prod { Risk::High } else { Risk::Low };
        Self { gates: Vec::new(), ungated: false, risk, evidence: false }
    }
}

/// A cluster's own rules.
pub struct RuleSet {
    policies: Rules,
    stages: BTreeMap<Stage, StageRules>,
    digest: Digest,
}

/// Why a file of rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleSetFault {
    /// Not a document of ours: also a key that stands twice, a number beyond 2^53, or too many
    /// arrays and objects within each other.
    #[error(transparent)]
    Json(#[from] JsonFault),
    /// A member that is missing, unknown or of another type.
    #[error("not a file of gate rules: {0}")]
    Form(String),
    /// A policy that cannot be used.
    #[error("policy `{id}`: {fault}")]
    Policy {
        /// Its id.
        id: String,
        /// What is wrong with it.
        fault: PolicyFault,
    },
    /// A gate that asks for nothing, or for two things.
    #[error("promotion.{stage}: gate {at}: {why}")]
    Gate {
        /// The stage.
        stage: Stage,
        /// The gate's place, from 1.
        at: usize,
        /// What is wrong.
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policies: Vec<Policy>,
    #[serde(default)]
    promotion: Stages,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stages {
    staging: Option<StageFile>,
    prod: Option<StageFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageFile {
    #[serde(default)]
    gates: Vec<GateFile>,
    #[serde(default)]
    ungated: bool,
    risk: Option<Risk>,
    #[serde(default)]
    evidence: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GateFile {
    metric: String,
    min: Option<Value>,
    max: Option<Value>,
    #[serde(default)]
    claimed: bool,
    method: Option<Digest>,
}

impl RuleSet {
    /// Reads a file of rules.
    ///
    /// # Errors
    /// When anything in it cannot be used: a rule that is passed over would let pass what it was
    /// written against.
    pub fn parse(text: &str) -> Result<Self, RuleSetFault> {
        let value = canonical::parse(text)?;
        let file: File =
            serde_json::from_value(value).map_err(|fault| RuleSetFault::Form(fault.to_string()))?;
        for policy in &file.policies {
            let ill = |fault| RuleSetFault::Policy { id: policy.id.clone(), fault };
            policy.check().map_err(ill)?;
        }
        let policies = Rules::new(file.policies);
        if let Some((id, fault)) = policies.faults().next() {
            return Err(RuleSetFault::Policy { id: id.to_owned(), fault: fault.clone() });
        }
        let said = [(Stage::Staging, file.promotion.staging), (Stage::Prod, file.promotion.prod)];
        let mut stages = BTreeMap::new();
        for (stage, file) in said {
            if let Some(file) = file {
                stages.insert(stage, stage_rules(stage, file)?);
            }
        }
        Ok(Self { policies, stages, digest: Digest::of(text.as_bytes()) })
    }

    /// The embedded policies.
    #[must_use]
    pub fn policies(&self) -> &Rules {
        &self.policies
    }

    /// What a stage asks.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> StageRules {
        self.stages.get(&stage).cloned().unwrap_or_else(|| StageRules::unsaid(stage))
    }

    /// The first stage that wants evidence of an allowance.
    #[must_use]
    pub fn wants_evidence(&self) -> Option<Stage> {
        self.stages.iter().find(|(_, rules)| rules.evidence).map(|(stage, _)| *stage)
    }

    /// SHA-256 of the file.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

fn stage_rules(stage: Stage, file: StageFile) -> Result<StageRules, RuleSetFault> {
    if file.gates.len() > limit::METRICS_MAX {
        let why = format!("{} gates, {} are the most", file.gates.len(), limit::METRICS_MAX);
        return Err(RuleSetFault::Gate { stage, at: limit::METRICS_MAX + 1, why });
    }
    let gate = |(at, file): (usize, GateFile)| {
        gate(file).map_err(|why| RuleSetFault::Gate { stage, at: at + 1, why })
    };
    let gates: Result<_, _> = file.gates.into_iter().enumerate().map(gate).collect();
    let unsaid = StageRules::unsaid(stage);
    let risk = file.risk.unwrap_or(unsaid.risk);
    Ok(StageRules { gates: gates?, ungated: file.ungated, risk, evidence: file.evidence })
}

fn gate(file: GateFile) -> Result<EvaluationGate, String> {
    check_family(&file.metric).map_err(|fault| fault.to_string())?;
    let (bound, needed) = match (file.min, file.max) {
        (Some(value), None) => (Bound::Min, value),
        (None, Some(value)) => (Bound::Max, value),
        _ => return Err("say either `min` or `max`".into()),
    };
    let text = match &needed {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            return Err("the value is no number".into());
        }
    };
    let needed: Decimal =
        text.parse().map_err(|fault: domain::decimal::DecimalError| format!("{fault}"))?;
    if file.claimed && file.method.is_some() {
        return Err("what is claimed has no method; say either `claimed` or `method`".into());
    }
    let GateFile { metric, claimed, method, .. } = file;
    Ok(EvaluationGate { metric, bound, needed, claimed, method })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_what_each_stage_asks() {
        let text = r#"{"promotion": {
            "staging": {"gates": [{"metric": "accuracy", "min": "0.90"}]},
            "prod": {"gates": [{"metric": "accuracy", "min": 0.95}, {"metric": "latency_ms", "max": 20}],
                     "risk": "low", "evidence": true}}}"#;
        let rules = RuleSet::parse(text).unwrap();
        let staging = rules.stage(Stage::Staging);
        assert_eq!((staging.gates.len(), staging.ungated, staging.risk), (1, false, Risk::Low));
        assert_eq!(staging.gates[0].needed.to_string(), "0.9");
        assert!(!staging.gates[0].claimed, "a claim passes only where the file says so");
        let prod = rules.stage(Stage::Prod);
        assert_eq!(
            (prod.gates[1].bound, prod.gates[1].needed.to_string()),
            (Bound::Max, "20".into())
        );
        assert_eq!(prod.risk, Risk::Low, "the file may say so");
        assert_eq!((staging.evidence, prod.evidence), (false, true));
        assert_eq!(rules.wants_evidence(), Some(Stage::Prod));
        let nothing = RuleSet::parse("{}").unwrap();
        assert_eq!(nothing.stage(Stage::Prod), StageRules::unsaid(Stage::Prod));
        assert_eq!(StageRules::unsaid(Stage::Prod).risk, Risk::High);
    }

    #[test]
    fn a_file_that_cannot_be_followed_to_the_letter_is_refused() {
        let gate = |gate: &str| format!(r#"{{"promotion":{{"prod":{{"gates":[{gate}]}}}}}}"#);
        let deep = format!(r#"{{"policies":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        let policy = r#"{"id":"p","name":"n","version":1,"severity":"HIGH","state":"active",
                         "rule":{"nosuch":[1]}}"#;
        let method = Digest::of(b"method");
        let both = r#"{"metric":"a","min":1,"claimed":true"#;
        let cases = [
            (r#"{"promotion":{},"promotion":{}}"#.to_owned(), "key"),
            (deep, "100"),
            (gate(r#"{"metric":"a","min":9007199254740993}"#), "9007199254740993"),
            (gate(r#"{"metric":"a","min":1e300}"#), "no decimal number"),
            (gate(r#"{"metric":"a","min":1,"max":2}"#), "either"),
            (gate(r#"{"metric":"a"}"#), "either"),
            (gate(r#"{"metric":"a","min":true}"#), "no number"),
            (gate(r#"{"metric":"A b","min":1}"#), "cannot be a name"),
            (gate(r#"{"metric":"a","min":1,"method":"9f2c"}"#), "not a SHA-256"),
            (gate(&format!(r#"{both},"method":"{method}"}}"#)), "no method"),
            (r#"{"promotion":{"production":{}}}"#.to_owned(), "unknown field"),
            (r#"{"policy":[]}"#.to_owned(), "unknown field"),
            (format!(r#"{{"policies":[{policy}]}}"#), "`nosuch`"),
        ];
        for (text, wanted) in cases {
            let why = RuleSet::parse(&text).err().map(|fault| fault.to_string());
            assert!(why.as_ref().is_some_and(|why| why.contains(wanted)), "{wanted}: {why:?}");
        }
    }
}
