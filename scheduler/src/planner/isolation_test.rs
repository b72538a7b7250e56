//! A job runs only where what keeps it apart can be kept.

use super::why;
use crate::state::script::{Script, job, machine};
use domain::{
    JobId,
    isolation::{Confinement, Isolation, Network, NodeIsolation},
    job::JobSpec,
};

const ASKS: Confinement = Confinement { isolation: Isolation::Sandbox, network: None, disk: None };

fn able(default: Isolation) -> NodeIsolation {
    NodeIsolation { default, cgroup: 2, landlock: 7, ..NodeIsolation::default() }
}

fn unable() -> NodeIsolation {
    NodeIsolation {
        lacks: vec!["root: start the agent as root".into()],
        ..NodeIsolation::default()
    }
}

fn cluster(nodes: &[NodeIsolation]) -> Script {
    let mut script = Script::new();
    for (at, isolation) in nodes.iter().enumerate() {
        let mut machine = machine(&format!("m{at}"), 4, "H100");
        machine.isolation = isolation.clone();
        script.register(machine);
    }
    script
}

/// Nodes that the gang was placed on, or what it waits for.
fn place(script: &mut Script, spec: JobSpec) -> Result<usize, String> {
    let id: JobId = script.submit(spec);
    let placed = script.plan();
    match placed.iter().find(|placement| placement.element.job == id) {
        Some(placement) => Ok(placement.members.len()),
        None => {
            let document = why(&script.view(), &script.rows, id, script.now).unwrap();
            let reasons = document.reasons.iter();
            let told = reasons.map(|it| format!("{}: {} -> {}", it.kind, it.detail, it.remedy));
            Err(told.collect::<Vec<_>>().join("\n"))
        }
    }
}

#[test]
fn a_job_that_asks_for_a_sandbox_waits_for_a_node_that_can_build_one() {
    let asks = JobSpec { confinement: ASKS, ..job(1, 1) };
    let mut script = cluster(&[unable(), unable()]);
    assert_eq!(place(&mut script, job(1, 1)), Ok(1));
    let told = place(&mut script, asks.clone()).unwrap_err();
    assert!(told.starts_with("isolation: it asks for a sandbox, 0 of 2 nodes"), "{told}");
    assert!(told.contains("root: start the agent as root"), "{told}");
    let mut alone = job(1, 1);
    alone.confinement.network = Some(Network::None);
    let told = place(&mut script, alone).unwrap_err();
    assert!(told.starts_with("isolation: "), "only a sandbox keeps the network away: {told}");
    let mut script = cluster(&[unable(), able(Isolation::None)]);
    assert_eq!(place(&mut script, asks), Ok(1));
}

#[test]
fn a_gang_without_network_has_one_node() {
    let mut script = cluster(&[able(Isolation::None), able(Isolation::None)]);
    let gang = JobSpec { confinement: ASKS, ..job(8, 1) };
    let told = place(&mut script, gang.clone()).unwrap_err();
    assert!(told.starts_with("network: its 8 tasks reach no network"), "{told}");
    assert!(told.contains("`network = \"host\"`"), "{told}");
    let mut host = gang;
    host.confinement.network = Some(Network::Host);
    assert_eq!(place(&mut script, host), Ok(2));

    let mut script = cluster(&[able(Isolation::Sandbox), able(Isolation::Sandbox)]);
    let told = place(&mut script, job(8, 1)).unwrap_err();
    assert!(told.starts_with("network: "), "the node demands what the job did not ask for: {told}");
    assert_eq!(place(&mut script, JobSpec { confinement: ASKS, ..job(4, 1) }), Ok(1));
}

#[test]
fn a_plan_of_before_is_not_granted_where_the_node_can_no_more() {
    let mut script = cluster(&[able(Isolation::None)]);
    let id = script.submit(JobSpec { confinement: ASKS, ..job(1, 1) });
    let plan = super::plan(&script.view(), script.now, 1_000).record;
    assert_eq!(plan.placements.len(), 1);
    let mut machine = machine("m0", 4, "H100");
    machine.isolation = unable();
    script.register(machine);
    script.place(plan);
    assert_eq!(script.word(id), "waiting");
}
