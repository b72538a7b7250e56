//! What embedded rules decide.

use super::*;
use crate::gate::RuleSet;
use serde_json::json;

fn policy(id: &str, effect: Option<Outcome>, rule: Value) -> Policy {
    let effect = effect.map_or(Value::Null, |effect| json!(effect));
    let row = json!({
        "id": id, "name": id, "version": 3, "severity": "HIGH", "state": "active",
        "metadata": { "effect": effect, "ruleId": format!("{id}-rule") }, "rule": rule,
    });
    Policy::parse(&row.to_string()).unwrap()
}

fn request(action: &str, quality: Value) -> GateRequest {
    let context = json!({ "quality": quality }).as_object().unwrap().clone();
    let (actor, resource) = (json!({ "id": "user:ada" }), json!({ "type": "model" }));
    GateRequest::new(action, "promo-42", actor, resource, context).unwrap()
}

fn decide(policies: Vec<Policy>, quality: Value) -> Decision {
    Rules::new(policies).decide(&request("model.promote", quality))
}

fn always() -> Value {
    json!({ "==": [{ "var": "action" }, "model.promote"] })
}

#[test]
fn the_gravest_outcome_wins_and_names_its_policy() {
    use Outcome::{Allow, Deny, Quarantine, Remediate};
    let table = [
        (vec![], Allow, None),
        (vec![("a", Some(Allow))], Allow, Some("a")),
        (vec![("a", Some(Allow)), ("b", Some(Remediate))], Remediate, Some("b")),
        (vec![("a", Some(Quarantine)), ("b", Some(Remediate))], Quarantine, Some("a")),
        (vec![("a", Some(Quarantine)), ("b", Some(Deny)), ("c", Some(Allow))], Deny, Some("b")),
        (vec![("a", Some(Allow)), ("b", None)], Deny, Some("b")),
    ];
    for (effects, outcome, id) in table {
        let policies = effects.iter().map(|(id, effect)| policy(id, *effect, always())).collect();
        let found = decide(policies, json!(0.9));
        assert_eq!((found.outcome, found.allowed), (outcome, outcome == Allow), "{effects:?}");
        assert_eq!(found.policy.policy_id.as_deref(), id);
        assert_eq!(found.policy.policy_version.as_deref(), id.map(|_| "3"));
    }
}

#[test]
fn a_rule_reads_what_was_asked() {
    let low = json!({ "<": [{ "var": "context.quality" }, 0.8] });
    let rule = || policy("quality", Some(Outcome::Deny), low.clone());
    assert!(decide(vec![rule()], json!(0.9)).allowed);
    let found = decide(vec![rule()], json!(0.79));
    assert_eq!(found.outcome, Outcome::Deny);
    assert_eq!(found.policy.rule_id.as_deref(), Some("quality-rule"));
    let by = json!({ "in": [{ "var": "actor.id" }, ["user:ada", "user:eve"]] });
    assert!(!decide(vec![policy("by", None, by)], json!(1)).allowed);
}

#[test]
fn what_cannot_be_evaluated_denies() {
    let table = [
        ("unknown operator", json!({ "frobnicate": [1] })),
        ("one that is never reached", json!({ "if": [true, false, { "frobnicate": [1] }] })),
        ("two members", json!({ "lang": "cel", "expr": "true" })),
        ("none", json!({ "or": [false, {}] })),
        ("not a number", json!({ "<": [{ "+": ["x", 1] }, 3] })),
    ];
    for (what, rule) in table {
        let broken = policy("broken", Some(Outcome::Allow), rule);
        let allow = policy("allow", Some(Outcome::Allow), always());
        let found = decide(vec![allow, broken], json!(1));
        assert_eq!(found.outcome, Outcome::Deny, "{what}: {found:?}");
        assert!(found.rationale.starts_with("evaluator_error: "), "{what}: {found:?}");
        assert_eq!(found.policy.policy_id.as_deref(), Some("broken"));
    }
    let rules = Rules::new(vec![policy("b", None, json!({ "and": [true, { "nor": [] }] }))]);
    let faults: Vec<_> = rules.faults().collect();
    let fault = PolicyFault::Operator { operator: "nor".into(), place: "/and/1".into() };
    assert_eq!(faults, [("b", &fault)]);
    let many = (0..=POLICIES_MAX).map(|_| policy("many", Some(Outcome::Allow), always()));
    assert!(!decide(many.collect(), json!(1)).allowed, "too many are not cut in silence");
}

#[test]
fn only_active_policies_and_sampled_canaries_apply() {
    let in_state = |state, percent: u32| {
        let mut policy = policy("p", None, always());
        policy.state = state;
        policy.metadata.canary_percent = Some(percent);
        !decide(vec![policy], json!(1)).allowed
    };
    assert!(in_state(PolicyState::Active, 0));
    for state in [PolicyState::Draft, PolicyState::Simulating, PolicyState::Deprecated] {
        assert!(!in_state(state, 100), "{state:?}");
    }
    // `promo-42` stands at 18.03 % (the platform's vectors).
    assert!(!in_state(PolicyState::Canary, 18));
    assert!(in_state(PolicyState::Canary, 19));
}

#[test]
fn a_policy_that_is_none_is_refused() {
    let large = format!("\"{}\"", "x".repeat(70_000));
    for text in ["{}", "[1,2", "{\"id\":1,\"id\":2}", large.as_str()] {
        assert!(Policy::parse(text).is_err(), "{}", &text[..6.min(text.len())]);
    }
    let mut row = serde_json::to_value(policy("a", None, json!(true))).unwrap();
    row["metadata"]["effect"] = json!("perhaps");
    assert!(matches!(Policy::parse(&row.to_string()), Err(PolicyFault::Form(_))));
    // What nobody reads would let pass what it was written against.
    for (place, member) in [("/metadata", "canary_percent"), ("/metadata", "efect"), ("", "Rule")] {
        let mut row = serde_json::to_value(policy("a", None, json!(true))).unwrap();
        row["createdBy"] = json!("ada");
        assert!(Policy::parse(&row.to_string()).is_ok());
        row.pointer_mut(place).unwrap()[member] = json!(100);
        let file = json!({ "policies": [row] }).to_string();
        assert!(RuleSet::parse(&file).err().unwrap().to_string().contains(member), "{member}");
    }
    let mut row = serde_json::to_value(policy("a", None, json!(true))).unwrap();
    row["state"] = json!("canary");
    let file = json!({ "policies": [row] }).to_string();
    let fault = RuleSet::parse(&file).err().unwrap().to_string();
    assert_eq!(fault, "policy `a`: not a policy: a canary without `metadata.canaryPercent`");
}

/// `cargo test --release -p registry --lib gate -- --ignored --nocapture`
#[test]
#[ignore = "measures time: only a release build says anything"]
fn a_decision_over_a_hundred_rules_takes_under_a_millisecond() {
    let rule = |n: usize| {
        json!({ "and": [
            { "==": [{ "var": "action" }, "model.promote"] },
            { "<": [{ "var": "context.quality" }, n as f64 / 1e4] },
            { "!": { "in": [{ "var": "actor.id" }, ["user:bob", "user:eve"]] } },
        ] })
    };
    let rules = Rules::new((0..100).map(|n| policy("p", None, rule(n))).collect());
    let request = request("model.promote", json!(0.9));
    let mut times: Vec<_> = (0..10_000)
        .map(|_| {
            let started = std::time::Instant::now();
            assert!(rules.decide(&request).allowed);
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("100 rules: p50 {:?}, p99 {:?}", times[5_000], times[9_900]);
    assert!(times[9_900].as_micros() < 1_000);
}
