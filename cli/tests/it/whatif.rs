//! What a change would do, asked of real processes: foreseen, and not done.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::fs;

const HOUR_MS: i64 = 3_600_000;

/// Submits a job that runs until a file is there.
fn submit(cluster: &Cluster, name: &str, gpus: &str, words: &[&str]) {
    let flag = cluster.path("go").display().to_string();
    let script = format!("while [ ! -e {flag} ]; do sleep 0.1; done");
    let first = ["submit", "--name", name, "--cpus", "0.2", "--gpus", gpus, "--outputs", "none"];
    cluster.user.ok(&[&first[..], words, &["--", "sh", "-c", &script]].concat());
}

fn running(user: &User, name: &str) {
    user.until(&format!("{name} runs"), |user| (user.states()[name] == "running").then_some(()));
}

/// The name of the node on which a job runs.
fn node_of(user: &User, job: &str) -> String {
    let shown = user.json(&["job", job]).unwrap();
    let attempts = shown["parts"][0]["attempts"].as_array().unwrap();
    let node = attempts.last().unwrap()["members"][0]["node"].as_str().unwrap().to_owned();
    let nodes = user.json(&["nodes"]).unwrap();
    let all = nodes["nodes"].as_array().unwrap();
    let found = all.iter().find(|it| it["id"] == node.as_str()).unwrap();
    found["inventory"]["name"].as_str().unwrap().to_owned()
}

/// A question that is answered: one that comes while the server is busy is asked again.
fn ask(user: &User, words: &[&str]) -> Value {
    user.until("the question is answered", |user| user.json(&[&["whatif"], words].concat()))
}

#[test]
fn what_would_come_is_told_and_nothing_of_it_is_done() {
    let mut cluster = Cluster::start();
    let user = &cluster.user;
    let nodes = user.json(&["nodes"]).unwrap();
    let gpus = nodes["nodes"][0]["inventory"]["gpus"].as_array().unwrap().len().to_string();
    submit(&cluster, "one", &gpus, &["--time-limit", "1h"]);
    running(user, "one");
    submit(&cluster, "two", &gpus, &["--time-limit", "3h"]);
    running(user, "two");
    submit(&cluster, "next", &gpus, &["--time-limit", "10m"]);

    // When it starts, and on which node.
    let (first, second) = (node_of(user, "j1"), node_of(user, "j2"));
    let why = user.until("it is known when it starts", |user| {
        let why = user.ok(&["why", "j3"]);
        why.contains("starts ").then_some(why)
    });
    assert!(why.contains("(by time limits)") && why.contains(&format!("on {first}")), "{why}");
    let start = user.json(&["why", "j3"]).unwrap()["start"].clone();
    assert_eq!((&start["basis"], &start["p50"]), (&"time_limits".into(), &start["p90"]), "{start}");

    // Without that node it waits for the other.
    let drained = ask(user, &["--drain", &first]);
    assert_eq!(drained["schema"], "whatif/v1");
    let shift = &drained["shifts"][0];
    assert_eq!((&shift["job"], &drained["shifts"].as_array().unwrap().len()), (&"j3".into(), &1));
    let moved = shift["shift_ms"].as_i64().unwrap();
    assert!((moved - 2 * HOUR_MS).abs() < HOUR_MS / 2, "{drained}");
    assert_eq!(drained["evictions"], Value::Array(Vec::new()));
    let text = user.ok(&["whatif", "--drain", &first, "--at", "+30m"]);
    assert!(text.contains("j3") && text.contains("1 start"), "{text}");
    let late = ask(user, &["--drain", &format!("{first},{second}"), "--at", "+20h"]);
    assert_eq!((&late["unmoved"], &late["shifts"]), (&1.into(), &Value::Array(Vec::new())));

    // A job file, with the node that it would have after `next`.
    let file = cluster.path("more.toml");
    let text = format!(
        "name = \"more\"\ncommand = [\"true\"]\ntime_limit = \"5m\"\n\
         resources = {{ gpus = {gpus}, cpus = 0.2 }}\n"
    );
    fs::write(&file, text).unwrap();
    let file = file.display().to_string();
    let more = ask(user, &["--submit", &file])["submitted"].clone();
    assert_eq!((&more["name"], &more["after"]["nodes"][0]), (&"more".into(), &Value::from(first)));
    let dry = user.ok(&["submit", "--dry-run", &file]);
    assert!(dry.contains("starts") && dry.contains("(by time limits)"), "{dry}");

    // Another configuration, and another guarantee within it.
    let policy = cluster.path("policy.toml");
    fs::write(&policy, "[queues.ml]\nguaranteed_gpus = 1\n").unwrap();
    let policy = policy.display().to_string();
    let both = ask(user, &["--policy", &policy, "--quota", "ml=+1", "--horizon", "2h"]);
    assert_eq!(both["horizon_ms"], 2 * HOUR_MS);
    assert_eq!(both["changes"].as_array().unwrap().len(), 2, "{both}");

    // What cannot be is said, with what there is.
    assert!(
        user.fails(4, &["whatif", "--drain", "nowhere"])
            .contains("there is no node or rack `nowhere`")
    );
    assert!(user.fails(4, &["whatif", "--quota", "no=+1"]).contains("there is no queue `no`"));
    user.fails(2, &["whatif"]);
    user.fails(2, &["whatif", "--at", "18:00"]);

    // Nothing of it has happened.
    assert_eq!(user.states().len(), 3);
    assert_eq!(user.json(&["queue", "list"]).unwrap()["version"], 0);
    let audit = user.ok(&["audit", "list", "--limit", "500"]);
    assert!(!audit.contains("drained") && !audit.contains("config.applied"), "{audit}");

    // One server alone can tell, without any leader.
    let leader = user.leader().replace('r', "server-");
    let others: Vec<&str> =
        ["server-1", "server-2", "server-3"].into_iter().filter(|it| *it != leader).collect();
    cluster.stop(&leader);
    cluster.stop(others[0]);
    let alone = ask(&cluster.user, &["--stale", "--drain", &second]);
    assert_eq!(alone["unmoved"], 1, "{alone}");
}
