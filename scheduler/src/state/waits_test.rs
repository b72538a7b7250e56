//! Holds, priorities, jobs that wait for jobs, and pauses after failures.

use super::{
    Cluster,
    attempt::{AVOIDED_MAX, FAILED_WHERE, NODE_PAUSE_MAX},
    command::{Command, Reply},
    dataset_test::raise,
    script::{Script, array, job, machine},
};
use crate::planner;
use domain::{
    JobId, Millis, NodeId,
    after::{After, RetryOn, RetryRule, When},
    job::{EndCause, JobSpec},
    link::Report,
    queue::{ClusterConfig, QueueSpec},
};

fn script(gpus: u32) -> Script {
    let mut script = Script::new();
    script.register(machine("a", gpus, "H100"));
    script
}

fn hold(script: &mut Script, job: u64, held: bool) -> Reply {
    script.send(None, Command::Hold { job: JobId(job), held })
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn after(job: u64, when: When) -> Vec<After> {
    vec![After { job: JobId(job), when }]
}

fn why(script: &Script, job: u64) -> Vec<String> {
    let id = JobId(job);
    let why = planner::why(&script.view(), &script.rows, id, script.now).unwrap();
    why.reasons
        .into_iter()
        .map(|it| format!("{}: {} -> {}", it.kind, it.detail, it.remedy))
        .collect()
}

/// Runs an element to its sealed end.
fn complete(script: &mut Script, element: &str) {
    let lease = script.lease_of(element);
    script.finish(lease, 1);
    script.seal(lease);
}

fn fail(script: &mut Script, element: &str) {
    let lease = script.lease_of(element);
    let node = script.view().lease(lease).unwrap().lead();
    let cause = EndCause::ExitCode { rank: 0, code: 1 };
    script.report(node, Report::Failed { lease, cause });
    script.report(node, Report::Stopped { lease });
}

#[test]
fn a_held_job_starts_nothing_and_lets_what_runs_go_on() {
    let mut script = script(2);
    let id = script.submit(array(3, 1, 1));
    script.plan();
    hold(&mut script, 1, true);
    complete(&mut script, "j1[0]");
    assert_eq!((script.plan(), script.word(id)), (vec![], "held".to_owned()));
    assert_eq!(
        why(&script, 1),
        ["held: a user keeps it from starting -> let it go on: `assay release j1`"]
    );
    assert!(refused(hold(&mut script, 1, true)).contains("job j1 is held already"));
    assert_eq!(&Cluster::load(&script.rows), &script.cluster);
    hold(&mut script, 1, false);
    assert!(refused(hold(&mut script, 1, false)).contains("not held"));
    assert_eq!(script.plan().len(), 1);
    script.cancel("j1");
    assert!(refused(hold(&mut script, 9, true)).contains("no job j9"));
}

#[test]
fn a_priority_changes_the_order_up_to_what_the_queue_allows() {
    let mut script = script(1);
    let queue = QueueSpec { priority_max: Some(5), ..QueueSpec::default() };
    let queues = [("default".to_owned(), queue)].into();
    let config = ClusterConfig { queues, ..ClusterConfig::default() };
    script.send(None, Command::ApplyConfig { expected: 0, config, why: "t".into() });
    let first = script.submit(job(1, 1));
    let second = script.submit(job(1, 1));
    let give = |script: &mut Script, priority| {
        script.send(None, Command::SetPriority { job: second, priority })
    };
    let fault = refused(give(&mut script, 6));
    assert!(fault.starts_with("priority 6 is above 5, the most in queue `default`"), "{fault}");
    assert!(matches!(give(&mut script, 5), Reply::Done { .. }));
    assert_eq!(script.view().job(&script.rows, second).unwrap().line.priority, 5);
    assert_eq!(&Cluster::load(&script.rows), &script.cluster);
    assert_eq!(script.plan()[0].element.job, second);
    assert_eq!(script.word(first), "waiting");
}

#[test]
fn a_job_starts_when_those_before_it_have_ended_as_it_says_and_never_otherwise() {
    let mut script = script(4);
    script.submit(job(1, 1));
    let ids = [When::Completed, When::Ended, When::Failed]
        .map(|when| script.submit(JobSpec { after: after(1, when), ..job(1, 1) }));
    // And one that waits for the one that will never start.
    let last = script.submit(JobSpec { after: after(4, When::Failed), ..array(5, 0, 1) });
    assert_eq!(script.plan().len(), 1);
    assert_eq!(
        why(&script, 2),
        ["after: it waits for j1 `train`, which is running, to complete -> \
          wait for it, or see why: `assay why j1`"]
    );
    assert_eq!(&Cluster::load(&script.rows), &script.cluster);
    complete(&mut script, "j1");
    let words = ids.map(|id| script.word(id));
    assert_eq!(words, ["waiting", "waiting", "failed"]);
    let document = script.view().job(&script.rows, ids[2]).unwrap();
    let cause = format!("{:?}", document.parts[0].state);
    assert!(cause.contains("it was to wait for j1 to fail, but it completed"), "{cause}");
    assert_eq!(script.word(last), "waiting", "what it waits for has failed");
    assert_eq!(script.plan().len(), 4);

    // What has ended before is looked at when the job comes.
    let late = script.submit(JobSpec { after: after(4, When::Completed), ..array(5, 0, 1) });
    let line = script.view().job(&script.rows, late).unwrap().line;
    assert_eq!((line.state.as_str(), line.elements.failed), ("failed", 5));
    script.submit(JobSpec { after: after(4, When::Failed), ..job(1, 0) });
    assert_eq!(script.plan().len(), 1);
    let unknown = JobSpec { after: after(99, When::Ended), ..job(1, 1) };
    let recipe = domain::Digest::of_value(&unknown);
    let jobs = vec![super::command::NewJob { spec: unknown, recipe }];
    assert!(refused(script.send(None, Command::Submit { jobs })).contains("there is no job j99"));
}

#[test]
fn a_chain_of_a_thousand_ends_in_one_step_when_its_first_fails() {
    let mut script = script(1);
    script.submit(job(1, 1));
    for before in 1..1_000 {
        script.submit(JobSpec { after: after(before, When::Completed), ..job(1, 1) });
    }
    script.cancel("j1");
    assert_eq!(script.view().live_jobs(), 0);
    assert_eq!(script.word(JobId(1_000)), "failed");
    assert_eq!(&Cluster::load(&script.rows), &script.cluster);
}

#[test]
fn a_job_pauses_longer_after_each_failure_and_only_some_failures_are_tried_again() {
    let mut script = script(1);
    let rule = RetryRule {
        backoff: Some(Millis(10_000)),
        on: vec![RetryOn::ExitCode],
        ..RetryRule::default()
    };
    let id = script.submit(JobSpec { retries: 5, retry: rule, ..job(1, 1) });
    script.plan();
    for pause in [10_000, 20_000] {
        fail(&mut script, "j1");
        assert_eq!(script.plan(), []);
        let reason = why(&script, 1).remove(0);
        assert!(
            reason.starts_with("pause: ") && reason.ends_with(&format!("wait {} s", pause / 1_000)),
            "{reason}"
        );
        assert_eq!(&Cluster::load(&script.rows), &script.cluster);
        script.now = script.now.plus(Millis(pause - 1));
        script.send(None, Command::Wake { until: Millis(0) });
        assert_eq!(script.plan(), []);
        let until = script.view().next_pause().unwrap();
        assert_eq!(until, script.now.plus(Millis(1)));
        // A clock that stands still is moved on by the leader's word.
        script.send(None, Command::Wake { until });
        assert_eq!((script.view().now(), script.view().next_pause()), (until, None));
        script.now = until;
        assert_eq!(&Cluster::load(&script.rows), &script.cluster);
        assert_eq!(script.plan().len(), 1);
    }
    let lease = script.lease_of("j1");
    let node = script.view().lease(lease).unwrap().lead();
    script.report(node, Report::Failed { lease, cause: EndCause::TimeLimit });
    script.report(node, Report::Stopped { lease });
    assert_eq!(script.word(id), "failed", "a time limit is not among them");
}

/// Where each of the next attempts runs; each one fails there.
fn fails_on(script: &mut Script, attempts: usize) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    for _ in 0..attempts {
        assert_eq!(script.plan().len(), 1);
        nodes.push(script.view().lease(script.lease_of("j1")).unwrap().lead());
        fail(script, "j1");
    }
    nodes
}

#[test]
fn what_failed_on_a_node_goes_to_another_if_one_is_free_and_back_if_none_is() {
    for release in [1, FAILED_WHERE.0] {
        let mut script = Script::new();
        let [a, b] = ["a", "b"].map(|name| script.register(machine(name, 1, "H100")));
        if release == FAILED_WHERE.0 {
            raise(&mut script);
        }
        script.submit(JobSpec { retries: 9, ..job(1, 1) });
        let expected = match release {
            1 => [a, a, a],
            _ => [a, b, a],
        };
        assert_eq!(fails_on(&mut script, 3), expected, "release {release}");
        assert_eq!(&Cluster::load(&script.rows), &script.cluster);
    }
}

#[test]
fn of_a_gang_only_the_node_that_failed_first_is_avoided() {
    let mut script = Script::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| script.register(machine(name, 1, "H100")));
    raise(&mut script);
    script.submit(JobSpec { retries: 1, ..job(2, 1) });
    script.plan();
    let lease = script.lease_of("j1");
    for node in [b, a] {
        let cause = EndCause::ExitCode { rank: 0, code: 1 };
        script.report(node, Report::Failed { lease, cause });
    }
    for node in [a, b] {
        script.report(node, Report::Stopped { lease });
    }
    let placed = script.plan();
    let nodes: Vec<NodeId> = placed[0].members.iter().map(|member| member.node).collect();
    assert_eq!(nodes, [a, c]);
}

#[test]
fn an_element_that_failed_on_very_many_nodes_begins_to_avoid_them_anew() {
    let mut script = Script::new();
    for at in 0..=AVOIDED_MAX {
        script.register(machine(&format!("m{at}"), 1, "H100"));
    }
    raise(&mut script);
    script.submit(JobSpec { retries: 200, ..job(1, 1) });
    let nodes = fails_on(&mut script, AVOIDED_MAX + 2);
    let mut once = nodes[..=AVOIDED_MAX].to_vec();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), AVOIDED_MAX + 1, "each node once");
    assert_eq!(nodes[AVOIDED_MAX + 1], nodes[0]);
}

#[test]
fn one_lost_node_makes_no_pause_and_one_after_another_does() {
    let mut script = Script::new();
    let nodes = ["a", "b", "c"].map(|name| script.register(machine(name, 1, "H100")));
    raise(&mut script);
    script.submit(job(1, 1));
    script.plan();
    script.lose(nodes[0]);
    assert_eq!(script.plan().len(), 1, "elsewhere, at once");
    script.lose(nodes[1]);
    assert_eq!(script.plan(), []);
    let reason = why(&script, 1).remove(0);
    let expected = "pause: 2 attempts ended by faults of nodes; it pauses before it is tried again \
                    -> wait 1 s";
    assert_eq!(reason, expected);
    let until = script.now.plus(Millis(1_000));
    assert_eq!(script.view().next_pause(), Some(until));
    script.send(None, Command::Wake { until });
    script.now = until;
    assert_eq!(script.plan().len(), 1);
    assert_eq!(&Cluster::load(&script.rows), &script.cluster);
}

#[test]
fn each_disk_that_is_filled_for_the_first_time_counts_once_and_the_next_times_for_many() {
    let mut script = Script::new();
    for name in ["a", "b"] {
        script.register(machine(name, 1, "H100"));
    }
    raise(&mut script);
    let id = script.submit(job(1, 1));
    let mut attempts = 0;
    while script.word(id) != "failed" {
        script.now = script.now.plus(NODE_PAUSE_MAX);
        script.send(None, Command::Wake { until: script.now });
        assert_eq!(script.plan().len(), 1);
        attempts += 1;
        let lease = script.lease_of("j1");
        let node = script.view().lease(lease).unwrap().lead();
        let cause = EndCause::DiskFull { detail: "/data".into() };
        script.report(node, Report::Failed { lease, cause });
        script.report(node, Report::Stopped { lease });
    }
    assert_eq!(attempts, 6, "each node once, and four times more");
}
