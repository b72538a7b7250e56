//! Evaluations with real processes: a job measures a version, its sealed result is what a gate
//! believes, and nothing that is only said to be one.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
    rest::Rest,
};
use serde_json::{Value, json};
use std::fs;

const RULES: &str = r#"{
  "policies": [],
  "promotion": {
    "staging": {"gates": [{"metric": "accuracy", "min": "0.9"}]},
    "prod": {"gates": [{"metric": "accuracy", "min": "0.9", "claimed": true}], "risk": "low"}
  }
}"#;

/// Compares what a model answers with the truth.
const MEASURE: &str = r#"
if cmp -s "$ASSAY_DATASET_MODEL/answer" "$ASSAY_DATASET_TRUTH/answer"; then a=0.95; else a=0.5; fi
echo "{\"accuracy\": $a, \"samples\": 1}" > "$ASSAY_OUTPUT_DIR/metrics.json"
"#;

/// A cluster that follows the rules, with data to measure by.
fn with_rules() -> Cluster {
    let mut cluster = Cluster::set_up();
    let rules = cluster.path("rules.json");
    fs::write(&rules, RULES).unwrap();
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("gate_rules = \"{}\"\n{text}", rules.display())).unwrap();
    }
    let truth = cluster.path("truth");
    fs::create_dir_all(&truth).unwrap();
    fs::write(truth.join("answer"), "good\n").unwrap();
    // With the answer alone it would be the good version's own files.
    fs::write(truth.join("about"), "what a model should answer\n").unwrap();
    cluster.start_all();
    cluster
}

/// A job file with this script, which reads the truth.
fn job(cluster: &Cluster, name: &str, script: &str) -> String {
    let truth = cluster.path("truth").display().to_string();
    let command = json!(["sh", "-c", script]);
    let text = json!({ "name": name, "command": command, "datasets": { "truth": truth } });
    let file = cluster.path(&format!("{name}.json"));
    fs::write(&file, text.to_string()).unwrap();
    file.display().to_string()
}

/// Two versions of which the same is claimed, and one of them holds it.
fn register(user: &User) {
    for (name, artifact) in [("good", "a1"), ("bad", "a2")] {
        user.run_job(name);
        let claim = ["--metric", "accuracy=0.99", "--metric", "latency_ms=12"];
        user.ok(&[&["model", "register", "digits", "--artifact", artifact][..], &claim].concat());
    }
}

fn request<'a>(model: &'a str, to: &'a str) -> [&'a str; 7] {
    ["promotion", "request", model, "--to", to, "--reason", "better"]
}

fn accuracy(user: &User, model: &str) -> Value {
    user.json(&["model", "show", model]).unwrap()["measured"]["accuracy"].clone()
}

#[test]
fn a_gate_believes_what_a_sealed_job_measured_and_no_claim() {
    let cluster = with_rules();
    let user = &cluster.user;
    register(user);
    let refused = user.fails(3, &request("digits@1", "staging"));
    for part in ["gate `accuracy`: 0.99 is only claimed, not evaluated", "needed at least 0.9"] {
        assert!(refused.contains(part), "{part}: {refused}");
    }

    let measure = job(&cluster, "measure", MEASURE);
    let done = user.json(&["model", "evaluate", "digits@1", "--job", &measure]).unwrap();
    let evaluation = &done["evaluation"];
    assert_eq!((&done["schema"], &evaluation["artifact"]), (&"evaluation/v1".into(), &"a3".into()));
    assert_eq!(evaluation["metrics"], json!({ "accuracy": "0.95", "samples": "1" }));
    assert_eq!(evaluation["inputs"], json!(["model"]));
    assert!(evaluation["datasets"]["truth"].is_string(), "{evaluation}");
    let good = accuracy(user, "digits@1");
    assert_eq!((&good["value"], &good["evaluation"]), (&"0.95".into(), &"a3".into()));
    let shown = user.ok(&["model", "show", "digits@1"]);
    for part in ["accuracy=0.95 (a3)", "latency_ms=12 (claimed)", "a3 by j3, method"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    // The other version was measured in the same way, and is not what was claimed of it.
    let told = user.ok(&["model", "evaluate", "digits@2", "--job", &measure]);
    assert!(told.contains("accuracy=0.5"), "{told}");
    let refused = user.fails(3, &request("digits@2", "staging"));
    assert!(refused.contains("0.5 (evaluation a4), needed at least 0.9"), "{refused}");
    let found = user.json(&["model", "compare", "digits@1", "digits@2"]).unwrap();
    let fields = found["metrics"].as_array().unwrap().iter().map(|it| it["field"].clone());
    let differ = ["accuracy", "accuracy source", "samples source"];
    assert_eq!(fields.collect::<Vec<_>>(), differ, "one method for both");

    user.ok(&request("digits@1", "staging"));
    let gate = user.json(&["promotion", "show", "p3"]).unwrap()["gates"][0].clone();
    assert_eq!((&gate["evaluation"], &gate["passed"]), (&"a3".into(), &true.into()));

    // The same once more runs nothing, and a revoked result counts no more.
    let seq = &evaluation["audit_seq"];
    let again = user.json(&["model", "evaluate", "digits@1", "--job", &measure]).unwrap();
    assert_eq!(&again["evaluation"]["audit_seq"], seq);
    user.ok(&["artifact", "revoke", "a3", "--reason", "leaked truth"]);
    assert_eq!(accuracy(user, "digits@1")["evaluation"], Value::Null);
    let refused = user.fails(3, &request("digits@1", "staging"));
    assert!(refused.contains("0.99 is only claimed"), "{refused}");
    user.fails(3, &["model", "evaluate", "digits@1", "--artifact", "a3"]);
    user.ok(&["audit", "verify"]);
    // The rules may say that a claim is enough.
    user.ok(&request("digits@1", "prod"));
}

#[test]
fn what_is_no_measurement_of_the_version_is_refused() {
    let cluster = with_rules();
    let user = &cluster.user;
    register(user);
    let measure = job(&cluster, "measure", MEASURE);
    user.ok(&["model", "evaluate", "digits@1", "--job", &measure]);
    let evaluate = |model, artifact| ["model", "evaluate", model, "--artifact", artifact];
    let refused = user.fails(3, &evaluate("digits@2", "a3"));
    assert!(refused.contains("did not read the files of digits@2"), "{refused}");
    let refused = user.fails(3, &evaluate("digits@2", "a1"));
    assert!(refused.contains("metrics.json of a1: there is no such file"), "{refused}");
    user.fails(4, &evaluate("digits@2", "a9"));
    user.fails(4, &evaluate("digits@9", "a3"));
    user.fails(2, &["model", "evaluate", "digits@2"]);

    let large = "head -c 20000 /dev/zero | tr '\\0' ' ' > \"$ASSAY_OUTPUT_DIR/metrics.json\"";
    let writes = |text: &str| format!("echo '{text}' > \"$ASSAY_OUTPUT_DIR/metrics.json\"");
    let bad = [
        ("twice", writes(r#"{"accuracy": 0.5, "accuracy": 0.99}"#), "`accuracy` stands twice"),
        ("nan", writes(r#"{"accuracy": NaN}"#), "`NaN` is no decimal number"),
        ("beyond", writes(r#"{"samples": 9007199254740993}"#), "2^53"),
        ("nested", writes(r#"{"accuracy": {"mean": 0.9}}"#), "no decimal number"),
        ("large", large.to_owned(), "are the most"),
        ("none", "echo none > \"$ASSAY_OUTPUT_DIR/other\"".to_owned(), "no such file"),
    ];
    for (name, script, wanted) in bad {
        let file = job(&cluster, name, &script);
        let refused = user.fails(3, &["model", "evaluate", "digits@2", "--job", &file]);
        assert!(refused.contains(wanted), "{name}: {refused}");
    }
    let fails = job(&cluster, "fails", "exit 3");
    user.fails(3, &["model", "evaluate", "digits@2", "--job", &fails]);
    let own = job(&cluster, "own", MEASURE);
    let words = ["model", "evaluate", "digits@2", "--input", "truth", "--job", &own];
    assert!(user.fails(2, &words).contains("a data set `truth` of its own"));
    assert_eq!(accuracy(user, "digits@2")["evaluation"], Value::Null);
    user.ok(&["audit", "verify"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_evaluated_over_http() {
    let cluster = with_rules();
    register(&cluster.user);
    let rest = Rest::new(&cluster, "server-2", Some(&cluster.path("tls/user")));
    let script = r#"test -f "$ASSAY_DATASET_MODEL/answer" &&
        echo '{"accuracy": "0.97"}' > "$ASSAY_OUTPUT_DIR/metrics.json""#;
    let job = json!({
        "modelFamily": "measure",
        "command": ["sh", "-c", script],
        "computeRequirements": { "cpuMillis": 500, "memoryBytes": 67_108_864 },
    });
    let run = json!({ "modelId": "digits@1", "job": job });
    let taken = rest.post("/eval/run", "e-1", &run).await;
    assert_eq!(taken.status, 201, "{taken:?}");
    let path = format!("/train/jobs/{}", taken.body["jobId"].as_str().unwrap());
    let sealed = rest
        .until("the job is sealed", &path, |job| {
            assert_ne!(job["status"], "failed", "{job}");
            Some(job["artifactRefs"][0].as_str()?.to_owned())
        })
        .await;
    let asked = json!({ "artifactId": sealed });
    let of = "/models/digits@1/evaluations";
    let recorded = rest.post(of, "e-2", &asked).await;
    assert_eq!(recorded.status, 201, "{recorded:?}");
    assert_eq!(rest.found(of).await, recorded.body);
    assert_eq!(recorded.body["evaluations"][0]["metrics"]["accuracy"], "0.97");
    assert_eq!(rest.post(of, "e-2", &asked).await.body, recorded.body, "the same key");
    let record = rest.found("/registry/digits@1").await;
    assert_eq!(
        (&record["metrics"]["accuracy"], &record["metricSources"]["accuracy"]),
        (&"0.97".into(), &sealed.as_str().into())
    );
    let other = rest.post("/models/digits@2/evaluations", "e-3", &asked).await;
    assert_eq!((other.status, other.code()), (409, "refused"), "{other:?}");
    assert_eq!(rest.post(of, "e-4", &json!({ "artifactId": "a99" })).await.status, 404);
    let invented = json!({ "artifactId": sealed, "metrics": { "accuracy": 1 } });
    assert_eq!(rest.post(of, "e-5", &invented).await.status, 400, "nobody sends metrics");
}
