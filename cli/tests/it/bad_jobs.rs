//! Jobs that cannot be, given to a real cluster: each fault is named with what to do, and what is
//! at fault costs nobody else anything.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{ASSAY, User, cluster::Cluster, process, said};
use std::{
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

/// Runs a shell script as a job to its end: the command's exit code, and all that it said.
fn run(user: &User, script: &str) -> (Option<i32>, String) {
    let output = user.assay(&["submit", "--wait", "--cpus", "0.5", "--", "sh", "-c", script]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
    (output.status.code(), text)
}

/// The first line with these words that a command says which stays; then it is detached.
fn told(user: &User, words: &[&str], wanted: &str) -> String {
    let mut stays = Command::new("timeout")
        .args(["60", "sh", "-c", "exec \"$@\" 2>&1", "sh", ASSAY])
        .args(words)
        .env("ASSAY_PROFILE", &user.profile)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(stays.stdout.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains(wanted));
    process::signal(stays.id(), "-INT");
    stays.wait().unwrap();
    line.unwrap_or_else(|| panic!("{words:?} does not say `{wanted}`"))
}

/// Gives a job file that is refused with `code`; returns what the command says of it.
fn refused(cluster: &Cluster, code: i32, text: &str) -> String {
    let file = cluster.path("job.toml");
    std::fs::write(&file, text).unwrap();
    cluster.user.fails(code, &["submit", file.to_str().unwrap()])
}

#[test]
fn each_fault_of_a_job_is_named_with_what_to_do() {
    let cluster = Cluster::start();
    let user = &cluster.user;

    let words = refused(&cluster, 2, "command = [\"true\"]\noutptus = \"none\"\n");
    assert!(words.contains("line 2: outptus: is not a known key"), "{words}");
    assert!(words.contains("did you mean `outputs`?"), "{words}");
    let words = refused(&cluster, 2, "command = [\"true\"]\ncode = \"nowhere\"\n");
    assert!(words.contains("nowhere does not exist"), "{words}");
    let words = user.fails(2, &["submit", "nowhere.toml"]);
    assert!(words.contains("nowhere.toml: No such file"), "{words}");

    std::fs::create_dir(cluster.path("set")).unwrap();
    std::fs::write(cluster.path("set/rows"), "1,2\n").unwrap();
    let digest = "0".repeat(64);
    let words = refused(
        &cluster,
        7,
        &format!(
            "command = [\"true\"]\noutputs = \"none\"\n[datasets.rows]\npath = \"set\"\n\
             sha256 = \"{digest}\"\n"
        ),
    );
    assert!(words.contains(&digest) && words.contains("rows"), "{words}");
    assert!(user.states().is_empty(), "nothing of all that was taken in");

    // Taken in, for the cluster may grow; waits, and says for what.
    user.ok(&["submit", "--gpus", "99", "--name", "giant", "--", "true"]);
    let why = user.ok(&["why", "j1"]);
    assert!(why.contains("99") && why.contains("never, as the cluster is"), "{why}");
    assert!(why.contains("lower `gpus` to 8"), "{why}");
    for words in [
        &["watch", "j1"][..],
        &["wait", "j1"],
        &["submit", "--follow", "--gpus", "99", "--", "true"],
    ] {
        let line = told(user, words, "never, as the cluster is");
        assert!(line.contains("assay why"), "{words:?}: {line}");
    }

    let (code, text) = run(user, "exit 3");
    assert_eq!(code, Some(3), "the job's own code: {text}");
    assert!(text.contains("rank 0 exited with code 3"), "{text}");
    let (code, text) = run(user, "true");
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("wrote nothing to ASSAY_OUTPUT_DIR") && text.contains("outputs = \"none\"")
    );
    // What a job leaves behind ends with it where no other job runs: here one runs on each node.
    for name in ["busy-1", "busy-2"] {
        user.ok(&[
            "submit",
            "--gpus",
            "8",
            "--name",
            name,
            "--outputs",
            "none",
            "--",
            "sleep",
            "600",
        ]);
    }
    user.until("both run", |user| {
        let states = user.states();
        let runs = |name: &str| states.get(name).is_some_and(|state| state == "running");
        (runs("busy-1") && runs("busy-2")).then_some(())
    });
    // Without a pause, since what is written after the seal is none of its business; bounded, since
    // it leaves its group and may outlive the cluster that runs it.
    let writer =
        "i=0; while [ $i -lt 500000 ]; do echo $i >> $ASSAY_OUTPUT_DIR/log; i=$((i+1)); done";
    let (code, text) = run(user, &format!("setsid sh -c '{writer}' & sleep 0.3"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("`log` changed while it was being sealed"), "{text}");
    user.ok(&["cancel", "name=busy-1", "name=busy-2"]);

    let states = user.states();
    assert_eq!(states.get("giant").map(String::as_str), Some("waiting"), "{states:?}");
    user.run_job("among-them");
    user.ok(&["cancel", "j1"]);
}
