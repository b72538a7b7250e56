//! What few jobs say beside the first form of a specification: it is kept, and it is kept to.

use super::{
    command::{Command, NewJob, Refusal, Reply, Submission},
    dataset_test::raise,
    script::{Script, job, machine},
};
use domain::{
    Bytes, Digest, JobId,
    after::{RetryMax, RetryOn},
    job::{EndCause, JobSpec},
    link::Report,
};

fn new(spec: JobSpec) -> NewJob {
    NewJob { recipe: Digest::of_value(&spec), spec }
}

fn wanting(gib: u64) -> JobSpec {
    let mut spec = job(1, 1);
    spec.resources.gpu_memory = Some(Bytes(gib << 30));
    spec
}

fn bounded(retries: u32, words: &[(&str, u32)]) -> JobSpec {
    let mut max = RetryMax::default();
    assert!(words.iter().all(|(word, most)| max.set(word, *most)));
    let mut spec = JobSpec { retries, ..job(1, 1) };
    spec.retry.max = max;
    spec
}

/// A machine of two GPUs with so much memory each.
fn two(script: &mut Script, name: &str, gib: u64) {
    let mut machine = machine(name, 2, "H100");
    machine.gpus.iter_mut().for_each(|gpu| gpu.memory = Bytes(gib << 30));
    script.register(machine);
}

fn begin() -> Script {
    let mut script = Script::new();
    raise(&mut script);
    script
}

/// Names of the nodes on which a job runs.
fn nodes(script: &Script, id: JobId) -> Vec<String> {
    let view = script.view();
    let leases = view.all_leases().filter(|lease| lease.element.job == id);
    let members = leases.flat_map(|lease| lease.members.clone());
    members.filter_map(|member| view.node_name(member.node)).collect()
}

fn fail(script: &mut Script, id: JobId, cause: EndCause) {
    let lease = script.view().all_leases().find(|lease| lease.element.job == id).cloned();
    let lease = lease.expect("it runs");
    let node = lease.lead();
    script.report(node, Report::Failed { lease: lease.id, cause });
    script.report(node, Report::Stopped { lease: lease.id });
}

#[test]
fn a_cluster_of_the_version_before_refuses_what_it_has_no_place_for() {
    let mut script = Script::new();
    let reply = script.send(None, Command::submit(vec![new(wanting(40))]));
    let Reply::Refused(Refusal::NotYet { why }) = reply else { panic!("{reply:?}") };
    assert_eq!(why, "this needs version 2, the cluster runs at 1");
    assert_eq!(script.view().live_jobs(), 0);
}

#[test]
fn the_command_of_the_first_version_takes_nothing_of_it_in() {
    let mut script = begin();
    script.send(None, Command::Submit { jobs: vec![new(wanting(40))] });
    let (submitted, _) = script.view().job_rows(&script.rows, JobId(1)).unwrap();
    assert!(submitted.spec.further().is_default(), "the log has no place for it in that command");
}

#[test]
fn each_job_of_a_request_in_parts_has_what_it_said_and_a_restart_knows_it() {
    let mut script = begin();
    two(&mut script, "a", 80);
    let first = vec![new(job(1, 1)), new(wanting(80))];
    let last = vec![new(bounded(1, &[("signal", 1)])), new(wanting(80)), new(job(1, 1))];
    let all: Vec<NewJob> = first.iter().chain(&last).cloned().collect();
    let further = super::command::gather(&mut all.clone());
    assert_eq!(further.iter().map(|(_, places)| places.len()).collect::<Vec<_>>(), [2, 1]);
    // Parts are stored without it.
    let Reply::Part { number } = script.send(None, Command::SubmitPart { jobs: first }) else {
        panic!("no part")
    };
    let submission = Submission { parts: vec![number], jobs: last, ties: Vec::new(), further };
    let reply = script.send(None, Command::take_in(submission));
    assert!(matches!(reply, Reply::Submitted { .. }), "{reply:?}");
    for (id, new) in (1..).zip(all) {
        let (submitted, _) = script.view().job_rows(&script.rows, JobId(id)).unwrap();
        assert_eq!(submitted.spec, new.spec, "j{id}");
    }
    assert!(super::Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn a_gpu_with_less_memory_than_is_asked_for_is_never_given_and_the_reason_names_what_there_is() {
    let mut script = begin();
    two(&mut script, "large", 80);
    two(&mut script, "small", 40);
    let ids: Vec<JobId> = (0..3).map(|_| script.submit(wanting(48))).collect();
    script.plan();
    assert_eq!(nodes(&script, ids[0]), ["large"]);
    assert_eq!(nodes(&script, ids[1]), ["large"]);
    assert!(nodes(&script, ids[2]).is_empty(), "the small ones are free, and will not do");
    let why = script.why(ids[2]);
    let found: Vec<_> = why.iter().map(|it| (it.kind.as_str(), it.never)).collect();
    assert_eq!(found[0], ("gpu_memory", false), "{why:?}");
    assert_eq!(
        why[0].detail,
        "1 GPUs of at least 48 GiB asked for each of 1 tasks; there are: H100 (40 GiB)"
    );
    assert_eq!(why[0].remedy, "lower `gpu_memory` to 40GiB, or wait until others end");
    // Exactly what there is will do.
    let exact = script.submit(wanting(40));
    script.plan();
    assert_eq!(nodes(&script, exact), ["small"]);

    let huge = script.submit(wanting(141));
    let why = script.why(huge);
    assert!(why[0].never && why[0].remedy == "lower `gpu_memory` to 80GiB", "{why:?}");
    let mut both = wanting(80);
    both.resources.gpu_model = Some("A100".into());
    two(&mut script, "other", 40);
    let both = script.submit(both);
    let why = script.why(both);
    assert_eq!((why.len(), why[0].kind.as_str()), (1, "gpu_model"), "{why:?}");
    let mut neither = wanting(141);
    neither.resources.gpu_model = Some("A100".into());
    let neither = script.submit(neither);
    let why = script.why(neither);
    assert_eq!(why[0].remedy, "leave `gpu_model` out and lower `gpu_memory` to 80GiB", "{why:?}");
}

#[test]
fn a_job_runs_on_the_class_of_hardware_that_it_names_and_waits_where_there_is_none() {
    let mut script = begin();
    script.register(machine("a", 2, "A100"));
    script.register(machine("h", 2, "H100"));
    let classed = |class: &str| JobSpec { hardware_class: Some(class.into()), ..job(1, 1) };
    let ids: Vec<JobId> =
        (0..3).map(|_| script.submit(classed("H100/driver-550/x86-64-v3"))).collect();
    script.plan();
    assert_eq!([nodes(&script, ids[0]), nodes(&script, ids[1])].concat(), ["h", "h"]);
    assert!(nodes(&script, ids[2]).is_empty(), "the other machine is free");
    let why = script.why(ids[2]);
    assert_eq!((why.len(), why[0].kind.as_str(), why[0].never), (1, "class", false), "{why:?}");
    assert_eq!(
        why[0].detail,
        "it asks for hardware class `H100/driver-550/x86-64-v3`, whose nodes have no room for it \
         now; it would fit on: `A100/driver-550/x86-64-v3`"
    );
    let never = script.submit(classed("H200/driver-550/x86-64-v3"));
    let why = script.why(never);
    assert_eq!((why.len(), why[0].kind.as_str(), why[0].never), (1, "class", true), "{why:?}");
    assert_eq!(
        why[0].detail,
        "it asks for hardware class `H200/driver-550/x86-64-v3`, which no node has; it would fit on: \
         `A100/driver-550/x86-64-v3`, `H100/driver-550/x86-64-v3`"
    );
}

#[test]
fn of_a_class_that_no_node_has_and_more_than_any_has_both_are_told() {
    let mut script = begin();
    script.register(machine("a", 2, "A100"));
    let class = Some("typo".to_owned());
    let id = script.submit(JobSpec { hardware_class: class, ..job(1, 9) });
    let why = script.why(id);
    let told: Vec<_> = why.iter().map(|it| (it.kind.as_str(), it.remedy.as_str())).collect();
    let class = "leave `hardware_class` out, or name one of those (and what else is named)";
    assert_eq!(told, [("class", class), ("gpus", "lower `gpus` to 2 (and what else is named)")]);
    // The class has nodes, and what is asked for is too much for them alone.
    two(&mut script, "h", 40);
    let class = Some("H100/driver-550/x86-64-v3".to_owned());
    let mut spec = JobSpec { hardware_class: class, ..job(1, 1) };
    spec.resources.gpu_memory = Some(Bytes(80 << 30));
    let id = script.submit(spec);
    let why = script.why(id);
    let told: Vec<_> = why.iter().map(|it| (it.kind.as_str(), it.remedy.as_str())).collect();
    assert_eq!(told[0], ("class", "leave `hardware_class` out, or name one of those"));
    assert_eq!(told[1], ("gpu_memory", "lower `gpu_memory` to 40GiB"));
    assert!(why[0].detail.ends_with("it would fit on: `A100/driver-550/x86-64-v3`"), "{why:?}");
}

#[test]
fn what_is_short_beside_the_memory_of_gpus_is_named_with_it() {
    let mut script = begin();
    two(&mut script, "a", 40);
    let mut spec = wanting(80);
    spec.resources.cpu = domain::CpuMillis(99_000);
    let id = script.submit(spec);
    let why = script.why(id);
    let told: Vec<_> = why.iter().map(|it| it.remedy.as_str()).collect();
    let memory = "lower `gpu_memory` to 40GiB (and what else is named)";
    assert_eq!(told, [memory, "lower `cpus` to 16 (and what else is named)"]);
}

#[test]
fn what_a_driver_reports_of_a_card_of_eighty_is_less_than_eighty() {
    let mut script = begin();
    let mut machine = machine("a", 1, "NVIDIA H100 80GB HBM3");
    machine.gpus[0].memory = Bytes(81_559 << 20);
    script.register(machine);
    let never = script.submit(wanting(80));
    assert_eq!(script.why(never)[0].remedy, "lower `gpu_memory` to 81559MiB");
    let runs = script.submit(wanting(70));
    script.plan();
    assert_eq!(nodes(&script, runs), ["a"]);
}

#[test]
fn ranks_have_the_gpus_of_a_node_in_the_drivers_order_whatever_their_memory() {
    let mut script = begin();
    let mut machine = machine("a", 4, "H100");
    machine.gpus[2].memory = Bytes(40 << 30);
    machine.gpus[3].memory = Bytes(90 << 30);
    script.register(machine);
    let id = script.submit(job(4, 1));
    let placed = script.plan();
    assert_eq!(placed[0].element.job, id);
    let of: Vec<_> = placed[0].members[0].tasks.iter().flat_map(|it| it.gpus.clone()).collect();
    assert_eq!(of, [0, 1, 2, 3]);
}

#[test]
fn a_run_of_a_check_asks_for_the_memory_that_its_job_asked_for() {
    let mut script = begin();
    two(&mut script, "a", 80);
    two(&mut script, "b", 40);
    two(&mut script, "c", 80);
    let mut spec = wanting(80);
    spec.verify = Some(domain::check::Verify { segments_of_10000: 10_000 });
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of("j1");
    let node = script.view().lease(lease).unwrap().lead();
    let root = Digest::of(b"step 10");
    let size = Bytes(1);
    let checkpoint = domain::checkpoint::Checkpoint { step: 10, root, tree: root, size, lease };
    script.report(node, Report::Checkpoint { checkpoint });
    let opened: Vec<_> = script.view().open_checks().map(|(_, check)| check.clone()).collect();
    assert_eq!(opened.len(), 1, "{id} is checked");
    assert_eq!(opened[0].resources().gpu_memory, Some(Bytes(80 << 30)));
    assert!(super::Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn a_run_that_repeats_another_has_its_class_and_no_other() {
    let mut script = begin();
    let node = script.register(machine("h", 2, "H100"));
    script.submit(job(1, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.finish(lease, 1);
    script.seal(lease);
    let again = |class: &str| JobSpec {
        reproduces: Some(JobId(1)),
        hardware_class: Some(class.into()),
        ..job(1, 1)
    };
    let reply = script.send(None, Command::submit(vec![new(again("A100/driver-550/x86-64-v3"))]));
    let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
    assert!(refusal.to_string().contains("the run that it repeats was on `H100/"), "{refusal}");
    script.submit(again("H100/driver-550/x86-64-v3"));
    assert!(script.view().node(node).is_some());
}

#[test]
fn a_kind_of_failure_ends_the_job_when_its_own_bound_is_reached() {
    let mut script = begin();
    two(&mut script, "a", 80);
    let signal = || EndCause::Signal { rank: 0, signal: 9 };
    let code = || EndCause::ExitCode { rank: 0, code: 1 };
    let id = script.submit(bounded(9, &[("signal", 1), ("exit_code", 2)]));
    for (cause, word) in [
        (code(), "waiting"),
        (signal(), "waiting"),
        (code(), "waiting"),
        // Kinds without a bound of their own have only that of all.
        (EndCause::TimeLimit, "waiting"),
        (signal(), "failed"),
    ] {
        script.plan();
        fail(&mut script, id, cause);
        assert_eq!(script.word(id), word);
    }
    let id = script.submit(bounded(1, &[("signal", 5)]));
    for word in ["waiting", "failed"] {
        script.plan();
        fail(&mut script, id, signal());
        assert_eq!(script.word(id), word, "`retries` bounds them all");
    }
    let id = script.submit(bounded(3, &[("limit", 0)]));
    script.plan();
    fail(&mut script, id, EndCause::OutOfMemory { rank: 0, used: Bytes(2), limit: Bytes(1) });
    assert_eq!(script.word(id), "failed", "memory is as short the next time");
}

#[test]
fn what_was_spent_of_a_bound_is_known_after_a_restart() {
    let mut script = begin();
    two(&mut script, "a", 80);
    let id = script.submit(bounded(9, &[("signal", 1)]));
    script.plan();
    fail(&mut script, id, EndCause::Signal { rank: 0, signal: 9 });
    let spent =
        |script: &Script| script.view().live_job(id).unwrap().elements[&0].later.spent.clone();
    assert_eq!(spent(&script), [(RetryOn::Signal, 1)].into());
    assert!(super::Cluster::load(&script.rows) == script.cluster);
}

#[test]
fn a_job_that_may_not_be_run_again_after_its_node_was_lost_fails_with_it() {
    for (most, words) in [(0, vec!["failed"]), (1, vec!["waiting", "failed"])] {
        let mut script = begin();
        two(&mut script, "a", 80);
        let id = script.submit(bounded(0, &[("node", most)]));
        for word in words {
            script.plan();
            fail(&mut script, id, EndCause::NodeLost);
            assert_eq!(script.word(id), word, "{most} faults of nodes");
        }
    }
}

#[test]
fn a_disk_that_is_filled_again_counts_for_a_quarter_of_what_the_job_allows() {
    // The first time counts for one.
    for (most, times) in [(0, 1), (3, 4), (4, 5), (8, 5), (10, 6), (20, 5), (100, 5)] {
        let mut script = begin();
        two(&mut script, "a", 80);
        let id = script.submit(bounded(0, &[("node", most)]));
        let mut failures = 0;
        while script.word(id) != "failed" {
            script.now = script.now.plus(domain::Millis(40_000));
            script.send(None, Command::Wake { until: script.now });
            script.plan();
            fail(&mut script, id, EndCause::DiskFull { detail: "/".into() });
            failures += 1;
        }
        assert_eq!(failures, times, "{most} faults of nodes");
    }
}

#[test]
fn what_is_out_of_range_is_refused_by_name() {
    let mut script = begin();
    let mut signal_alone = bounded(1, &[("limit", 1)]);
    signal_alone.retry.on = vec![RetryOn::Signal];
    for (spec, why) in [
        (wanting(0), "gpu_memory: is zero"),
        (
            JobSpec { hardware_class: Some(String::new()), ..job(1, 1) },
            "hardware_class: is 0 bytes",
        ),
        (bounded(1, &[("node", 101)]), "retry.max: allows 101 faults of nodes"),
        (signal_alone.clone(), "retry.max: names `limit`, after which it is never tried again"),
    ] {
        let reply = script.send(None, Command::submit(vec![new(spec)]));
        let Reply::Refused(refusal) = reply else { panic!("{reply:?}") };
        assert!(refusal.to_string().contains(why), "{refusal}");
    }
    // That it is never tried again after that is what `on` says, too.
    signal_alone.retry.max = RetryMax { own: [(RetryOn::Limit, 0)].into(), node: None };
    script.submit(signal_alone);
}
