//! What a command says when nobody answers, time is up or it is interrupted; and that it may then
//! be repeated.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{ASSAY, User, cluster::Cluster, process};
use serde_json::Value;
use std::process::{Child, Command, Stdio};

/// What a command that nobody answers says.
fn unanswered(user: &User, words: &[&str]) -> Value {
    serde_json::from_str(&user.fails(5, &[&["--json"], words].concat())).unwrap()
}

#[test]
fn a_submit_that_nobody_answered_is_repeated_under_its_key_and_taken_in_once() {
    let mut cluster = Cluster::start();
    let others = ["server-2", "server-3"];
    others.iter().for_each(|name| cluster.kill(name));
    let user = &cluster.user;
    let read = unanswered(user, &["jobs"]);
    assert_eq!(
        (&read["request_key"], &read["retry_safe"]),
        (&Value::Null, &Value::Bool(true)),
        "{read}"
    );

    let submit = ["submit", "--cpus", "0.5", "--", "sh", "-c", "echo 7 > $ASSAY_OUTPUT_DIR/w"];
    let fault = unanswered(user, &submit);
    assert_eq!(fault["retry_safe"], false, "as it is it would be another job: {fault}");
    let key = fault["request_key"].as_str().unwrap().to_owned();
    assert!(fault["hint"].as_str().unwrap().contains(&format!("--request-key {key}")), "{fault}");
    let again = [&["--request-key", &key][..], &submit].concat();
    let fault = unanswered(user, &again);
    assert_eq!((&fault["retry_safe"], &fault["request_key"]), (&true.into(), &key.as_str().into()));

    others.iter().for_each(|name| cluster.run(name));
    let user = &cluster.user;
    user.status();
    let answer = |words: &[&str]| -> Value {
        serde_json::from_str(&user.ok(&[&["--json"], words].concat())).unwrap()
    };
    let first = answer(&again);
    assert_eq!(first["job"], "j1", "{first}");
    user.ok(&["wait", "j1"]);
    // Its result is there by now; under its key the answer is the one that it was given.
    assert_eq!(answer(&again), first);
    assert_eq!(answer(&submit)["schema"], "known_result/v1");
    assert_eq!(user.states().len(), 1);
    let other = user.fails(3, &["--request-key", &key, "submit", "--seed", "9", "--", "true"]);
    assert!(other.contains("key"), "{other}");
}

fn starts(user: &User, words: &[&str]) -> Child {
    let mut command = Command::new(ASSAY);
    command.args(words).env("ASSAY_PROFILE", &user.profile);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Interrupts a command that waits, and gives what it said.
fn interrupted(child: Child) -> String {
    process::signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    let said = crate::harness::said(&output);
    assert_eq!(output.status.code(), Some(130), "{said}");
    said
}

#[test]
fn each_way_to_end_has_its_exit_code() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let killed = ["submit", "--wait", "--cpus", "0.5", "--", "sh", "-c", "kill -9 $$"];
    assert_eq!(user.assay(&killed).status.code(), Some(137));

    let runs = |user: &User, name: &str| {
        user.until(&format!("{name} runs"), |user| {
            (user.states().get(name)? == "running").then_some(())
        });
    };
    let long = ["--outputs", "none", "--", "sleep", "600"];
    user.ok(&[&["submit", "--name", "long"][..], &long].concat());
    runs(user, "long");
    let late = user.fails(124, &["--timeout", "1s", "wait", "name=long"]);
    assert!(late.contains("--timeout 1.0s was reached"), "{late}");
    for (name, form) in [("text", &[][..]), ("json", &["--json"]), ("lines", &["--jsonl"])] {
        let words = [form, &["submit", "--wait", "--name", name], &long].concat();
        let child = starts(user, &words);
        runs(user, name);
        let said = interrupted(child);
        // Notes are for people.
        let told = said.contains("the job keeps running. Reattach: assay ");
        assert_eq!(told, form.is_empty(), "{said}");
        assert_eq!(user.states()[name], "running");
        user.ok(&["cancel", &format!("name={name}")]);
    }
    user.ok(&["cancel", "name=long"]);
}
