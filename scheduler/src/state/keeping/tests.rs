//! Which checkpoints' bytes stay, and which may go.

use super::super::{
    command::Command,
    script::{Script, job, machine},
};
use super::*;
use domain::{
    Bytes, LeaseId, Millis, NodeId,
    job::{EndCause, JobSpec},
    link::Report,
};
use proptest::prelude::*;

fn checkpoint(lease: LeaseId, step: u64) -> Checkpoint {
    let tree = Digest::of(&step.to_be_bytes());
    Checkpoint { step, root: tree, tree, size: Bytes(1), lease }
}

fn running(rule: CheckpointRule) -> (Script, NodeId) {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    script.submit(JobSpec { checkpoint: rule, retries: 9, ..job(1, 1) });
    script.plan();
    (script, node)
}

fn commit(script: &mut Script, node: NodeId, steps: impl IntoIterator<Item = u64>) {
    for step in steps {
        let checkpoint = checkpoint(script.lease_of("j1"), step);
        script.report(node, Report::Checkpoint { checkpoint });
    }
}

fn kept(script: &Script) -> Vec<u64> {
    let all = page(&script.rows, None, 99);
    all.iter().map(|kept| step_in(&kept.key)).collect()
}

fn needs(script: &Script, step: u64, pins: &[LeaseId]) -> bool {
    let pins = pins.iter().map(|lease| Pin { lease: *lease, step }).collect();
    script.view().needs_list(&script.rows, Digest::of(&step.to_be_bytes()), &pins)
}

fn wait(script: &mut Script, time: u64) {
    script.now = script.now.plus(Millis(time));
    script.send(None, Command::Wake { until: script.now });
}

#[test]
fn the_newest_of_a_jobs_number_are_kept_and_all_digests() {
    let (mut script, node) = running(CheckpointRule { keep: Some(2), max_age: None });
    commit(&mut script, node, 1..=5);
    assert_eq!(kept(&script), [4, 5]);
    let wanted = script.view().wanted(node, "c", &script.rows);
    assert_eq!(wanted[0].checkpoints.len(), 5);
    let ended = LeaseId { index: 1, ordinal: 0 };
    assert!(needs(&script, 5, &[ended]) && needs(&script, 4, &[ended]));
    assert!(!needs(&script, 3, &[ended]));
    let live = script.lease_of("j1");
    assert!(!needs(&script, 3, &[live]), "a step that was committed is not committed again");
    assert!(needs(&script, 6, &[live]), "one that is under way may be any moment");
}

#[test]
fn what_a_live_lease_has_put_on_a_server_is_needed_and_what_an_ended_one_has_is_not() {
    let (mut script, node) = running(CheckpointRule::default());
    let lease = script.lease_of("j1");
    assert!(needs(&script, 1, &[lease]), "it may be committed any moment");
    let later = LeaseId { index: script.at.0 + 1, ordinal: 0 };
    assert!(needs(&script, 1, &[later]), "this replica has not heard of that lease yet");
    script.report(node, Report::Failed { lease, cause: EndCause::NodeLost });
    script.report(node, Report::Stopped { lease });
    assert!(!needs(&script, 1, &[lease]));
}

#[test]
fn the_newest_of_what_may_be_resumed_outlives_its_time_and_goes_after_the_end() {
    let age = 1_000;
    let rule = CheckpointRule { keep: Some(3), max_age: Some(Millis(age)) };
    let (mut script, node) = running(rule);
    commit(&mut script, node, [1, 2]);
    assert_eq!(script.view().next_pause(), Some(script.now.plus(Millis(age))));
    wait(&mut script, age - 1);
    assert_eq!(kept(&script), [1, 2]);
    wait(&mut script, 1);
    assert_eq!(kept(&script), [2], "it may be resumed from");
    wait(&mut script, 10 * age);
    assert_eq!(kept(&script), [2]);
    script.cancel("j1");
    let lease = script.lease_of("j1");
    script.report(node, Report::Stopped { lease });
    wait(&mut script, age);
    assert_eq!(kept(&script), [0; 0]);
    assert_eq!(script.view().next_pause(), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The script checks after each entry that the newest of what may be resumed is kept, and that
    /// the three tables say the same.
    #[test]
    fn nothing_that_may_be_resumed_from_is_let_go(
        keep in 1_u32..4,
        moves in prop::collection::vec((0_u8..4, 1_u64..900), 1..60),
    ) {
        let rule = CheckpointRule { keep: Some(keep), max_age: Some(Millis(1_000)) };
        let (mut script, node) = running(rule);
        let mut step = 0;
        for (what, time) in moves {
            script.now = script.now.plus(Millis(time));
            let live = script.view().all_leases().next().map(|lease| lease.id);
            match (what, live) {
                (0 | 1, Some(_)) => {
                    step += 1;
                    commit(&mut script, node, [step]);
                }
                (2, Some(lease)) => {
                    script.report(node, Report::Failed { lease, cause: EndCause::NodeLost });
                    script.report(node, Report::Stopped { lease });
                }
                _ => wait(&mut script, time),
            }
            if script.view().all_leases().next().is_none() {
                script.plan();
            }
            prop_assert!(kept(&script).len() <= keep as usize);
            if let Some(lease) = script.view().all_leases().next()
                && let Some(saved) = &lease.resume_from
                && step == saved.step
            {
                prop_assert!(needs(&script, saved.step, &[]));
            }
        }
    }
}
