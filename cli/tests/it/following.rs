//! Commands that stay with a job end with it, whatever became of it.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster, until};
use std::process::{Child, Command, Stdio};

/// Gives a command that is to end by itself.
fn begin(user: &User, words: &[&str]) -> Child {
    let mut command = Command::new(crate::harness::ASSAY);
    command.arg("--profile").arg(&user.profile).args(words);
    command.stdout(Stdio::null()).stderr(Stdio::null()).stdin(Stdio::null()).spawn().unwrap()
}

/// The code that a command ends with.
fn end(what: &str, mut child: Child) -> Option<i32> {
    until(what, || child.try_wait().unwrap()).code()
}

#[test]
fn who_follows_is_let_go_when_a_job_ends_that_has_many_elements_or_never_ran() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let plain = ["--outputs", "none", "--cpus", "0.5"];
    let fails = ["--array", "3", "--", "sh", "-c", "exit $ASSAY_ARRAY_INDEX"];
    let array = begin(user, &[&["submit", "--follow"], &plain[..], &fails].concat());
    let code = end("an array that is followed ends", array);
    assert!(matches!(code, Some(1..)), "the code of an element that failed: {code:?}");
    let failed = user.ok(&["job", "j1"]);
    assert!(failed.contains("next: assay job j1[1]") || failed.contains("j1[2]"), "{failed}");

    let after = begin(
        user,
        &[&["submit", "--follow", "--after", "j1"], &plain[..], &["--", "true"]].concat(),
    );
    assert_ne!(end("a job that never started is let go", after), Some(0));

    user.ok(&[&["submit"], &plain[..], &["--gpus", "64", "--tasks", "1", "--", "true"]].concat());
    let waits = begin(user, &["logs", "-f", "j3"]);
    user.ok(&["cancel", "j3"]);
    assert_eq!(end("a job that was ended while it waited is let go", waits), Some(0));

    for (words, told) in [
        (&["logs", "-f", "j1[99]"][..], "j1 has 3 elements"),
        (&["logs", "j2[0]"], "j2 is no array"),
        (&["logs", "-f", "--attempt", "9", "j1[0]"], "no attempt 9"),
        (&["logs", "--rank", "9", "j1[0]"], "no rank 9"),
    ] {
        let said = user.fails(4, words);
        assert!(said.contains(told), "{words:?}: {said}");
    }
    let said = user.fails(2, &["logs", "j1"]);
    assert!(said.contains("an array of 3 elements"), "{said}");
}
