//! Laws of preemption, on any cluster.

use super::{
    fit::place_gang,
    free::{self, FreeNode},
    plan, replay_preemption,
};
use crate::state::{
    preemption::Preemption,
    sched::Job,
    script::{Script, job, machine},
    view::View,
};
use domain::{Bytes, CpuMillis, JobId, LeaseId, Millis, interrupt::Interrupt, job::JobSpec, limit};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeSet;

/// Tasks, GPUs, cores, priority, whether an A100 has to be.
type Asked = (u32, u32, u64, i32, bool);

fn any_asked() -> impl Strategy<Value = Asked> {
    (1u32..4, 0u32..4, 0u64..9, 0i32..3, prop::bool::weighted(0.2))
}

fn spec((tasks, gpus, cores, priority, old): Asked) -> JobSpec {
    let mut spec = job(tasks, gpus);
    spec.priority = priority;
    spec.resources.cpu = CpuMillis(cores * 1_000);
    spec.resources.memory = Bytes(1 << 30);
    spec.resources.gpu_model = old.then(|| "A100".to_owned());
    spec.interrupt = Interrupt { min_run: Some(Millis(1_000)), ..Interrupt::default() };
    spec
}

/// Nodes, what runs at first, and what comes then.
type Life = (Vec<(u32, bool)>, Vec<Asked>, Vec<Asked>);

fn any_life() -> impl Strategy<Value = Life> {
    (vec((1u32..6, any::<bool>()), 1..4), vec(any_asked(), 1..8), vec(any_asked(), 1..4))
}

fn build((nodes, first, then): &Life) -> Script {
    let mut script = Script::new();
    for (at, (gpus, h100)) in nodes.iter().enumerate() {
        let model = if *h100 { "NVIDIA H100 80GB" } else { "NVIDIA A100" };
        script.register(machine(&format!("m{at}"), *gpus, model));
    }
    for asked in first {
        script.submit(spec(*asked));
        script.plan();
        script.now = script.now.plus(Millis(500));
    }
    script.now = script.now.plus(Millis(1_000));
    for asked in then {
        script.submit(spec(*asked));
    }
    // A plan leaves the room of its preemption free, which nobody carries out here; the next may
    // find another one.
    while !script.plan().is_empty() {}
    script
}

/// What is free once the victims have left.
fn without<'a>(view: &View<'a>, victims: &BTreeSet<LeaseId>) -> Vec<FreeNode<'a>> {
    let mut nodes = free::ready(view);
    for lease in view.all_leases().filter(|lease| victims.contains(&lease.id)) {
        let each = &view.live_job(lease.element.job).unwrap().brief.resources;
        for member in &lease.members {
            let (_, node) = view.all_nodes().find(|(id, _)| *id == member.node).unwrap();
            let free = nodes.iter_mut().find(|free| free.id == member.node).unwrap();
            free.left_by(node, member, each);
        }
    }
    nodes
}

fn fits_without(view: &View<'_>, gang: &Job, victims: &BTreeSet<LeaseId>) -> bool {
    let shape = gang.shapes().into_iter().next().unwrap();
    place_gang(&mut without(view, victims), &shape, &BTreeSet::new()).is_some()
}

/// The least that any set of victims costs.
fn cheapest(view: &View<'_>, now: Millis, gang: &Job) -> Option<(u64, usize)> {
    let may: Vec<_> = view
        .all_leases()
        .filter(|lease| {
            let victim = &view.live_job(lease.element.job).unwrap().brief;
            view.may_yield(lease, now) && victim.priority < gang.brief.priority
        })
        .collect();
    let sets = 0u32..1 << may.len();
    let chosen = sets.map(|bits| {
        let set = may.iter().enumerate().filter(|(at, _)| bits >> at & 1 == 1);
        set.map(|(_, lease)| *lease).collect::<Vec<_>>()
    });
    let fits = chosen.filter(|set| {
        let ids: BTreeSet<LeaseId> = set.iter().map(|lease| lease.id).collect();
        !ids.is_empty() && fits_without(view, gang, &ids)
    });
    let cost = |set: Vec<&domain::lease::Lease>| {
        let cost: u64 = set.iter().map(|lease| view.unsaved_gpu_ms(lease, now)).sum();
        (cost, set.len())
    };
    fits.map(cost).min()
}

fn victims(plan: &Preemption) -> BTreeSet<LeaseId> {
    plan.victims.iter().map(|victim| victim.lease).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_cheapest_victims_are_found_none_is_spare_and_the_gang_then_starts(life in any_life()) {
        let mut script = build(&life);
        let made = plan(&script.view(), script.now, 1_000);
        prop_assert!(made.record.placements.is_empty());
        let Some(record) = made.preempt else { return Ok(()) };
        prop_assert_eq!(replay_preemption(&script.view(), &record), Ok(()));
        let found = record.preemption.clone();
        let view = script.view();
        let gang = view.live_job(found.placement.element.job).unwrap();
        let all = victims(&found);
        prop_assert!(!fits_without(&view, gang, &BTreeSet::new()));
        prop_assert!(fits_without(&view, gang, &all));
        for spared in &all {
            let fewer = all.iter().filter(|id| *id != spared).copied().collect();
            prop_assert!(!fits_without(&view, gang, &fewer), "{} is spare", spared);
        }
        let cost = found.victims.iter().map(|victim| victim.lost_gpu_ms).sum::<u64>();
        prop_assert_eq!(cheapest(&view, script.now, gang), Some((cost, all.len())));
        prop_assert_eq!(script.plan_all(), Some(found.clone()));
        for victim in all {
            script.release(victim);
        }
        let element = found.placement.element;
        let lease = script.view().lease(script.lease_of(&element.to_string())).unwrap().clone();
        prop_assert_eq!(lease.members, found.placement.members);
    }

    #[test]
    fn a_gang_with_a_claim_that_would_fit_has_room_made(life in any_life()) {
        let script = build(&life);
        let view = script.view();
        let made = plan(&view, script.now, 1_000);
        let waiting: Vec<JobId> = view.waiting_jobs().collect();
        let could = waiting.iter().filter(|id| {
            cheapest(&view, script.now, view.live_job(**id).unwrap()).is_some()
        });
        let could = could.count() > 0;
        prop_assert!(could || made.preempt.is_none());
        // A pass looks at the first few gangs that do not fit.
        prop_assert!(!could || made.preempt.is_some() || waiting.len() > 8);
    }

    #[test]
    fn without_new_jobs_preemption_comes_to_rest(life in any_life()) {
        let mut script = build(&life);
        let jobs = life.1.len() + life.2.len();
        let mut rounds = 0;
        while let Some(found) = script.plan_all() {
            for victim in victims(&found) {
                script.release(victim);
            }
            while !script.plan().is_empty() {}
            script.now = script.now.plus(Millis(2_000));
            rounds += 1;
            prop_assert!(rounds <= jobs * jobs, "{} rounds", rounds);
        }
        prop_assert_eq!(script.view().preemptions().count(), 0);
    }
}

#[test]
fn a_plan_is_never_cut_and_too_many_victims_are_none() {
    let mut script = Script::new();
    let nodes = limit::VICTIMS_MAX as u32 / 8 + 1;
    for at in 0..nodes {
        script.register(machine(&format!("m{at}"), 8, "NVIDIA H100"));
    }
    for _ in 0..nodes * 8 {
        script.submit(spec((1, 1, 1, 0, false)));
    }
    while !script.plan().is_empty() {}
    script.now = script.now.plus(Millis(1_000));
    script.submit(spec((nodes, 8, 1, 2, false)));
    assert_eq!(script.plan_all(), None);
    script.submit(spec((nodes - 1, 8, 1, 2, false)));
    let found = script.plan_all().expect("as many as may be");
    assert_eq!(found.victims.len(), limit::VICTIMS_MAX);
}
