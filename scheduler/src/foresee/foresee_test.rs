//! What is foreseen is what comes.

use super::*;
use crate::{
    foresee::run_time::RunTimes,
    state::{
        script::{Script, array, job, machine},
        view::{EndedRun, View, ended_runs},
    },
};
use domain::{
    ElementId,
    after::{After, When},
    job::JobSpec,
    lease::{Lease, Phase},
    queue::{ClusterConfig, QueueSpec},
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeMap;

const HOUR: Millis = Millis(3_600_000);

fn limited(spec: JobSpec, minutes: u64) -> JobSpec {
    JobSpec { time_limit: Some(Millis(minutes * 60_000)), ..spec }
}

fn course(script: &Script) -> Course {
    Course { now: script.now, horizon: HORIZON, while_waiting: false }
}

fn ahead(script: &Script, changes: &Changes, known: &RunTimes) -> Foresight {
    let fork = script.view().split_off(JOBS_MAX).fork();
    foresee(&fork, changes, known, course(script), &|| true).unwrap()
}

fn as_it_is(script: &Script) -> Foresight {
    ahead(script, &Changes::default(), &RunTimes::default())
}

/// Steps the state machine itself: all that runs uses its limit up, and is sealed at once.
struct Real {
    script: Script,
    starts: BTreeMap<ElementId, Millis>,
    seals: u8,
}

impl Real {
    fn look(&mut self) {
        let now = self.script.now;
        let view = self.script.view();
        let new: Vec<_> = view.all_leases().map(|lease| lease.element).collect();
        for element in new {
            self.starts.entry(element).or_insert(now);
        }
    }

    fn plan(&mut self) {
        loop {
            let placed = self.script.plan();
            self.look();
            if placed.is_empty() {
                return;
            }
        }
    }

    fn run(&mut self, until: Millis) {
        loop {
            let view = self.script.view();
            let mut ends: Vec<_> =
                view.all_leases().map(|lease| (ends_at(&view, lease), lease.id)).collect();
            ends.sort();
            let over = ends.partition_point(|(at, _)| *at <= self.script.now);
            for (_, lease) in &ends[..over] {
                self.seals = self.seals.wrapping_add(1);
                self.script.finish(*lease, self.seals);
                self.script.seal(*lease);
            }
            self.plan();
            let view = self.script.view();
            let Some(next) = view.all_leases().map(|lease| ends_at(&view, lease)).min() else {
                return;
            };
            if next > until {
                return;
            }
            self.script.now = next.max(self.script.now);
        }
    }
}

fn ends_at(view: &View<'_>, lease: &Lease) -> Millis {
    let limit = view.live_job(lease.element.job).unwrap().brief.time_limit.unwrap();
    lease.granted.plus(limit)
}

/// A job: tasks, GPUs, priority, minutes, elements, and whether it waits for the one before it.
type Asked = (u32, u32, i32, u64, Option<(u32, u32)>, bool);

fn any_asked() -> impl Strategy<Value = Asked> {
    let list = prop::option::weighted(0.2, (1u32..5, 0u32..3));
    (1u32..4, 0u32..5, -2i32..3, 1u64..90, list, prop::bool::weighted(0.2))
}

fn submit(script: &mut Script, asked: &[Asked]) {
    let mut before = None;
    for (tasks, gpus, priority, minutes, list, waits) in asked {
        let spec = match list {
            Some((count, at_once)) => array(*count, *at_once, *gpus),
            None => job(*tasks, *gpus),
        };
        let after = before.filter(|_| *waits).map(|job| After { job, when: When::Completed });
        let mut spec = limited(JobSpec { priority: *priority, ..spec }, *minutes);
        spec.after = after.into_iter().collect();
        // Nobody makes room: the script's agents are asked by hand.
        spec.interrupt.preemptible = domain::interrupt::Preemptible::No;
        before = Some(script.submit(spec));
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 96, failure_persistence: None, ..ProptestConfig::default()
    })]

    /// The fork has neither the rows nor the history of its origin, and yet goes the same way.
    #[test]
    fn where_jobs_use_their_limits_up_what_is_foreseen_is_what_comes(
        nodes in vec(1u32..9, 1..4),
        (first, then) in (vec(any_asked(), 0..6), vec(any_asked(), 1..8)),
        minutes in 0u64..20,
    ) {
        let mut script = Script::new();
        for (at, gpus) in nodes.iter().enumerate() {
            script.register(machine(&format!("m{at}"), *gpus, "NVIDIA H100"));
        }
        submit(&mut script, &first);
        while !script.plan().is_empty() {}
        script.now = script.now.plus(Millis(minutes * 60_000));
        submit(&mut script, &then);

        let foreseen = as_it_is(&script);
        prop_assert_eq!(foreseen.walks.len(), 1);
        let again = as_it_is(&script);
        prop_assert_eq!(&foreseen, &again);

        let running: Vec<ElementId> =
            script.view().all_leases().map(|lease| lease.element).collect();
        let until = foreseen.until;
        let mut real = Real { script, starts: BTreeMap::new(), seals: 0 };
        real.run(until);
        real.starts.retain(|element, _| !running.contains(element));
        let walk = &foreseen.walks[0];
        prop_assert!(!walk.cut);
        let starts: BTreeMap<_, _> =
            walk.starts.iter().map(|(element, start)| (*element, start.at)).collect();
        prop_assert_eq!(starts, real.starts);
    }
}

#[test]
fn a_job_starts_when_the_one_before_it_reaches_its_limit() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.submit(limited(job(1, 8), 30));
    script.plan();
    script.now = script.now.plus(Millis(600_000));
    let second = script.submit(limited(job(1, 8), 30));
    let third = script.submit(job(1, 8));
    let foreseen = as_it_is(&script);
    let at = |minutes: u64| Some(Millis(1_000_000 + minutes * 60_000));
    let start = foreseen.start_of(second);
    assert_eq!((start.p50, start.p90, start.not_known), (at(30), at(30), None));
    assert_eq!((start.nodes, start.basis), (vec!["m1".to_owned()], Basis::TimeLimits));
    assert_eq!(foreseen.start_of(third).p90, at(60));
}

#[test]
fn what_runs_without_limit_and_history_makes_no_estimate() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.submit(job(1, 8));
    script.plan();
    let second = script.submit(limited(job(1, 8), 30));
    let start = as_it_is(&script).start_of(second);
    assert_eq!((start.p50, start.p90), (None, None));
    let why = start.not_known.unwrap();
    assert_eq!(why, "j1 has no time limit and no history: nobody knows when that ends");
}

#[test]
fn history_spreads_the_estimate_and_what_was_shorter_is_left_out() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.submit(job(1, 8));
    script.plan();
    script.now = script.now.plus(HOUR);
    let second = script.submit(job(1, 8));
    let ended = |minutes: u64| EndedRun {
        queue: "default".into(),
        user: "ada".into(),
        name: "train".into(),
        granted: Millis(0),
        ran: Millis(minutes * 60_000),
    };
    // Half of them were over before an hour had gone by.
    let known: Vec<EndedRun> = (1..=20).map(|at| ended(at * 6)).collect();
    let start = ahead(&script, &Changes::default(), &RunTimes::of(&known)).start_of(second);
    assert_eq!((start.basis, start.scenarios), (Basis::History, SCENARIOS[0]));
    let after = |at: Option<Millis>| at.unwrap().minus(Millis(1_000_000)).0 / 60_000;
    assert_eq!((after(start.p50), after(start.p90)), (96, 114), "{start:?}");
}

#[test]
fn what_has_ended_is_remembered_by_its_rows() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    for minutes in [3, 1, 2] {
        script.submit(job(1, 8));
        script.plan();
        script.now = script.now.plus(Millis(minutes * 60_000));
        let lease = script.view().all_leases().next().unwrap().id;
        script.finish(lease, minutes as u8);
        script.seal(lease);
    }
    script.submit(job(1, 8));
    script.cancel("j4");
    script.submit(job(1, 8));
    let view = script.view();
    let ended = ended_runs(&script.rows, view.newest_job(), script.now, HISTORY_JOBS_MAX);
    let known = RunTimes::of(&ended);
    let minutes = |all: &[Millis]| all.iter().map(|ran| ran.0 / 60_000).collect::<Vec<_>>();
    let like = known.like(&view.live_job(JobId(5)).unwrap().brief);
    assert_eq!(minutes(like), [1, 2, 3]);
    let newest = ended_runs(&script.rows, view.newest_job(), script.now, 3);
    assert_eq!(newest.len(), 1, "of j5, j4 and j3 only the last has run");
}

fn compared(script: &Script, changes: &Changes) -> Result<domain::foresee::WhatifView, Unforeseen> {
    let fork = script.view().split_off(JOBS_MAX).fork();
    whatif(&fork, changes, Vec::new(), &RunTimes::default(), course(script), &|| true)
}

#[test]
fn a_drain_moves_what_waits_and_lowers_nothing_else() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.register(machine("m2", 8, "NVIDIA H100"));
    script.submit(limited(job(1, 8), 30));
    script.submit(limited(job(1, 8), 60));
    script.plan();
    let third = script.submit(limited(job(1, 8), 30));
    let drain = |name: &str| Changes { drained: vec![name.to_owned()], ..Changes::default() };
    let first = script.view().all_leases().next().unwrap().lead();
    let name = script.view().node_name(first).unwrap();
    let answer = compared(&script, &drain(&name)).unwrap();
    assert_eq!(answer.shifts.len(), 1, "{answer:?}");
    assert_eq!((answer.shifts[0].job, answer.shifts[0].shift_ms), (third, Some(1_800_000)));
    assert_eq!(answer.evictions, vec![]);
    // Late enough, it moves nothing.
    let late = Changes { drained_at: Some(script.now.plus(HOUR)), ..drain(&name) };
    assert_eq!(compared(&script, &late).unwrap().unmoved, 1);
    let Err(Unforeseen::Refused(refusal)) = compared(&script, &drain("m9")) else { panic!() };
    assert_eq!(
        refusal.to_string(),
        "there is no node or rack `m9`; `assay nodes` shows what there is"
    );
    // What is to move makes room; a cluster of the version before says that it cannot.
    let moves = Changes { migrate: true, ..drain(&name) };
    let Err(Unforeseen::Refused(old)) = compared(&script, &moves) else { panic!() };
    assert!(old.to_string().contains("needs version 2"), "{old}");
    crate::state::dataset_test::raise(&mut script);
    for lease in script.view().all_leases().cloned().collect::<Vec<_>>() {
        for member in &lease.members {
            script.report(member.node, domain::link::Report::Prepared { lease: lease.id });
        }
    }
    let answer = compared(&script, &moves).unwrap();
    assert_eq!(answer.evictions.len(), 1, "{answer:?}");
    assert_eq!(answer.evictions[0].cause, format!("left `{name}`, which is taken out of service"));
    // Nothing of it has happened.
    assert!(script.view().all_nodes().all(|(_, node)| node.row.drained.is_none()));
}

#[test]
fn a_higher_guarantee_calls_back_what_another_queue_has_borrowed() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    let queues = ["a", "b"].map(|name| (name.to_owned(), QueueSpec::default()));
    let config = ClusterConfig { queues: queues.into(), ..script.view().cluster_config() }.whole();
    let why = String::new();
    script.send(None, crate::state::command::Command::ApplyConfig { expected: 0, config, why });
    let of = |queue: &str| JobSpec { queue: queue.into(), ..limited(job(1, 8), 120) };
    script.submit(of("a"));
    script.plan();
    script.now = script.now.plus(Millis(600_000));
    let waits = script.submit(of("b"));
    let changes = Changes { quotas: vec![("b".to_owned(), Quota::By(8))], ..Changes::default() };
    let answer = compared(&script, &changes).unwrap();
    assert_eq!(answer.evictions.len(), 1, "{answer:?}");
    let evicted = &answer.evictions[0];
    assert_eq!((evicted.before, evicted.after, evicted.gpus), (0, 1, 8));
    let shift = &answer.shifts[0];
    assert_eq!(shift.job, waits);
    // Half a minute for the notice, instead of the rest of two hours.
    assert_eq!(shift.shift_ms, Some(30_000 - 110 * 60_000));
    let none = Changes { quotas: vec![("c".to_owned(), Quota::By(8))], ..Changes::default() };
    assert!(matches!(compared(&script, &none), Err(Unforeseen::Refused(_))));
    let less = Changes { quotas: vec![("b".to_owned(), Quota::By(-8))], ..Changes::default() };
    assert!(matches!(compared(&script, &less), Err(Unforeseen::Refused(_))));
}

#[test]
fn a_job_that_is_tried_out_has_a_place_and_a_time_and_is_not_there() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.submit(limited(job(1, 8), 30));
    script.plan();
    let spec = Some(Box::new(limited(job(1, 8), 10)));
    let changes = Changes { job: spec, ..Changes::default() };
    let answer = compared(&script, &changes).unwrap();
    let submitted = answer.submitted.unwrap();
    assert_eq!(submitted.after.p50, Some(script.now.plus(Millis(1_800_000))));
    assert_eq!(submitted.after.nodes, vec!["m1".to_owned()]);
    let used = answer.utilisation;
    assert_eq!(used.after_gpu_ms - used.before_gpu_ms, 8 * 600_000);
    assert_eq!(script.view().live_jobs(), 1);
    let never = JobSpec { queue: "nowhere".into(), ..limited(job(1, 8), 10) };
    let never = Changes { job: Some(Box::new(never)), ..Changes::default() };
    assert!(matches!(compared(&script, &never), Err(Unforeseen::Refused(_))));
}

#[test]
fn a_fork_with_too_many_takes_the_first_of_each_queue_along() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    for _ in 0..20 {
        script.submit(limited(job(1, 8), 30));
    }
    script.plan();
    let fork = script.view().split_off(5).fork();
    assert_eq!((fork.view().live_jobs(), fork.left_out()), (5, 15));
    let none = Changes::default();
    let foreseen = foresee(&fork, &none, &RunTimes::default(), course(&script), &|| true).unwrap();
    let whole = as_it_is(&script);
    for job in (2..=5).map(JobId) {
        assert_eq!(foreseen.start_of(job).p50, whole.start_of(job).p50);
    }
    let last = foreseen.start_of(JobId(20));
    assert!(last.not_known.unwrap().contains("15 waiting jobs are not looked at"));
}

#[test]
fn an_attempt_that_was_asked_to_make_room_does_so_within_its_patience() {
    let mut script = Script::new();
    script.register(machine("m1", 8, "NVIDIA H100"));
    script.submit(limited(job(1, 8), 120));
    script.plan();
    script.now = script.now.plus(HOUR);
    let high = script.submit(JobSpec { priority: 5, ..limited(job(1, 8), 10) });
    assert!(script.plan_all().is_some());
    let started = script.view().all_leases().all(|it| matches!(it.phase, Phase::Started { .. }));
    assert!(started);
    let foreseen = as_it_is(&script);
    assert_eq!(foreseen.start_of(high).p50, Some(script.now.plus(Millis(30_000))));
}

#[test]
#[ignore = "measures"]
fn how_long_it_takes() {
    for (nodes, jobs, history) in [(100, 2_000, false), (100, 2_000, true), (1_000, 10_000, false)]
    {
        let mut script = Script::new();
        for at in 0..nodes {
            script.register(machine(&format!("m{at}"), 8, "NVIDIA H100"));
        }
        for at in 0..jobs {
            let mut spec = limited(job(1, 1 + at % 8), u64::from(10 + at * 7 % 200));
            spec.name = format!("t{}", at % 50);
            script.submit(spec);
        }
        script.plan();
        let ended = |at: u64| EndedRun {
            queue: "default".into(),
            user: "ada".into(),
            name: format!("t{}", at % 50),
            granted: Millis(at * 1_000),
            ran: Millis(60_000 + at * 7_919 % 6_000_000),
        };
        let runs: Vec<EndedRun> = (0..2_000).map(ended).collect();
        let begun = std::time::Instant::now();
        let known = if history { RunTimes::of(&runs) } else { RunTimes::default() };
        let calibrated = begun.elapsed();
        let begun = std::time::Instant::now();
        let split = script.view().split_off(JOBS_MAX);
        let copied = begun.elapsed();
        let fork = split.fork();
        let ready = begun.elapsed();
        let answer = whatif(
            &fork,
            &Changes { drained: vec!["m1".into()], ..Changes::default() },
            Vec::new(),
            &known,
            course(&script),
            &|| true,
        );
        let answer = answer.unwrap();
        eprintln!(
            "{nodes} nodes {jobs} jobs {} scenarios: calibrated {calibrated:?} copied {copied:?} \
             forked {ready:?} all {:?}; {} shifts, {:?}",
            answer.scenarios,
            begun.elapsed(),
            answer.shifts.len() as u64 + answer.more_shifts,
            answer.notes
        );
    }
}
