//! Servers that come and go, as docs/OPERATIONS.md tells it: a damaged one stops, is removed, and
//! a new one takes its place while jobs run.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster, cluster::free_port, said};
use serde_json::Value;

/// The server as the leader sees it.
fn member(user: &User, id: &str) -> Option<Value> {
    let status = user.json(&["cluster", "status"])?;
    status["replicas"].as_array()?.iter().find(|member| member["id"] == id).cloned()
}

/// The servers that hold each result, as the cluster records them.
fn copies(user: &User) -> Option<Vec<Vec<String>>> {
    let all = user.json(&["artifacts"])?;
    let all = all["artifacts"].as_array()?.iter();
    all.map(|it| serde_json::from_value(it["copies"].clone()).ok()).collect()
}

fn lead(user: &User, id: &str) {
    user.ok(&["cluster", "transfer", id]);
    user.until(&format!("{id} leads"), |user| (user.leader() == id).then_some(()));
}

/// Flips one bit in the middle of the newest write-ahead log.
fn flip_a_bit(cluster: &Cluster, name: &str) {
    let dir = cluster.path(&format!("data/{name}/log"));
    let logs = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let logs = logs.filter(|path| path.extension().is_some_and(|kind| kind == "log"));
    let newest = logs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let mut bytes = std::fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).unwrap();
}

/// Replaces `server-3`, whose disk is damaged, by `server-4`.
fn replace(cluster: &mut Cluster, id: &str) {
    let user = &cluster.user;
    user.ok(&["cluster", "remove", "r3"]);
    assert!(member(user, "r3").is_none(), "r3 has left");
    let refused = user.fails(3, &["cluster", "add", "r3", "127.0.0.1:1"]);
    assert!(refused.contains("never used"), "{refused}");

    let dir = cluster.path("new");
    let address = format!("127.0.0.1:{}", free_port());
    let (keys, ca_key) = (cluster.path("keys"), cluster.path("tls/ca.key"));
    let files = [&dir, &keys, &ca_key].map(|path| path.to_str().unwrap().to_owned());
    let [dir_text, keys, ca_key] = &files;
    let init = ["server", "init", id, "--dir", dir_text, "--listen", &address];
    user.ok(&[&init[..], &["--keys", keys, "--ca-key", ca_key]].concat());
    user.ok(&["cluster", "add", id, &address]);
    cluster.describe("server-4", &dir.join("server.toml"));
    cluster.run("server-4");
    cluster.user.until("the new server has a vote", |user| {
        let status = user.json(&["cluster", "status"])?;
        let new = member(user, id)?;
        (new["role"] == "follower" && new["matched"].as_u64() >= status["commit"].as_u64())
            .then_some(())
    });
    know(cluster, &address);
}

/// Names the new server to agents and users instead of the one that left.
fn know(cluster: &mut Cluster, address: &str) {
    let old = std::fs::read_to_string(cluster.path("config/server-3.toml")).unwrap();
    let old = old.lines().find_map(|line| line.strip_prefix("advertise = ")).unwrap();
    for file in ["config/node-a.toml", "config/node-b.toml", "profile.toml"] {
        let path = cluster.path(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} names the old server");
        std::fs::write(&path, text.replace(old, &format!("\"{address}\""))).unwrap();
    }
    for node in crate::harness::cluster::AGENTS {
        cluster.stop(node);
        cluster.run(node);
    }
}

#[test]
fn a_damaged_server_stops_and_is_replaced_by_a_new_one_that_gets_its_vote() {
    let mut cluster = Cluster::start();
    // Who leads while a result is sealed holds a copy of it.
    lead(&cluster.user, "r3");
    cluster.user.run_job("before");
    assert!(copies(&cluster.user).unwrap()[0].contains(&"r3".to_owned()));
    lead(&cluster.user, "r1");

    cluster.kill("server-3");
    flip_a_bit(&cluster, "server-3");
    let output = cluster.run_to_end("server-3");
    let words = said(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    for part in ["damaged", "must not serve", "assay cluster remove", "new id", "empty disk"] {
        assert!(words.contains(part), "{part}: {words}");
    }

    cluster.user.run_job("without");
    replace(&mut cluster, "r4");
    cluster.user.run_job("after");
    cluster.user.until("every result has two copies again", |user| {
        let held = copies(user)?;
        let whole = |held: &Vec<String>| held.len() >= 2 && !held.contains(&"r3".to_owned());
        (held.len() == 3 && held.iter().all(whole)).then_some(())
    });

    // Of the three members two are left: it takes the new one's vote to go on, and no result may
    // have its only copy on the one that is gone.
    lead(&cluster.user, "r4");
    cluster.kill("server-2");
    cluster.user.run_job("by-its-vote");
    for name in ["before", "without", "after"] {
        cluster.user.ok(&["verify", &format!("name={name}")]);
    }
    let states = cluster.user.states();
    for name in ["before", "without", "after", "by-its-vote"] {
        assert_eq!(states.get(name).map(String::as_str), Some("completed"), "{states:?}");
    }
    cluster.user.ok(&["audit", "verify"]);
}

#[test]
fn a_server_that_was_removed_says_so_and_may_not_come_back() {
    let mut cluster = Cluster::start();
    lead(&cluster.user, "r2");
    let refused = cluster.user.fails(3, &["cluster", "remove", "r2"]);
    assert!(refused.contains("cluster transfer"), "{refused}");
    let refused = cluster.user.fails(4, &["cluster", "transfer", "r9"]);
    assert!(refused.contains("r9"), "{refused}");
    cluster.user.ok(&["cluster", "remove", "r3"]);
    cluster.wait("server-3");
    assert!(cluster.log("server-3").contains("removed from the cluster"));
    let output = cluster.run_to_end("server-3");
    assert!(said(&output).contains("removed from the cluster"), "{}", said(&output));
    cluster.user.run_job("of-two");
}
