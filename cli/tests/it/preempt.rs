//! A training job gives its place up to an urgent gang, and loses nothing by it.

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::fs;

/// A program that trains: each step's state is made of the one before. Half way, and once more when
/// it has gone on, it waits for a file `go`. When it has notice, it writes on at its checkpoint until
/// there is a file `save`.
const TRAIN: &str = r#"
new="$ASSAY_CHECKPOINT_DIR/.new"
step=0; state="$ASSAY_SEED"
if [ -n "$ASSAY_RESUME_FROM" ]; then
    step=$(cat "$ASSAY_RESUME_FROM/step"); state=$(cat "$ASSAY_RESUME_FROM/state")
    echo "goes on at step $step"
fi
save() {
    rm -rf "$new"; mkdir "$new"
    while [ ! -e HERE/save ]; do echo more >> "$new/pad"; sleep 0.2; done
    echo $step > "$new/step"; echo $state > "$new/state"
    mv "$new" "$ASSAY_CHECKPOINT_DIR/step-$step"
}
while [ $step -lt 40 ]; do
    if [ "$RANK" = 0 ]; then
        state=$(printf '%s %s' "$state" $step | sha256sum | cut -c1-64)
    fi
    step=$((step + 1))
    while { [ $step = 20 ] || [ $step = 30 ]; } && [ ! -e HERE/go ]; do
        if [ "$RANK" = 0 ] && [ -e "$ASSAY_NOTICE" ] && [ -z "$saved" ]; then
            cat "$ASSAY_NOTICE"; save; saved=1
        fi
        sleep 0.1
    done
done
if [ "$RANK" = 0 ]; then echo $state > "$ASSAY_OUTPUT_DIR/model"; fi
"#;

fn job(user: &User, id: &str) -> Value {
    user.until("the job is told of", |user| user.json(&["job", id]))
}

fn until_state(user: &User, name: &str, state: &str) {
    user.until(&format!("{name} is {state}"), |user| (user.states()[name] == state).then_some(()));
}

/// What a job made.
fn root(user: &User, id: &str) -> Value {
    let artifact = user.until("it is sealed", |user| user.json(&["artifact", "show", id]));
    assert!(artifact["ticket"]["output"]["root"].is_string(), "{artifact}");
    artifact["ticket"]["output"]["root"].clone()
}

#[test]
fn a_gang_saves_its_work_for_an_urgent_one_and_ends_with_the_same_bits() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let nodes = user.json(&["nodes"]).unwrap();
    let gpus = nodes["nodes"][0]["inventory"]["gpus"].as_array().unwrap().len().to_string();
    let script = TRAIN.replace("HERE", &cluster.dir().display().to_string());
    let train = |name: &str| {
        let words =
            ["submit", "--rerun", "--name", name, "--cpus", "0.2", "--tasks", "2", "--gpus", &gpus];
        // A slow machine may lose contact for a while, which is not what this is about.
        let more = ["--min-run-time", "0s", "--on-disconnect", "continue", "--seed", "7"];
        user.ok(&[&words[..], &more, &["--", "sh", "-c", &script]].concat());
    };
    train("slow");
    until_state(user, "slow", "running");
    user.until("it is under way", |user| user.ok(&["job", "j1"]).contains("running").then_some(()));

    let urgent = "if [ $RANK = 0 ]; then echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"; fi";
    let words = ["submit", "--name", "urgent", "--priority", "5", "--cpus", "0.2"];
    let rest = ["--tasks", "2", "--gpus", &gpus, "--", "sh", "-c", urgent];
    user.ok(&[&words[..], &rest].concat());
    user.until("it is told to save its work", |user| {
        user.ok(&["job", "j1"]).contains("to give its place up: preempted by j2").then_some(())
    });
    let why = |id: &str, what: &str| {
        user.until(what, |user| user.ok(&["why", id]).contains(what).then_some(()));
    };
    why("j2", "j1 make room for it on node-");
    why("j1", "to give its place up (preempted by j2)");
    // While bytes of the checkpoint come, it stays.
    let pad = || {
        let folders = ["node-a", "node-b"].map(|node| cluster.path(&format!("data/{node}/leases")));
        let leases = folders.iter().filter_map(|all| fs::read_dir(all).ok()).flatten().flatten();
        leases.filter_map(|it| fs::metadata(it.path().join("ckpt/.new/pad")).ok()).next()
    };
    let first = user.until("it writes", |_| pad()).len();
    user.until("it writes more", |_| pad().filter(|it| it.len() > first));
    assert_eq!(user.states()["urgent"], "waiting", "nothing is taken before it is given");

    fs::write(cluster.path("save"), "").unwrap();
    until_state(user, "urgent", "completed");
    until_state(user, "slow", "running");
    fs::write(cluster.path("go"), "").unwrap();
    until_state(user, "slow", "completed");
    let slow = job(user, "j1");
    let attempts = slow["parts"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{slow}");
    assert_eq!(attempts[0]["cause"], serde_json::json!({ "cause": "preempted", "by": "j2" }));
    assert_eq!(slow["parts"][0]["checkpoints"][0]["step"], 20, "{slow}");
    let log = user.ok(&["logs", "j1"]);
    assert!(log.contains("goes on at step 20"), "{log}");

    // Now that `go` is there, nothing holds it up.
    train("undisturbed");
    until_state(user, "undisturbed", "completed");
    assert_eq!(root(user, "j1"), root(user, "j3"), "to be stopped changes no bit");
    let audit = user.ok(&["audit", "list", "--limit", "500"]);
    let told = ["preemption.begun", "preemption.ended"];
    assert!(told.iter().all(|kind| audit.contains(kind)), "{audit}");
    user.ok(&["audit", "verify"]);
}
