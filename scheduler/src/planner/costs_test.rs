//! Of the nodes that can hold a job, the one is taken where it costs least of what others need.

use super::{costs::Costs, free, stock::Stock};
use crate::state::script::{Script, array, job, machine};
use domain::{CpuMillis, JobId, job::JobSpec, lease::Member, node::Inventory, resource::Gpu};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn with_cores(spec: JobSpec, cores: u64) -> JobSpec {
    let mut spec = spec;
    spec.resources.cpu = CpuMillis(cores * 1_000);
    spec
}

fn only(spec: JobSpec, model: &str) -> JobSpec {
    let mut spec = spec;
    spec.resources.gpu_model = Some(model.into());
    spec
}

fn node(name: &str, gpus: u32, model: &str, cores: u64) -> Inventory {
    Inventory { cpu: CpuMillis(cores * 1_000), ..machine(name, gpus, model) }
}

/// The node that a job's first element runs on.
fn place(script: &Script, id: JobId) -> Option<String> {
    let view = script.view();
    let lease = view.all_leases().find(|lease| lease.element.job == id)?;
    view.node_name(lease.members[0].node)
}

fn running(script: &Script, id: JobId) -> usize {
    script.view().all_leases().filter(|lease| lease.element.job == id).count()
}

#[test]
fn a_job_that_takes_any_model_leaves_the_one_that_another_insists_on() {
    let mut script = Script::new();
    script.register(machine("h", 2, "H100"));
    script.register(machine("a", 4, "A100"));
    // It comes first, and the node with fewer GPUs free would be the tighter one.
    let any = script.submit(job(1, 1));
    let choosy = script.submit(only(job(1, 2), "H100"));
    script.plan();
    assert_eq!(place(&script, any).as_deref(), Some("a"));
    assert_eq!(place(&script, choosy).as_deref(), Some("h"));
}

#[test]
fn a_job_without_gpus_goes_where_processors_are_to_spare() {
    let mut script = Script::new();
    script.register(node("poor", 4, "A100", 8));
    script.register(node("rich", 4, "A100", 14));
    let without = script.submit(with_cores(job(1, 0), 4));
    let training = script.submit(with_cores(array(8, 0, 1), 2));
    script.plan();
    assert_eq!(place(&script, without).as_deref(), Some("rich"));
    assert_eq!(running(&script, training), 8, "none lacks processors");
}

#[test]
fn a_job_with_many_processors_leaves_gpus_that_others_can_use() {
    let mut script = Script::new();
    script.register(node("few", 2, "A100", 12));
    script.register(node("many", 3, "A100", 24));
    let hungry = script.submit(with_cores(job(1, 1), 10));
    let usual = script.submit(with_cores(array(4, 0, 1), 4));
    script.plan();
    assert_eq!(place(&script, hungry).as_deref(), Some("many"));
    assert_eq!(running(&script, usual), 4);
}

#[test]
fn what_has_ended_is_no_longer_usual() {
    let mut script = Script::new();
    script.register(machine("h", 2, "H100"));
    script.register(machine("a", 4, "A100"));
    let choosy = script.submit(only(job(1, 2), "H100"));
    script.cancel(&choosy.to_string());
    let any = script.submit(job(1, 1));
    script.plan();
    assert_eq!(place(&script, any).as_deref(), Some("h"), "the tightest");
    assert_eq!(script.view().usual().kinds().count(), 1);
    assert!(crate::state::Cluster::load(&script.rows) == script.cluster, "as its rows have it");
}

#[test]
fn a_gang_that_needs_a_whole_node_keeps_one_whole() {
    let mut script = Script::new();
    script.register(node("broken", 3, "A100", 16));
    script.register(node("whole", 8, "A100", 96));
    let single = script.submit(with_cores(job(1, 1), 16));
    let gang = script.submit(with_cores(job(8, 1), 12));
    script.plan();
    // It costs as much on both, and so the fullest is taken.
    assert_eq!(place(&script, single).as_deref(), Some("broken"));
    assert_eq!(place(&script, gang).as_deref(), Some("whole"));
}

#[test]
fn what_no_node_could_hold_and_a_large_array_do_not_drown_the_rest() {
    let mut script = Script::new();
    script.register(machine("h", 2, "H100"));
    script.register(machine("a", 4, "A100"));
    script.submit(with_cores(job(4_000, 1), u64::MAX / 1_000));
    let first = script.submit(array(1_000_000, 1, 1));
    script.submit(only(array(8, 0, 2), "H100"));
    script.plan();
    assert_eq!(place(&script, first).as_deref(), Some("a"));
}

#[test]
fn a_slice_does_not_make_whole_gpus_look_small() {
    let mut script = Script::new();
    crate::state::dataset_test::raise(&mut script);
    let mut mixed = machine("mixed", 0, "");
    let slice = |at: u32| Gpu {
        index: 64 + at,
        uuid: format!("MIG-{at}"),
        model: format!("A100 MIG {}g.5gb", at % 4 + 1),
        memory: domain::Bytes(5 << 30),
        compute_capability: "8.0".into(),
    };
    mixed.gpus = (0..2).map(slice).collect();
    mixed.cpu = CpuMillis(2_000);
    script.register(mixed);
    script.register(node("poor", 4, "A100", 8));
    script.register(node("rich", 4, "A100", 14));
    let without = script.submit(with_cores(job(1, 0), 4));
    let mut training = with_cores(array(8, 0, 1), 2);
    training.resources.gpu_memory = Some(domain::Bytes(40 << 30));
    let training = script.submit(training);
    script.plan();
    assert_eq!(place(&script, without).as_deref(), Some("rich"));
    assert_eq!(running(&script, training), 8);
}

/// A node's cores and GPUs by turns of two models, and what a job asks for.
type Drawn = (Vec<(u64, u32)>, Vec<(u32, u32, u64, Option<bool>)>);

fn drawn() -> impl Strategy<Value = Drawn> {
    let cores = prop_oneof![5 => 1..64_u64, 1 => Just(u64::MAX / 1_000)];
    let asked = (1..6_u32, 0..5_u32, cores.clone(), prop::option::of(any::<bool>()));
    (prop::collection::vec((cores, 0..9_u32), 1..8), prop::collection::vec(asked, 1..8))
}

proptest! {
    /// Costs choose among nodes: they decide where, never whether.
    #[test]
    fn what_fits_is_placed_wherever_it_costs_least((nodes, jobs) in drawn()) {
        let mut script = Script::new();
        for (at, (cores, gpus)) in nodes.into_iter().enumerate() {
            script.register(node(&format!("n{at}"), gpus, ["A100", "H100"][at % 2], cores));
        }
        for (tasks, gpus, cores, h100) in jobs {
            let model = h100.filter(|_| gpus > 0).map(|h100| if h100 { "H100" } else { "A100" });
            let mut spec = with_cores(job(tasks, gpus), cores);
            spec.resources.gpu_model = model.map(str::to_owned);
            let id = script.submit(spec);
            let view = script.view();
            let shape = view.live_job(id).and_then(|job| job.shapes().into_iter().next());
            let stock = |costs| Stock::new(free::ready(&view), costs);
            if let Some(shape) = shape {
                let fullest = stock(None).place(&shape, &BTreeSet::new(), |_| false);
                let cheapest = stock(Costs::new(&view)).place(&shape, &BTreeSet::new(), |_| false);
                prop_assert_eq!(fullest.is_some(), cheapest.is_some());
                let nodes = |found: Option<Vec<Member>>| found.map_or(0, |found| found.len());
                prop_assert_eq!(nodes(fullest), nodes(cheapest), "as few nodes");
            }
            script.plan();
        }
    }
}
