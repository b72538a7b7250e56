//! Answers as the engine gives and documents them, and everything else.

use super::*;

fn answered(status: u16, body: &str) -> Decision {
    decide(&Reply::Answered { status, body: body.as_bytes() })
}

const BUILT_ALLOW: &str = r#"{"decision":"allow","allowed":true,"ts":"2026-11-24T12:00:00Z"}"#;
const BUILT_DENY: &str = r#"{"decision":"deny","allowed":false,"policyId":"p1","policyVersion":3,
    "ruleId":"r1","rationale":"quality 0.7 < 0.8","evidence_refs":["audit:17"],
    "ts":"2026-11-24T12:00:00Z"}"#;
const DOCUMENTED_ALLOW: &str = r#"{"ok":true,"decision":"allow","policy_id":"p1",
    "policy_version":"v3","rationale":["in time","of quality"],"is_canary_sampled":false,
    "evidence_refs":["audit:18"],"request_id":"q"}"#;

#[test]
fn both_forms_are_read() {
    let found = answered(200, BUILT_ALLOW);
    assert!(found.allowed && found.policy == PolicyRef::default(), "{found:?}");
    let found = answered(200, BUILT_DENY);
    assert_eq!(found.outcome, Outcome::Deny);
    assert_eq!(found.rationale, "quality 0.7 < 0.8");
    assert_eq!(found.policy.policy_version.as_deref(), Some("3"));
    assert_eq!(found.policy.rule_id.as_deref(), Some("r1"));
    assert_eq!(found.evidence_refs, ["audit:17"]);
    let found = answered(200, DOCUMENTED_ALLOW);
    assert!(found.allowed, "{found:?}");
    assert_eq!(found.policy.policy_version.as_deref(), Some("v3"));
    assert_eq!(found.rationale, "in time; of quality");
    for (word, outcome) in [("quarantine", Outcome::Quarantine), ("remediate", Outcome::Remediate)]
    {
        let body = BUILT_DENY.replace("\"deny\"", &format!("\"{word}\""));
        let found = answered(200, &body);
        assert_eq!((found.outcome, found.allowed), (outcome, false));
    }
}

#[test]
fn whatever_is_not_clearly_an_allowance_denies() {
    let ts = r#""ts":"2026-11-24T12:00:00Z""#;
    let table = [
        ("empty", 200, String::new()),
        ("not JSON", 200, "allow".into()),
        ("not an object", 200, "[true]".into()),
        ("empty object", 200, "{}".into()),
        ("no allowed", 200, format!(r#"{{"decision":"allow",{ts}}}"#)),
        ("allowed is a text", 200, format!(r#"{{"decision":"allow","allowed":"true",{ts}}}"#)),
        ("allowed is one", 200, format!(r#"{{"decision":"allow","allowed":1,{ts}}}"#)),
        ("no decision", 200, format!(r#"{{"allowed":true,{ts}}}"#)),
        ("decision is no text", 200, format!(r#"{{"decision":true,"allowed":true,{ts}}}"#)),
        ("they differ", 200, format!(r#"{{"decision":"allow","allowed":false,{ts}}}"#)),
        ("and so", 200, format!(r#"{{"decision":"deny","allowed":true,{ts}}}"#)),
        ("unknown", 200, format!(r#"{{"decision":"requires_multisig","allowed":true,{ts}}}"#)),
        ("capital", 200, format!(r#"{{"decision":"ALLOW","allowed":true,{ts}}}"#)),
        ("no time", 200, r#"{"decision":"allow","allowed":true}"#.into()),
        ("twice", 200, BUILT_ALLOW.replace('{', r#"{"decision":"deny","#)),
        ("cut", 200, BUILT_ALLOW[..40].into()),
        ("ill rationale", 200, BUILT_ALLOW.replace('{', r#"{"rationale":7,"#)),
        ("ill version", 200, BUILT_ALLOW.replace('{', r#"{"policyVersion":[],"#)),
        ("ill policy", 200, BUILT_ALLOW.replace('{', r#"{"policyId":7,"#)),
        ("ill evidence", 200, BUILT_ALLOW.replace('{', r#"{"evidence_refs":"audit:1","#)),
        ("failed", 200, BUILT_ALLOW.replace('{', r#"{"rationale":"evaluator_error: db down","#)),
        ("also", 200, BUILT_ALLOW.replace('{', r#"{"rationale":["x","evaluator_error: db"],"#)),
        ("led", 200, BUILT_ALLOW.replace('{', r#"{"rationale":" evaluator_error: db","#)),
        ("2nd line", 200, BUILT_ALLOW.replace('{', r#"{"rationale":"x\nevaluator_error: d","#)),
        (
            "other",
            200,
            BUILT_ALLOW.replace('{', r#"{"rationale":"","reason":"evaluator_error: d","#),
        ),
        ("no such time", 200, BUILT_ALLOW.replace("2026-11-24T12:00:00Z", "not a time")),
        ("blank time", 200, BUILT_ALLOW.replace("2026-11-24T12:00:00Z", "")),
        ("not ok", 200, BUILT_ALLOW.replace('{', r#"{"ok":false,"error":{"message":"m"},"#)),
        ("ok is a text", 200, BUILT_ALLOW.replace('{', r#"{"ok":"true","#)),
        ("status 201", 201, BUILT_ALLOW.into()),
        ("status 204", 204, String::new()),
        ("status 400", 400, r#"{"error":"action is required"}"#.into()),
        ("status 403", 403, r#"{"error":"forbidden"}"#.into()),
        ("status 500", 500, BUILT_ALLOW.into()),
        ("too large", 200, format!("{BUILT_ALLOW}{}", " ".repeat(BODY_MAX))),
    ];
    for (what, status, body) in table {
        let found = answered(status, &body);
        assert_eq!((found.outcome, found.allowed), (Outcome::Deny, false), "{what}: {found:?}");
        assert!(found.rationale.starts_with("evaluator_error: "), "{what}: {found:?}");
    }
    for reply in [Reply::TimedOut, Reply::Failed("connection refused")] {
        assert!(!decide(&reply).allowed);
    }
}

#[test]
fn a_refusal_says_what_the_engine_said() {
    let found = answered(400, r#"{"error":"action is required"}"#);
    assert!(found.rationale.ends_with("answered 400: action is required"), "{found:?}");
    let found = answered(503, r#"{"ok":false,"error":{"code":"x","message":"starting"}}"#);
    assert!(found.rationale.ends_with("503: starting"), "{found:?}");
    let found = answered(502, "<html>");
    assert!(found.rationale.ends_with("502: no reason given"), "{found:?}");
}

#[test]
fn strict_audit_wants_evidence_of_an_allowance() {
    assert!(!answered(200, BUILT_ALLOW).with_evidence().allowed);
    assert!(answered(200, DOCUMENTED_ALLOW).with_evidence().allowed);
    let blank = DOCUMENTED_ALLOW.replace("audit:18", " ");
    assert!(!answered(200, &blank).with_evidence().allowed);
}

#[test]
fn a_decision_becomes_an_event_in_the_words_of_the_platform() {
    let body = serde_json::to_value(answered(200, BUILT_DENY)).unwrap();
    let wanted = serde_json::json!({
        "decision": "deny", "allowed": false, "policyId": "p1", "policyVersion": "3",
        "ruleId": "r1", "rationale": "quality 0.7 < 0.8", "evidenceRefs": ["audit:17"],
        "ts": "2026-11-24T12:00:00Z",
    });
    assert_eq!(body, wanted);
}
