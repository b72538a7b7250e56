//! The answers of the platform's policy engine, SentinelNet.
//!
//! It answers in one form and documents another (contract §5.1 and §5.2); both are read. It
//! reports a denial with status 200, and some of its own failures as an allowance (§5.3), so only
//! an answer that is an allowance in every respect is one.

use super::{Decision, Outcome, PolicyRef, decision::EVALUATOR_ERROR};
use crate::seal::canonical;
use serde_json::{Map, Value};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Body of an answer at most. Source: the engine's own bound on bodies.
pub const BODY_MAX: usize = 1 << 20;

/// What came of asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// An answer.
    Answered {
        /// HTTP status.
        status: u16,
        /// Its body.
        body: &'a [u8],
    },
    /// None in time.
    TimedOut,
    /// None, for this reason.
    Failed(&'a str),
}

/// Reads a decision out of what came back. Whatever is not clearly a decision denies.
#[must_use]
pub fn decide(reply: &Reply<'_>) -> Decision {
    let read = match reply {
        Reply::TimedOut => Err("the policy engine did not answer in time".to_owned()),
        Reply::Failed(why) => Err(format!("the policy engine cannot be asked: {why}")),
        Reply::Answered { status: 200, body } => read(body),
        Reply::Answered { status, body } => {
            Err(format!("the policy engine answered {status}: {}", told(body)))
        }
    };
    read.unwrap_or_else(Decision::no_answer)
}

/// What an error says of itself: `{error}`, or `{ok, error: {code, message}}`.
fn told(body: &[u8]) -> String {
    let error = canonical::parse_bytes(body.get(..BODY_MAX).unwrap_or(body)).ok();
    let error = error.as_ref().and_then(|body| body.get("error"));
    let text = error.and_then(|error| error.as_str().or_else(|| error.get("message")?.as_str()));
    text.unwrap_or("no reason given").chars().take(200).collect()
}

fn read(body: &[u8]) -> Result<Decision, String> {
    if body.len() > BODY_MAX {
        return Err(format!("an answer of {} bytes, {BODY_MAX} are the most", body.len()));
    }
    let value = canonical::parse_bytes(body).map_err(|fault| fault.to_string())?;
    let Value::Object(answer) = value else {
        return Err("the answer is no object".into());
    };
    let enveloped = match answer.get("ok") {
        None => false,
        Some(Value::Bool(true)) => true,
        Some(_) => return Err(format!("the policy engine says: {}", told(body))),
    };
    let rationale = rationale(&answer)?;
    let policy = PolicyRef {
        policy_id: text(&answer, &["policyId", "policy_id"])?,
        policy_version: version(&answer)?,
        rule_id: text(&answer, &["ruleId", "rule_id"])?,
    };
    let outcome = outcome(&answer, enveloped)?;
    let ts = text(&answer, &["ts"])?;
    match &ts {
        None if outcome == Outcome::Allow && !enveloped => {
            return Err("the allowance has no `ts`".into());
        }
        Some(ts) if outcome == Outcome::Allow && OffsetDateTime::parse(ts, &Rfc3339).is_err() => {
            return Err("`ts` is no time as RFC 3339 has it".into());
        }
        _ => {}
    }
    let evidence_refs = evidence(&answer)?;
    Ok(Decision { evidence_refs, ts, ..Decision::new(outcome, policy, rationale) })
}

/// `decision` and `allowed` must say the same. The documented form may leave out the second.
fn outcome(answer: &Map<String, Value>, enveloped: bool) -> Result<Outcome, String> {
    let decision = answer.get("decision").and_then(Value::as_str);
    let outcome = match decision {
        Some("allow") => Outcome::Allow,
        Some("deny") => Outcome::Deny,
        Some("quarantine") => Outcome::Quarantine,
        Some("remediate") => Outcome::Remediate,
        Some(other) => return Err(format!("`{other}` is no decision that is known")),
        None => return Err("the answer has no `decision`".into()),
    };
    match (answer.get("allowed"), outcome) {
        (Some(Value::Bool(allowed)), outcome) if *allowed == (outcome == Outcome::Allow) => {
            Ok(outcome)
        }
        (Some(Value::Bool(allowed)), outcome) => {
            Err(format!("the answer says `{outcome}`, and `allowed` {allowed}"))
        }
        (None, outcome) if enveloped || outcome != Outcome::Allow => Ok(outcome),
        (None, _) => Err("the allowance has no `allowed`".into()),
        (Some(_), _) => Err("`allowed` is neither true nor false".into()),
    }
}

/// A text, or a list of texts, under one of two names.
fn rationale(answer: &Map<String, Value>) -> Result<String, String> {
    let mut told = Vec::new();
    for name in ["rationale", "reason"] {
        let ill = || format!("`{name}` is neither a text nor a list of texts");
        let texts: Vec<&str> = match answer.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(all)) => {
                let all: Option<Vec<&str>> = all.iter().map(Value::as_str).collect();
                all.ok_or_else(ill)?
            }
            Some(_) => return Err(ill()),
        };
        // An engine's failure among other lines is still one.
        let mut lines = texts.iter().flat_map(|text| text.lines()).map(str::trim_start);
        if let Some(why) = lines.find_map(|line| line.strip_prefix(EVALUATOR_ERROR)) {
            return Err(why.trim_start().to_owned());
        }
        told.push(texts.join("; "));
    }
    Ok(told.into_iter().find(|text| !text.is_empty()).unwrap_or_default())
}

fn text(answer: &Map<String, Value>, names: &[&str]) -> Result<Option<String>, String> {
    match names.iter().find_map(|name| answer.get(*name)) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("`{}` is no text", names[0])),
    }
}

/// `3` as built, `"v3"` as documented.
fn version(answer: &Map<String, Value>) -> Result<Option<String>, String> {
    match answer.get("policyVersion").or_else(|| answer.get("policy_version")) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) if number.is_u64() => Ok(Some(number.to_string())),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err("`policyVersion` is neither a number nor a text".into()),
    }
}

fn evidence(answer: &Map<String, Value>) -> Result<Vec<String>, String> {
    let ill = || "`evidence_refs` is no list of texts".to_owned();
    match answer.get("evidence_refs").or_else(|| answer.get("evidenceRefs")) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => {
            let all: Option<Vec<String>> =
                all.iter().map(|item| item.as_str().map(str::to_owned)).collect();
            let mut all = all.ok_or_else(ill)?;
            // A blank one names nothing.
            all.retain(|text| !text.trim().is_empty());
            Ok(all)
        }
        Some(_) => Err(ill()),
    }
}

#[cfg(test)]
#[path = "sentinel_test.rs"]
mod tests;
