//! Laws of nodes that are taken out of service: nothing new comes, what is asked to leave leaves,
//! and time puts them back.

use super::{
    Cluster,
    command::{CheckCommand, Command, DrainNodes, Reply},
    dataset_test::raise,
    script::{Script, job, machine},
};
use crate::planner;
use domain::{
    Millis, NodeId,
    interrupt::{Interrupt, Preemptible},
    job::{EndCause, JobSpec},
    lease::Phase,
    limit,
    link::Report,
    node::{DrainTerms, NodeState},
};
use proptest::{collection::vec, prelude::*};

const MINUTE: u64 = 60_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Nodes of two blocks, each with a rack `r1`, and one that is in none.
fn nodes() -> Script {
    let mut script = Script::new();
    for (name, block, rack) in [("a", "east", "r1"), ("b", "east", "r2"), ("c", "west", "r1")] {
        let mut inventory = machine(name, 4, "NVIDIA H100");
        (inventory.topology.block, inventory.topology.rack) = (block.into(), rack.into());
        script.register(inventory);
    }
    raise(&mut script);
    script
}

fn drain(script: &mut Script, names: &[&str], until: Option<u64>, migrate: bool) -> Reply {
    let until = until.map(|minutes| script.now.plus(Millis(minutes * MINUTE)));
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    let terms = DrainTerms { until, migrate, ..DrainTerms::default() };
    let (reason, vouch) = (Some("fan".to_owned()), false);
    script.send(None, Command::DrainNodes(DrainNodes { names, reason, terms, vouch }))
}

fn serve(script: &mut Script, name: &str, reason: Option<&str>, terms: DrainTerms, vouch: bool) {
    let (names, reason) = ([name.to_owned()].into(), reason.map(str::to_owned));
    script.send(None, Command::DrainNodes(DrainNodes { names, reason, terms, vouch }));
}

fn drained(script: &mut Script, names: &[&str], until: Option<u64>, migrate: bool) {
    let reply = drain(script, names, until, migrate);
    assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
}

fn resume(script: &mut Script, name: &str) {
    script.send(None, Command::Drain { node: name.into(), reason: None });
}

fn refused(reply: Reply) -> String {
    match reply {
        Reply::Refused(refusal) => refusal.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

fn pass(script: &mut Script, minutes: u64) {
    script.now = script.now.plus(Millis(minutes * MINUTE));
    script.send(None, Command::Wake { until: Millis(0) });
}

fn out(script: &Script) -> Vec<String> {
    let nodes = script.view().nodes(&script.rows).into_iter();
    nodes.filter(|it| it.status != NodeState::Ready).map(|it| it.inventory.name).collect()
}

/// A job that runs on some node, and that node's name.
fn running(script: &mut Script, spec: JobSpec) -> (String, String) {
    let id = script.submit(spec);
    script.plan();
    let lease = script.lease_of(&id.to_string());
    let on = script.view().lease(lease).unwrap().lead();
    script.report(on, Report::Prepared { lease });
    (id.to_string(), script.view().node_name(on).unwrap())
}

#[test]
fn a_drain_until_a_time_is_over_by_itself() {
    let mut script = nodes();
    drained(&mut script, &["a", "c"], Some(30), false);
    assert_eq!(out(&script), ["a", "c"]);
    let until = script.now.plus(Millis(30 * MINUTE));
    let (reason, until) = ("fan".into(), Some(until));
    let terms = NodeState::Drained { reason, until, migrate: false, quarantine: false };
    let until = until.unwrap();
    assert_eq!(script.view().nodes(&script.rows)[0].status, terms);
    assert_eq!(script.view().next_pause(), Some(until));
    let big = script.submit(JobSpec { tasks: 3, ..job(3, 4) });
    script.plan();
    let why = planner::why(&script.view(), &script.rows, big, script.now).unwrap();
    let why: String = why.reasons.into_iter().map(|it| it.detail).collect();
    assert!(why.contains("drained: a c, the first back in 30m"), "{why}");
    pass(&mut script, 29);
    assert_eq!(out(&script), ["a", "c"]);
    pass(&mut script, 1);
    assert_eq!(out(&script), [""; 0]);
    assert_eq!(script.view().next_pause(), None);
    script.plan();
    assert_eq!(script.word(big), "running");
}

#[test]
fn what_runs_on_a_node_that_is_drained_with_migrate_goes_on_elsewhere() {
    let mut script = nodes();
    let stays = Interrupt { preemptible: Preemptible::No, ..Interrupt::default() };
    let (moves, on) = running(&mut script, job(1, 2));
    let (never, same) = running(&mut script, JobSpec { interrupt: stays, ..job(1, 2) });
    assert_eq!(on, same, "both are on one node");
    drained(&mut script, &[&on], None, true);
    let [one, two] = [&moves, &never].map(|id| script.lease_of(id));
    let cause = EndCause::Drained { node: on.clone() };
    let notice = script.view().lease(one).unwrap().notice.clone().unwrap();
    assert_eq!(notice.cause, cause);
    assert_eq!(script.view().lease(two).unwrap().notice, None, "it never is");
    assert_eq!(script.view().next_pause(), Some(notice.until()));
    let since = notice.since;
    pass(&mut script, 1);
    drained(&mut script, &[&on], None, true);
    let again = script.view().lease(one).unwrap().notice.clone().unwrap();
    assert_eq!(again.since, since, "to be told twice gives no more time");
    script.release(one);
    script.plan();
    let lease = script.lease_of(&moves);
    let to = script.view().lease(lease).unwrap().lead();
    assert_ne!(script.view().node_name(to), Some(on.clone()));
    let lease = script.view().lease(two).unwrap();
    assert!(matches!(lease.phase, Phase::Started { .. }));
    let element = moves.parse::<domain::ElementId>().unwrap();
    let job = script.view().live_job(element.job).unwrap();
    let row = job.elements.values().next().unwrap();
    assert_eq!((row.faults, row.node_faults), (0, 0), "nobody is at fault");
}

#[test]
fn who_does_not_leave_is_stopped_and_who_may_stay_is_told_so() {
    let mut script = nodes();
    let (id, on) = running(&mut script, job(1, 2));
    let lease = script.lease_of(&id);
    for back in ["resume", "plain drain", "time"] {
        drained(&mut script, &[&on], Some(1), true);
        assert!(script.view().lease(lease).unwrap().notice.is_some(), "{back}");
        match back {
            "resume" => resume(&mut script, &on),
            "plain drain" => drained(&mut script, &[&on], None, false),
            _ => pass(&mut script, 1),
        }
        assert_eq!(script.view().lease(lease).unwrap().notice, None, "{back}");
    }
    drained(&mut script, &[&on], None, true);
    script.now = script.now.plus(limit::NOTICE_MAX);
    script.send(None, Command::Wake { until: Millis(0) });
    let cause = EndCause::Drained { node: on };
    let row = script.view().lease(lease).unwrap();
    assert!(matches!(&row.phase, Phase::Stopping { cause: it, .. } if *it == cause), "{row:?}");
}

#[test]
fn a_rack_is_all_of_its_nodes_and_all_are_taken_out_or_none() {
    let mut script = nodes();
    let many = refused(drain(&mut script, &["b", "r1"], None, false));
    assert!(many.contains("name one: `rack:east/r1`, `rack:west/r1`"), "{many}");
    let none = refused(drain(&mut script, &["b", "r9"], None, false));
    assert!(none.contains("node or rack `r9`"), "{none}");
    assert_eq!(out(&script), [""; 0], "nothing is half done");
    drained(&mut script, &["rack:west/r1", "r2"], None, false);
    assert_eq!(out(&script), ["b", "c"]);
    let now = refused(drain(&mut script, &["a"], Some(0), false));
    assert!(now.contains("over before it begins"), "{now}");
    let nobody = refused(drain(&mut script, &[], None, false));
    assert!(nobody.contains("no node is named"), "{nobody}");
}

#[test]
fn a_cluster_of_the_version_before_refuses_terms_by_name() {
    let mut script = Script::new();
    script.register(machine("a", 1, "NVIDIA H100"));
    let reply = refused(drain(&mut script, &["a"], None, true));
    assert!(reply.contains("needs version 2, the cluster runs at 1"), "{reply}");
}

#[derive(Clone, Debug)]
enum Move {
    Submit { gpus: u32, tasks: u32, stays: bool },
    Drain { nodes: Vec<usize>, until: Option<u64>, migrate: bool },
    Distrust { node: usize, migrate: bool },
    Accept { node: usize },
    Resume { node: usize, vouch: bool },
    Boot { node: usize, driver: u8 },
    Lose { node: usize },
    Pass { minutes: u64 },
    Plan,
    Leave,
    Prepare,
}

fn moves() -> impl Strategy<Value = Move> {
    let nodes = vec(0usize..3, 1..3);
    prop_oneof![
        3 => (1u32..5, 1u32..3, any::<bool>())
            .prop_map(|(gpus, tasks, stays)| Move::Submit { gpus, tasks, stays }),
        2 => (nodes, prop::option::of(1u64..8), any::<bool>())
            .prop_map(|(nodes, until, migrate)| Move::Drain { nodes, until, migrate }),
        1 => (0usize..3, any::<bool>())
            .prop_map(|(node, migrate)| Move::Distrust { node, migrate }),
        1 => (0usize..3).prop_map(|node| Move::Accept { node }),
        1 => (0usize..3, any::<bool>()).prop_map(|(node, vouch)| Move::Resume { node, vouch }),
        1 => (0usize..3, 0u8..2).prop_map(|(node, driver)| Move::Boot { node, driver }),
        1 => (0usize..3).prop_map(|node| Move::Lose { node }),
        3 => (0u64..6).prop_map(|minutes| Move::Pass { minutes }),
        4 => Just(Move::Plan),
        2 => Just(Move::Leave),
        3 => Just(Move::Prepare),
    ]
}

fn make(script: &mut Script, step: Move) {
    match step {
        Move::Submit { gpus, tasks, stays } => {
            let preemptible = if stays { Preemptible::No } else { Preemptible::Yes };
            let interrupt = Interrupt { preemptible, ..Interrupt::default() };
            script.submit(JobSpec { interrupt, ..job(tasks, gpus) });
        }
        Move::Drain { nodes, until, migrate } => {
            let names: Vec<&str> = nodes.into_iter().map(|at| NAMES[at]).collect();
            drain(script, &names, until, migrate);
        }
        Move::Distrust { node, migrate } => {
            let terms = DrainTerms { migrate, quarantine: true, ..DrainTerms::default() };
            serve(script, NAMES[node], Some("doubt"), terms, false);
        }
        Move::Accept { node } => {
            let accept = CheckCommand::Accept { node: NAMES[node].to_owned(), gpu: None };
            script.send(None, Command::Check(accept));
        }
        Move::Resume { node, vouch } => {
            serve(script, NAMES[node], None, DrainTerms::default(), vouch);
        }
        Move::Boot { node, driver } => {
            let mut inventory =
                script.view().node(NodeId(node as u32 + 1)).unwrap().inventory.clone();
            inventory.boot_id.push('+');
            inventory.driver_version = format!("{}.1", 550 + u32::from(driver));
            script.register(inventory);
        }
        Move::Lose { node } => drop(script.lose(NodeId(node as u32 + 1))),
        Move::Pass { minutes } => pass(script, minutes),
        Move::Plan => drop(script.plan_all()),
        Move::Leave => {
            let leases: Vec<_> = script.view().all_leases().cloned().collect();
            for lease in leases.iter().filter(|it| it.notice.is_some()) {
                script.release(lease.id);
            }
        }
        Move::Prepare => {
            let leases: Vec<_> = script.view().all_leases().cloned().collect();
            for lease in leases {
                for member in &lease.members {
                    script.report(member.node, Report::Prepared { lease: lease.id });
                }
            }
        }
    }
}

/// What holds after every entry, beside the state's own invariants.
fn broken(script: &Script) -> Option<String> {
    let view = script.view();
    for (id, node) in view.all_nodes() {
        let terms = view.drain_terms(id);
        if terms.until.is_some_and(|until| until <= script.now) {
            return Some(format!("{id} is out of service beyond its time"));
        }
        let class = view.check_of_node(id).and_then(|it| view.check(&script.rows, it));
        if class.is_some_and(|it| !terms.quarantine || it.check.class != node.whole_class) {
            return Some(format!("{id} has a check that nothing can come of"));
        }
        for lease in node.leases.iter().filter_map(|id| view.lease(*id)) {
            let Some(job) = view.live_job(lease.element.job) else { continue };
            let asked = lease.notice.is_some() || matches!(lease.phase, Phase::Stopping { .. });
            let may = job.brief.interrupt.runs_for().is_some();
            if terms.migrate && may && !asked {
                return Some(format!("{} stays on {id} and was told nothing", lease.element));
            }
            let over = |it: &domain::interrupt::Notice| it.until() <= script.now;
            let told = lease.notice.as_ref().filter(|_| view.leaves_its_nodes(lease));
            if told.is_some_and(over) && !matches!(lease.phase, Phase::Stopping { .. }) {
                return Some(format!("{} stays beyond its notice", lease.element));
            }
        }
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_happens_what_is_asked_to_leave_leaves_and_nothing_new_comes(
        life in vec(moves(), 1..40)
    ) {
        let mut script = nodes();
        for step in life {
            let (gone, before) = (out(&script), leases(&script));
            let planned = matches!(step, Move::Plan);
            make(&mut script, step);
            prop_assert_eq!(broken(&script), None);
            if planned {
                let new = leases(&script).into_iter().filter(|it| !before.contains(it));
                for (_, node) in new {
                    prop_assert!(!gone.contains(&node), "granted on {node}");
                }
            }
            prop_assert_eq!(&Cluster::load(&script.rows), &script.cluster, "a start is the same");
            let record = planner::plan(&script.view(), script.now, 1_000).record;
            let again = planner::replay(&script.view(), &record).map(|made| made.record);
            prop_assert_eq!(again, Ok(record));
        }
    }
}

/// Leases with the nodes that they are on.
fn leases(script: &Script) -> Vec<(domain::LeaseId, String)> {
    let view = script.view();
    let nodes = view.all_leases().flat_map(|lease| {
        lease.members.iter().filter_map(|it| Some((lease.id, view.node_name(it.node)?)))
    });
    nodes.collect()
}
