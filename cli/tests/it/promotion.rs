//! Models from their jobs to prod, with real processes: gates, approvals, and all who try to get
//! around them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
    people::person,
};
use serde_json::Value;
use std::{fs, path::Path};

const RULES: &str = r#"{
  "policies": [{
    "id": "pol-1", "name": "no secrets in prod", "version": 2, "severity": "HIGH",
    "state": "active", "metadata": {"effect": "deny", "ruleId": "r1"},
    "rule": {"and": [{"==": [{"var": "action"}, "model.promote"]},
                     {"==": [{"var": "resource.family"}, "secret"]}]}
  }],
  "promotion": {
    "staging": {"gates": [{"metric": "accuracy", "min": "0.9", "claimed": true}]},
    "prod": {"gates": [{"metric": "accuracy", "min": 0.9, "claimed": true},
                       {"metric": "latency_ms", "max": 20, "claimed": true}]}
  }
}"#;

/// Adds a line to the configuration of every server.
fn configure(cluster: &Cluster, line: &str) {
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{line}\n{text}")).unwrap();
    }
}

/// A cluster that follows these rules.
fn with_rules(rules: &str) -> Cluster {
    let mut cluster = Cluster::set_up();
    let path = cluster.path("rules.json");
    fs::write(&path, rules).unwrap();
    configure(&cluster, &format!("gate_rules = \"{}\"", path.display()));
    cluster.start_all();
    cluster
}

fn stage(user: &User, model: &str) -> String {
    user.json(&["model", "show", model]).unwrap()["stage"].as_str().unwrap().to_owned()
}

fn register(user: &User, family: &str, artifact: &str, more: &[&str]) {
    let words = ["model", "register", family, "--artifact", artifact];
    user.ok(&[&words[..], more].concat());
}

const GOOD: [&str; 4] = ["--metric", "accuracy=0.91", "--metric", "latency_ms=12.5"];

fn request<'a>(model: &'a str, to: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let words = ["promotion", "request", model, "--to", to, "--reason", "better"];
    [&words[..], more].concat()
}

fn events(user: &User) -> Vec<String> {
    let page = user.json(&["audit", "list", "--limit", "1000"]).unwrap();
    let kind = |event: &Value| {
        let payload: Value = serde_json::from_str(event["payload"].as_str().unwrap()).unwrap();
        payload["eventType"].as_str().unwrap().to_owned()
    };
    page["events"].as_array().unwrap().iter().map(kind).collect()
}

#[test]
fn a_model_is_registered_compared_and_traced_to_what_it_was_made_of() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    user.run_job("base");
    user.run_job("tuned");
    register(user, "digits", "a1", &[&GOOD[..], &["--alias", "first"]].concat());
    register(user, "digits", "a2", &["--metric", "accuracy=0.85", "--parent", "digits@1"]);
    assert_eq!(user.json(&["model", "show", "digits@first"]).unwrap()["artifact"], "a1");
    assert_eq!(user.json(&["model", "list"]).unwrap()["families"][0]["versions"], 2);

    let svg = cluster.path("lineage.svg").display().to_string();
    let lineage = user.ok(&["model", "lineage", "digits@2", "--svg", &svg]);
    for part in ["made of", "artifact a2", "job j2 tuned", "model digits@1", "artifact a1"] {
        assert!(lineage.contains(part), "{part} in {lineage}");
    }
    let picture = fs::read_to_string(svg).unwrap();
    assert!(picture.contains("<svg") && picture.contains("model digits@2"), "{picture}");
    let found = user.json(&["model", "compare", "digits@1", "digits@2"]).unwrap();
    assert_eq!(found["same_bits"], false);
    assert_eq!(found["metrics"][0]["field"], "accuracy");
    assert!(found["inputs"].as_array().unwrap().iter().any(|it| it["field"] == "command"));

    user.fails(3, &["model", "register", "digits", "--artifact", "a1"]);
    user.fails(4, &["model", "register", "digits", "--artifact", "a9"]);
    user.fails(4, &["model", "register", "x", "--artifact", "a1", "--parent", "x@1"]);
    user.fails(2, &["model", "register", "A B", "--artifact", "a1"]);
    user.fails(2, &["model", "register", "x", "--artifact", "a1", "--metric", "accuracy=NaN"]);
    user.fails(3, &["model", "alias", "digits@1", "prod"]);
    user.fails(4, &["model", "show", "digits@9"]);
    user.ok(&["artifact", "revoke", "a2", "--reason", "leaked data"]);
    let refused = user.fails(3, &["model", "register", "x", "--artifact", "a2"]);
    assert!(refused.contains("revoked: leaked data"), "{refused}");
    // No rules say what a version has to pass, so nothing is promoted.
    let refused = user.fails(3, &request("digits@1", "staging", &[]));
    assert!(refused.contains("no evaluation gate is configured"), "{refused}");
    user.ok(&["audit", "verify"]);
}

#[test]
fn a_version_goes_to_prod_through_gates_signature_and_three_people_and_by_no_other_way() {
    let mut cluster = with_rules(RULES);
    let user = User { profile: cluster.user.profile.clone() };
    let user = &user;
    for name in ["good", "bad", "secret"] {
        user.run_job(name);
    }
    register(user, "digits", "a1", &GOOD);
    register(user, "digits", "a2", &["--metric", "accuracy=0.85"]);
    register(user, "secret", "a3", &GOOD);
    let [bob, cleo, dan, eve] = ["bob", "cleo", "dan", "eve"].map(|name| person(&cluster, name));
    for (name, it) in [("bob", &bob), ("cleo", &cleo), ("dan", &dan)] {
        user.ok(&["approver", "add", name, "--key", &it.public_key()]);
    }
    // Only an admin says who approves, and one key is one person.
    bob.user.fails(6, &["approver", "add", "eve", "--key", &eve.public_key()]);
    user.fails(3, &["approver", "add", "eve", "--key", &dan.public_key()]);

    let refused = user.fails(3, &request("digits@2", "staging", &[]));
    assert!(refused.contains("gate `accuracy`: 0.85, needed at least 0.9"), "{refused}");
    let refused = user.fails(3, &request("secret@1", "staging", &[]));
    assert!(refused.contains("policy: deny: policy `no secrets in prod` version 2"), "{refused}");
    user.fails(3, &request("digits@1", "prod", &[]));
    user.ok(&request("digits@1", "staging", &[]));
    assert_eq!(stage(user, "digits@staging"), "staging");

    // Prod takes a quorum, whatever risk the request names.
    let asked = user.json(&request("digits@staging", "prod", &["--risk", "low"])).unwrap();
    assert_eq!((&asked["state"], &asked["risk"]), (&"pending".into(), &"high".into()));
    let approve = |who: &crate::harness::people::Person, key: &str, code: i32| {
        let words = ["promotion", "approve", "p4", "--key", key];
        match code {
            0 => who.user.ok(&words),
            code => who.user.fails(code, &words),
        }
    };
    approve(&bob, &bob.key(), 0);
    assert!(approve(&bob, &bob.key(), 3).contains("each approver counts once"));
    assert!(approve(&cleo, &dan.key(), 7).contains("not signed by the key of `cleo`"));
    approve(&eve, &eve.key(), 6);
    approve(&cleo, &cleo.key(), 0);
    assert_eq!(stage(user, "digits@1"), "staging", "two of three are not enough");

    // All that was recorded is there after every server was killed.
    for name in SERVERS {
        cluster.kill(name);
    }
    for name in SERVERS {
        cluster.run(name);
    }
    user.status();
    approve(&dan, &dan.key(), 0);
    let done = user.json(&["promotion", "show", "p4"]).unwrap();
    assert_eq!((&done["state"], stage(user, "digits@prod").as_str()), (&"applied".into(), "prod"));
    approve(&dan, &dan.key(), 3);
    let history = user.ok(&["promotion", "history", "p4"]);
    for word in ["gated", "signing", "pending", "applied"] {
        assert!(history.contains(word), "{history}");
    }
    exported(user, &cluster.path("p4.json"));
    let events = events(user);
    for kind in [
        "registry.promotion.request",
        "policy.decision",
        "registry.manifest.signed",
        "approval.submitted",
        "registry.promotion.applied",
        "registry.promotion.refused",
        "registry.attempt.refused",
    ] {
        assert!(events.iter().any(|it| it == kind), "{kind} in {events:?}");
    }
    user.ok(&["audit", "verify"]);
}

/// The export holds three words over one statement.
fn exported(user: &User, file: &Path) {
    user.ok(&["promotion", "export", "p4", &file.display().to_string()]);
    let envelope: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    assert_eq!(envelope["signatures"].as_array().unwrap().len(), 3);
}

#[test]
fn an_emergency_is_applied_on_one_word_and_taken_back_on_another() {
    let cluster = with_rules(RULES);
    let user = &cluster.user;
    user.run_job("good");
    register(user, "digits", "a1", &GOOD);
    let few = user.fails(3, &request("digits@1", "staging", &["--risk", "high"]));
    assert!(few.contains("0 approvers beside dev are registered, 3 have to agree"), "{few}");
    let people = ["bob", "cleo", "dan"].map(|name| person(&cluster, name));
    for (name, it) in ["bob", "cleo", "dan"].iter().zip(&people) {
        user.ok(&["approver", "add", name, "--key", &it.public_key()]);
    }
    user.ok(&request("digits@1", "staging", &[]));
    user.ok(&request("digits@1", "prod", &["--emergency"]));
    let approve = ["promotion", "approve", "p2", "--key"];
    people[0].user.ok(&[&approve[..], &[&people[0].key()]].concat());
    let shown = user.json(&["promotion", "show", "p2"]).unwrap();
    assert_eq!((&shown["state"], stage(user, "digits@1").as_str()), (&"unratified".into(), "prod"));
    people[1].user.ok(&["promotion", "reject", "p2", "--reason", "it was no emergency"]);
    let shown = user.json(&["promotion", "show", "p2"]).unwrap();
    assert_eq!(
        (&shown["state"], stage(user, "digits@1").as_str()),
        (&"reversed".into(), "staging")
    );

    // What nobody approves in time expires by itself.
    user.ok(&request("digits@1", "prod", &["--expires", "1s"]));
    user.until("it has expired", |user| {
        (user.json(&["promotion", "show", "p3"])?["state"] == "expired").then_some(())
    });
    let late = people[0].user.fails(3, &["promotion", "approve", "p3", "--key", &people[0].key()]);
    assert!(late.contains("expired"), "{late}");
    user.ok(&["audit", "verify"]);
}

#[test]
fn a_server_does_not_start_with_rules_that_it_cannot_follow_to_the_letter() {
    let cluster = Cluster::set_up();
    let path = cluster.path("rules.json");
    configure(&cluster, &format!("gate_rules = \"{}\"", path.display()));
    for (rules, wanted) in [
        (r#"{"promotion":{},"promotion":{}}"#, "key"),
        (r#"{"promotion":{"prod":{"gates":[{"metric":"a","min":9007199254740993}]}}}"#, "2^53"),
        (r#"{"polices":[]}"#, "unknown field"),
    ] {
        fs::write(&path, rules).unwrap();
        let output = cluster.run_to_end("server-1");
        let said = crate::harness::said(&output);
        assert!(!output.status.success() && said.contains(wanted), "{wanted}: {said}");
    }
}
