//! A small HTTP server stands for the platform's policy engine, which is a service of its own.

use super::*;
use registry::gate::Outcome;
use serde_json::{Map, json};
use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Answers each connection with the next text; the last one for good. Counts the questions.
fn engine_of(answers: Vec<String>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let at = count.fetch_add(1, Ordering::SeqCst);
            let text = &answers[at.min(answers.len() - 1)];
            serve(stream.unwrap(), text);
        }
    });
    (address, asked)
}

fn serve(mut stream: TcpStream, answer: &str) {
    let mut request = Vec::new();
    let mut part = [0; 4_096];
    // Head and body of a question come at once or in two parts.
    while !String::from_utf8_lossy(&request).contains("\"requestId\"") {
        match stream.read(&mut part) {
            Ok(0) | Err(_) => return,
            Ok(size) => request.extend_from_slice(&part[..size]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    assert!(text.starts_with("POST /sentinelnet/check HTTP/1.1"), "{text}");
    assert!(text.contains("x-request-id: p1") && text.contains("\"action\":\"model.promote\""));
    let _ = stream.write_all(answer.as_bytes());
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn keeper(address: &str) -> Gatekeeper {
    let config = GateConfig { engine: Some(address.to_owned()), ..GateConfig::default() };
    let none = || PathBuf::from("/nonexistent");
    Gatekeeper::open(&config, &Tls { ca: none(), cert: none(), key: none() }).unwrap()
}

fn question() -> GateRequest {
    GateRequest::new("model.promote", "p1", json!("ada"), json!("llama@1"), Map::new()).unwrap()
}

async fn answer(answers: &[String]) -> (Decision, usize) {
    let (address, asked) = engine_of(answers.to_vec());
    let decision = keeper(&address).decide(&question()).await;
    (decision, asked.load(Ordering::SeqCst))
}

const ALLOW: &str = r#"{"decision":"allow","allowed":true,"ts":"2026-01-01T00:00:00Z"}"#;

#[tokio::test]
async fn an_allowance_allows_and_a_denial_is_status_200() {
    let (decision, asked) = answer(&[http("200 OK", ALLOW)]).await;
    assert_eq!((decision.outcome, asked), (Outcome::Allow, 1));
    let deny = r#"{"decision":"deny","allowed":false,"policyId":"x","policyVersion":4,
                   "rationale":"pii","evidence_refs":["audit:1"],"ts":"t"}"#;
    let (decision, _) = answer(&[http("200 OK", deny)]).await;
    assert_eq!((decision.outcome, decision.rationale.as_str()), (Outcome::Deny, "pii"));
    assert_eq!(decision.policy.policy_version.as_deref(), Some("4"));
    let documented = r#"{"ok":true,"decision":"quarantine","allowed":false,"rationale":["a","b"]}"#;
    let (decision, _) = answer(&[http("200 OK", documented)]).await;
    assert_eq!(decision.outcome, Outcome::Quarantine);
}

#[tokio::test]
async fn whatever_is_not_clearly_an_allowance_denies() {
    let open = r#"{"decision":"allow","allowed":true,"ts":"t","rationale":"evaluator_error: db"}"#;
    let twice = r#"{"decision":"deny","decision":"allow","allowed":true,"ts":"t"}"#;
    for text in [
        http("500 Oops", ALLOW),
        http("403 Forbidden", r#"{"error":"forbidden"}"#),
        http("302 Found\r\nlocation: /elsewhere", ALLOW),
        http("200 OK", "not json"),
        http("200 OK", r#"{"decision":"allow","ts":"t"}"#),
        http("200 OK", open),
        http("200 OK", twice),
        http("200 OK", &" ".repeat(BODY_MAX + 1)),
    ] {
        let (decision, asked) = answer(std::slice::from_ref(&text)).await;
        let shown = &text[..text.len().min(80)];
        assert!(!decision.allowed && decision.rationale.starts_with("evaluator_error:"), "{shown}");
        assert_eq!(asked, 1, "an answer is final: {shown}");
    }
}

#[tokio::test]
async fn no_answer_is_asked_for_three_times_and_then_denies() {
    let cut = "HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{".to_owned();
    let (decision, asked) = answer(std::slice::from_ref(&cut)).await;
    assert_eq!((decision.allowed, asked), (false, 3));
    let (decision, asked) = answer(&[cut, http("200 OK", ALLOW)]).await;
    assert_eq!((decision.allowed, asked), (true, 2), "the second one comes through");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let decision = keeper(&format!("http://{gone}")).decide(&question()).await;
    assert!(!decision.allowed && decision.rationale.contains("refused"), "{decision:?}");
}

#[tokio::test]
async fn where_a_stage_wants_evidence_an_allowance_without_it_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let rules = dir.path().join("rules.json");
    std::fs::write(&rules, r#"{"promotion":{"prod":{"evidence":true}}}"#).unwrap();
    let none = || PathBuf::from("/nonexistent");
    let tls = Tls { ca: none(), cert: none(), key: none() };
    let open = |engine| {
        Gatekeeper::open(&GateConfig { rules: Some(rules.clone()), engine, ca: None }, &tls)
    };
    let with = ALLOW.replace('}', r#","evidence_refs":["audit:7"]}"#);
    for (stage, body, allowed) in [
        (Stage::Prod, ALLOW.to_owned(), false),
        (Stage::Prod, with, true),
        (Stage::Staging, ALLOW.to_owned(), true),
    ] {
        let (address, _) = engine_of(vec![http("200 OK", &body)]);
        let decision = open(Some(address)).unwrap().decide_for(stage, &question()).await;
        assert_eq!(decision.allowed, allowed, "{stage} {body}: {}", decision.rationale);
    }
    let alone = open(None).err().map(|fault| fault.to_string()).unwrap_or_default();
    assert!(alone.contains("promotion.prod: `evidence`"), "{alone}");
}

#[tokio::test]
async fn nothing_configured_allows_nothing() {
    let none = || PathBuf::from("/nonexistent");
    let tls = Tls { ca: none(), cert: none(), key: none() };
    let keeper = Gatekeeper::open(&GateConfig::default(), &tls).unwrap();
    assert!(!keeper.is_configured() && !keeper.decide(&question()).await.allowed);
    for config in [
        GateConfig { rules: Some(none()), ..GateConfig::default() },
        GateConfig { engine: Some("ftp://x".into()), ..GateConfig::default() },
        GateConfig { engine: Some("sentinel".into()), ..GateConfig::default() },
        GateConfig { engine: Some("https://x".into()), ..GateConfig::default() },
    ] {
        assert!(Gatekeeper::open(&config, &tls).is_err(), "{config:?}");
    }
}
