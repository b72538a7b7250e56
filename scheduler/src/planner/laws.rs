//! Laws of every plan.

use super::{HOLD_AFTER, ReplayFault, plan, replay, why};
use crate::state::{
    Cluster,
    command::{PlanRecord, Reply},
    dataset_test::raise,
    script::{Script, array, job, machine},
};
use domain::{
    Bytes, CpuMillis, Digest, ElementId, JobId, Millis, NodeId,
    job::{EndCause, JobSpec},
    link::Report,
};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

/// A job's needs in small numbers: tasks, GPUs, cores, GiB, priority, what its GPUs are to be like,
/// array.
type Asked = (u32, u32, u64, u64, i32, Like, Option<(u32, u32)>);

/// What a GPU is to be like.
#[derive(Clone, Copy, Debug)]
enum Like {
    Any,
    H100,
    Large,
    LargeH100,
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let list = prop::option::weighted(0.2, (1u32..6, 0u32..3));
    (1u32..5, 0u32..5, 0u64..10, 0u64..40, -2i32..3, any_like(), list)
}

fn any_like() -> impl Strategy<Value = Like> {
    prop_oneof![Just(Like::Any), Just(Like::H100), Just(Like::Large), Just(Like::LargeH100)]
}

fn spec((tasks, gpus, cores, gib, priority, like, list): Asked) -> JobSpec {
    let mut spec = match list {
        Some((count, at_once)) => array(count, at_once, gpus),
        None => job(tasks, gpus),
    };
    spec.priority = priority;
    spec.resources.cpu = CpuMillis(cores * 1_000);
    spec.resources.memory = Bytes(gib << 30);
    let (h100, large) = match like {
        Like::Any => (false, false),
        Like::H100 => (true, false),
        Like::Large => (false, true),
        Like::LargeH100 => (true, true),
    };
    spec.resources.gpu_model = h100.then(|| "H100".to_owned());
    spec.resources.gpu_memory = large.then_some(Bytes(80 << 30));
    spec
}

/// Nodes, then rounds of submits, each followed by a plan, after which some attempts end.
type Life = (Vec<(u32, bool)>, Vec<(Vec<Asked>, u8)>);

fn any_cluster() -> impl Strategy<Value = Life> {
    (vec((0u32..9, any::<bool>()), 0..5), vec((vec(any_asked(), 0..6), any::<u8>()), 1..6))
}

fn build(nodes: &[(u32, bool)]) -> Script {
    let mut script = Script::new();
    raise(&mut script);
    for (at, (gpus, h100)) in nodes.iter().enumerate() {
        let model = if *h100 { "NVIDIA H100 80GB" } else { "NVIDIA A100" };
        let mut machine = machine(&format!("m{at}"), *gpus, model);
        // Of each model there are some with half the memory.
        for gpu in machine.gpus.iter_mut().filter(|_| (at + *gpus as usize).is_multiple_of(2)) {
            gpu.memory = Bytes(40 << 30);
        }
        script.register(machine);
    }
    script
}

/// Ends some of the attempts, as the bits of `which` say.
fn end_some(script: &mut Script, which: u8) {
    let leases: Vec<_> = script.view().all_leases().cloned().collect();
    for (at, lease) in leases.iter().enumerate() {
        if which >> (at % 8) & 1 == 1 {
            let cause = EndCause::DiskFull { detail: "/".into() };
            script.report(lease.lead(), Report::Failed { lease: lease.id, cause });
            for member in &lease.members {
                script.report(member.node, Report::Stopped { lease: lease.id });
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn every_placement_of_a_plan_is_granted_and_the_same_view_gives_the_same_plan(
        (nodes, rounds) in any_cluster()
    ) {
        let mut script = build(&nodes);
        for (submits, ended) in rounds {
            for asked in submits {
                script.submit(spec(asked));
            }
            let first = plan(&script.view(), script.now, 1_000);
            prop_assert_eq!(&first, &plan(&script.view(), script.now, 1_000));
            let before: BTreeSet<_> = script.view().all_leases().map(|lease| lease.id).collect();
            script.place(first.record.clone());
            let view = script.view();
            let new = view.all_leases().filter(|lease| !before.contains(&lease.id));
            let granted: BTreeMap<ElementId, _> =
                new.map(|lease| (lease.element, lease.members.clone())).collect();
            let asked: BTreeMap<_, _> = first
                .record
                .placements
                .into_iter()
                .map(|placement| (placement.element, placement.members))
                .collect();
            prop_assert_eq!(granted, asked);
            end_some(&mut script, ended);
            script.now = script.now.plus(Millis(40_000));
        }
    }

    #[test]
    fn after_a_plan_nothing_that_fits_is_left_and_every_waiting_job_has_a_reason(
        (nodes, rounds) in any_cluster()
    ) {
        let mut script = build(&nodes);
        for (submits, ended) in rounds {
            for asked in submits {
                script.submit(spec(asked));
            }
            script.plan();
            prop_assert_eq!(plan(&script.view(), script.now, 1_000).record.placements, vec![]);
            let live: Vec<JobId> = script.view().all_live_jobs().map(|(id, _)| id).collect();
            for id in live {
                let why = why(&script.view(), &script.rows, id, script.now).unwrap();
                let waits = script.view().live_job(id).unwrap();
                let waits = waits.progress.waiting(waits.brief.elements()) > 0;
                prop_assert!(!waits || !why.reasons.is_empty(), "{:?}", why);
                prop_assert!(why.reasons.iter().all(|reason| !reason.remedy.is_empty()));
            }
            end_some(&mut script, ended);
        }
    }

    #[test]
    fn of_two_jobs_with_like_needs_the_one_that_is_first_in_order_starts_first(
        (nodes, rounds) in any_cluster()
    ) {
        let mut script = build(&nodes);
        for asked in rounds.into_iter().flat_map(|(submits, _)| submits) {
            script.submit(spec((asked.0, asked.1, 1, 1, asked.4, asked.5, None)));
        }
        script.plan();
        let view = script.view();
        let jobs: Vec<_> = view.all_live_jobs().collect();
        for (first, one) in &jobs {
            for (second, other) in &jobs {
                let alike = one.brief.tasks == other.brief.tasks
                    && one.brief.resources == other.brief.resources;
                if alike && one.wait_key(*first) < other.wait_key(*second) {
                    prop_assert!(one.progress.running >= other.progress.running);
                }
            }
        }
    }

    /// The indexes that a view is read from are carried on from entry to entry; a state that is
    /// loaded from rows has built them anew. Both give one plan, so passes need no memory.
    #[test]
    fn what_is_on_record_makes_every_plan_again_from_the_rows_of_its_base_alone(
        (nodes, rounds) in any_cluster(), budget in 1u64..12
    ) {
        let mut script = build(&nodes);
        for (submits, ended) in rounds {
            for asked in submits {
                script.submit(spec(asked));
            }
            let record = plan(&script.view(), script.now, budget).record;
            let loaded = Cluster::load(&script.rows);
            let again = replay(&loaded.view(), &record).map(|made| made.record);
            prop_assert_eq!(again, Ok(record.clone()));
            script.place(record);
            end_some(&mut script, ended);
            script.now = script.now.plus(Millis(40_000));
        }
    }

    #[test]
    fn small_budgets_reach_the_same_end_as_one_large_one(
        (nodes, rounds) in any_cluster(), budget in 1u64..4
    ) {
        let (mut small, mut large) = (build(&nodes), build(&nodes));
        for asked in rounds.into_iter().flat_map(|(submits, _)| submits) {
            small.submit(spec(asked));
            large.submit(spec(asked));
        }
        large.plan();
        loop {
            let record = plan(&small.view(), small.now, budget).record;
            if record.placements.is_empty() {
                break;
            }
            small.place(record);
        }
        // A budget may end in front of what does not fit, so no more is promised than this:
        let running = |script: &Script| script.view().all_leases().count();
        prop_assert!(running(&small) <= running(&large));
        small.plan();
        prop_assert_eq!(running(&small), running(&large));
    }
}

#[test]
fn a_plan_that_cannot_be_made_again_is_refused_by_name() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    script.submit(job(1, 1));
    let record = plan(&script.view(), script.now, 10).record;
    let fault = |script: &Script, record| replay(&script.view(), &record).unwrap_err();
    let other = PlanRecord { policy_version: 9, ..record.clone() };
    assert!(matches!(fault(&script, other), ReplayFault::Policy { recorded: 9, .. }));
    let other = PlanRecord { view: Digest::of(b"other rows"), ..record.clone() };
    assert!(matches!(fault(&script, other), ReplayFault::View { .. }));
    let mut favoured = record.clone();
    favoured.placements[0].members[0].tasks[0].gpus = vec![1];
    favoured.plan = PlanRecord::digest_of(&favoured.placements);
    assert!(matches!(fault(&script, favoured), ReplayFault::Plan { .. }), "a GPU of its choice");
    script.submit(job(1, 1));
    let words = fault(&script, record).to_string();
    assert_eq!(words, "plan on entry 2 cannot be made on entry 3; load the rows as of entry 2");
}

#[test]
fn what_makes_a_plan_again_is_in_the_audit_chain_with_the_leases_that_it_gave() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    script.submit(job(1, 1));
    let record = plan(&script.view(), script.now, 10).record;
    script.place(record.clone());
    let page = script.view().audit(&script.rows, 1, 100);
    let granted = page.events.iter().find(|event| event.payload.contains("lease.granted"));
    let payload: serde_json::Value = serde_json::from_str(&granted.unwrap().payload).unwrap();
    let told = &payload["plans"][0];
    assert_eq!(told["view"], record.view.to_string());
    assert_eq!(told["plan"], record.plan.to_string());
    assert_eq!((&told["base"], &told["budgetSteps"]), (&"2".into(), &"10".into()));
    assert_eq!(told["nowMs"], record.now.0.to_string());
}

#[test]
fn a_hundred_thousand_like_jobs_that_do_not_fit_cost_one_step() {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    for _ in 0..1_000 {
        script.submit(job(1, 2));
    }
    script.submit(array(100_000, 0, 4));
    let found = plan(&script.view(), script.now, 10_000);
    assert_eq!((found.steps, found.exhausted), (1, false), "4 GPUs do not fit where 2 do not");
}

#[test]
fn a_gang_prefers_one_node_then_the_fewest() {
    let mut script = Script::new();
    for (name, gpus) in [("a", 2), ("b", 4), ("c", 8), ("d", 4)] {
        script.register(machine(name, gpus, "H100"));
    }
    script.submit(job(4, 1));
    assert_eq!(nodes_of(&script.plan()), [[NodeId(2)]], "best fit");
    script.submit(job(6, 2));
    assert_eq!(nodes_of(&script.plan()), [[NodeId(3), NodeId(4)]]);
}

fn nodes_of(placements: &[crate::state::command::Placement]) -> Vec<Vec<NodeId>> {
    let nodes = |placement: &crate::state::command::Placement| {
        placement.members.iter().map(|member| member.node).collect()
    };
    placements.iter().map(nodes).collect()
}

#[test]
fn a_gang_never_spans_two_hardware_classes() {
    let mut script = Script::new();
    script.register(machine("a", 2, "H100"));
    script.register(machine("b", 2, "A100"));
    let id = script.submit(job(4, 1));
    assert!(script.plan().is_empty());
    script.register(machine("c", 2, "A100"));
    assert_eq!(nodes_of(&script.plan()), [[NodeId(2), NodeId(3)]]);
    assert_eq!(script.word(id), "running");
}

#[test]
fn small_jobs_pass_a_large_one_until_it_has_waited_too_long() {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.register(machine("b", 4, "H100"));
    script.submit(job(1, 1));
    script.plan();
    let large = script.submit(job(2, 4));
    script.submit(job(1, 1));
    assert_eq!(script.plan().len(), 1, "a small one passes");
    script.now = script.now.plus(HOLD_AFTER);
    let late = script.submit(job(1, 1));
    assert_eq!(script.plan(), [], "both nodes are kept for the large one");
    assert_eq!(script.reasons(late), ["ahead"]);
    let first = script.lease_of("j1");
    script.finish(first, 1);
    let third = script.lease_of("j3");
    script.finish(third, 1);
    let started = script.plan();
    assert_eq!(started.first().map(|placement| placement.element.job), Some(large));
}

#[test]
fn a_job_that_could_never_run_has_no_node_kept_for_it() {
    let mut script = Script::new();
    script.register(machine("a", 4, "H100"));
    script.submit(job(1, 64));
    script.now = script.now.plus(HOLD_AFTER).plus(HOLD_AFTER);
    script.submit(job(1, 4));
    assert_eq!(script.plan().len(), 1);
}

#[test]
fn a_repeated_run_goes_to_another_node_of_the_same_class_if_there_is_one() {
    let mut script = Script::new();
    let a = script.register(machine("a", 2, "H100"));
    script.submit(job(1, 1));
    script.plan();
    script.finish(script.lease_of("j1"), 1);
    script.submit(JobSpec { reproduces: Some(JobId(1)), ..job(1, 1) });
    assert_eq!(nodes_of(&script.plan()), [[a]], "no other fits");
    script.register(machine("b", 2, "A100"));
    let c = script.register(machine("c", 4, "H100"));
    script.submit(JobSpec { reproduces: Some(JobId(1)), ..job(1, 1) });
    assert_eq!(nodes_of(&script.plan()), [[c]]);
    let keys: BTreeSet<_> = script.view().all_leases().map(|lease| lease.build_key).collect();
    assert_eq!(keys.len(), 1, "one build key, whichever node");
}

#[test]
fn a_later_attempt_stays_in_its_class_and_away_from_the_node_that_failed_it() {
    let mut script = Script::new();
    let a = script.register(machine("a", 1, "H100"));
    script.submit(job(1, 1));
    script.plan();
    let lease = script.lease_of("j1");
    script.register(machine("b", 1, "A100"));
    let cause = EndCause::DiskFull { detail: "/".into() };
    script.report(a, Report::Failed { lease, cause });
    assert!(matches!(script.report(a, Report::Stopped { lease }), Reply::Done { .. }));
    let c = script.register(machine("c", 4, "H100"));
    assert_eq!(nodes_of(&script.plan()), [[c]]);
}

#[test]
fn elements_of_one_array_that_are_bound_to_two_classes_do_not_wait_for_each_other() {
    let mut script = Script::new();
    let a = script.register(machine("a", 1, "H100"));
    let b = script.register(machine("b", 1, "A100"));
    script.submit(array(2, 0, 1));
    assert_eq!(script.plan().len(), 2);
    for (node, element) in [(a, "j1[0]"), (b, "j1[1]")] {
        let lease = script.lease_of(element);
        let cause = EndCause::LeaseExpired;
        script.report(node, Report::Failed { lease, cause });
        script.report(node, Report::Stopped { lease });
    }
    script.send(
        None,
        crate::state::command::Command::Drain { node: "a".into(), reason: Some("fan".into()) },
    );
    let placed = script.plan();
    assert_eq!(nodes_of(&placed), [[b]]);
    assert_eq!(placed[0].element.to_string(), "j1[1]");
}
