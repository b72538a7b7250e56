//! The documents of commands that change or write something: their keys and kinds of values, as
//! programs have come to rely on them. Those of lists and views are in `cli/src/render/snapshots`.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::Cluster,
    said,
    shape::{document, lines},
};
use expect_test::expect;
use serde_json::Value;

fn keys_keep_their_form(user: &User, file: &str, new: &str) {
    expect![[r#"
        {
          "file": "string",
          "keys": "number",
          "schema": "key_export/v1"
        }
    "#]]
    .assert_eq(&document(user, &["key", "export", file]));
    // What is written is what is listed.
    let written = std::fs::read_to_string(file).unwrap();
    let written = lines(&serde_json::from_str(&written).unwrap());
    assert_eq!(written, document(user, &["key", "list"]));
    expect![[r#"
        {
          "file": "string",
          "key": "string",
          "schema": "new_key/v1"
        }
    "#]]
    .assert_eq(&document(user, &["key", "new", new]));
}

/// Several jobs of one file, as they are submitted and as they would be.
fn several_jobs_keep_their_form(user: &User, file: &str) {
    let text = "[jobs.a]\ncommand = [\"true\"]\n[jobs.b]\ncommand = [\"true\"]\n";
    std::fs::write(file, text).unwrap();
    expect![[r#"
        {
          "jobs": [
            {
              "after": [],
              "job": "string",
              "name": "string",
              "recipe": "string"
            }
          ],
          "log_index": "number",
          "schema": "submitted_jobs/v1"
        }
    "#]]
    .assert_eq(&document(user, &["submit", file]));
    let dry = user.json(&["submit", "--dry-run", file]).unwrap();
    assert_eq!(dry["schema"], "dry_run_jobs/v1");
    assert!(dry["jobs"][0]["spec"]["command"].is_array() && dry["log_index"].is_null(), "{dry}");
}

#[test]
fn documents_of_changes_and_files_keep_their_form() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let path = |tail: &str| cluster.path(tail).to_str().unwrap().to_owned();
    let check = |words: &[&str], expected: expect_test::Expect| {
        expected.assert_eq(&document(user, words));
    };
    user.run_job("kept");

    check(
        &["submit", "--outputs", "none", "--gpus", "8", "--", "sleep", "60"],
        expect![[r#"
            {
              "job": "string",
              "log_index": "number",
              "name": "string",
              "recipe": "string",
              "schema": "submitted/v1"
            }
        "#]],
    );
    check(
        &["cancel", "last"],
        expect![[r#"
            {
              "cancelled": [
                {
                  "job": "string",
                  "log_index": "number"
                }
              ],
              "schema": "cancelled/v1"
            }
        "#]],
    );
    check(
        &["submit", "--dry-run", "--", "true"],
        expect![[r#"
            {
              "recipe": "string",
              "schema": "dry_run/v1",
              "spec": {
                "after": [],
                "array": "null",
                "code": "null",
                "command": [
                  "string"
                ],
                "confinement": {
                  "disk": "null",
                  "isolation": "string",
                  "network": "null"
                },
                "datasets": {},
                "env": {},
                "hyperparameters": {},
                "image": "null",
                "interrupt": {
                  "min_run": "null",
                  "preemptible": "string",
                  "warn": "null"
                },
                "name": "string",
                "on_disconnect": "string",
                "outputs": "string",
                "priority": "number",
                "queue": "string",
                "reproduces": "null",
                "resources": {
                  "cpu_millis": "number",
                  "gpu_model": "null",
                  "gpus": "number",
                  "memory_bytes": "number"
                },
                "restart": "string",
                "retries": "number",
                "retry": {
                  "backoff": "null",
                  "on": []
                },
                "seed": "number",
                "tasks": "number",
                "time_limit": "null",
                "user": "string"
              },
              "start": {
                "basis": "string",
                "from_time": "string",
                "nodes": [
                  "string"
                ],
                "p50": "string",
                "p90": "string",
                "scenarios": "number"
              }
            }
        "#]],
    );
    check(
        &["node", "drain", "node-b", "--reason", "disk"],
        expect![[r#"
            {
              "done": "string",
              "log_index": "number",
              "schema": "done/v1"
            }
        "#]],
    );
    check(
        &["logs", "name=kept"],
        expect![[r#"
            {
              "element": "string",
              "rank": "null",
              "schema": "log/v1",
              "text": "string"
            }
        "#]],
    );
    check(
        &["artifact", "export", "a1", &path("export")],
        expect![[r#"
            {
              "artifact": "string",
              "dir": "string",
              "schema": "export/v1"
            }
        "#]],
    );
    check(
        &["fetch", "a1", &path("fetched")],
        expect![[r#"
            {
              "artifact": "string",
              "dir": "string",
              "files": "number",
              "schema": "fetched/v1",
              "size_bytes": "number"
            }
        "#]],
    );
    let (chain, signers) = (path("chain.jsonl"), path("signers.json"));
    check(
        &["audit", "export", &chain, "--signers", &signers],
        expect![[r#"
            {
              "events": "number",
              "file": "string",
              "schema": "audit_export/v1",
              "signers": "string"
            }
        "#]],
    );
    several_jobs_keep_their_form(user, &path("several.toml"));
    keys_keep_their_form(user, &path("keys.json"), &path("new.key.pem"));
    let (new, keys, ca_key) = (path("new"), path("keys"), path("tls/ca.key"));
    let init = ["server", "init", "r4", "--dir", &new, "--listen", "127.0.0.1:1"];
    check(
        &[&init[..], &["--keys", &keys, "--ca-key", &ca_key]].concat(),
        expect![[r#"
            {
              "certificate": "string",
              "config": "string",
              "request": "null",
              "schema": "server_init/v1",
              "server": "string"
            }
        "#]],
    );
}

#[test]
fn a_fault_keeps_its_form() {
    let cluster = Cluster::start();
    let output = cluster.user.assay(&["job", "j9", "--json"]);
    assert_eq!(output.status.code(), Some(4));
    let fault: Value = serde_json::from_str(&said(&output)).unwrap();
    expect![[r#"
        {
          "code": "string",
          "detail": "string",
          "hint": "string",
          "reason": "string",
          "retry_safe": "bool"
        }
    "#]]
    .assert_eq(&lines(&fault));
}

#[test]
fn a_cluster_that_is_set_up_on_this_machine_says_how_it_is_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(crate::harness::ASSAY);
    command.args(["--json", "dev", "--set-up", "--dir"]).arg(dir.path().join("cluster"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    expect![[r#"
        {
          "commands": [
            "string"
          ],
          "folder": "string",
          "profile": "string",
          "schema": "set_up/v1"
        }
    "#]]
    .assert_eq(&lines(&serde_json::from_slice(&output.stdout).unwrap()));
}

#[test]
fn a_development_cluster_says_that_it_is_up_in_the_form_of_its_status() {
    let _alone = crate::harness::alone();
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(crate::harness::ASSAY);
    command.args(["--json", "dev", "--dir"]).arg(dir.path());
    let mut dev = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let said = serde_json::Deserializer::from_reader(dev.stdout.take().unwrap());
    let first = said.into_iter::<Value>().next();
    let user = User { profile: dir.path().to_owned() };
    let status = document(&user, &["cluster", "status"]);
    crate::harness::process::end(&mut dev);
    let first = lines(&first.unwrap().unwrap());
    assert_eq!(first.replace("dev/v1", "cluster/v1"), status);
    assert!(first.contains("\"schema\": \"dev/v1\""), "{first}");
}
