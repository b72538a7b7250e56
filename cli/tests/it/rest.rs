//! The REST port of real servers: the story from a job to production over HTTP, the same answer to
//! the same key, what malformed calls and strangers are told, and a fuzzer that finds no fault.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    cluster::{Cluster, SERVERS, set_up},
    people::{Person, person},
    rest::{Reply, Rest, address},
};
use domain::promotion::Promotion;
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
};

const RULES: &str = r#"{
  "policies": [],
  "promotion": {
    "staging": {"gates": [{"metric": "accuracy", "min": "0.9", "claimed": true}]},
    "prod": {"gates": [{"metric": "accuracy", "min": "0.9", "claimed": true}]}
  }
}"#;

/// A cluster whose versions pass a gate before a stage.
fn with_rules() -> Cluster {
    let mut cluster = Cluster::set_up();
    let rules = cluster.path("rules.json");
    fs::write(&rules, RULES).unwrap();
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("gate_rules = \"{}\"\n{text}", rules.display())).unwrap();
    }
    cluster.start_all();
    cluster
}

fn user(cluster: &Cluster, server: &str) -> Rest {
    Rest::new(cluster, server, Some(&cluster.path("tls/user")))
}

/// A job that writes one small file.
fn training(family: &str) -> Value {
    json!({
        "modelFamily": family,
        "command": ["sh", "-c", format!("echo {family} > \"$ASSAY_OUTPUT_DIR/answer\"")],
        "hyperparams": { "lr": 0.1, "depth": 3, "warm": true },
        "seed": 7,
        "computeRequirements": { "cpuMillis": 500, "memoryBytes": 67_108_864 },
        "retryPolicy": { "retries": 1 },
    })
}

/// Trains over HTTP, and returns the artifact.
async fn trained(rest: &Rest, family: &str) -> String {
    let taken = rest.post("/train/jobs", &format!("train-{family}"), &training(family)).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let path = format!("/train/jobs/{}", taken.body["jobId"].as_str().unwrap());
    rest.until("the job is sealed", &path, |job| {
        assert_ne!(job["status"], "failed", "{job}");
        Some(job["artifactRefs"][0].as_str()?.to_owned())
    })
    .await
}

/// What registers an artifact with these metrics.
async fn registration(rest: &Rest, artifact: &str, family: &str, accuracy: f64) -> Value {
    let sealed = rest.found(&format!("/artifact/{artifact}")).await;
    json!({
        "artifact_url": sealed["artifact_url"],
        "artifact_sha256": sealed["artifact_sha256"],
        "hyperparams": { "lr": 0.1 },
        "metrics": { "accuracy": accuracy },
        "metadata": { "family": family },
    })
}

fn promotion(env: &str) -> Value {
    json!({ "target": { "env": env, "traffic_percent": 100 }, "rationale": "it is better" })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_from_its_job_to_production_over_http() {
    let cluster = with_rules();
    let rest = user(&cluster, "server-1");
    let artifact = trained(&rest, "digits").await;
    let asked = registration(&rest, &artifact, "digits", 0.93).await;
    let made = rest.post("/registry/register", "r-1", &asked).await;
    assert_eq!((made.status, &made.body["modelId"]), (201, &"digits@1".into()), "{made:?}");
    same_answer_to_the_same_key(&cluster, &asked, &made).await;
    claims_that_differ_are_refused(&rest, &asked).await;

    // A gate that says no is told at once; one that does not lets the version go to staging.
    let worse = trained(&rest, "worse").await;
    let asked = registration(&rest, &worse, "worse", 0.5).await;
    assert_eq!(rest.post("/registry/register", "r-2", &asked).await.status, 201);
    let refused = rest.post("/registry/worse@1/promote", "p-1", &promotion("staging")).await;
    // The gates of a slow machine may take longer than a call waits.
    if refused.status != 202 {
        assert_eq!((refused.status, refused.code()), (403, "policy.denied"), "{refused:?}");
        assert_eq!(refused.body["error"]["details"]["id"], "p1");
    }
    rest.until("it is refused", "/registry/promotions/p1", |it| {
        (it["status"] == "rejected" && it["outcome"].as_str()?.contains("0.5")).then_some(())
    })
    .await;
    let asked = rest.post("/registry/digits@1/promote", "p-2", &promotion("staging")).await;
    assert_eq!((asked.status, &asked.body["promotion_id"]), (202, &"p2".into()), "{asked:?}");
    rest.until("it is applied", "/registry/promotions/p2", |it| {
        (it["status"] == "applied" && it["applied_at"].is_string()).then_some(())
    })
    .await;
    assert_eq!(rest.found("/models/digits@staging").await["status"], "staging");
    to_production(&cluster, &rest).await;

    let lineage = rest.found("/registry/lineage/digits@1").await;
    assert_eq!((&lineage["trainingJobId"], &lineage["artifactId"]), (&"j1".into(), &"a1".into()));
    let record = rest.found("/registry/a1").await;
    assert_eq!((&record["status"], &record["hyperparams"]["lr"]), (&"prod".into(), &"0.1".into()));
    assert_eq!(record["promotions"].as_array().unwrap().len(), 2);
    an_alert_of_another_system_counts_once(&cluster).await;
    told_by_the_chain_and_the_metrics(&cluster, &rest).await;
}

/// However often it is sent, and to whichever server.
async fn an_alert_of_another_system_counts_once(cluster: &Cluster) {
    cluster.user.ok(&["drift", "monitor", "set", "digits@1"]);
    let alert = json!({
        "modelId": "digits@1",
        "reason": "inputs have moved",
        "features": { "inputs/age": { "psi": 0.31 } },
        "slices": ["de"],
    });
    for server in ["server-1", "server-2", "server-1"] {
        let taken = user(cluster, server).post("/drift/alert", "drift-7", &alert).await;
        assert_eq!((taken.status, &taken.body["observation"]), (202, &1.into()), "{taken:?}");
    }
    let stands = user(cluster, "server-3").found("/drift/digits@1").await;
    assert_eq!((&stands["drifted"], &stands["observations"]), (&true.into(), &1.into()));
    let newest = &stands["recent"][0];
    assert_eq!(newest["features"]["inputs/age"]["scores"]["psi"], "0.31", "{stands}");
    assert_eq!(newest["reason"], alert["reason"]);
    assert!(newest["createdBy"].is_string(), "{stands}");
    let alerts = cluster.user.json(&["drift", "alerts"]).unwrap();
    let shown = alerts.to_string();
    assert!(shown.contains("inputs/age") && shown.contains("0.31"), "{shown}");
    assert_eq!(shown.matches("\"episode\":").count() + shown.matches("\"id\":\"e").count(), 1);
}

/// The same call again, here and at another server, changes nothing; another call under its key is
/// refused.
async fn same_answer_to_the_same_key(cluster: &Cluster, asked: &Value, made: &Reply) {
    for server in ["server-1", "server-2"] {
        let again = user(cluster, server).post("/registry/register", "r-1", asked).await;
        assert_eq!((again.status, &again.body), (201, &made.body), "{server}");
    }
    let rest = user(cluster, "server-3");
    let mut other = asked.clone();
    other["metadata"]["aliases"] = json!(["first"]);
    let refused = rest.post("/registry/register", "r-1", &other).await;
    assert_eq!((refused.status, refused.code()), (409, "idempotency_key_conflict"), "{refused:?}");
    // Under a new key it is another call, which finds the artifact taken.
    let known = rest.post("/registry/register", "r-1b", asked).await;
    assert_eq!(known.status, 409, "{known:?}");
    let job = rest.post("/train/jobs", "train-digits", &training("digits")).await;
    assert_eq!((job.status, &job.body["jobId"]), (201, &"j1".into()), "{job:?}");
    assert_eq!(rest.found("/train/jobs").await["jobs"].as_array().unwrap().len(), 1);
}

/// What ran is recorded: nobody registers it as something else, or in another's name.
async fn claims_that_differ_are_refused(rest: &Rest, asked: &Value) {
    let zeros = "0".repeat(64);
    for (number, (field, value, status)) in [
        ("artifact_sha256", json!(zeros), 409),
        ("codeRef", json!(zeros), 409),
        ("container_digest", json!("sha256:00"), 409),
        ("datasetRefs", json!([{ "datasetId": "reviews", "checksum": zeros }]), 409),
        ("hyperparams", json!({ "lr": 0.2 }), 409),
        ("created_by", json!("eve"), 403),
        ("metrics", json!({ "accuracy": "good" }), 422),
        ("artifact_url", json!("assay:a99"), 404),
    ]
    .into_iter()
    .enumerate()
    {
        let mut claim = asked.clone();
        claim["metadata"]["family"] = "other".into();
        claim[field] = value;
        let refused = rest.post("/registry/register", &format!("claim-{number}"), &claim).await;
        assert_eq!(refused.status, status, "{field}: {refused:?}");
        assert_eq!(refused.body["ok"], false);
    }
    assert_eq!(rest.get("/registry/other@1").await.status, 404);
}

/// Prod takes three people, each with a signature of their own.
async fn to_production(cluster: &Cluster, rest: &Rest) {
    let people = ["bob", "cleo", "dan"].map(|name| (name, person(cluster, name)));
    for (name, it) in &people {
        cluster.user.ok(&["approver", "add", name, "--key", &it.public_key()]);
    }
    let asked = rest.post("/models/digits@1/promote", "p-3", &promotion("prod")).await;
    assert_eq!((asked.status, &asked.body["promotion_id"]), (202, &"p3".into()), "{asked:?}");
    rest.until("it waits for people", "/registry/promotions/p3", |it| {
        (it["status"] == "pending_multisig").then_some(())
    })
    .await;
    let shown = rest.found("/registry/promotions/p3").await;
    let document: Promotion = serde_json::from_value(shown["record"].clone()).unwrap();
    let approval = |it: &Person| {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let signature = registry::sign::approver::sign(&it.key, &document).unwrap();
        json!({ "signature": STANDARD.encode(signature) })
    };
    let path = "/registry/promotions/p3/approve";
    // The one who asks is no approver, and nobody approves with another's key.
    let own = rest.post(path, "ok-0", &approval(&people[0].1)).await;
    assert_eq!((own.status, own.code()), (403, "not_authorised"), "{own:?}");
    for (number, (_, it)) in people.iter().enumerate() {
        let at = Rest::new(cluster, "server-2", Some(&it.user.profile.join("cert")));
        let other = approval(&people[(number + 1) % people.len()].1);
        let forged = at.post(path, &format!("forged-{number}"), &other).await;
        assert_eq!((forged.status, forged.code()), (409, "mismatch"), "{forged:?}");
        let done = at.post(path, &format!("ok-{number}"), &approval(it)).await;
        assert_eq!(done.status, 201, "{done:?}");
        let again = at.post(path, &format!("ok-{number}"), &approval(it)).await;
        assert_eq!(again.status, 201, "the same key, the same answer: {again:?}");
    }
    rest.until("it is in production", "/models/digits@prod", |it| {
        (it["status"] == "prod").then_some(())
    })
    .await;
}

async fn told_by_the_chain_and_the_metrics(cluster: &Cluster, rest: &Rest) {
    let page = rest.found("/audit/events?from=1&limit=1000").await;
    let events = page["events"].as_array().unwrap();
    let kind = |event: &Value| -> String {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        payload["eventType"].as_str().unwrap().to_owned()
    };
    let kinds: Vec<_> = events.iter().map(kind).collect();
    for wanted in [
        "job.submitted",
        "registry.artifact.registered",
        "registry.model.registered",
        "registry.promotion.request",
        "registry.promotion.refused",
        "registry.promotion.applied",
        "approval.submitted",
    ] {
        assert!(kinds.iter().any(|kind| kind == wanted), "{wanted} in {kinds:?}");
    }
    let proof = rest.found("/audit/events/1/proof").await;
    assert!(proof["proof"].as_str().unwrap().contains("c2sp.org/tlog-proof"), "{proof}");
    cluster.user.ok(&["audit", "verify"]);

    let text = rest.found("/metrics").await;
    let text = text.as_str().unwrap();
    for line in [
        "model_registry_artifacts_registered_total 2",
        "model_registry_promotions_total{status=\"applied\"} 2",
        "model_registry_promotions_total{status=\"refused\"} 1",
        "ai_infra_training_job_duration_seconds_count 2",
        "assay_gpus{state=\"free\"} 16",
        "assay_nodes{state=\"ready\"} 2",
        "assay_queue_jobs{queue=\"default\"} 0",
        "assay_raft_has_leader 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    let call = "assay_call_seconds_count{interface=\"rest\",call=\"POST /registry/register\"";
    assert!(text.contains(call), "{text}");
    assert!(text.ends_with("# EOF\n"), "{text}");
    every_alert_is_on_something_that_is_measured(text);
}

fn every_alert_is_on_something_that_is_measured(text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/alerts.yml");
    let rules = fs::read_to_string(path).unwrap();
    let words = rules.lines().filter(|line| line.trim_start().starts_with("expr:"));
    let words = words.flat_map(|line| line.split(|it: char| !it.is_ascii_lowercase() && it != '_'));
    let names = words.filter(|word| ["assay_", "ai_infra_"].iter().any(|it| word.starts_with(it)));
    let mut seen = 0;
    for name in names {
        let bare = ["_total", "_bucket", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let line = format!("# TYPE {} ", bare.unwrap_or(name));
        assert!(text.contains(&line), "`{name}` of docs/alerts.yml is not measured");
        seen += 1;
    }
    assert!(seen >= 13, "{seen}");
}

/// Calls that have not the shape of the document, and the code of HTTP with the word for each.
fn malformed() -> Vec<(&'static str, String, u16, &'static str)> {
    let deep = format!("{}{}", "[".repeat(300), "]".repeat(300));
    let huge = format!("{{\"modelFamily\":\"{}\"}}", "x".repeat(2 << 20));
    let path = "/train/jobs";
    let job = |more: &str| format!("{{\"modelFamily\":\"x\",\"command\":[\"true\"]{more}}}");
    vec![
        (path, String::new(), 400, "not_json"),
        (path, "{".into(), 400, "not_json"),
        (path, "null".into(), 400, "invalid_body"),
        (path, "{}".into(), 400, "invalid_body"),
        (path, job(",\"gpu\":1"), 400, "invalid_body"),
        (path, job(",\"seed\":\"7\""), 400, "invalid_body"),
        (path, job(",\"seed\":-1"), 400, "invalid_body"),
        (path, job(",\"seed\":1,\"seed\":2"), 400, "duplicate_key"),
        (path, job(",\"seed\":9007199254740993"), 400, "integer_beyond_2_53"),
        (path, job(",\"hyperparams\":{\"lr\":1e400}"), 400, "not_finite"),
        (path, job(",\"env\":{\"A\":\"\\ud800\"}"), 400, "lone_surrogate"),
        (path, deep, 400, "too_deep"),
        (path, huge, 413, "too_large"),
        (path, job(",\"computeRequirements\":{\"pool\":\"nowhere\"}"), 422, "invalid"),
        (path, job(",\"datasetRefs\":[{\"datasetId\":\"none\"}]"), 404, "not_found"),
        (
            "/registry/digits@1/promote",
            "{\"target\":{\"env\":\"moon\"}}".into(),
            400,
            "invalid_body",
        ),
        ("/registry/promotions/p1/reject", "{\"reason\":\"no\"}".into(), 404, "not_found"),
        ("/drift/alert", "{}".into(), 400, "invalid_body"),
        ("/drift/alert", "{\"modelId\":\"none@1\",\"reason\":\"psi\"}".into(), 404, "not_found"),
        ("/healthz", "{}".into(), 405, "method_not_allowed"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_calls_and_strangers_get_an_answer_that_says_what_to_do() {
    let cluster = Cluster::start();
    let rest = user(&cluster, "server-1");
    for (number, (path, body, status, code)) in malformed().into_iter().enumerate() {
        let shown: String = body.chars().take(60).collect();
        let reply = rest.post_text(path, &format!("bad-{number}"), body).await;
        assert_eq!((reply.status, reply.code()), (status, code), "{path} {shown}: {reply:?}");
        let error = &reply.body["error"];
        assert_eq!(reply.body["ok"], false);
        let words = [&error["message"], &error["details"]["hint"]];
        assert!(words.iter().all(|it| it.as_str().is_some_and(|it| !it.is_empty())), "{reply:?}");
        assert!(!reply.request_id.is_empty());
    }
    for path in [
        "/models?limit=0",
        "/models?limit=1001",
        "/models?limit=x",
        "/models?after=A",
        "/models?all=1",
        "/train/jobs?limit=1&limit=2",
        "/audit/events?from=%31",
    ] {
        let reply = rest.get(path).await;
        assert_eq!((reply.status, reply.code()), (400, "invalid_query"), "{path}: {reply:?}");
    }
    for path in [
        "/registry/a9",
        "/models/x@1",
        "/dataset/x@1",
        "/artifact/a9",
        "/train/jobs/j9",
        "/registry/promotions/p9",
        "/audit/events/99999/proof",
        "/serve/1",
    ] {
        assert_eq!(rest.get(path).await.status, 404, "{path}");
    }
    let call = rest.call(Method::POST, "/train/jobs").header("X-Request-Id", "trace-7");
    let call = call.header("Content-Type", "application/json").body("{}");
    let reply = Rest::try_send(call).await.unwrap();
    assert_eq!((reply.status, reply.code()), (400, "missing_idempotency_key"), "{reply:?}");
    assert_eq!(reply.request_id, "trace-7");
    let call = rest.call(Method::POST, "/train/jobs").header("Idempotency-Key", "k");
    let call = call.header("Content-Type", "text/plain").body("{}");
    assert_eq!(Rest::try_send(call).await.unwrap().status, 415);

    strangers(&cluster).await;
    cluster.user.run_job("after-all-that");
    assert_eq!(rest.found("/train/jobs").await["jobs"].as_array().unwrap().len(), 1);
}

/// Who shows no certificate learns that the server lives, and nothing else; who shows the wrong
/// one does not get that far.
async fn strangers(cluster: &Cluster) {
    let nobody = Rest::new(cluster, "server-1", None);
    assert_eq!(nobody.found("/healthz").await["ok"], true);
    for path in ["/models", "/metrics", "/openapi.json", "/nothing"] {
        let reply = nobody.get(path).await;
        assert_eq!((reply.status, reply.code()), (401, "unauthenticated"), "{path}: {reply:?}");
    }
    let job = training("x");
    let reply = nobody.post("/train/jobs", "k", &job).await;
    assert_eq!(reply.status, 401, "{reply:?}");
    // A node's certificate is of this cluster, and still does not make a user.
    let node = Rest::new(cluster, "server-1", Some(&cluster.path("tls/node-a")));
    let reply = node.post("/train/jobs", "k", &job).await;
    assert_eq!((reply.status, reply.code()), (403, "not_authorised"), "{reply:?}");

    let other = tempfile::tempdir().unwrap();
    set_up(other.path());
    let stranger = Rest::new(cluster, "server-1", Some(&other.path().join("tls/user")));
    assert!(Rest::try_send(stranger.call(Method::GET, "/healthz")).await.is_err());

    let at = address(cluster, "server-1");
    let mut plain = TcpStream::connect(at.trim_start_matches("https://")).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: assay\r\n\r\n").unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("speaks HTTP/1.1 over TLS: https"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fuzzer_that_reads_the_document_finds_no_fault() {
    let cluster = with_rules();
    let rest = user(&cluster, "server-1");
    let artifact = trained(&rest, "digits").await;
    let asked = registration(&rest, &artifact, "digits", 0.93).await;
    assert_eq!(rest.post("/registry/register", "r-1", &asked).await.status, 201);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let script = root.join("scripts/fuzz-rest");
    let mut fuzz = Command::new(script);
    fuzz.arg(address(&cluster, "server-1"));
    fuzz.args(["ca.pem", "user.pem", "user.key"].map(|name| cluster.path("tls").join(name)));
    let output = tokio::task::spawn_blocking(move || fuzz.output().unwrap()).await.unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", crate::harness::said(&output));
    assert_eq!(rest.found("/healthz").await["status"], "ready");
}
