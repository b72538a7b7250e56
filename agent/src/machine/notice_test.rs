//! Notice, as scripts.

use super::script::play;
use expect_test::{Expect, expect};

const UP: &str = "connected\nwelcome\ncontact 0\n\
                  wanted 5 l5.0/started/continue\nprepared l5.0\n";

/// What happens to a lease that runs, its heartbeats left out.
fn check(script: &str, expected: Expect) {
    let before = play(UP).lines().count();
    let all = play(&format!("{UP}{script}"));
    let beats = |line: &&str| !line.contains("heartbeat");
    let after: Vec<_> = all.lines().skip(before).filter(beats).collect();
    expected.assert_eq(&format!("{}\n", after.join("\n")));
}

#[test]
fn an_attempt_with_notice_saves_and_then_gives_its_place_up() {
    check(
        "@1000 seen l5.0 3
         @2000 wanted 6 l5.0/started/continue/notice=j9
         @3000 stored l5.0 3
         @3100 recorded 1
         @4000 seen l5.0 4
         @5000 stored l5.0 4
         @5100 recorded 2
         @5200 wanted 7 l5.0/stopping/continue/notice=j9
         @5300 killed l5.0",
        expect![[r#"
            @1000 seen l5.0 3
                store checkpoint l5.0 3
            @2000 wanted 6 l5.0/started/continue/notice=j9
                ask l5.0 for a checkpoint: preempted by j9
            @3000 stored l5.0 3
                report 1: l5.0 checkpoint 3
            @3100 recorded 1
            @4000 seen l5.0 4
                store checkpoint l5.0 4
            @5000 stored l5.0 4
                report 2: l5.0 checkpoint 4
            @5100 recorded 2
                kill l5.0 within 1000 ms
                report 3: l5.0 failed: preempted by j9
            @5200 wanted 7 l5.0/stopping/continue/notice=j9
            @5300 killed l5.0
        "#]],
    );
}

#[test]
fn its_time_is_up_when_no_byte_has_moved_and_each_byte_begins_it_anew() {
    check(
        "@1000 wanted 6 l5.0/started/continue/notice=j9
         @2000 moved l5.0 100
         @20000 moved l5.0 100
         @30999 tick
         @30999 moved l5.0 101
         @60998 tick
         @60999 tick",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue/notice=j9
                ask l5.0 for a checkpoint: preempted by j9
            @2000 moved l5.0 100
            @20000 moved l5.0 100
            @30999 tick
            @30999 moved l5.0 101
            @60998 tick
            @60999 tick
                kill l5.0 within 1000 ms
                report 1: l5.0 failed: preempted by j9
        "#]],
    );
}

#[test]
fn a_notice_that_is_taken_back_changes_nothing() {
    check(
        "@1000 wanted 6 l5.0/started/continue/notice=j9
         @2000 wanted 7 l5.0/started/continue
         @90000 tick",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue/notice=j9
                ask l5.0 for a checkpoint: preempted by j9
            @2000 wanted 7 l5.0/started/continue
                unask l5.0
            @90000 tick
        "#]],
    );
}

#[test]
fn a_task_may_end_by_itself_once_its_checkpoint_stands() {
    check(
        "@1000 wanted 6 l5.0/started/continue/notice=j9
         @2000 seen l5.0 4
         @2001 exited l5.0 0 code 1
         @3000 stored l5.0 4
         @3100 recorded 1",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue/notice=j9
                ask l5.0 for a checkpoint: preempted by j9
            @2000 seen l5.0 4
                store checkpoint l5.0 4
            @2001 exited l5.0 0 code 1
            @3000 stored l5.0 4
                report 1: l5.0 checkpoint 4
            @3100 recorded 1
                kill l5.0 within 1000 ms
                report 2: l5.0 failed: preempted by j9
        "#]],
    );
}

#[test]
fn a_job_that_is_done_meanwhile_is_sealed() {
    check(
        "@1000 wanted 6 l5.0/started/continue/notice=j9
         @2000 exited l5.0 0 code 0
         @40000 tick",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue/notice=j9
                ask l5.0 for a checkpoint: preempted by j9
            @2000 exited l5.0 0 code 0
                store output l5.0 after checkpoints []
            @40000 tick
        "#]],
    );
}

#[test]
fn only_the_node_of_rank_0_decides_for_a_gang() {
    check(
        "@1000 wanted 6 l5.0/stopping/continue l6.0/started/n2+n1/continue
         @1001 prepared l6.0
         @1002 wanted 7 l6.0/started/n2+n1/continue/notice=j9
         @90000 tick",
        expect![[r#"
            @1000 wanted 6 l5.0/stopping/continue l6.0/started/n2+n1/continue
                kill l5.0 within 1000 ms
                prepare l6.0
            @1001 prepared l6.0
                start l6.0 ranks [1] node rank 1 until never
            @1002 wanted 7 l6.0/started/n2+n1/continue/notice=j9
                ask l6.0 for a checkpoint: preempted by j9
            @90000 tick
        "#]],
    );
}

#[test]
fn a_gang_that_has_not_begun_gives_its_place_up_at_once() {
    check(
        "@1000 wanted 6 l5.0/started/continue l6.0/preparing/continue
         @1002 wanted 7 l5.0/started/continue l6.0/preparing/continue/notice=j9",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue l6.0/preparing/continue
                prepare l6.0
            @1002 wanted 7 l5.0/started/continue l6.0/preparing/continue/notice=j9
                report 1: l6.0 failed: preempted by j9
        "#]],
    );
}

#[test]
fn a_time_limit_is_told_beforehand() {
    check(
        "@1000 wanted 6 l5.0/started/continue l6.0/started/continue/limit=50000/warn=20000
         @1000 prepared l6.0
         @30999 tick
         @31000 tick
         @51000 tick",
        expect![[r#"
            @1000 wanted 6 l5.0/started/continue l6.0/started/continue/limit=50000/warn=20000
                prepare l6.0
            @1000 prepared l6.0
                start l6.0 ranks [0] node rank 0 until never
            @30999 tick
            @31000 tick
                ask l6.0 for a checkpoint: ran longer than its time_limit
            @51000 tick
                kill l6.0 within 1000 ms
                report 1: l6.0 failed: ran longer than its time_limit
        "#]],
    );
}
