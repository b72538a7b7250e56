//! Lists that stay: a shell that completes ids, and `--watch`, which the servers push.

use crate::harness::{ASSAY, cluster::Cluster, process};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

#[test]
fn a_watched_list_shows_each_change_also_after_the_leaders_death() {
    let mut cluster = Cluster::start();
    let words = ["nodes", "--watch", "--jsonl"];
    // Pushed news that never comes must fail the test, not hold it.
    let mut watch = Command::new("timeout")
        .args(["60", ASSAY])
        .args(words)
        .env("ASSAY_PROFILE", cluster.dir())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut until = |wanted: &dyn Fn(&Value) -> bool| {
        // A list that nothing changes says nothing; this one has little to say before.
        for line in lines.by_ref().take(100) {
            let list: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(list["schema"], "nodes/v1");
            let nodes = list["nodes"].as_array().unwrap().clone();
            let node = nodes.into_iter().find(|node| node["inventory"]["name"] == "node-a");
            if node.is_some_and(|node| wanted(&node)) {
                return;
            }
        }
        panic!("the list ended");
    };
    until(&|node| node["status"]["state"] == "ready");
    cluster.user.ok(&["node", "drain", "node-a", "--reason", "a fan"]);
    until(&|node| node["status"].to_string().contains("a fan"));
    let leader = cluster.user.leader().replace('r', "server-");
    cluster.kill(&leader);
    cluster.user.ok(&["node", "resume", "node-a"]);
    until(&|node| node["status"]["state"] == "ready");
    process::signal(watch.id(), "-INT");
    assert_eq!(watch.wait().unwrap().code(), Some(130));
}

#[test]
fn every_list_stays_with_watch() {
    let cluster = Cluster::start();
    for words in [
        &["jobs"][..],
        &["artifacts"],
        &["nodes"],
        &["queue", "list"],
        &["reservation", "list"],
        &["cluster", "status"],
        &["audit", "list"],
        &["key", "list"],
        &["dataset", "list"],
        &["dataset", "licences"],
        &["model", "list"],
        &["promotion", "list"],
        &["approver", "list"],
        &["drift", "list"],
        &["drift", "alerts"],
    ] {
        let mut watch = Command::new("timeout")
            .args(["60", ASSAY, "--jsonl"])
            .args(words)
            .arg("--watch")
            .env("ASSAY_PROFILE", cluster.dir())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let first = BufReader::new(watch.stdout.take().unwrap()).lines().next();
        let first: Value = serde_json::from_str(&first.expect("a list is shown").unwrap()).unwrap();
        assert!(first["schema"].is_string(), "{words:?}: {first}");
        process::signal(watch.id(), "-INT");
        assert_eq!(watch.wait().unwrap().code(), Some(130), "{words:?} stayed until Ctrl-C");
    }
}

#[test]
fn a_shell_completes_ids_that_live_in_the_cluster() {
    let cluster = Cluster::start();
    cluster.user.run_job("resnet");
    let complete = |words: &[&str]| {
        let output = Command::new(ASSAY)
            .env("ASSAY_COMPLETE", "bash")
            .env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string())
            .env("_CLAP_IFS", "\n")
            .env("ASSAY_PROFILE", cluster.dir())
            .arg("--")
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete(&["assay", "why", ""]).lines().any(|id| id == "j1"));
    assert!(complete(&["assay", "why", ""]).lines().any(|id| id == "last"));
    assert!(complete(&["assay", "node", "drain", "no"]).lines().any(|id| id == "node-b"));
    assert!(complete(&["assay", "fetch", "a"]).lines().any(|id| id == "a1"));
    assert!(complete(&["assay", "rep"]).lines().any(|word| word == "reproduce"));
    let script = cluster.user.ok(&["completions", "bash"]);
    assert!(script.contains("ASSAY_COMPLETE"), "{script}");
}

#[test]
fn each_command_has_a_man_page() {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new(ASSAY).arg("man").arg(dir.path()).status().unwrap();
    assert!(status.success());
    let page = std::fs::read_to_string(dir.path().join("assay-node-drain.1")).unwrap();
    assert!(page.contains("Let nodes finish what they run"), "{page}");
}
