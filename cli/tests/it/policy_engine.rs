//! Jobs and promotions before a policy engine. A small HTTP server in this process stands for the
//! platform's engine, SentinelNet, which is a service of its own.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::cluster::{Cluster, SERVERS};
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// What the engine does with questions.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// Closes each connection without a word.
    Silent,
    /// Allows, but for jobs and models named `bad`.
    Awake,
    /// Answers as the real one does when its database is down.
    Broken,
}

struct Engine {
    address: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Engine {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let engine =
            Self { address, mood: Arc::new(Mutex::new(Mood::Silent)), asked: Arc::default() };
        let (mood, asked) = (engine.mood.clone(), engine.asked.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let now = *mood.lock().unwrap();
                if now != Mood::Silent {
                    serve(stream.unwrap(), now, &asked);
                }
            }
        });
        engine
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

/// Reads one question and answers it.
fn serve(mut stream: TcpStream, mood: Mood, asked: &Mutex<Vec<Value>>) {
    let Some((_, question)) = crate::harness::asked::question(&mut stream) else { return };
    let resource = &question["resource"];
    let bad = resource["name"] == "bad" || resource["family"] == "bad";
    let answer = match (mood, bad) {
        (Mood::Broken, _) => {
            json!({"decision": "allow", "allowed": true, "ts": "t", "rationale": "evaluator_error: db"})
        }
        (_, true) => json!({
            "decision": "quarantine", "allowed": false, "policyId": "pol-9", "policyVersion": 4,
            "rationale": "holds PII", "evidence_refs": ["audit:1"], "ts": "t",
        }),
        (_, false) => json!({"decision": "allow", "allowed": true, "ts": "2026-01-01T00:00:00Z"}),
    };
    asked.lock().unwrap().push(question);
    let body = answer.to_string();
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}

#[test]
fn nothing_trains_and_nothing_is_promoted_before_the_engine_allows_it() {
    let engine = Engine::start();
    let mut cluster = Cluster::set_up();
    let rules = cluster.path("rules.json");
    fs::write(&rules, r#"{"promotion":{"staging":{"ungated":true}}}"#).unwrap();
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let more = format!(
            "policy_engine = \"{}\"\ngate_rules = \"{}\"\n",
            engine.address,
            rules.display()
        );
        fs::write(path, more + &text).unwrap();
    }
    cluster.start_all();
    let user = &cluster.user;
    user.until("the gate is closed", |user| {
        user.ok(&["audit", "list", "--limit", "100"]).contains("gate.closed").then_some(())
    });
    let submit = |name: &str| {
        let script = "echo one > \"$ASSAY_OUTPUT_DIR/answer\"";
        user.ok(&["submit", "--rerun", "--name", name, "--cpus", "0.5", "--", "sh", "-c", script]);
    };
    submit("good");
    let why = user.ok(&["why", "j1"]);
    assert!(why.contains("policy") && why.contains("has not decided"), "{why}");
    assert_eq!(user.states()["good"], "waiting");
    engine.set(Mood::Awake);
    user.ok(&["wait", "j1"]);

    submit("bad");
    let job = user.until("it has ended", |user| {
        user.json(&["job", "j2"]).filter(|job| job["ended"].is_string())
    });
    assert_eq!((&job["state"], &job["policy"]["policy_id"]), (&"failed".into(), &"pol-9".into()));
    let why = user.ok(&["why", "j2"]);
    assert!(why.contains("quarantine") && why.contains("holds PII"), "{why}");

    user.ok(&["model", "register", "digits", "--artifact", "a1"]);
    user.ok(&["model", "register", "bad", "--artifact", "a1"]);
    let words = |model| ["promotion", "request", model, "--to", "staging", "--reason", "r"];
    let refused = user.fails(3, &words("bad@1"));
    assert!(refused.contains("policy: quarantine: holds PII"), "{refused}");
    engine.set(Mood::Broken);
    let refused = user.fails(3, &words("digits@1"));
    assert!(refused.contains("evaluator_error: db"), "an engine's failure is a no: {refused}");
    engine.set(Mood::Silent);
    let refused = user.fails(3, &words("digits@1"));
    assert!(refused.contains("policy: deny: evaluator_error:"), "{refused}");
    engine.set(Mood::Awake);
    user.ok(&words("digits@1"));

    let asked = engine.asked.lock().unwrap();
    for action in ["training.start", "model.promote"] {
        let found = asked.iter().find(|it| it["action"] == action).unwrap();
        assert!(found["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{found}");
        assert_eq!(found["actor"]["id"], "dev", "{found}");
    }
    user.ok(&["audit", "verify"]);
}
