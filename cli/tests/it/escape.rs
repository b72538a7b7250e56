//! Hostile jobs in a sandbox, given to a real cluster as root: each must fail at what it tries, and
//! what became of it is looked at from outside.
#![cfg(target_arch = "x86_64")]

use crate::harness::{
    cluster::Cluster,
    hostile::{
        LEAST, Sweep, base64, each_limit_ends_only_the_job, groups, lease_dir, nothing_is_got_at,
        pid_of, walled,
    },
    process, said, until,
};
use serde_json::Value;
use std::fs;

/// A cluster whose one node puts every job into a sandbox.
fn sandboxed() -> (Sweep, Cluster) {
    walled("isolation = \"sandbox\"\n")
}

/// The same with an agent that is a user of its own.
fn least() -> (Sweep, Cluster) {
    walled(LEAST)
}

#[test]
fn no_hostile_job_gets_at_what_is_not_its_own() {
    let (_sweep, cluster) = least();
    nothing_is_got_at(&cluster, &[]);
}

#[test]
fn each_limit_ends_the_job_and_only_the_job_with_a_cause_of_its_own() {
    let (_sweep, cluster) = least();
    each_limit_ends_only_the_job(&cluster, &[]);
}

#[test]
fn a_gang_meets_in_its_room_outlives_the_agent_and_leaves_nothing() {
    let (_sweep, mut cluster) = sandboxed();
    let before = groups();
    let script = "echo $RANK >> $ASSAY_OUTPUT_DIR/ranks; \
                  while [ ! -e $ASSAY_CHECKPOINT_DIR/go ]; do sleep 0.1; done; \
                  [ $MASTER_ADDR = 127.0.0.1 ] && [ $(grep -c . $ASSAY_OUTPUT_DIR/ranks) = 2 ]";
    let words = ["submit", "--name", "gang", "--tasks", "2", "--cpus", "0.5", "--memory", "64MiB"];
    cluster.user.ok(&[&words[..], &["--", "sh", "-c", script]].concat());
    let lease = lease_dir(&cluster, "ranks");
    assert!(!groups().is_empty());
    cluster.kill("node-a");
    cluster.run("node-a");
    cluster.user.ready(1);
    fs::write(lease.join("ckpt/go"), "").unwrap();
    cluster.user.until("the gang completes", |user| {
        let state = user.states()["gang"].clone();
        assert_ne!(state, "failed", "{}", user.ok(&["job", "j1"]));
        (state == "completed").then_some(())
    });
    let out = cluster.path("exported");
    let words = ["artifact", "export", "last", out.to_str().unwrap()];
    let exported = cluster.user.assay(&words);
    assert!(exported.status.success(), "{}", said(&exported));
    let envelope = fs::read_to_string(out.join("provenance.dsse.json")).unwrap();
    let envelope: Value = serde_json::from_str(&envelope).unwrap();
    let payload = base64(envelope["payload"].as_str().unwrap());
    let payload: Value = serde_json::from_slice(&payload).unwrap();
    let held = payload.pointer("/predicate/buildDefinition/internalParameters/isolation").unwrap();
    assert_eq!(held["kind"], "sandbox");
    assert_eq!(held["sandbox"]["memory"], 128 << 20, "{held}");
    assert_eq!(held["sandbox"]["network"], "none");
    assert!(held["sandbox"]["uid"].as_u64().unwrap() >= 0x7000_0000, "{held}");

    // A supervisor that dies takes its rooms along, and the next one sweeps their groups.
    let stay = "touch $ASSAY_OUTPUT_DIR/stays; setsid env -i sleep 86391; true";
    cluster.user.ok(&["submit", "--name", "stays", "--cpus", "0.5", "--", "sh", "-c", stay]);
    lease_dir(&cluster, "stays");
    let dir = cluster.path("data/node-a").display().to_string();
    let supervisor = process::named(&["supervisor", "--dir", &dir])[0];
    let stray = pid_of("sleep 86391");
    assert!(process::signal(supervisor, "-KILL"));
    until("what ran in the room ends", || (!process::signal(stray, "-0")).then_some(()));
    cluster.user.ok(&["cancel", "j2"]);
    until("the groups are gone", || (groups().len() <= before.len()).then_some(()));
}
