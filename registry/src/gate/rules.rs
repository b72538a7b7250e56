//! Embedded rules, for clusters without a policy engine.

use super::{Decision, GateRequest, Outcome, Policy, PolicyFault, PolicyRef, PolicyState, sampled};
use datalogic_rs::{Engine, EvaluationConfig, Logic};
use serde_json::Value;
use std::collections::BTreeSet;

/// Policies at most.
const POLICIES_MAX: usize = 1_000;

struct Compiled {
    policy: Policy,
    /// A policy that cannot be used denies all that it would have been asked about.
    logic: Result<Logic, PolicyFault>,
}

/// Policies, compiled once and asked often.
pub struct Rules {
    engine: Engine,
    policies: Vec<Compiled>,
    dropped: usize,
}

impl Rules {
    /// Compiles policies. One that cannot be used is kept, and denies: see [`Self::faults`].
    #[must_use]
    pub fn new(policies: Vec<Policy>) -> Self {
        // As in JSONLogic itself, unlike types are not equal, rather than an error.
        let config = EvaluationConfig::default().with_loose_equality_errors(false);
        let engine = Engine::builder().with_config(config).build();
        let operators: BTreeSet<&str> = engine.builtin_operator_names().collect();
        let dropped = policies.len().saturating_sub(POLICIES_MAX);
        let compile = |policy: Policy| {
            let logic = check(&policy.rule, &operators, &mut String::new()).and_then(|()| {
                // A rule matches where JSONLogic takes its result for true.
                let rule = serde_json::json!({ "!!": [policy.rule] }).to_string();
                let failed = |fault: datalogic_rs::Error| PolicyFault::Compile(fault.to_string());
                engine.compile(rule.as_str()).map_err(failed)
            });
            Compiled { policy, logic }
        };
        let policies = policies.into_iter().take(POLICIES_MAX).map(compile).collect();
        Self { engine, policies, dropped }
    }

    /// Policies that cannot be used, by id.
    pub fn faults(&self) -> impl Iterator<Item = (&str, &PolicyFault)> {
        let fault = |compiled: &'_ Compiled| compiled.logic.is_err();
        self.policies.iter().filter(move |compiled| fault(compiled)).filter_map(|compiled| {
            let fault = compiled.logic.as_ref().err()?;
            Some((compiled.policy.id.as_str(), fault))
        })
    }

    /// Decides. The gravest outcome wins, among equals the gravest severity, then the first;
    /// where nothing matches, it is allowed.
    #[must_use]
    pub fn decide(&self, request: &GateRequest) -> Decision {
        if self.dropped > 0 {
            let most = POLICIES_MAX;
            return Decision::no_answer(format!("{} policies over {most}", self.dropped));
        }
        let data = request.body().to_string();
        let mut session = self.engine.session();
        let mut found: Option<(&Compiled, Decision)> = None;
        for compiled in self.policies.iter().filter(|compiled| applies(compiled, request)) {
            let matched = match &compiled.logic {
                Err(fault) => Err(fault.to_string()),
                Ok(logic) => session.eval(logic, data.as_str()).map_err(|why| why.to_string()),
            };
            let decision = match matched.map(|value| value.as_bool()) {
                Ok(Some(false)) => continue,
                Ok(Some(true)) => matched_by(&compiled.policy),
                Ok(None) => broken(&compiled.policy, "its result is neither true nor false"),
                Err(why) => broken(&compiled.policy, &why),
            };
            session.reset();
            let weight = |compiled: &Compiled, decision: &Decision| {
                (decision.outcome, compiled.policy.severity)
            };
            let graver = found
                .as_ref()
                .is_none_or(|(other, than)| weight(compiled, &decision) > weight(other, than));
            if graver {
                found = Some((compiled, decision));
            }
        }
        found.map_or_else(
            || {
                let why = format!("none of {} policies matched", self.policies.len());
                Decision::new(Outcome::Allow, PolicyRef::default(), why)
            },
            |(_, decision)| decision,
        )
    }
}

fn applies(compiled: &Compiled, request: &GateRequest) -> bool {
    let policy = &compiled.policy;
    match policy.state {
        PolicyState::Active => true,
        // A canary that does not say for how many is for none, as the platform has it.
        PolicyState::Canary => {
            sampled(request.request_id(), policy.metadata.canary_percent.unwrap_or(0))
        }
        PolicyState::Draft | PolicyState::Simulating | PolicyState::Deprecated => false,
    }
}

fn named(policy: &Policy) -> PolicyRef {
    PolicyRef {
        policy_id: Some(policy.id.clone()),
        policy_version: Some(policy.version.to_string()),
        rule_id: policy.metadata.rule_id.clone(),
    }
}

fn matched_by(policy: &Policy) -> Decision {
    let outcome = policy.metadata.effect.unwrap_or(Outcome::Deny);
    let why = format!("policy `{}` version {} matched", policy.name, policy.version);
    Decision::new(outcome, named(policy), why)
}

fn broken(policy: &Policy, why: &str) -> Decision {
    let why = format!("policy `{}` version {}: {why}", policy.name, policy.version);
    Decision { policy: named(policy), ..Decision::no_answer(why) }
}

/// Looks for what the engine would find only when it comes across it.
fn check(rule: &Value, operators: &BTreeSet<&str>, place: &mut String) -> Result<(), PolicyFault> {
    let length = place.len();
    match rule {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                place.push_str(&format!("/{at}"));
                check(item, operators, place)?;
                place.truncate(length);
            }
        }
        Value::Object(members) => {
            let shown = if place.is_empty() { "the top" } else { place.as_str() }.to_owned();
            let mut all = members.iter();
            let (Some((operator, arguments)), None) = (all.next(), all.next()) else {
                return Err(PolicyFault::Members { place: shown, members: members.len() });
            };
            if !operators.contains(operator.as_str()) {
                let operator = operator.clone();
                return Err(PolicyFault::Operator { operator, place: shown });
            }
            place.push_str(&format!("/{operator}"));
            check(arguments, operators, place)?;
            place.truncate(length);
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "rules_test.rs"]
mod tests;
