//! The ledger, story by story.

use super::row::Owner;
use crate::state::{
    command::Command,
    key,
    script::{Script, array, job, machine},
    view::{UsageAsked, UsageBy},
};
use domain::{
    Bytes, Digest, LeaseId, Millis, NodeId,
    checkpoint::Checkpoint,
    gpu_time::{DAY_MS, GpuTime, UsagePlace, UsageView},
    job::{EndCause, JobSpec},
    limit,
    link::Report,
    queue::{ClusterConfig, QueueSpec},
};

fn wait(script: &mut Script, ms: u64) {
    script.now = script.now.plus(Millis(ms));
}

/// Time goes by, and the log tells of it.
fn tell(script: &mut Script) {
    script.send(None, Command::Wake { until: script.now });
}

fn asked(by: UsageBy) -> UsageAsked {
    let until = Millis(0);
    UsageAsked { by, first: 0, last: u64::MAX - 1, queue: None, after: None, limit: 100, until }
}

/// All that was used, after it is seen that it balances.
fn all(script: &mut Script) -> UsageView {
    tell(script);
    let view = script.view().usage(&script.rows, &asked(UsageBy::All)).unwrap();
    assert!(view.balances(), "{view:?}");
    view
}

fn save(script: &mut Script, lease: LeaseId, step: u64) {
    let node = script.view().lease(lease).unwrap().lead();
    let digest = Digest::of(&step.to_be_bytes());
    let checkpoint = Checkpoint { step, root: digest, tree: digest, size: Bytes(1), lease };
    script.report(node, Report::Checkpoint { checkpoint });
}

fn end(script: &mut Script, lease: LeaseId, cause: EndCause) {
    let node = script.view().lease(lease).unwrap().lead();
    script.report(node, Report::Failed { lease, cause });
    script.report(node, Report::Stopped { lease });
}

/// A machine of four GPUs, with a job on three of them.
fn begun(spec: JobSpec) -> (Script, LeaseId) {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    (script, lease)
}

#[test]
fn what_ends_well_is_useful_and_what_nobody_holds_is_free() {
    let (mut script, lease) = begun(job(1, 3));
    wait(&mut script, 500);
    let view = all(&mut script);
    assert_eq!(
        (view.wall_gpu_ms, view.free_gpu_ms, view.total.running_gpu_ms),
        (2_000, 500, 1_500)
    );
    wait(&mut script, 500);
    script.finish(lease, 1);
    wait(&mut script, 1_000);
    let view = all(&mut script);
    assert_eq!((view.wall_gpu_ms, view.free_gpu_ms), (8_000, 5_000));
    let useful = GpuTime { useful_gpu_ms: 3_000, ..GpuTime::default() };
    assert_eq!(view.total, useful, "before the seal as after it");
    script.seal(lease);
    assert_eq!(all(&mut script).total, useful);
}

#[test]
fn of_what_fails_the_time_up_to_the_checkpoint_is_useful_and_the_cause_says_what_the_rest_is() {
    let by = domain::ElementId::from(domain::JobId(9));
    type Share = fn(&GpuTime) -> u64;
    let cases: [(EndCause, Share); 5] = [
        (EndCause::ExitCode { rank: 0, code: 1 }, |time| time.rework_gpu_ms),
        (EndCause::TimeLimit, |time| time.rework_gpu_ms),
        (EndCause::Preempted { by }, |time| time.lost_to_preemption_gpu_ms),
        (EndCause::LeaseExpired, |time| time.lost_to_faults_gpu_ms),
        (EndCause::Cancelled, |time| time.lost_to_cancel_gpu_ms),
    ];
    for (cause, share) in cases {
        let (mut script, lease) = begun(job(1, 2));
        wait(&mut script, 1_000);
        save(&mut script, lease, 10);
        wait(&mut script, 300);
        end(&mut script, lease, cause.clone());
        let total = all(&mut script).total;
        assert_eq!((total.useful_gpu_ms, share(&total)), (2_000, 600), "{cause}: {total:?}");
        assert_eq!(total.held(), 2_600, "nothing else");
    }
}

#[test]
fn a_gang_holds_idle_until_all_its_nodes_are_ready() {
    let mut script = Script::new();
    for name in ["a", "b"] {
        script.register(machine(name, 2, "NVIDIA H100"));
    }
    let id = script.submit(job(2, 2));
    script.plan();
    let lease = script.lease_of(&id.to_string());
    wait(&mut script, 100);
    script.report(NodeId(1), Report::Prepared { lease });
    wait(&mut script, 100);
    script.report(NodeId(2), Report::Prepared { lease });
    script.report(NodeId(2), Report::Prepared { lease });
    wait(&mut script, 50);
    let total = all(&mut script).total;
    assert_eq!((total.held_idle_gpu_ms, total.running_gpu_ms), (800, 200));

    let id = script.submit(job(2, 2));
    script.finish(lease, 1);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    wait(&mut script, 100);
    script.lose(NodeId(2));
    script.report(NodeId(1), Report::Stopped { lease });
    let total = all(&mut script).total;
    assert_eq!((total.held_idle_gpu_ms, total.lost_to_faults_gpu_ms), (1_200, 0), "nothing ran");
}

#[test]
fn a_result_that_is_never_sealed_was_lost_after_all() {
    let (mut script, lease) = begun(job(1, 4));
    wait(&mut script, 1_000);
    save(&mut script, lease, 10);
    wait(&mut script, 200);
    script.finish(lease, 1);
    wait(&mut script, 5_000);
    assert_eq!(all(&mut script).total.useful_gpu_ms, 4_800);
    script.send(None, Command::AbandonSeal { ticket: lease, cause: EndCause::BlobsLost });
    let total = all(&mut script).total;
    assert_eq!((total.useful_gpu_ms, total.lost_to_faults_gpu_ms), (4_000, 800));
}

#[test]
fn gpus_come_and_go_with_their_nodes() {
    let mut script = Script::new();
    wait(&mut script, 1_000);
    let node = script.register(machine("a", 4, "NVIDIA H100"));
    wait(&mut script, 10);
    script.send(None, Command::Drain { node: "a".into(), reason: Some("fans".into()) });
    wait(&mut script, 10);
    let view = all(&mut script);
    assert_eq!((view.wall_gpu_ms, view.free_gpu_ms, view.out_of_service_gpu_ms), (80, 80, 40));
    script.lose(node);
    wait(&mut script, 1_000);
    assert_eq!(all(&mut script).wall_gpu_ms, 80, "what is out of contact is not there");
    script.register(machine("a", 2, "NVIDIA H100"));
    wait(&mut script, 10);
    assert_eq!(all(&mut script).wall_gpu_ms, 100);
}

/// Nothing happens in the log while a job just runs.
#[test]
fn what_runs_is_told_up_to_when_it_is_asked() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    script.submit(job(1, 1));
    script.plan();
    let until = script.view().now().plus(Millis(5_000));
    let told = UsageAsked { until, ..asked(UsageBy::Job) };
    let usage = script.view().usage(&script.rows, &told).unwrap();
    assert_eq!((usage.now_ms, usage.lines[0].time.running_gpu_ms), (until, 5_000));
    assert_eq!((usage.wall_gpu_ms, usage.free_gpu_ms), (20_000, 15_000));
    assert!(usage.balances());
}

#[test]
fn time_is_told_by_day_team_queue_user_and_job() {
    let mut script = Script::new();
    let spec =
        |parent: Option<&str>| QueueSpec { parent: parent.map(Into::into), ..QueueSpec::default() };
    let mut config = ClusterConfig::default();
    config.queues.insert("ml".into(), spec(None));
    config.queues.insert("ml-a".into(), spec(Some("ml")));
    script.send(None, Command::ApplyConfig { expected: 0, config, why: "teams".into() });
    script.now = Millis(3 * DAY_MS - 1_000);
    script.register(machine("a", 4, "NVIDIA H100"));
    let one = script.submit(JobSpec { queue: "ml-a".into(), ..job(1, 1) });
    let two = script.submit(JobSpec { user: "bob".into(), ..array(2, 2, 1) });
    script.plan();
    let lease = script.lease_of(&one.to_string());
    wait(&mut script, 3_000);
    script.finish(lease, 1);
    tell(&mut script);

    let of = |asked: UsageAsked| script.view().usage(&script.rows, &asked).unwrap();
    let day = |by, day| of(UsageAsked { first: day, last: day, ..asked(by) });
    assert_eq!(
        (day(UsageBy::All, 2).wall_gpu_ms, day(UsageBy::All, 3).wall_gpu_ms),
        (4_000, 8_000)
    );
    assert!(day(UsageBy::All, 2).balances() && day(UsageBy::All, 3).balances());
    let lines = day(UsageBy::Queue, 3).lines;
    let told: Vec<_> =
        lines.iter().map(|it| (&*it.team, &*it.queue, &*it.user, it.time.held())).collect();
    assert_eq!(told, [("default", "default", "", 4_000), ("ml", "ml-a", "", 2_000)]);
    let team = of(UsageAsked { queue: Some("ml".into()), ..asked(UsageBy::Team) }).lines;
    assert_eq!((team.len(), team[0].time.useful_gpu_ms), (1, 3_000));

    let page = |after| of(UsageAsked { after, limit: 1, ..asked(UsageBy::Job) });
    let first = page(None);
    assert_eq!(first.next, Some(UsagePlace { day: 2, job: one }));
    let second = page(first.next);
    assert_eq!(second.next, Some(UsagePlace { day: 3, job: one }));
    let last = page(second.next);
    assert_eq!((last.next, last.lines.len()), (None, 1));
    assert_eq!((last.lines[0].job, last.lines[0].time.running_gpu_ms), (Some(two), 6_000));
    assert_eq!(last.lines[0].user, "bob");
}

#[test]
fn days_of_long_ago_are_summed_up() {
    let mut script = Script::new();
    script.now = Millis(10 * DAY_MS);
    script.register(machine("a", 4, "NVIDIA H100"));
    for _ in 0..3 {
        let id = script.submit(job(1, 2));
        script.plan();
        let lease = script.lease_of(&id.to_string());
        wait(&mut script, DAY_MS);
        script.finish(lease, 1);
        script.seal(lease);
    }
    let before = all(&mut script);
    script.now = Millis((12 + limit::USAGE_DAYS_KEPT) * DAY_MS);
    let id = script.submit(job(1, 2));
    script.plan();
    let lease = script.lease_of(&id.to_string());
    wait(&mut script, 5);
    script.finish(lease, 1);
    let after = all(&mut script);
    assert_eq!(after.total.useful_gpu_ms, before.total.useful_gpu_ms + 10);
    let (from, to) = key::usage_jobs(0, 12);
    assert!(script.rows.range(from..to).next().is_none(), "jobs of those days are told no more");
    let days: Vec<u64> = script
        .rows
        .range(key::usage_day(0)..key::usage_day(20))
        .map(|(key, _)| key::usage_day_in(key))
        .collect();
    assert_eq!(days.first(), Some(&0));
    assert!(days[1..].iter().all(|day| *day >= 12), "{days:?}");
}

#[test]
fn names_in_keys_are_told_apart() {
    let owner = |team: &str, queue: &str, user: &str| Owner {
        team: team.into(),
        queue: queue.into(),
        user: user.into(),
    };
    assert_ne!(
        key::usage_owner(1, &owner("a", "bc", "")),
        key::usage_owner(1, &owner("ab", "c", ""))
    );
    let (from, to) = key::usage_owners(1, 2);
    let at = key::usage_owner(1, &owner("z", "z", "z"));
    assert!(from < at && at < to);
}

#[test]
fn an_open_lease_is_found_by_its_key() {
    let lease = LeaseId { index: (7 << 32) | 9, ordinal: 3 };
    assert_eq!(key::usage_open_in(&key::usage_open(lease)), lease);
    assert_eq!(key::usage_job_in(&key::usage_job(4, domain::JobId(5))), domain::JobId(5));
}
