//! Nodes in quarantine: back in service only after their acceptance job, or with somebody's word.

use super::story_test::Bench;
use crate::state::{
    Cluster,
    command::{CheckCommand, Command, DrainNodes, Reply},
    dataset_test::raise,
    script::{job, machine},
};
use domain::{
    Millis,
    check::Verify,
    job::JobSpec,
    node::{DrainTerms, NodeState},
    view::NodeView,
};
use registry::ledger::view as ledger;

/// Machines of one class without GPUs.
fn without_gpus(names: &[&str]) -> Bench {
    let mut bench = Bench::over(names.iter().map(|name| machine(name, 0, "")).collect(), &[]);
    raise(&mut bench.script);
    bench
}

fn quarantine(bench: &mut Bench, name: &str) -> Reply {
    let terms = DrainTerms { quarantine: true, ..DrainTerms::default() };
    drain(bench, name, Some("memory errors"), terms, false)
}

fn drain(
    bench: &mut Bench,
    name: &str,
    reason: Option<&str>,
    terms: DrainTerms,
    vouch: bool,
) -> Reply {
    let (names, reason) = ([name.to_owned()].into(), reason.map(str::to_owned));
    bench.script.send(None, Command::DrainNodes(DrainNodes { names, reason, terms, vouch }))
}

fn accept(bench: &mut Bench, name: &str) -> Reply {
    let accept = CheckCommand::Accept { node: name.to_owned(), gpu: None };
    bench.script.send(None, Command::Check(accept))
}

fn node(bench: &Bench, name: &str) -> NodeView {
    let nodes = bench.script.view().nodes(&bench.script.rows);
    nodes.into_iter().find(|node| node.inventory.name == name).unwrap()
}

fn says(bench: &Bench, name: &str) -> String {
    node(bench, name).acceptance.map(|check| check.says).unwrap_or_default()
}

fn looks(bench: &mut Bench, count: u32) {
    for _ in 0..count {
        bench.look();
    }
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn kinds(bench: &Bench) -> String {
    let events = ledger::events(&bench.script.rows, 1, 1_000);
    events.iter().map(|event| event.payload.clone()).collect()
}

#[test]
fn a_node_comes_back_when_it_gives_what_two_others_of_its_class_gave() {
    let mut bench = without_gpus(&["a", "b", "c"]);
    quarantine(&mut bench, "a");
    let why = refused(bench.script.send(None, Command::Drain { node: "a".into(), reason: None }));
    assert!(why.contains("in quarantine") && why.contains("assay node accept a"), "{why}");
    looks(&mut bench, 5);
    assert_eq!(says(&bench, "a"), "", "nobody has asked for it");
    accept(&mut bench, "a");
    assert!(says(&bench, "a").contains("waits until two others of class"), "{}", says(&bench, "a"));
    looks(&mut bench, 40);
    assert_eq!(node(&bench, "a").status, NodeState::Ready);
    let told = kinds(&bench);
    assert!(told.contains("node.accepted") && told.contains("memory errors"), "{told}");
    assert_eq!(Cluster::load(&bench.script.rows), bench.script.cluster, "all of it is in rows");
    // What the class gives is known now.
    quarantine(&mut bench, "b");
    accept(&mut bench, "b");
    looks(&mut bench, 10);
    assert_eq!(node(&bench, "b").status, NodeState::Ready);
}

#[test]
fn a_node_that_gives_other_bits_stays() {
    let mut bench = without_gpus(&["a", "b", "c"]);
    bench.liars = vec!["a".to_owned()];
    quarantine(&mut bench, "a");
    accept(&mut bench, "a");
    looks(&mut bench, 40);
    let stays = node(&bench, "a");
    assert!(matches!(stays.status, NodeState::Drained { quarantine: true, .. }), "{stays:?}");
    assert!(says(&bench, "a").contains("FAILED"), "{}", says(&bench, "a"));
    // Another drain changes nothing of it.
    drain(&mut bench, "a", Some("fan"), DrainTerms::default(), false);
    looks(&mut bench, 10);
    let stays = node(&bench, "a");
    assert!(matches!(stays.status, NodeState::Drained { quarantine: true, .. }), "{stays:?}");
    let why = refused(drain(&mut bench, "a", None, DrainTerms::default(), false));
    assert!(why.contains("--vouch"), "{why}");
    drain(&mut bench, "a", None, DrainTerms::default(), true);
    assert_eq!(node(&bench, "a").status, NodeState::Ready);
}

#[test]
fn a_word_of_somebody_ends_the_check_that_is_open() {
    let mut bench = without_gpus(&["a"]);
    quarantine(&mut bench, "a");
    accept(&mut bench, "a");
    looks(&mut bench, 10);
    assert!(
        matches!(node(&bench, "a").status, NodeState::Drained { .. }),
        "nobody to compare with"
    );
    drain(&mut bench, "a", None, DrainTerms::default(), true);
    let open = bench.script.view().check_of_node(bench.nodes[0]);
    assert_eq!(open, None);
    assert_eq!(node(&bench, "a").status, NodeState::Ready);
}

#[test]
fn a_node_that_was_booted_is_looked_at_by_itself() {
    let mut bench = without_gpus(&["a", "b", "c"]);
    quarantine(&mut bench, "a");
    let mut inventory = machine("a", 0, "");
    inventory.boot_id = "boot-2".into();
    bench.script.register(inventory);
    looks(&mut bench, 40);
    assert_eq!(node(&bench, "a").status, NodeState::Ready);
}

#[test]
fn who_is_outvoted_without_a_gpu_is_in_quarantine() {
    let mut bench = without_gpus(&["a", "b", "c", "d"]);
    bench.liars = vec!["b".to_owned()];
    let all = Some(Verify { segments_of_10000: 10_000 });
    for _ in 0..4 {
        bench.verify(JobSpec { verify: all, ..job(1, 0) }, 4);
    }
    let shut = |name: &str| {
        matches!(node(&bench, name).status, NodeState::Drained { quarantine: true, .. })
    };
    assert_eq!(["a", "b", "c", "d"].map(shut), [false, true, false, false]);
}

#[test]
fn a_node_with_gpus_runs_it_on_one_of_them() {
    let mut bench = Bench::new(&[]);
    raise(&mut bench.script);
    quarantine(&mut bench, "a");
    accept(&mut bench, "a");
    looks(&mut bench, 40);
    assert_eq!(node(&bench, "a").status, NodeState::Ready, "{}", says(&bench, "a"));
}

#[test]
fn a_node_whose_class_changes_is_looked_at_as_what_it_is_now() {
    let mut bench = without_gpus(&["a"]);
    quarantine(&mut bench, "a");
    accept(&mut bench, "a");
    let first = bench.script.view().check_of_node(bench.nodes[0]);
    let mut inventory = machine("a", 0, "");
    (inventory.boot_id, inventory.cpu_level) = ("boot-2".into(), "x86-64-v4".into());
    bench.script.register(inventory);
    let second = bench.script.view().check_of_node(bench.nodes[0]);
    assert!(second.is_some() && second != first, "{first:?} {second:?}");
    let closed = bench.script.view().check(&bench.script.rows, first.unwrap()).unwrap();
    assert!(closed.says.contains("another class"), "{}", closed.says);
}

#[test]
fn terms_want_a_reason_and_time_puts_back_nothing_that_is_in_quarantine() {
    let mut bench = without_gpus(&["a"]);
    let distrust = DrainTerms { quarantine: true, ..DrainTerms::default() };
    let why = refused(drain(&mut bench, "a", None, distrust, false));
    assert!(why.contains("want a reason"), "{why}");
    quarantine(&mut bench, "a");
    let until = Some(bench.script.now.plus(Millis(60_000)));
    let terms = DrainTerms { until, ..DrainTerms::default() };
    let why = refused(drain(&mut bench, "a", Some("fan"), terms, false));
    assert!(why.contains("in quarantine"), "{why}");
}
