//! Runs of checks on a node, and what hung ranks leave behind.

use super::script::play;
use expect_test::{Expect, expect};

/// A node that is welcome and in contact.
const UP: &str = "connected
    welcome
    contact 0
";

fn check_up(script: &str, expected: Expect) {
    let before = play(UP).lines().count();
    let all = play(&format!("{UP}{script}"));
    let after: Vec<_> = all.lines().skip(before).collect();
    expected.assert_eq(&format!("{}\n", after.join("\n")));
}

#[test]
fn a_run_that_is_compared_at_one_step_stores_that_step_alone_and_is_ended_without_grace() {
    check_up(
        "wanted 5 l5.0/started/segment=30
         prepared l5.0
         seen l5.0 10
         seen l5.0 20
         seen l5.0 40
         stored l5.0 30
         wanted 9 l5.0/stopping/segment=30",
        expect![[r#"
            wanted 5 l5.0/started/segment=30
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            seen l5.0 10
            seen l5.0 20
            seen l5.0 40
                store checkpoint l5.0 30
            stored l5.0 30
                report 1: l5.0 checkpoint 30
            wanted 9 l5.0/stopping/segment=30
                kill l5.0 within 0 ms
        "#]],
    );
}

#[test]
fn a_dump_is_reported_while_its_lease_lives() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         dumped l5.0
         dumped l5.0
         recorded 1
         dumped l9.0",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            dumped l5.0
                report 1: l5.0 dumped rank 0
            dumped l5.0
            recorded 1
            dumped l9.0
        "#]],
    );
}
