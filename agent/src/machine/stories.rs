//! What the machine does, as scripts.

use super::{
    Boot, Exit, HeldLease, HeldTask,
    script::{lease, play, play_from},
};
use domain::{LeaseId, Millis, NodeId, lease::Phase};
use expect_test::{Expect, expect};

fn check(script: &str, expected: Expect) {
    expected.assert_eq(&play(script));
}

const UP: &str = "connected\nwelcome\ncontact 0\n";

/// After a node's first contact, which is left out of the record.
fn check_up(script: &str, expected: Expect) {
    let before = play(UP).lines().count();
    let all = play(&format!("{UP}{script}"));
    let after: Vec<_> = all.lines().skip(before).collect();
    expected.assert_eq(&format!("{}\n", after.join("\n")));
}

#[test]
fn a_job_runs_from_grant_to_its_sealed_end() {
    check(
        "connected
         welcome
         contact 0
         @100 wanted 5 l5.0/preparing
         @110 prepared l5.0
         @120 recorded 1
         @121 wanted 6 l5.0/started
         @200 exited l5.0 0 code 0
         @210 output l5.0
         @220 recorded 2
         @221 wanted 8",
        expect![[r#"
            connected
                register holding []
            welcome
                heartbeat 0 holding []
            contact 0
            @100 wanted 5 l5.0/preparing
                prepare l5.0
            @110 prepared l5.0
                report 1: l5.0 prepared
            @120 recorded 1
            @121 wanted 6 l5.0/started
                start l5.0 ranks [0] node rank 0 until 6000 ms
            @200 exited l5.0 0 code 0
                store output l5.0 after checkpoints []
            @210 output l5.0
                report 2: l5.0 ended
            @220 recorded 2
            @221 wanted 8
                forget l5.0
        "#]],
    );
}

#[test]
fn no_task_starts_before_the_gang_is_prepared_nor_without_contact() {
    check(
        "connected
         welcome
         wanted 5 l5.0/preparing/n1+n2
         prepared l5.0
         wanted 6 l5.0/started/n1+n2
         @10 contact 0",
        expect![[r#"
            connected
                register holding []
            welcome
                heartbeat 0 holding []
            wanted 5 l5.0/preparing/n1+n2
                prepare l5.0
            prepared l5.0
                report 1: l5.0 prepared
            wanted 6 l5.0/started/n1+n2
            @10 contact 0
                start l5.0 ranks [0] node rank 0 until 6000 ms
        "#]],
    );
}

#[test]
fn without_contact_a_checkpoint_is_asked_for_and_then_everything_is_killed() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         @500 tick
         @600 contact 1
         @700 disconnected
         @4499 tick
         @4500 tick
         @6499 tick
         @6500 tick
         @6510 killed l5.0
         @7000 connected
         @7001 welcome
         @7002 recorded 1
         @7003 recorded 2
         @7004 wanted 7",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            @500 tick
                heartbeat 1 holding [l5.0]
            @600 contact 1
                renew l5.0 6500 ms
            @700 disconnected
            @4499 tick
            @4500 tick
                ask l5.0 for a checkpoint
            @6499 tick
            @6500 tick
                kill l5.0 within 0 ms
            @6510 killed l5.0
            @7000 connected
                register holding [l5.0]
            @7001 welcome
                heartbeat 0 holding [l5.0]
                report 1: l5.0 failed: its lease ended for want of contact
            @7002 recorded 1
                report 2: l5.0 stopped
            @7003 recorded 2
            @7004 wanted 7
                forget l5.0
        "#]],
    );
}

#[test]
fn renewed_contact_takes_the_request_for_a_checkpoint_back() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         @4100 tick
         @4200 contact 1",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            @4100 tick
                ask l5.0 for a checkpoint
                heartbeat 1 holding [l5.0]
            @4200 contact 1
                renew l5.0 10100 ms
                unask l5.0
        "#]],
    );
}

#[test]
fn a_job_that_chose_so_goes_on_without_contact() {
    check_up(
        "wanted 5 l5.0/started/continue
         prepared l5.0
         disconnected
         @60000 tick",
        expect![[r#"
            wanted 5 l5.0/started/continue
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until never
            disconnected
            @60000 tick
        "#]],
    );
}

#[test]
fn a_lease_that_is_no_longer_wanted_is_killed_and_forgotten() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         wanted 6
         killed l5.0
         recorded 1",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            wanted 6
                kill l5.0 within 1000 ms
            killed l5.0
                forget l5.0
                report 1: l5.0 stopped
            recorded 1
        "#]],
    );
}

#[test]
fn a_cancelled_attempt_is_ended_gently_and_its_end_reported() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         wanted 6 l5.0/stopping
         exited l5.0 0 signal 15
         killed l5.0
         recorded 1
         wanted 8",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            wanted 6 l5.0/stopping
                kill l5.0 within 1000 ms
            exited l5.0 0 signal 15
            killed l5.0
                report 1: l5.0 stopped
            recorded 1
            wanted 8
                forget l5.0
        "#]],
    );
}

#[test]
fn a_task_that_fails_ends_the_gangs_part_here() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         exited l5.0 0 code 3
         killed l5.0
         recorded 1
         wanted 7 l5.0/stopping
         recorded 2
         wanted 8",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            exited l5.0 0 code 3
                kill l5.0 within 500 ms
                report 1: l5.0 failed: rank 0 exited with code 3
            killed l5.0
            recorded 1
                report 2: l5.0 stopped
            wanted 7 l5.0/stopping
            recorded 2
            wanted 8
                forget l5.0
        "#]],
    );
}

#[test]
fn checkpoints_are_committed_in_order_one_at_a_time_and_the_newest_wins() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         seen l5.0 10
         seen l5.0 20
         seen l5.0 30
         seen l5.0 10
         stored l5.0 10
         recorded 1
         stored l5.0 30
         exited l5.0 0 code 0
         recorded 2",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            seen l5.0 10
                store checkpoint l5.0 10
            seen l5.0 20
            seen l5.0 30
            seen l5.0 10
            stored l5.0 10
                report 1: l5.0 checkpoint 10
            recorded 1
                store checkpoint l5.0 30
            stored l5.0 30
                report 2: l5.0 checkpoint 30
            exited l5.0 0 code 0
            recorded 2
                store output l5.0 after checkpoints [10, 30]
        "#]],
    );
}

#[test]
fn an_unusable_checkpoint_does_not_end_the_attempt() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         seen l5.0 10
         exited l5.0 0 code 0
         stored l5.0 10 bad",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            seen l5.0 10
                store checkpoint l5.0 10
            exited l5.0 0 code 0
            stored l5.0 10 bad
                store output l5.0 after checkpoints []
        "#]],
    );
}

#[test]
fn the_lead_reports_the_end_only_after_all_other_nodes_are_done() {
    check_up(
        "wanted 5 l5.0/started/n1+n2
         prepared l5.0
         exited l5.0 0 code 0
         output l5.0
         wanted 9 l5.0/started:n2/n1+n2",
        expect![[r#"
            wanted 5 l5.0/started/n1+n2
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            exited l5.0 0 code 0
                store output l5.0 after checkpoints []
            output l5.0
            wanted 9 l5.0/started:n2/n1+n2
                report 1: l5.0 ended
        "#]],
    );
}

#[test]
fn a_node_without_rank_0_reports_that_it_is_done_once_its_log_is_stored() {
    check_up(
        "wanted 5 l5.0/started/n2+n1
         prepared l5.0
         seen l5.0 10
         exited l5.0 1 code 0
         log l5.0",
        expect![[r#"
            wanted 5 l5.0/started/n2+n1
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [1] node rank 1 until 6000 ms
            seen l5.0 10
            exited l5.0 1 code 0
                store log l5.0 of n1
            log l5.0
                report 1: l5.0 done
        "#]],
    );
}

#[test]
fn a_report_is_repeated_with_its_number_until_it_is_recorded() {
    check_up(
        "wanted 5 l5.0/preparing
         prepared l5.0
         disconnected
         @300 connected
         @301 welcome
         @2400 tick
         @2500 recorded 1
         @5000 tick",
        expect![[r#"
            wanted 5 l5.0/preparing
                prepare l5.0
            prepared l5.0
                report 1: l5.0 prepared
            disconnected
            @300 connected
                register holding [l5.0]
            @301 welcome
                heartbeat 0 holding [l5.0]
                report 1: l5.0 prepared
            @2400 tick
                heartbeat 1 holding [l5.0]
                report 1: l5.0 prepared
            @2500 recorded 1
            @5000 tick
                heartbeat 2 holding [l5.0]
        "#]],
    );
}

#[test]
fn a_refused_report_ends_what_runs() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         seen l5.0 10
         stored l5.0 10
         refused 1
         killed l5.0
         refused 2
         refused 3
         wanted 9",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            seen l5.0 10
                store checkpoint l5.0 10
            stored l5.0 10
                report 1: l5.0 checkpoint 10
            refused 1
                kill l5.0 within 1000 ms
                report 2: l5.0 failed: could not be sealed: stale
            killed l5.0
            refused 2
                report 3: l5.0 stopped
            refused 3
            wanted 9
                forget l5.0
        "#]],
    );
}

#[test]
fn an_attempt_over_its_time_limit_fails() {
    check_up(
        "wanted 5 l5.0/started/limit=300
         prepared l5.0
         @299 tick
         @300 tick",
        expect![[r#"
            wanted 5 l5.0/started/limit=300
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            @299 tick
                ask l5.0 for a checkpoint: ran longer than its time_limit
            @300 tick
                kill l5.0 within 1000 ms
                report 1: l5.0 failed: ran longer than its time_limit
        "#]],
    );
}

#[test]
fn an_older_list_of_what_is_wanted_changes_nothing() {
    check_up(
        "wanted 5 l5.0/started
         prepared l5.0
         wanted 4",
        expect![[r#"
            wanted 5 l5.0/started
                prepare l5.0
            prepared l5.0
                start l5.0 ranks [0] node rank 0 until 6000 ms
            wanted 4
        "#]],
    );
}

#[test]
fn a_later_life_takes_over_running_tasks_and_learns_of_ends_it_missed() {
    let id = |index| LeaseId { index, ordinal: 0 };
    let held = |index, task| HeldLease {
        wanted: lease(id(index), &[1], Phase::Started { done: [].into() }),
        tasks: [(0, task)].into(),
        started: Millis(100),
        deadline: Some(Millis(9_000)),
    };
    let boot = Boot {
        node: Some(NodeId(1)),
        held: vec![
            held(3, HeldTask::Running),
            held(4, HeldTask::Exited(Exit::Code(0))),
            held(5, HeldTask::Lost),
        ],
    };
    let expected = expect![[r#"
        @5000 connected
            store output l4.0 after checkpoints []
            kill l5.0 within 500 ms
            register holding [l3.0, l4.0, l5.0]
        @5010 welcome
            heartbeat 0 holding [l3.0, l4.0, l5.0]
            report 1: l5.0 failed: its node was lost
        @5020 contact 0
            renew l3.0 11010 ms
        @5030 exited l3.0 0 code 0
            store output l3.0 after checkpoints []
    "#]];
    expected.assert_eq(&play_from(
        boot,
        "@5000 connected
         @5010 welcome
         @5020 contact 0
         @5030 exited l3.0 0 code 0",
    ));
}
