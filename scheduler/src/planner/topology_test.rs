//! Laws of nearness: what is required holds whole or not at all, everywhere it is looked at.

use super::{BUDGET_STEPS, plan, why};
use crate::state::{
    command::{Command, Request},
    script::{Script, job, machine},
};
use domain::{
    CpuMillis, JobId, LeaseId, Millis, NodeId,
    interrupt::Interrupt,
    job::JobSpec,
    lease::Member,
    node::Inventory,
    topology::{GpuSite, Level, NodeTopology, Topology},
    view::ReasonView,
};
use proptest::{collection::vec, prelude::*};
use std::collections::BTreeSet;

/// GPUs, rack and block (0 for none), GPUs of a clique, whether they are H100.
type Place = (u32, u8, u8, u32, bool);
/// Tasks, GPUs of each, what is asked.
type Asked = (u32, u32, Topology);

fn any_place() -> impl Strategy<Value = Place> {
    (1u32..6, 0u8..3, 0u8..3, 1u32..4, prop::bool::weighted(0.8))
}

fn any_topology() -> impl Strategy<Value = Topology> {
    let words = [
        "any",
        "rack",
        "block",
        "node",
        "nvlink",
        "numa",
        "prefer:rack",
        "prefer:nvlink",
        "spread",
        "block,prefer:rack",
        "rack,spread",
        "rack,prefer:nvlink",
        "prefer:rack,spread",
    ];
    prop::sample::select(words.to_vec()).prop_map(asks)
}

fn any_asked() -> impl Strategy<Value = Asked> {
    (1u32..6, 1u32..3, any_topology())
}

fn asks(text: &str) -> Topology {
    text.parse().unwrap()
}

fn near(tasks: u32, gpus: u32, topology: Topology) -> JobSpec {
    JobSpec { topology, ..job(tasks, gpus) }
}

fn node(name: &str, (gpus, rack, block, clique, h100): Place) -> Inventory {
    let site = |index: u32| GpuSite {
        index,
        nvlink: Some(index / clique * clique),
        numa: Some(index % 2),
    };
    let name_of = |word: &str, number: u8| match number {
        0 => String::new(),
        number => format!("{word}{number}"),
    };
    Inventory {
        topology: NodeTopology {
            rack: name_of("r", rack),
            block: name_of("b", block),
            gpus: (0..gpus).map(site).collect(),
        },
        ..machine(name, gpus, if h100 { "H100" } else { "A100" })
    }
}

fn build(places: &[Place]) -> Script {
    let mut script = Script::new();
    for (at, place) in places.iter().enumerate() {
        script.register(node(&format!("m{at}"), *place));
    }
    script
}

/// Whether a gang has a level in common, told by names alone.
fn is_near(script: &Script, level: Level, members: &[Member]) -> bool {
    let view = script.view();
    let mut names = BTreeSet::new();
    for member in members {
        let inventory = &view.node(member.node).unwrap().inventory;
        let (own, has) = (inventory.name.clone(), &inventory.topology);
        let gpus = member.tasks.iter().flat_map(|task| task.gpus.clone());
        let sites = gpus.map(|gpu| has.gpus[gpu as usize]);
        match level {
            Level::Nvlink => names.extend(sites.map(|site| format!("{own} {:?}", site.nvlink))),
            Level::Numa => names.extend(sites.map(|site| format!("{own} {:?}", site.numa))),
            Level::Node => names.extend([own]),
            Level::Rack if has.rack.is_empty() => names.extend([own]),
            Level::Rack => names.extend([format!("rack {} {}", has.block, has.rack)]),
            Level::Block if !has.block.is_empty() => names.extend([format!("block {}", has.block)]),
            Level::Block if has.rack.is_empty() => names.extend([own]),
            Level::Block => names.extend([format!("rack {}", has.rack)]),
        }
    }
    names.len() == 1
}

/// Whether some set of nodes, or of one node's GPUs, holds a gang and has what it requires.
fn fits_somewhere(script: &Script, tasks: u32, each: u32, require: Option<Level>) -> bool {
    let view = script.view();
    let free: Vec<(NodeId, String, Vec<u32>)> = view
        .all_nodes()
        .map(|(id, node)| {
            let free = (0..node.row.inventory.gpus.len() as u32)
                .filter(|gpu| !node.gpus_used.contains(gpu))
                .collect();
            (id, node.class.clone(), free)
        })
        .collect();
    // Every subset of nodes, and on one node every subset of its GPUs.
    let whole = (1u32..1 << free.len()).any(|set| {
        let of = |at: &usize| set >> at & 1 == 1;
        let chosen: Vec<_> = (0..free.len()).filter(of).map(|at| &free[at]).collect();
        let classes: BTreeSet<_> = chosen.iter().map(|(_, class, _)| class).collect();
        let parts: Vec<Member> =
            chosen.iter().map(|(id, _, _)| Member { node: *id, tasks: Vec::new() }).collect();
        let room: usize = chosen.iter().map(|(_, _, gpus)| gpus.len() / each as usize).sum();
        let inside = require.is_some_and(Level::is_inside_a_node);
        classes.len() == 1
            && room >= tasks as usize
            && !inside
            && require.is_none_or(|level| is_near(script, level, &parts))
    });
    let inside = require.filter(|level| level.is_inside_a_node());
    whole
        || inside.is_some_and(|level| {
            free.iter().any(|(id, _, gpus)| {
                (1u32..1 << gpus.len()).any(|set| {
                    let of = |at: &usize| set >> at & 1 == 1;
                    let chosen: Vec<u32> = (0..gpus.len()).filter(of).map(|at| gpus[at]).collect();
                    let task = domain::lease::TaskPlace { rank: 0, gpus: chosen };
                    let enough = task.gpus.len() >= (tasks * each) as usize;
                    enough && is_near(script, level, &[Member { node: *id, tasks: vec![task] }])
                })
            })
        })
}

fn leases(script: &Script) -> Vec<(LeaseId, JobId, Vec<Member>)> {
    let view = script.view();
    view.all_leases().map(|it| (it.id, it.element.job, it.members.clone())).collect()
}

/// Looks at all that runs.
fn all_near(script: &Script) -> Result<(), TestCaseError> {
    for (id, job, members) in leases(script) {
        let asked = script.view().live_job(job).unwrap().brief.topology;
        if let Some(level) = asked.require {
            prop_assert!(is_near(script, level, &members), "{id} {asked} {members:?}");
        }
        // Ranks ascend over the GPUs of each node.
        for member in &members {
            let gpus: Vec<u32> = member.tasks.iter().map(|task| task.gpus[0]).collect();
            prop_assert!(gpus.is_sorted(), "{members:?}");
        }
    }
    Ok(())
}

fn reasons(script: &Script, id: JobId) -> Vec<ReasonView> {
    why(&script.view(), &script.rows, id, script.now).unwrap().reasons
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_gang_starts_exactly_where_some_set_of_nodes_holds_it_as_it_requires(
        places in vec(any_place(), 1..6),
        before in vec(any_asked(), 0..5),
        (tasks, gpus, topology) in any_asked(),
    ) {
        let mut script = build(&places);
        for (tasks, gpus, topology) in before {
            script.submit(near(tasks, gpus, topology));
            script.plan();
        }
        let fits = fits_somewhere(&script, tasks, gpus, topology.require);
        let id = script.submit(JobSpec { priority: 1, ..near(tasks, gpus, topology) });
        script.plan();
        prop_assert_eq!(script.word(id) == "running", fits);
        all_near(&script)?;
    }

    #[test]
    fn every_placement_of_a_plan_is_granted_and_is_made_again_from_the_record(
        places in vec(any_place(), 1..6), asked in vec(any_asked(), 1..12),
    ) {
        let mut script = build(&places);
        for (tasks, gpus, topology) in asked {
            script.submit(near(tasks, gpus, topology));
        }
        for _ in 0..3 {
            let record = plan(&script.view(), script.now, BUDGET_STEPS).record;
            prop_assert!(super::replay(&script.view(), &record).is_ok());
            let before = leases(&script).len();
            let count = record.placements.len();
            script.place(record);
            prop_assert_eq!(leases(&script).len(), before + count);
            all_near(&script)?;
            for (id, ..) in leases(&script).into_iter().take(2) {
                script.finish(id, 1);
            }
            script.now = script.now.plus(Millis(50_000));
        }
    }

    #[test]
    fn the_change_that_the_reason_names_starts_the_gang(
        places in vec(any_place(), 1..6),
        before in vec(any_asked(), 0..5),
        (tasks, gpus, topology) in any_asked(),
    ) {
        let mut script = build(&places);
        for (tasks, gpus, topology) in before {
            script.submit(near(tasks, gpus, topology));
            script.plan();
        }
        let id = script.submit(JobSpec { priority: 1, ..near(tasks, gpus, topology) });
        script.plan();
        let reasons = reasons(&script, id);
        prop_assert_eq!(script.word(id) == "running", reasons.is_empty());
        let Some(reason) = reasons.into_iter().find(|it| it.kind == "topology") else {
            return Ok(());
        };
        let words = reason.remedy.split('"').nth(1).unwrap();
        for (lease, ..) in leases(&script).into_iter().filter(|_| reason.never) {
            script.finish(lease, 1);
        }
        let other = JobSpec { priority: 9, ..near(tasks, gpus, asks(words)) };
        let other = script.submit(other);
        script.plan();
        prop_assert_eq!(script.word(other), "running", "{:?} {}", reason, topology);
    }

    #[test]
    fn nobody_is_asked_to_make_room_before_the_whole_gang_fits_as_it_requires(
        places in vec(any_place(), 1..5),
        before in vec(any_asked(), 1..8),
        (tasks, gpus, topology) in any_asked(),
    ) {
        let mut script = build(&places);
        let yields = Interrupt { min_run: Some(Millis(1)), ..Interrupt::default() };
        for (tasks, gpus, topology) in before {
            script.submit(JobSpec { interrupt: yields, ..near(tasks, gpus, topology) });
            script.plan();
        }
        script.now = script.now.plus(Millis(1_000));
        let id = script.submit(JobSpec { priority: 5, ..near(tasks, gpus, topology) });
        let Some(found) = script.plan_all() else { return Ok(()) };
        prop_assert_eq!(found.placement.element.job, id);
        prop_assert!(script.view().preemption(id).is_some(), "refused: {:?}", found);
        for victim in found.victims {
            prop_assert!(script.word(id) != "running");
            script.release(victim.lease);
        }
        prop_assert_eq!(script.word(id), "running");
        all_near(&script)?;
    }

    #[test]
    fn where_room_can_be_made_for_a_gang_it_is_made(
        places in vec(any_place(), 1..5),
        (tasks, gpus, topology) in any_asked(),
    ) {
        let mut script = build(&places);
        let fits = fits_somewhere(&script, tasks, gpus, topology.require);
        let yields = Interrupt { min_run: Some(Millis(1)), ..Interrupt::default() };
        let all: u32 = places.iter().map(|place| place.0).sum();
        for _ in 0..all {
            script.submit(JobSpec { interrupt: yields, ..job(1, 1) });
        }
        script.plan();
        script.now = script.now.plus(Millis(1_000));
        script.submit(JobSpec { priority: 5, ..near(tasks, gpus, topology) });
        prop_assert_eq!(script.plan_all().is_some(), fits);
    }
}

/// Nodes of 8 GPUs: so many in each rack.
fn racks(counts: &[u32]) -> Script {
    let mut script = Script::new();
    for (rack, count) in counts.iter().enumerate() {
        for at in 0..*count {
            let place = (8, rack as u8 + 1, 1, 4, true);
            script.register(node(&format!("m{rack}-{at}"), place));
        }
    }
    script
}

fn racks_of(script: &Script, job: JobId) -> Vec<String> {
    let view = script.view();
    let lease = view.all_leases().find(|lease| lease.element.job == job).unwrap();
    let rack = |member: &Member| view.node(member.node).unwrap().inventory.topology.rack.clone();
    lease.members.iter().map(rack).collect()
}

fn gpus_of(script: &Script, job: JobId) -> Vec<Vec<u32>> {
    let view = script.view();
    let lease = view.all_leases().find(|lease| lease.element.job == job).unwrap();
    let tasks = lease.members.iter().flat_map(|member| &member.tasks);
    tasks.map(|task| task.gpus.clone()).collect()
}

#[test]
fn why_names_the_rack_with_most_free_and_the_smallest_changes() {
    let mut script = racks(&[2, 2]);
    for _ in 0..3 {
        script.submit(job(1, 8));
    }
    script.plan();
    script.finish(script.lease_of("j1"), 1);
    let first = script.submit(near(4, 4, asks("rack")));
    script.plan();
    let found = reasons(&script, first);
    assert_eq!(
        found[0].detail,
        "needs 16 GPUs within one rack; the rack with most free has room for 8 (b1/r1)"
    );
    let wish = "submit it with `topology = \"prefer:rack\"`, or wait until others end";
    assert_eq!((found[0].kind.as_str(), found[0].remedy.as_str()), ("topology", wish));
    assert_eq!(found[1].remedy, "lower `gpus` to 2, or wait until others end");
    assert_eq!(found[2].detail, "4 tasks have to start together within one rack, 2 would fit");
    let third = script.submit(near(3, 8, asks("rack")));
    let found = reasons(&script, third);
    assert_eq!(
        found[0].detail,
        "needs 24 GPUs within one rack; the rack with most has room for 16 (b1/r1)"
    );
    assert!(found[0].never);
    assert_eq!(found[0].remedy, "submit it with `topology = \"prefer:rack\"`");
    assert!(found.iter().any(|it| it.detail.contains("within one rack, 2 would fit")));
}

#[test]
fn a_gang_that_could_have_a_rack_soon_has_all_of_that_rack_kept() {
    let mut script = racks(&[2, 2]);
    let limited = |gpus| JobSpec { time_limit: Some(Millis(600_000)), ..job(1, gpus) };
    script.submit(limited(8));
    script.plan();
    let endless = script.submit(job(1, 8));
    script.plan();
    assert_eq!(racks_of(&script, endless), ["r1"]);
    let held = script.submit(near(2, 8, asks("rack")));
    script.plan();
    assert_eq!(racks_of(&script, held), ["r2", "r2"]);
    let next = script.submit(near(2, 8, asks("rack")));
    script.now = script.now.plus(super::HOLD_AFTER).plus(Millis(1));
    script.finish(script.lease_of("j1"), 1);
    script.submit(job(1, 1));
    let found = plan(&script.view(), script.now, BUDGET_STEPS);
    assert_eq!(found.held_for, Some(next));
    assert_eq!(found.record.placements, vec![], "its rack is kept, whole");
}

#[test]
fn a_plan_that_breaks_what_is_required_is_refused_when_it_is_applied() {
    let mut script = racks(&[2, 2]);
    let id = script.submit(near(4, 4, asks("rack")));
    let mut record = plan(&script.view(), script.now, BUDGET_STEPS).record;
    let good = record.clone();
    let other = script.view().all_nodes().map(|(id, _)| id).last().unwrap();
    record.placements[0].members[1].node = other;
    record.plan = crate::state::command::PlanRecord::digest_of(&record.placements);
    script.place(record);
    assert_eq!(script.word(id), "waiting");
    // A node that was moved meanwhile is where it is now.
    let moved = good.placements[0].members[1].node;
    let name = script.view().node_name(moved).unwrap();
    script.register(node(&name, (8, 2, 1, 4, true)));
    script.place(good.clone());
    assert_eq!(script.word(id), "waiting");
    script.register(node(&name, (8, 1, 1, 4, true)));
    script.place(good);
    assert_eq!(script.word(id), "running");
}

#[test]
fn of_racks_that_hold_a_gang_the_fullest_is_used_and_few_are_where_none_does() {
    let mut script = racks(&[4, 2, 3]);
    let tight = script.submit(near(2, 8, asks("prefer:rack")));
    script.plan();
    assert_eq!(racks_of(&script, tight), ["r2", "r2"], "it leaves larger racks whole");
    let large = script.submit(near(6, 8, asks("prefer:rack")));
    script.plan();
    assert_eq!(racks_of(&script, large), ["r1", "r1", "r1", "r1", "r3", "r3"]);
}

#[test]
fn a_gang_that_spreads_is_on_as_many_nodes_as_it_has_tasks() {
    let mut script = racks(&[3, 2]);
    let wide = script.submit(near(4, 1, asks("spread")));
    script.plan();
    assert_eq!(racks_of(&script, wide).len(), 4);
    let inside = script.submit(near(4, 1, asks("rack,spread")));
    script.plan();
    assert_eq!(racks_of(&script, inside), ["r1", "r1", "r1"], "most nodes, of one rack");
}

#[test]
fn gpus_of_one_clique_are_taken_together_where_that_is_asked_for() {
    let mut script = racks(&[1]);
    script.submit(job(1, 1));
    script.plan();
    let all = script.submit(near(1, 4, asks("nvlink")));
    script.plan();
    assert_eq!(gpus_of(&script, all), [[4, 5, 6, 7]]);
    let more = script.submit(near(1, 5, asks("nvlink")));
    let found = reasons(&script, more);
    let detail = "needs 5 GPUs within one NVLink clique; \
                  the NVLink clique with most has room for 4 (n1)";
    assert!(found[0].detail == detail && found[0].never, "{found:?}");

    let mut script = racks(&[1]);
    script.submit(job(1, 1));
    script.plan();
    // Two tasks in one clique, the third in the other, in the order of their GPUs.
    let three = script.submit(near(3, 2, asks("prefer:nvlink")));
    script.plan();
    assert_eq!(gpus_of(&script, three), [[1, 2], [4, 5], [6, 7]]);
}

#[test]
fn what_fits_in_no_rack_does_not_keep_others_from_starting() {
    let mut script = racks(&[1, 1]);
    script.submit(near(2, 8, asks("rack")));
    let free = script.submit(near(2, 8, asks("prefer:rack")));
    script.plan();
    assert_eq!(script.word(free), "running");
}

/// 10,000 nodes of 8 GPUs in racks of 120 to 131: a gang of 128 whole nodes fits in few of them.
#[test]
#[ignore = "prints a figure"]
fn how_long_a_gang_of_1024() {
    let mut script = Script::new();
    let (mut nodes, mut rack) = (Vec::new(), 0u32);
    while nodes.len() < 10_000 {
        for at in 0..120 + rack % 12 {
            let mut one = node(&format!("m{rack}-{at}"), (8, 0, 1, 8, true));
            one.topology.rack = format!("r{rack}");
            one.cpu = CpuMillis(128_000);
            nodes.push(one);
        }
        rack += 1;
    }
    let register = |inventory| Request {
        key: None,
        actor: "test".into(),
        command: Command::Register { inventory, held: Vec::new() },
    };
    script.entry(nodes.into_iter().map(register).collect());
    for words in ["any", "prefer:rack", "rack", "rack,prefer:nvlink"] {
        let id = script.submit(near(128, 8, asks(words)));
        let mut times: Vec<_> = (0..9)
            .map(|_| {
                let begun = std::time::Instant::now();
                let found = plan(&script.view(), script.now, BUDGET_STEPS);
                let took = begun.elapsed();
                assert_eq!(found.record.placements[0].members.len(), 128);
                took
            })
            .collect();
        times.sort();
        println!("gang of 1,024 GPUs, 10,000 nodes, {words}: {:?} median of 9", times[4]);
        script.cancel(&id.to_string());
    }
}
