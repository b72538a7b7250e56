//! A job runs only where what keeps it apart can be kept.

use super::why;
use crate::state::{
    command::{Command, Reply},
    script::{Script, job, machine},
};
use domain::{
    JobId,
    isolation::{Confinement, Isolation, Network, NodeIsolation},
    job::JobSpec,
    queue::{ClusterConfig, QueueSpec},
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

const BOXED: Confinement =
    Confinement { isolation: Isolation::Container, network: None, disk: None };

fn with_podman(default: Isolation) -> NodeIsolation {
    NodeIsolation { podman: "4.3.1".into(), ..able(default) }
}

fn boxed() -> JobSpec {
    let image = format!("localhost/x@sha256:{}", domain::Digest::of(b"x")).parse().unwrap();
    JobSpec { confinement: BOXED, image: Some(image), ..job(1, 1) }
}

#[test]
fn a_job_with_an_image_waits_for_a_node_that_runs_containers() {
    let lacks = vec!["podman: install it".to_owned()];
    let none = NodeIsolation { container_lacks: lacks, ..able(Isolation::None) };
    let mut script = cluster(&[none.clone(), none.clone()]);
    let told = place(&mut script, boxed()).unwrap_err();
    assert!(told.starts_with("isolation: it asks for a container, 0 of 2 nodes"), "{told}");
    assert!(told.contains("podman: install it"), "{told}");
    let mut script = cluster(&[none, with_podman(Isolation::None)]);
    assert_eq!(place(&mut script, boxed()), Ok(1));

    let mut script = cluster(&[with_podman(Isolation::Container)]);
    let told = place(&mut script, job(1, 1)).unwrap_err();
    assert!(told.starts_with("isolation: 1 of 1 nodes run containers alone"), "{told}");
    assert_eq!(place(&mut script, boxed()), Ok(1));
}

fn demand(script: &mut Script, version: u64, least: Isolation) {
    let spec = |isolation, parent: Option<&str>| {
        let parent = parent.map(str::to_owned);
        QueueSpec { isolation, parent, ..QueueSpec::default() }
    };
    let queues = [("top".to_owned(), spec(least, None))].into_iter();
    let queues = queues.chain([("part".to_owned(), spec(Isolation::None, Some("top")))]);
    let config = ClusterConfig { queues: queues.collect(), ..ClusterConfig::default() };
    let why = String::new();
    let reply = script.send(None, Command::ApplyConfig { expected: version, config, why });
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

#[test]
fn what_a_queue_demands_holds_for_its_parts_and_is_in_the_lease() {
    let mut script = cluster(&[unable(), with_podman(Isolation::None)]);
    demand(&mut script, 0, Isolation::Sandbox);
    let part = |spec: JobSpec| JobSpec { queue: "part".into(), ..spec };
    let id = script.submit(part(job(1, 1)));
    let placed = script.plan();
    assert_eq!(placed[0].members[0].node, domain::NodeId(2), "the first can build no sandbox");
    let view = script.view();
    let lease = view.all_leases().find(|lease| lease.element.job == id).unwrap();
    assert_eq!(lease.isolation, Isolation::Sandbox);
}

#[test]
fn a_queue_of_containers_starts_no_job_without_an_image() {
    let mut script = cluster(&[with_podman(Isolation::None)]);
    demand(&mut script, 0, Isolation::None);
    let part = |spec: JobSpec| JobSpec { queue: "part".into(), ..spec };
    let id = script.submit(part(job(1, 1)));
    demand(&mut script, 1, Isolation::Container);
    assert!(script.plan().is_empty());
    let document = why(&script.view(), &script.rows, id, script.now).unwrap();
    let reason = &document.reasons[0];
    assert_eq!((reason.kind.as_str(), reason.never), ("isolation", true));
    assert!(reason.detail.contains("queue `part` runs containers alone"), "{}", reason.detail);
    assert_eq!(place(&mut script, part(boxed())), Ok(1));
    // What it demands no more holds it back no more.
    demand(&mut script, 2, Isolation::Sandbox);
    assert_eq!(script.plan()[0].element.job, id);
}
