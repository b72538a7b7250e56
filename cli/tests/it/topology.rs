//! Racks, and GPUs that are near each other, as real processes tell of them and plan by them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

/// Each node with its rack.
const NODES: [(&str, &str); 3] = [("node-a", "r1"), ("node-b", "r1"), ("node-c", "r2")];

/// Three nodes of 8 GPUs in two racks of one block; in each, four GPUs are on one NUMA node.
fn two_racks() -> Cluster {
    let mut cluster = Cluster::start_with(&NODES.map(|(name, _)| name));
    for (name, rack) in NODES {
        cluster.stop(name);
        let file = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("rack = \"{rack}\"\nblock = \"b1\"\n{text}")).unwrap();
        let file = cluster.path(&format!("config/{name}.gpus.json"));
        let mut gpus: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        for (at, gpu) in gpus["gpus"].as_array_mut().unwrap().iter_mut().enumerate() {
            gpu["numa_node"] = json!(at / 4);
        }
        fs::write(&file, gpus.to_string()).unwrap();
        cluster.run(name);
    }
    cluster.user.until("every node tells of its rack", |user| {
        let nodes = user.json(&["nodes"])?;
        let racks = nodes["nodes"].as_array()?.iter();
        let known = |node: &&Value| {
            let has = &node["inventory"]["topology"];
            has["rack"].is_string() && has["gpus"][7]["numa"] == 1
        };
        (racks.filter(known).count() == NODES.len()).then_some(())
    });
    cluster.user.ready(NODES.len());
    cluster
}

/// Submits a job that runs until a file of its name is there.
fn submit(cluster: &Cluster, name: &str, words: &[&str]) {
    let go = cluster.path(&format!("go-{name}"));
    let script = format!(
        "while [ ! -e {} ]; do sleep 0.1; done; echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"",
        go.display()
    );
    let first = ["submit", "--rerun", "--name", name, "--cpus", "0.1", "--memory", "64MiB"];
    // A slow machine may lose contact for a while, which is not what this is about.
    let last = ["--on-disconnect", "continue", "--", "sh", "-c", &script];
    cluster.user.ok(&[&first[..], words, &last].concat());
}

fn until_state(user: &User, name: &str, state: &str) {
    user.until(&format!("{name} is {state}"), |user| (user.states()[name] == state).then_some(()));
}

fn end(cluster: &Cluster, name: &str) {
    fs::write(cluster.path(&format!("go-{name}")), "").unwrap();
    until_state(&cluster.user, name, "completed");
}

/// The members of the newest attempt of a job.
fn members(user: &User, name: &str) -> Vec<Value> {
    let job = user.until("the job is told of", |user| user.json(&["job", &format!("name={name}")]));
    let attempts = job["parts"][0]["attempts"].as_array().unwrap();
    attempts.last().unwrap()["members"].as_array().unwrap().clone()
}

/// The racks that it runs in.
fn racks(user: &User, name: &str) -> BTreeSet<String> {
    let nodes = user.until("the nodes are told of", |user| user.json(&["nodes"]));
    let of = |member: &Value| {
        let all = nodes["nodes"].as_array().unwrap().iter();
        let node = all.clone().find(|node| node["id"] == member["node"]).unwrap();
        node["inventory"]["topology"]["rack"].as_str().unwrap().to_owned()
    };
    members(user, name).iter().map(of).collect()
}

#[test]
fn a_gang_lies_in_one_rack_or_waits_and_says_which_rack_has_most() {
    let cluster = two_racks();
    let user = &cluster.user;
    let show = user.ok(&["node", "show", "node-c"]);
    assert!(show.contains("rack      r2\nblock     b1\n"), "{show}");
    assert!(show.contains("numa      0 1 2 3 | 4 5 6 7\n"), "{show}");
    let nodes = user.ok(&["nodes"]);
    assert!(nodes.contains("b1/r1") && nodes.contains("b1/r2"), "{nodes}");
    let config = cluster.path("config/node-c.toml");
    let said = user.fails(1, &["agent", "--config", config.to_str().unwrap(), "--rack", "a b"]);
    assert!(said.contains("rack: is `a b`"), "{said}");

    let two = ["--tasks", "2", "--gpus", "8", "--topology"];
    submit(&cluster, "first", &[&two[..], &["rack"]].concat());
    until_state(user, "first", "running");
    assert_eq!(racks(user, "first"), ["r1".to_owned()].into(), "the rack that holds it");
    let job = user.ok(&["job", "name=first"]);
    assert!(job.contains("within one rack"), "{job}");

    // The third node, then one of the first rack: two racks with room for 8 each.
    submit(&cluster, "other", &["--gpus", "8"]);
    until_state(user, "other", "running");
    assert_eq!(racks(user, "other"), ["r2".to_owned()].into());
    end(&cluster, "first");
    submit(&cluster, "alone", &["--gpus", "8"]);
    until_state(user, "alone", "running");
    assert_eq!(racks(user, "alone"), ["r1".to_owned()].into());
    end(&cluster, "other");

    submit(&cluster, "split", &[&two[..], &["rack"]].concat());
    let why = user.ok(&["why", "name=split"]);
    let told = "needs 16 GPUs within one rack; the rack with most free has room for 8 (b1/r";
    assert!(why.contains(told) && why.contains("topology = \"prefer:rack\""), "{why}");
    submit(&cluster, "never", &["--tasks", "3", "--gpus", "8", "--topology", "rack"]);
    let why = user.ok(&["why", "name=never"]);
    assert!(why.contains("the rack with most has room for 16 (b1/r1)"), "{why}");
    assert!(why.contains("never, as the cluster is"), "{why}");
    user.ok(&["cancel", "name=never"]);
    user.ok(&["cancel", "name=split"]);
    submit(&cluster, "loose", &[&two[..], &["prefer:rack"]].concat());
    fs::write(cluster.path("go-loose"), "").unwrap();
    until_state(user, "loose", "completed");

    submit(&cluster, "again", &[&two[..], &["rack"]].concat());
    assert_eq!(user.states()["again"], "waiting");
    end(&cluster, "alone");
    until_state(user, "again", "running");
    assert_eq!(racks(user, "again"), ["r1".to_owned()].into());
    end(&cluster, "again");
    user.ok(&["audit", "verify"]);

    let told = user.fails(2, &["submit", "--topology", "nvlink", "--", "true"]);
    assert!(told.contains("for tasks without GPUs"), "{told}");
}

#[test]
fn gpus_of_one_numa_node_are_taken_together() {
    let cluster = two_racks();
    let user = &cluster.user;
    // Of each node three GPUs are left, all on one NUMA node.
    for name in ["a", "b", "c"] {
        submit(&cluster, name, &["--gpus", "5"]);
        until_state(user, name, "running");
    }
    submit(&cluster, "near", &["--gpus", "3", "--topology", "numa"]);
    until_state(user, "near", "running");
    assert_eq!(members(user, "near")[0]["tasks"][0]["gpus"], json!([5, 6, 7]));
    submit(&cluster, "far", &["--gpus", "4", "--topology", "numa"]);
    let why = user.ok(&["why", "name=far"]);
    assert!(why.contains("`gpus` of 4 asked for each of 1 tasks, 3 would fit"), "{why}");
    for name in ["a", "b", "c", "near", "far"] {
        end(&cluster, name);
    }
}
