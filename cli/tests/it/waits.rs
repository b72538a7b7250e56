//! Holds, priorities, jobs after jobs and pauses, as real processes keep them.

use crate::harness::{User, cluster::Cluster};
use std::fs;

fn submit(user: &User, name: &str, words: &[&str], script: &str) {
    let all = [&["submit", "--name", name, "--cpus", "0.2"], words, &["--", "sh", "-c", script]];
    user.ok(&all.concat());
}

fn until_all(user: &User, wanted: &[(&str, &str)]) {
    user.until(&format!("{wanted:?}"), |user| {
        let states = user.states();
        wanted.iter().all(|(name, state)| states[*name] == *state).then_some(())
    });
}

#[test]
fn jobs_wait_for_people_for_jobs_and_for_a_time() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let go = cluster.path("go").display().to_string();
    let write = "echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"";
    let wait = format!("while [ ! -e {go} ]; do sleep 0.1; done; {write}");
    submit(user, "first", &[], &wait);
    submit(user, "second", &["--after", "j1"], write);
    submit(user, "never", &["--after-failed", "j1"], write);
    submit(user, "chained", &["--after", "j3"], write);
    submit(user, "last", &["--after-any", "j3", "--after-any", "j2"], write);
    let why = user.ok(&["why", "name=second"]);
    assert!(why.contains("it waits for j1 `first`"), "{why}");
    assert!(user.fails(2, &["submit", "--after", "j99", "--", "true"]).contains("no job j99"));

    user.ok(&["hold", "name=second"]);
    assert_eq!(user.states()["second"], "held");
    assert!(user.fails(3, &["hold", "j2"]).contains("held already"));
    user.ok(&["priority", "j2", "7"]);
    assert_eq!(user.json(&["job", "j2"]).unwrap()["priority"], 7);
    fs::write(&go, "").unwrap();
    until_all(user, &[("first", "completed"), ("never", "failed"), ("chained", "failed")]);
    assert_eq!(user.states()["second"], "held", "what it waited for is over, the hold is not");
    let never = user.ok(&["job", "j3"]);
    assert!(never.contains("never started: it was to wait for j1 to fail, but it"), "{never}");
    user.ok(&["release", "j2"]);
    until_all(user, &[("second", "completed"), ("last", "completed")]);
    user.fails(3, &["release", "j2"]);
    user.fails(4, &["hold", "j99"]);

    let flag = cluster.path("again").display().to_string();
    let script = format!("if [ -e {flag} ]; then {write}; else touch {flag}; exit 3; fi");
    submit(user, "paused", &["--retries", "1", "--retry-backoff", "3s"], &script);
    user.until("it pauses", |user| user.ok(&["why", "last"]).contains("pause").then_some(()));
    until_all(user, &[("paused", "completed")]);
    let attempts = user.json(&["job", "last"]).unwrap()["parts"][0]["attempts"].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 2, "{attempts}");
    let audit = user.ok(&["audit", "list", "--limit", "500"]);
    let told = ["job.held", "job.released", "job.priority_changed", "job.given_up"];
    assert!(told.iter().all(|kind| audit.contains(kind)), "{audit}");
    user.ok(&["audit", "verify"]);
}
