//! The contract of each framework in real processes: what drifts ends the attempt with both
//! values, and each example that is killed at a random step leaves the bytes of one that was not.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster, process, tasks};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::Value;
use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::Command,
};

/// Python with what an example needs. The repository's set-up installs it.
fn python(module: &str) -> PathBuf {
    let home = std::env::var("HOME").unwrap();
    let cache = std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"));
    let own = PathBuf::from(cache).join("assay/test-python/bin/python");
    let system = PathBuf::from("/usr/bin/python3");
    let has = |python: &&PathBuf| {
        let mut trial = Command::new(python);
        let found = trial.args(["-c", &format!("import {module}")]).output();
        found.is_ok_and(|output| output.status.success())
    };
    [own, system].iter().find(has).cloned().unwrap_or_else(|| {
        panic!(
            "CANNOT RUN: no Python with `{module}`; `scripts/setup test` installs it. To leave \
             these tests out, say so: cargo test -- --skip leaves_no_trace"
        )
    })
}

/// A random number below `below`, and the seed that gives it again.
fn random(below: u64) -> u64 {
    let given = std::env::var("ASSAY_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| RandomState::new().hash_one(below));
    println!("ASSAY_TEST_SEED={seed}");
    seed % below
}

/// Submits an example; every step takes a while, so that it can be killed at a given one.
fn submit(user: &User, example: &str, name: &str, python: &Path, wait: &[&str]) {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../examples/{example}/job.toml"));
    let python = format!("PYTHON={}", python.display());
    let file = file.display().to_string();
    let words = ["submit", "--rerun", &file, "--name", name, "-e", &python, "--cpus", "0.5"];
    let slow = ["-p", "steps=100", "-p", "step_delay_ms=50"];
    user.ok(&[&words[..], &slow, wait].concat());
}

fn job(user: &User, id: &str) -> Value {
    user.until("the job is there", |user| user.json(&["job", id]))
}

/// Root digest of a job's sealed result.
fn root(user: &User, id: &str) -> String {
    let all = user.json(&["artifacts"]).unwrap();
    let of = |it: &&Value| it["ticket"]["element"] == id;
    let artifact = all["artifacts"].as_array().unwrap().iter().find(of).unwrap();
    artifact["ticket"]["output"]["root"].as_str().unwrap().to_owned()
}

/// The step that a rank's newest line tells of.
fn step(user: &User, id: &str, rank: u64) -> u64 {
    let output = user.assay(&["logs", id, "--rank", &rank.to_string()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut told = text.lines().filter_map(|line| line.strip_prefix("step ")?.split(' ').next());
    told.next_back().and_then(|step| step.parse().ok()).unwrap_or(0)
}

/// Kills a random rank of a running example at a random step.
fn kill_at_random(cluster: &Cluster, id: &str, ranks: u64) {
    let chance = random(1 << 16);
    let (rank, at) = (chance % ranks, 12 + chance / ranks % 50);
    cluster.user.until("a checkpoint is committed", |user| {
        let job = user.json(&["job", id])?;
        let kept = job["parts"][0]["checkpoints"].as_array()?.len();
        (kept > 0).then_some(())
    });
    let reached = cluster.user.until("the step is reached", |user| {
        let step = step(user, id, rank);
        (step >= at).then_some(step)
    });
    let all = tasks::of(cluster, id).into_iter();
    let victims: Vec<_> = all.filter(|task| task.var("RANK") == rank.to_string()).collect();
    assert!(!victims.is_empty(), "rank {rank} of {id} runs at step {reached}");
    for task in victims {
        process::signal(task.pid, "-KILL");
    }
    println!("rank {rank} killed at step {reached}");
}

/// Runs an example once undisturbed and once with a kill, and compares. Returns the cluster.
fn leaves_no_trace(example: &str, module: &str, ranks: u64) -> Cluster {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let python = python(module);
    submit(user, example, "whole", &python, &["--wait"]);
    submit(user, example, "killed", &python, &[]);
    kill_at_random(&cluster, "j2", ranks);
    let killed = user.until("the killed job has ended", |_| {
        Some(job(user, "j2")).filter(|job| job["ended"].is_string())
    });
    assert_eq!(killed["state"], "completed", "{killed}");
    let attempts = killed["parts"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    assert!(attempts[0]["cause"].to_string().contains("signal"), "{attempts:?}");
    let log = user.ok(&["logs", "j2", "--rank", "0"]);
    assert!(log.contains("resumed at step "), "{log}");
    assert_eq!(job(user, "j1")["recipe"], killed["recipe"]);
    assert_eq!(root(user, "j1"), root(user, "j2"), "the same bytes, killed or not");
    cluster
}

/// What the signed provenance of a job's result says was in force.
fn in_force(cluster: &Cluster, id: &str) -> Value {
    let to = cluster.path(&format!("export-{id}"));
    cluster.user.ok(&["artifact", "export", id, &to.display().to_string()]);
    let bytes = std::fs::read(to.join("provenance.dsse.json")).unwrap();
    let envelope: Value = serde_json::from_slice(&bytes).unwrap();
    let payload = BASE64.decode(envelope["payload"].as_str().unwrap()).unwrap();
    let statement: Value = serde_json::from_slice(&payload).unwrap();
    statement["predicate"]["buildDefinition"]["internalParameters"]["inForce"].clone()
}

#[test]
fn a_kill_at_a_random_step_leaves_no_trace_in_scikit_learn() {
    let cluster = leaves_no_trace("sklearn", "sklearn", 1);
    let in_force = in_force(&cluster, "j2");
    let (process, said) = (&in_force[0]["process"], &in_force[0]["framework"]);
    assert_eq!(process["environment"]["OPENBLAS_CORETYPE"], "Haswell", "{in_force}");
    assert_eq!(process["umask"], "0022", "{in_force}");
    let libraries = process["libraries"].to_string();
    assert!(libraries.contains("openblas"), "what it computes with: {libraries}");
    assert_eq!((&said["blas_core"], &said["threads"]), (&"Haswell".into(), &"1".into()));
}

#[test]
fn a_kill_at_a_random_step_leaves_no_trace_in_jax() {
    leaves_no_trace("jax", "jax", 1);
}

#[test]
fn a_kill_of_any_rank_at_a_random_step_leaves_no_trace_in_pytorch_over_two_tasks() {
    leaves_no_trace("pytorch", "torch", 2);
}

/// Runs a script as a job of a framework; returns what `assay job` shows, once it has ended.
fn run(user: &User, framework: &str, script: &str) -> String {
    let words = ["submit", "--name", "drift", "--cpus", "0.5", "--framework", framework];
    let output = user.assay(&[&words[..], &["--wait", "--", "sh", "-c", script]].concat());
    user.ok(&["job", "last"]) + &crate::harness::said(&output)
}

#[test]
fn what_drifts_from_the_contract_ends_the_attempt_with_both_values() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let report = |threads: u32| {
        format!(
            r#"printf '{{"blas_core": "Haswell", "threads": {threads}}}' > "$ASSAY_IN_FORCE"
               echo 1 > "$ASSAY_OUTPUT_DIR/answer""#
        )
    };
    let drift = |text: &str, name: &str, found: &str, asked: &str| {
        let words = format!("`{name}` is `{found}` in rank 0, asked was `{asked}`");
        assert!(text.contains(&words), "{words}\n{text}");
        assert!(text.contains("failed"), "{text}");
    };
    let text = run(user, "cuda", "OMP_NUM_THREADS=4 sleep 600 & wait");
    drift(&text, "OMP_NUM_THREADS", "4", "1");
    let text = run(user, "cuda", "sleep 0.3; export NCCL_ALGO=Tree; exec sleep 600");
    drift(&text, "NCCL_ALGO", "Tree", "Ring");
    let text = run(user, "cuda", "umask 077; exec sleep 600");
    drift(&text, "umask", "0077", "0022");
    drift(&run(user, "scikit-learn", &report(8)), "threads", "8", "1");
    let text = run(user, "scikit-learn", "echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"");
    assert!(text.contains("asked was `a report of scikit-learn at $ASSAY_IN_FORCE`"), "{text}");

    let checkpoint = r#"
        mkdir "$ASSAY_CHECKPOINT_DIR/.new" && mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-1"
        exec sleep 600"#;
    let text = run(user, "scikit-learn", &(report(2) + "\n" + checkpoint));
    drift(&text, "threads", "2", "1");

    let text = run(user, "scikit-learn", &report(1));
    assert!(text.contains("completed"), "{text}");
    let text = run(user, "cuda", "echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"");
    assert!(text.contains("completed"), "{text}");
}
