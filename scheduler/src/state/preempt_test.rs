//! Preemption from the plan to the grant, and every way in which it ends before.

use super::{
    Cluster,
    command::{Command, Reply},
    script::{Script, job, machine},
};
use domain::{
    Bytes, Digest, JobId, LeaseId, Millis, NodeId,
    checkpoint::Checkpoint,
    interrupt::{Interrupt, Preemptible},
    job::{EndCause, JobSpec},
    limit,
    link::Report,
    queue::{ClusterConfig, QueueSpec},
};

fn urgent(tasks: u32, gpus: u32) -> JobSpec {
    JobSpec { priority: 5, ..job(tasks, gpus) }
}

fn wait(script: &mut Script, ms: u64) {
    script.now = script.now.plus(Millis(ms));
}

/// One machine of four GPUs, full with one job that has run for its time.
fn full() -> (Script, JobId, LeaseId) {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    let low = script.submit(job(1, 4));
    script.plan();
    wait(&mut script, limit::MIN_RUN.0);
    let lease = script.lease_of(&low.to_string());
    (script, low, lease)
}

fn save(script: &mut Script, lease: LeaseId, step: u64) {
    let digest = Digest::of(&step.to_be_bytes());
    let checkpoint = Checkpoint { step, root: digest, tree: digest, size: Bytes(1), lease };
    let reply = script.report(NodeId(1), Report::Checkpoint { checkpoint });
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

/// A replica that starts now is what this one is.
fn same_from_rows(script: &Script) {
    assert_eq!(Cluster::load(&script.rows), script.cluster);
}

#[test]
fn the_victim_saves_and_leaves_and_in_that_entry_the_gang_has_its_place() {
    let (mut script, low, lease) = full();
    let high = script.submit(urgent(1, 4));
    let plan = script.plan_all().expect("somebody makes room");
    assert_eq!(plan.placement.element, high.into());
    assert_eq!(plan.victims[0].lost_gpu_ms, 4 * limit::MIN_RUN.0);
    same_from_rows(&script);
    let notice = script.view().lease(lease).unwrap().notice.clone().expect("it is told");
    assert_eq!(notice.cause, EndCause::Preempted { by: high.into() });
    assert_eq!(
        (script.reasons(high), script.reasons(low)),
        (vec!["preemption".into()], vec!["notice".into()])
    );
    save(&mut script, lease, 7);
    script.report(NodeId(1), Report::Failed { lease, cause: notice.cause.clone() });
    // What comes between finds no room, though nobody uses it.
    let small = script.submit(JobSpec { priority: 9, ..job(1, 1) });
    script.report(NodeId(1), Report::Stopped { lease });
    let granted = script.view().lease(script.lease_of(&high.to_string())).unwrap().clone();
    assert_eq!((granted.id.index, &granted.members), (script.at.0, &plan.placement.members));
    same_from_rows(&script);
    assert!(script.plan().is_empty());
    assert_eq!((script.word(low), script.word(small)), ("waiting".into(), "waiting".into()));
    let attempt = script.view().job(&script.rows, low).unwrap().parts[0].attempts[0].clone();
    assert_eq!(attempt.cause, Some(notice.cause));
    // It was nobody's fault, and the next attempt goes on from what was saved.
    let row = script.view().live_job(low).unwrap().elements[&0].clone();
    assert_eq!((row.faults, row.node_faults), (0, 0));
    script.cancel(&small.to_string());
    script.finish(granted.id, 1);
    script.plan();
    let again = script.view().lease(script.lease_of(&low.to_string())).unwrap().clone();
    assert_eq!(again.resume_from.map(|saved| saved.step), Some(7));
}

#[test]
fn a_victim_that_is_done_meanwhile_is_sealed_and_the_gang_starts_all_the_same() {
    let (mut script, low, lease) = full();
    let high = script.submit(urgent(1, 4));
    script.plan_all().unwrap();
    script.finish(lease, 1);
    assert_eq!((script.word(low), script.word(high)), ("sealing".into(), "running".into()));
}

#[test]
fn nobody_is_told_before_their_time_or_who_may_not_be_or_for_an_equal() {
    let (mut script, ..) = full();
    script.now = script.now.minus(Millis(1));
    script.submit(urgent(1, 4));
    assert_eq!(script.plan_all(), None, "a millisecond is missing");
    wait(&mut script, 1);
    assert!(script.plan_all().is_some());

    let (mut script, ..) = full();
    script.submit(job(1, 4));
    assert_eq!(script.plan_all(), None, "it is of the same priority");
    script.submit(urgent(1, 5));
    assert_eq!(script.plan_all(), None, "it would not fit even so");

    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    let interrupt = Interrupt { preemptible: Preemptible::No, ..Interrupt::default() };
    script.submit(JobSpec { interrupt, ..job(1, 4) });
    script.plan();
    wait(&mut script, 10 * limit::MIN_RUN.0);
    script.submit(urgent(1, 4));
    assert_eq!(script.plan_all(), None, "it never may be");
}

#[test]
fn what_saved_last_is_cheapest() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    let jobs = [0; 4].map(|_| script.submit(job(1, 1)));
    script.plan();
    wait(&mut script, limit::MIN_RUN.0);
    let third = script.lease_of(&jobs[2].to_string());
    save(&mut script, third, 3);
    wait(&mut script, 500);
    script.submit(urgent(1, 1));
    let plan = script.plan_all().unwrap();
    let victims: Vec<_> = plan.victims.iter().map(|it| (it.lease, it.lost_gpu_ms)).collect();
    assert_eq!(victims, [(third, 500)]);
}

#[test]
fn a_gang_that_is_no_longer_wanted_lets_its_victims_go_on() {
    let (mut script, low, lease) = full();
    let high = script.submit(urgent(1, 4));
    script.plan_all().unwrap();
    script.cancel(&high.to_string());
    assert_eq!(script.view().lease(lease).unwrap().notice, None);
    same_from_rows(&script);
    let held = script.submit(urgent(1, 4));
    script.plan_all().unwrap();
    script.send(None, Command::Hold { job: held, held: true });
    assert_eq!(script.view().lease(lease).unwrap().notice, None);
    assert_eq!(script.word(low), "running");
    same_from_rows(&script);
}

#[test]
fn a_place_that_is_out_of_service_is_given_up() {
    let (mut script, _, lease) = full();
    let high = script.submit(urgent(1, 4));
    script.plan_all().unwrap();
    script.send(None, Command::Drain { node: "a".into(), reason: Some("fan".into()) });
    assert_eq!(script.view().lease(lease).unwrap().notice, None);
    assert_eq!(script.view().preemptions().count(), 0);
    assert_eq!(script.reasons(high), ["health"]);
    same_from_rows(&script);
}

#[test]
fn a_victim_that_does_not_leave_is_stopped_and_the_room_is_not_kept_for_ever() {
    let (mut script, _, lease) = full();
    let high = script.submit(urgent(1, 4));
    script.plan_all().unwrap();
    let since = script.now;
    let next = |script: &Script| script.view().next_pause();
    assert_eq!(next(&script), Some(since.plus(limit::NOTICE_MAX)));
    script.send(None, Command::Wake { until: since.plus(limit::NOTICE_MAX) });
    assert_eq!(script.reasons(high), ["preemption"]);
    let stops = |script: &Script| {
        let phase = script.view().lease(lease).unwrap().phase.clone();
        matches!(phase, domain::lease::Phase::Stopping { .. })
    };
    assert!(stops(&script));
    assert_eq!(next(&script), Some(since.plus(limit::PREEMPTION_MAX)));
    script.send(None, Command::Wake { until: since.plus(limit::PREEMPTION_MAX) });
    assert_eq!((script.view().preemptions().count(), next(&script)), (0, None));
    same_from_rows(&script);
}

#[test]
fn a_queue_below_its_guarantee_calls_back_what_others_hold_beyond_theirs_and_no_more() {
    let mut script = Script::new();
    script.register(machine("a", 4, "NVIDIA H100"));
    let queue = |guaranteed_gpus| QueueSpec { guaranteed_gpus, ..QueueSpec::default() };
    let queues = [("own".to_owned(), queue(2)), ("lent".to_owned(), queue(1))];
    let config =
        ClusterConfig { half_life: Millis(0), queues: queues.into(), ..ClusterConfig::default() };
    script.send(None, Command::ApplyConfig { expected: 0, config, why: "two".into() });
    let of = |queue: &str, gpus| JobSpec { queue: queue.into(), ..job(1, gpus) };
    let lent = [0; 4].map(|_| script.submit(JobSpec { priority: 9, ..of("lent", 1) }));
    script.plan();
    wait(&mut script, limit::MIN_RUN.0);
    script.submit(of("own", 3));
    assert_eq!(script.plan_all(), None, "it would hold more than is guaranteed");
    script.submit(of("own", 1));
    script.submit(of("own", 1));
    script.submit(of("own", 1));
    for _ in 0..2 {
        let plan = script.plan_all().expect("its guarantee is called back");
        assert_eq!(plan.victims.len(), 1);
        script.release(plan.victims[0].lease);
    }
    wait(&mut script, 10 * limit::MIN_RUN.0);
    assert_eq!(script.plan_all(), None, "it has its guarantee");
    let held = |name: &str| script.view().queues()[name].held.gpus();
    assert_eq!((held("own"), held("lent")), (2, 2));
    let waits = lent.iter().filter(|id| script.word(**id) == "waiting").count();
    assert_eq!(waits, 2, "priority in its own queue does not keep what was lent");
}
