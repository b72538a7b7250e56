//! What leaders decided, made again by other replicas from what they have kept of their past.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::fs;

/// The document of a replay that ends with this code, once a server has rows to begin with.
fn replayed(user: &User, code: i32, words: &[&str]) -> Value {
    user.until(&format!("{words:?} is answered with {code}"), |user| {
        let output = user.assay(&[&["debug", "replay", "--json"], words].concat());
        (output.status.code() == Some(code))
            .then(|| serde_json::from_slice(&output.stdout).unwrap())
    })
}

/// A follower of the leader of now.
fn follower(user: &User) -> &'static str {
    let leader = user.leader();
    ["r1", "r2", "r3"].into_iter().find(|id| *id != leader).unwrap()
}

/// Has every server keep no more than so many entries at least.
fn set_window(cluster: &Cluster, entries: u64) {
    for name in crate::harness::cluster::SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("replay_window = {entries}\n{text}")).unwrap();
    }
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn a_follower_makes_every_decision_again_and_all_are_equal() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let on = follower(user);
    // Before the first decision each has rows to begin with.
    for id in ["r1", "r2", "r3"] {
        replayed(user, 0, &["--on", id]);
    }
    for name in ["a", "b", "c", "d"] {
        user.run_job(name);
    }
    let document = replayed(user, 0, &["--on", on]);
    assert_eq!((&document["schema"], &document["server"]), (&"debug_replay/v1".into(), &on.into()));
    let decisions = number(&document["decisions"]);
    assert!(decisions >= 4, "{document}");
    assert_eq!((number(&document["equal"]), number(&document["different"])), (decisions, 0));
    let list = document["list"].as_array().unwrap();
    assert_eq!(list.len() as u64, decisions);
    for decision in list {
        assert_eq!(decision["verdict"], "equal", "{decision}");
        assert_eq!(decision["made"], decision["recorded"], "{decision}");
    }
    // Every replica gives the same, line for line.
    let (from, to) = (number(&list[0]["entry"]), number(&list.last().unwrap()["entry"]));
    let (from, to) = (from.to_string(), to.to_string());
    let range = ["--from", &from, "--to", &to];
    let lists: Vec<_> = ["r1", "r2", "r3"]
        .map(|id| replayed(user, 0, &[&range[..], &["--on", id]].concat())["list"].clone())
        .into();
    assert!(lists.iter().all(|other| *other == document["list"]), "{lists:?}");
    // A part of it is what lies there.
    let third = number(&list[2]["entry"]).to_string();
    let part = replayed(user, 0, &["--from", &third, "--to", &to]);
    assert_eq!(part["list"].as_array().unwrap()[..], list[2..]);

    let text = user.ok(&["debug", "replay", "--from", &from, "--to", &to, "--on", on]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len() as u64, decisions + 1, "{text}");
    assert!(lines[0].contains("place") && lines[0].ends_with("equal"), "{text}");
    assert!(text.contains(&format!("on {on}")) && text.contains("all equal to the byte"), "{text}");

    // What is not there is said by name.
    user.fails(2, &["debug", "replay", "--from", "0"]);
    let why = user.fails(5, &["debug", "replay", "--on", "r9"]);
    assert!(why.contains("not r9"), "{why}");
    let why = user.fails(5, &["debug", "replay", "--to", "100000000"]);
    assert!(why.contains("is not here yet"), "{why}");
}

#[test]
fn what_is_outside_the_window_is_refused_by_name() {
    let mut cluster = Cluster::set_up();
    set_window(&cluster, 20);
    cluster.start_all();
    let user = &cluster.user;
    let early = replayed(user, 0, &["--on", "r1"]);
    user.run_job("early");
    let first = number(&early["kept_from"]);
    // Each job is a good number of entries; the first rows go with the second window.
    let mut kept = first;
    for number_of_job in 0..40 {
        if kept > first {
            break;
        }
        user.run_job(&format!("more-{number_of_job}"));
        kept = number(&replayed(user, 0, &["--on", "r1"])["kept_from"]);
    }
    assert!(kept > first, "the window moved on: {kept} after {first}");
    let asked = first.to_string();
    let why = user.fails(3, &["debug", "replay", "--from", &asked, "--on", "r1"]);
    let named = format!("entry {first} is outside the replay window of r1");
    assert!(why.contains(&named) && why.contains("replay_window = 20"), "{why}");
    assert!(why.contains("replay_window`"), "what to do: {why}");
    // What it still keeps it makes again.
    user.run_job("late");
    let late = replayed(user, 0, &["--on", "r1"]);
    assert_eq!((number(&late["different"]), number(&late["decisions"]) > 0), (0, true), "{late}");
    // A server that was away goes on from what it had kept.
    cluster.stop("server-1");
    cluster.run("server-1");
    let again = replayed(&cluster.user, 0, &["--on", "r1"]);
    assert_eq!(number(&again["different"]), 0, "{again}");
}

#[test]
fn a_window_of_nothing_keeps_nothing_and_says_so() {
    let mut cluster = Cluster::set_up();
    set_window(&cluster, 0);
    cluster.start_all();
    let why = cluster.user.fails(3, &["debug", "replay", "--on", "r2"]);
    assert!(why.contains("r2 keeps nothing for replays: its replay_window is 0"), "{why}");
}
