//! What each command does, told as stories.

use super::{
    command::{Command, Effect, NewJob, PlanRecord, Refusal, Reply},
    script::{Script, array, job, machine, output},
};
use domain::{
    Bytes, Digest, JobId, LeaseId, LogIndex, Millis, NodeId, ReplicaId, RequestKey,
    checkpoint::Checkpoint,
    job::{ElementState, EndCause, JobSpec, Restart},
    lease::Phase,
    limit,
    link::Report,
    node::NodeState,
    view::JobView,
};
use registry::ledger::view as ledger;

fn document(script: &Script, id: JobId) -> JobView {
    script.view().job(&script.rows, id).unwrap()
}

fn refused(reply: Reply) -> Refusal {
    match reply {
        Reply::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn kinds(script: &Script) -> Vec<String> {
    let events = ledger::events(&script.rows, 1, 1_000);
    let kind = |payload: &str| {
        let value: serde_json::Value = serde_json::from_str(payload).unwrap();
        value["eventType"].as_str().unwrap().to_owned()
    };
    events.iter().map(|event| kind(&event.payload)).collect()
}

fn checkpoint(lease: LeaseId, step: u64) -> Report {
    let root = Digest::of(&step.to_be_bytes());
    Report::Checkpoint { checkpoint: Checkpoint { step, root, tree: root, size: Bytes(1), lease } }
}

/// One node with one GPU, and one job that runs on it.
fn running(spec: JobSpec) -> (Script, NodeId, LeaseId) {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    script.submit(spec);
    script.plan();
    let lease = script.lease_of("j1");
    (script, node, lease)
}

#[test]
fn a_job_goes_from_submit_to_a_sealed_artifact_with_an_event_for_each_step() {
    let (mut script, node, lease) = running(job(1, 1));
    let phase = script.view().lease(lease).unwrap().phase.clone();
    assert!(matches!(phase, Phase::Started { .. }), "a gang on one node starts at once");
    script.report(node, checkpoint(lease, 10));
    script.report(node, Report::Ended { lease, output: output(1) });
    assert_eq!(script.word(JobId(1)), "sealing");
    assert!(script.view().all_nodes().all(|(_, node)| node.gpus_used.is_empty()));
    assert!(script.effects.contains(&Effect::Seal { ticket: lease }));
    assert!(matches!(script.seal(lease), Reply::Sealed { .. }));
    assert_eq!(script.word(JobId(1)), "completed");
    assert_eq!(script.view().live_jobs(), 0, "finished jobs leave memory");
    assert_eq!(document(&script, JobId(1)).parts[0].checkpoints[0].step, 10, "and stay in rows");
    assert_eq!(
        kinds(&script),
        [
            "node.registered",
            "job.submitted",
            "lease.granted",
            "checkpoint.committed",
            "seal.opened",
            "registry.artifact.registered",
        ]
    );
    let id = domain::ArtifactId(1);
    let artifact = script.view().artifact(&script.rows, id).unwrap().artifact;
    assert_eq!(artifact.copies, [ReplicaId(1), ReplicaId(2)]);
    assert_eq!(artifact.checkpoints.len(), 1);
}

#[test]
fn a_gang_over_two_nodes_starts_when_both_are_ready_and_ends_when_both_are_done() {
    let mut script = Script::new();
    let (a, b) = (script.register(machine("a", 1, "H")), script.register(machine("b", 1, "H")));
    script.submit(job(2, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.report(a, Report::Prepared { lease });
    let phase = |script: &Script| script.view().lease(lease).unwrap().phase.clone();
    assert!(matches!(phase(&script), Phase::Preparing { .. }), "no task before all are ready");
    script.report(b, Report::Prepared { lease });
    assert!(matches!(phase(&script), Phase::Started { .. }));
    let machines = |node| -> Vec<String> {
        let wanted = script.view().wanted(node, "c", &script.rows);
        wanted[0].inventories.iter().map(|has| has.name.clone()).collect()
    };
    assert_eq!(machines(a), ["a", "b"], "the lead tells of every node in the provenance");
    assert!(machines(b).is_empty());
    let early = script.report(a, Report::Ended { lease, output: output(1) });
    assert!(matches!(refused(early), Refusal::NotYet { .. }));
    let log = Digest::of(b"what rank 1 printed");
    script.report(b, Report::Done { lease, log });
    assert!(script.effects.contains(&Effect::Wanted { node: a }), "the lead learns of it");
    let end = script.report(a, Report::Ended { lease, output: output(1) });
    assert!(matches!(end, Reply::Done { .. }));
    let ticket = script.view().ticket(lease).unwrap();
    let named = domain::artifact::NodeLog { node: b, ranks: vec![1], log };
    assert_eq!(ticket.logs, [named], "in the words of the node itself");
}

#[test]
fn a_report_under_an_ended_lease_changes_nothing() {
    let (mut script, node, lease) = running(JobSpec { retries: 1, ..job(1, 1) });
    let cause = EndCause::ExitCode { rank: 0, code: 1 };
    script.report(node, Report::Failed { lease, cause });
    script.report(node, Report::Stopped { lease });
    script.plan();
    let jobs = document(&script, JobId(1));
    for report in [
        checkpoint(lease, 99),
        Report::Ended { lease, output: output(1) },
        Report::Stopped { lease },
        Report::Prepared { lease },
    ] {
        assert_eq!(refused(script.report(node, report)), Refusal::StaleLease { lease });
    }
    let current = script.lease_of("j1");
    let foreign = script.report(NodeId(77), checkpoint(current, 99));
    assert_eq!(refused(foreign), Refusal::StaleLease { lease: current });
    assert_eq!(document(&script, JobId(1)), jobs);
}

#[test]
fn a_job_fails_after_its_retries_and_a_nodes_fault_does_not_count() {
    let (mut script, node, _) = running(JobSpec { retries: 1, ..job(1, 1) });
    for (cause, word) in [
        (EndCause::LeaseExpired, "running"),
        (EndCause::ExitCode { rank: 0, code: 3 }, "running"),
        (EndCause::LeaseExpired, "running"),
        (EndCause::ExitCode { rank: 0, code: 3 }, "failed"),
    ] {
        let lease = script.lease_of("j1");
        script.report(node, Report::Failed { lease, cause });
        script.report(node, Report::Stopped { lease });
        script.plan();
        assert_eq!(script.word(JobId(1)), word);
    }
    let part = &document(&script, JobId(1)).parts[0];
    assert_eq!(part.attempts.len(), 4);
    let cause = EndCause::ExitCode { rank: 0, code: 3 };
    assert_eq!(part.state, ElementState::Failed { cause });
}

#[test]
fn checkpoints_without_end_leave_a_bounded_chain_from_which_only_the_newest_is_resumed() {
    let (mut script, node, lease) = running(job(1, 1));
    let last = 3 * limit::CHECKPOINT_DIGESTS_KEPT as u64;
    for step in 1..=last {
        script.report(node, checkpoint(lease, step));
        let chain = &document(&script, JobId(1)).parts[0].checkpoints;
        assert!(chain.len() <= limit::CHECKPOINT_DIGESTS_KEPT);
        assert_eq!((chain[0].step, chain[chain.len() - 1].step), (1, step));
    }
    let chain = document(&script, JobId(1)).parts[0].checkpoints.clone();
    script.report(node, Report::Failed { lease, cause: EndCause::NodeLost });
    script.report(node, Report::Stopped { lease });
    script.plan();
    let next = script.lease_of("j1");
    let resumed = script.view().lease(next).unwrap().resume_from.clone();
    assert_eq!(resumed.as_ref(), chain.last());
    script.finish(next, 1);
    script.seal(next);
    let artifact = script.view().artifact(&script.rows, domain::ArtifactId(1)).unwrap().artifact;
    assert_eq!(artifact.checkpoints, chain, "the artifact lists the chain as it is kept");
}

#[test]
fn a_job_that_fills_a_disk_goes_elsewhere_and_fails_when_it_fills_them_over_and_over() {
    let mut script = Script::new();
    for name in ["a", "b"] {
        script.register(machine(name, 1, "H100"));
    }
    script.submit(job(1, 1));
    script.plan();
    let mut nodes = Vec::new();
    while script.word(JobId(1)) == "running" {
        let lease = script.lease_of("j1");
        let node = script.view().lease(lease).unwrap().lead();
        nodes.push(node);
        let cause = EndCause::DiskFull { detail: "/data".into() };
        script.report(node, Report::Failed { lease, cause });
        script.report(node, Report::Stopped { lease });
        script.plan();
    }
    assert_eq!(script.word(JobId(1)), "failed");
    assert_eq!(nodes.len(), 6, "each node once, and four times more: {nodes:?}");
    assert_ne!(nodes[0], nodes[1]);
    let part = &document(&script, JobId(1)).parts[0];
    let cause = EndCause::DiskFull { detail: "/data".into() };
    assert_eq!(part.state, ElementState::Failed { cause });
}

#[test]
fn the_next_attempt_resumes_from_the_newest_committed_checkpoint() {
    let (mut script, node, lease) = running(job(1, 1));
    script.report(node, checkpoint(lease, 10));
    script.report(node, checkpoint(lease, 20));
    script.report(node, checkpoint(lease, 15));
    let key = script.view().lease(lease).unwrap().build_key;
    script.lose(node);
    assert!(script.view().lease(lease).is_none());
    script.register(machine("a", 1, "H100"));
    script.plan();
    let next = script.lease_of("j1");
    let next = script.view().lease(next).unwrap().clone();
    assert_eq!(next.resume_from.map(|checkpoint| checkpoint.step), Some(20));
    assert_eq!((next.attempt.0, next.build_key), (2, key));
    let wanted = script.view().wanted(node, "c", &script.rows);
    assert_eq!(wanted[0].checkpoints.len(), 2, "one that is overtaken is not committed");
    assert_eq!(wanted[0].master_addr, "127.0.0.1");
}

#[test]
fn a_step_that_json_cannot_hold_is_committed_all_the_same() {
    let (mut script, node, lease) = running(job(1, 1));
    script.report(node, checkpoint(lease, u64::MAX));
    assert_eq!(kinds(&script).last().unwrap(), "checkpoint.committed");
}

#[test]
fn when_contact_is_lost_a_job_that_wants_certainty_waits_for_it() {
    let (mut script, node, lease) = running(JobSpec { restart: Restart::Confirmed, ..job(1, 1) });
    assert!(matches!(
        refused(script.send(None, Command::ConfirmDead { lease })),
        Refusal::WrongState { .. }
    ));
    script.lose(node);
    assert!(script.view().lease(lease).is_some(), "its GPUs are not given away");
    let mut rebooted = machine("a", 1, "H100");
    script.register(rebooted.clone());
    assert!(script.view().lease(lease).is_some(), "the same boot proves nothing");
    rebooted.boot_id = "boot-2".into();
    script.register(rebooted);
    assert!(script.view().lease(lease).is_none(), "nothing outlives a boot");
    assert_eq!(script.word(JobId(1)), "waiting");
}

#[test]
fn the_loss_of_a_node_that_has_registered_since_is_void() {
    let (mut script, node, lease) = running(job(1, 1));
    let registered_at = script.view().node(node).unwrap().registered_at;
    script.register(machine("a", 1, "H100"));
    script.send(None, Command::NodeLost { node, registered_at });
    assert!(script.view().lease(lease).is_some());
}

#[test]
fn an_agent_that_lost_its_part_of_a_started_gang_ends_the_attempt() {
    let mut script = Script::new();
    let (a, b) = (script.register(machine("a", 1, "H")), script.register(machine("b", 1, "H")));
    script.submit(job(2, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.report(a, Report::Prepared { lease });
    script.register(machine("a", 1, "H"));
    script.report(b, Report::Prepared { lease });
    let phase = script.view().lease(lease).unwrap().phase.clone();
    assert!(matches!(phase, Phase::Preparing { .. }), "it has to prepare again");
    script.report(a, Report::Prepared { lease });
    script.register(machine("b", 1, "H"));
    let phase = script.view().lease(lease).unwrap().phase.clone();
    let remaining = [a].into();
    assert_eq!(phase, Phase::Stopping { remaining, cause: EndCause::NodeLost });
}

#[test]
fn a_drained_node_that_was_lost_is_lost_when_it_is_put_back() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    let drain = |reason: Option<&str>| Command::Drain {
        node: "a".into(),
        reason: reason.map(str::to_owned),
    };
    script.send(None, drain(Some("fan")));
    script.lose(node);
    script.send(None, drain(None));
    assert_eq!(script.view().nodes(&script.rows)[0].status, NodeState::Lost);
    script.register(machine("a", 1, "H100"));
    assert_eq!(script.view().nodes(&script.rows)[0].status, NodeState::Ready);
}

#[test]
fn a_drained_node_finishes_what_it_runs_and_takes_nothing_new() {
    let (mut script, _, lease) = running(job(1, 1));
    script.send(None, Command::Drain { node: "a".into(), reason: Some("fan".into()) });
    script.submit(job(1, 0));
    assert_eq!(script.plan(), []);
    script.finish(lease, 1);
    assert!(matches!(script.seal(lease), Reply::Sealed { .. }));
}

#[test]
fn cancel_does_to_each_state_what_is_left_to_do() {
    let (mut script, node, lease) = running(job(1, 1));
    script.submit(job(1, 1));
    assert!(matches!(script.cancel("j2"), Reply::Done { .. }));
    assert_eq!(script.word(JobId(2)), "cancelled");
    let again = refused(script.cancel("j2"));
    assert!(again.to_string().starts_with("job j2 is cancelled already"), "{again}");
    script.cancel("j1");
    let phase = script.view().lease(lease).unwrap().phase.clone();
    assert!(matches!(phase, Phase::Stopping { cause: EndCause::Cancelled, .. }));
    script.report(node, Report::Stopped { lease });
    assert_eq!(script.word(JobId(1)), "cancelled");
    assert!(matches!(refused(script.cancel("j9")), Refusal::NotFound { .. }));
    script.submit(job(1, 1));
    script.plan();
    script.finish(script.lease_of("j3"), 1);
    let late = refused(script.cancel("j3"));
    assert_eq!(late.to_string(), "job j3 is sealing: its work is done; wait for its artifact");
}

#[test]
fn elements_of_an_array_are_cancelled_one_by_one_or_all_at_once() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    let id = script.submit(array(6, 0, 1));
    for element in ["j1[0]", "j1[4]"] {
        assert!(matches!(script.cancel(element), Reply::Done { .. }));
    }
    assert!(matches!(refused(script.cancel("j1[4]")), Refusal::WrongState { .. }));
    assert!(matches!(refused(script.cancel("j1[6]")), Refusal::NotFound { .. }));
    let placed = script.plan();
    let names: Vec<_> = placed.iter().map(|placement| placement.element.to_string()).collect();
    assert_eq!(names, ["j1[1]", "j1[2]"]);
    script.finish(script.lease_of("j1[1]"), 1);
    script.finish(script.lease_of("j1[2]"), 1);
    let names: Vec<_> = script.plan().iter().map(|p| p.element.to_string()).collect();
    assert_eq!(names, ["j1[3]", "j1[5]"], "what was cancelled is passed over");
    script.cancel("j1");
    let counts = document(&script, id).line.elements;
    assert_eq!((counts.cancelled, counts.sealing, counts.running), (2, 2, 2));
}

#[test]
fn a_plan_that_no_longer_holds_is_skipped_gang_by_gang() {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    script.submit(job(1, 1));
    script.submit(job(1, 1));
    let stale = crate::planner::plan(&script.view(), script.now, 100).record;
    script.cancel("j1");
    script.plan();
    assert!(matches!(script.place(stale), Reply::Done { .. }));
    let leases: Vec<_> = script.view().all_leases().map(|lease| lease.element).collect();
    assert_eq!(leases, [JobId(2).into()]);
    assert_eq!(script.view().planned_at(), script.at, "seen, though nothing was granted");
    let half = {
        script.register(machine("b", 1, "H100"));
        script.register(machine("c", 1, "H100"));
        script.submit(job(2, 1));
        let mut record = crate::planner::plan(&script.view(), script.now, 100).record;
        record.placements[0].members.pop();
        record
    };
    let damaged = script.place(half.clone());
    assert!(matches!(refused(damaged), Refusal::Spec(_)), "not the plan that was made");
    script.place(PlanRecord { plan: PlanRecord::digest_of(&half.placements), ..half });
    assert_eq!(script.word(JobId(3)), "waiting", "a gang is granted whole or not at all");
}

#[test]
fn a_seal_whose_bytes_were_lost_runs_again_from_the_last_checkpoint() {
    let (mut script, node, lease) = running(job(1, 1));
    script.report(node, checkpoint(lease, 10));
    script.finish(lease, 1);
    script.send(None, Command::AbandonSeal { ticket: lease, cause: EndCause::BlobsLost });
    assert_eq!(script.word(JobId(1)), "waiting");
    script.plan();
    let next = script.lease_of("j1");
    assert_eq!(script.view().lease(next).unwrap().resume_from.as_ref().unwrap().step, 10);
    let twice = script.seal(lease);
    assert!(matches!(refused(twice), Refusal::NotFound { .. }));
}

#[test]
fn one_key_has_one_effect_and_a_second_request_under_it_is_refused() {
    let mut script = Script::new();
    let submit = |name: &str| {
        let spec = JobSpec { name: name.into(), ..job(1, 1) };
        Command::Submit { jobs: vec![NewJob { recipe: Digest::of_value(&spec), spec }] }
    };
    let first = script.send(Some(7), submit("a"));
    assert_eq!(script.send(Some(7), submit("a")), first);
    assert_eq!(script.view().live_jobs(), 1);
    let other = refused(script.send(Some(7), submit("b")));
    assert_eq!(other, Refusal::KeyReused { key: RequestKey([7; 16]) });
}

#[test]
fn a_clock_that_is_set_forward_by_days_makes_no_request_new() {
    let mut script = Script::new();
    let spec = job(1, 1);
    let submit = Command::Submit { jobs: vec![NewJob { recipe: Digest::of_value(&spec), spec }] };
    let first = script.send(Some(7), submit.clone());
    script.now = script.now.plus(Millis(3 * limit::REPLY_KEPT.0));
    script.submit(job(1, 1));
    assert_eq!(script.send(Some(7), submit), first);
    assert_eq!(script.view().live_jobs(), 2);
}

#[test]
fn all_jobs_of_a_request_are_taken_in_or_none() {
    let mut script = Script::new();
    let of = |queue: &str| {
        let spec = JobSpec { queue: queue.into(), ..job(1, 1) };
        NewJob { recipe: Digest::of_value(&spec), spec }
    };
    let command = Command::Submit { jobs: vec![of("default"), of("night")] };
    let refusal = refused(script.send(None, command));
    assert_eq!(
        refusal.to_string(),
        "job `train`: queue: there is no queue `night`; use one of: default"
    );
    assert_eq!(script.view().live_jobs(), 0);
}

#[test]
fn the_logs_clock_never_runs_backwards() {
    let mut script = Script::new();
    script.submit(job(1, 1));
    let before = script.view().now();
    script.now = Millis(5);
    script.submit(job(1, 1));
    assert_eq!(script.view().now(), before);
}

#[test]
fn lists_page_from_the_newest_over_live_and_finished_jobs() {
    let (mut script, _, lease) = running(job(1, 1));
    script.finish(lease, 1);
    script.seal(lease);
    for name in ["b", "c"] {
        script.submit(JobSpec { name: name.into(), ..job(1, 1) });
    }
    let list = |filter: &super::view::JobFilter, before, limit| {
        let lines = script.view().job_lines(&script.rows, filter, before, limit);
        lines.into_iter().map(|line| line.id.0).collect::<Vec<_>>()
    };
    let any = super::view::JobFilter::default();
    assert_eq!(list(&any, None, 2), [3, 2]);
    assert_eq!(list(&any, Some(JobId(2)), 2), [1]);
    let completed = super::view::JobFilter { state: Some("completed".into()), ..any };
    assert_eq!(list(&completed, None, 10), [1]);
}

#[test]
fn a_plan_from_another_time_is_only_a_command() {
    let mut script = Script::new();
    let plan = PlanRecord {
        base: LogIndex(u64::MAX),
        now: Millis(u64::MAX),
        budget_steps: u64::MAX,
        policy_version: u32::MAX,
        view: Digest::default(),
        plan: PlanRecord::digest_of(&Vec::new()),
        placements: Vec::new(),
    };
    assert!(matches!(script.place(plan), Reply::Done { .. }));
}

#[test]
fn a_node_whose_gpus_share_an_index_is_refused() {
    let mut script = Script::new();
    let mut inventory = machine("a", 2, "H100");
    inventory.gpus[1].index = 0;
    let command = Command::Register { inventory, held: Vec::new() };
    assert!(matches!(refused(script.send(None, command)), Refusal::Spec(_)));
}

/// What a hundred thousand queued jobs take in memory is mostly their briefs.
#[test]
fn a_queued_job_is_small_and_costs_the_same_however_many_wait() {
    assert!(size_of::<super::sched::Job>() <= 512, "{}", size_of::<super::sched::Job>());
    let mut script = Script::new();
    script.submit(job(1, 1));
    script.submit(job(1, 1));
    let rows = script.rows.len();
    for _ in 0..100 {
        script.submit(job(1, 1));
    }
    assert_eq!(script.rows.len() - rows, 300, "specification, progress, event");
}
