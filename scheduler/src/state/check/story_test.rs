//! Checks from their opening to what they name, by a leader's duties over machines that lie or not.

use super::CheckCommand;
use crate::{
    leader::duties::{Duties, Duty, Event},
    state::{
        Cluster,
        command::{Command, Reply},
        health_test::held,
        script::{Script, job, machine},
    },
};
use domain::{
    Bytes, Digest, JobId, LeaseId, Millis, NodeId,
    artifact::OutputDigests,
    check::{CheckTask, Finding, Subject, Verify},
    checkpoint::Checkpoint,
    health::HeldState,
    job::JobSpec,
    lease::{Lease, Phase},
    link::Report,
    node::Inventory,
};
use std::collections::BTreeMap;

/// All segments are run again.
const ALL: Verify = Verify { segments_of_10000: 10_000 };

/// Four machines of one class with two GPUs each, the leader's duties, and GPUs that flip a bit.
pub(super) struct Bench {
    pub(super) script: Script,
    pub(super) nodes: Vec<NodeId>,
    duties: Duties,
    mono: u64,
    /// GPUs that give wrong bits, by unique name, and nodes.
    pub(super) liars: Vec<String>,
    /// Leases whose tasks have saved what they were to save.
    saved: BTreeMap<LeaseId, u64>,
}

impl Bench {
    pub(super) fn new(liars: &[&str]) -> Self {
        let four = ["a", "b", "c", "d"].map(|name| machine(name, 2, "H100"));
        Self::over(four.into(), liars)
    }

    pub(super) fn over(machines: Vec<Inventory>, liars: &[&str]) -> Self {
        let mut script = Script::new();
        let nodes: Vec<NodeId> = machines.into_iter().map(|it| script.register(it)).collect();
        let duties = Duties::new(Millis(0), &script.view());
        let liars = liars.iter().map(|it| (*it).to_owned()).collect();
        Self { script, nodes, duties, mono: 0, liars, saved: BTreeMap::new() }
    }

    /// What a gang gives at a step: the same everywhere, but for one bit where a GPU lies.
    fn root(&self, lease: &Lease, step: u64) -> Digest {
        let mut root = Digest::of_value(&("checkpoint", lease.build_key, step));
        let lies = lease.members.iter().any(|member| {
            let row = self.script.view().node(member.node).unwrap();
            let name = &row.inventory.name;
            let mut gpus = member.tasks.iter().flat_map(|task| &task.gpus);
            self.liars.contains(name)
                || gpus.any(|gpu| self.liars.contains(&format!("GPU-{name}-{gpu}")))
        });
        root.0[7] ^= u8::from(lies);
        root
    }

    /// One look of the duties, a quarter of a second later; does what they propose.
    pub(super) fn look(&mut self) {
        self.mono += 250;
        self.script.now = self.script.now.plus(Millis(250));
        for id in self.nodes.clone() {
            self.hear(Event::Contact { node: id });
        }
        self.hear(Event::Tick);
        self.work();
    }

    fn hear(&mut self, event: Event) {
        let now = Millis(self.mono);
        let wall = self.script.now;
        let todo = self.duties.on(event, &self.script.view(), now, wall);
        for duty in todo {
            if let Duty::Propose(command) = duty {
                let plan = matches!(command, Command::Place { .. });
                self.script.send(None, command);
                if plan {
                    self.hear(Event::PlanAnswered);
                }
            }
        }
    }

    /// Every run of a check does what its job says, and every other job saves one more step.
    fn work(&mut self) {
        let leases: Vec<Lease> = self.script.view().all_leases().cloned().collect();
        for lease in leases {
            if let Phase::Stopping { .. } = lease.phase {
                for member in &lease.members {
                    self.script.report(member.node, Report::Stopped { lease: lease.id });
                }
                continue;
            }
            for member in &lease.members {
                self.script.report(member.node, Report::Prepared { lease: lease.id });
            }
            let view = self.script.view();
            let Some(job) = view.live_job(lease.element.job) else { continue };
            match job.brief.check.clone().map(|run| run.task) {
                Some(CheckTask::Segment { until, .. }) => self.save(&lease, until),
                Some(CheckTask::BurnIn) => self.end(&lease),
                None => {
                    let step = self.saved.get(&lease.id).map_or(1, |step| step + 1);
                    self.saved.insert(lease.id, step);
                    self.save(&lease, step);
                }
            }
        }
    }

    fn save(&mut self, lease: &Lease, step: u64) {
        let root = self.root(lease, step);
        let checkpoint = Checkpoint { step, root, tree: root, size: Bytes(1), lease: lease.id };
        self.script.report(lease.lead(), Report::Checkpoint { checkpoint });
    }

    fn end(&mut self, lease: &Lease) {
        let root = self.root(lease, 0);
        let output = OutputDigests {
            root,
            tree: root,
            statement: root,
            provenance: root,
            log: root,
            files: 1,
            size: Bytes(1),
        };
        self.script.report(lease.lead(), Report::Ended { lease: lease.id, output });
        self.script.seal(lease.id);
    }

    /// GPUs that are charged with wrong bits.
    fn accused(&self) -> Vec<String> {
        let view = self.script.view();
        let all = self.nodes.iter().flat_map(|node| view.accusations(*node));
        all.map(|charge| charge.uuid).collect()
    }

    /// Runs a job of `gpus` GPUs for some looks, then lets its checks come to their end.
    pub(super) fn verify(&mut self, spec: JobSpec, looks: u32) -> JobId {
        let id = self.script.submit(spec);
        for _ in 0..looks {
            self.look();
        }
        self.script.cancel(&id.to_string());
        for _ in 0..200 {
            if self.script.view().open_checks().next().is_none() {
                break;
            }
            self.look();
        }
        id
    }

    fn says(&self, job: JobId) -> Vec<String> {
        let view = self.script.view().job(&self.script.rows, job).unwrap();
        view.replays.into_iter().map(|replay| replay.says).collect()
    }
}

fn verified(gpus: u32) -> JobSpec {
    JobSpec { verify: Some(ALL), ..job(1, gpus) }
}

#[test]
fn a_segment_is_run_again_on_another_node_and_said_to_be_equal() {
    let mut bench = Bench::new(&[]);
    let id = bench.verify(verified(1), 4);
    let says = bench.says(id);
    assert!(says.len() >= 3, "{says:?}");
    assert!(
        says.iter().all(|it| it.contains("replayed on") && it.ends_with(": equal")),
        "{says:?}"
    );
    assert_eq!(bench.accused(), [""; 0]);
    let view = bench.script.view();
    let first = view.check(&bench.script.rows, domain::CheckId(1)).unwrap().check;
    assert_ne!(first.ballots[0].nodes, first.ballots[1].nodes, "on another node");
    assert_eq!(Cluster::load(&bench.script.rows), bench.script.cluster, "all of it is in rows");
}

#[test]
fn a_bit_that_flips_on_one_of_four_machines_names_the_right_gpu_wherever_the_job_ran() {
    // The liar is where the job runs, where it is run again, and where nobody looks.
    for liar in ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1", "d-0", "d-1"] {
        let uuid = format!("GPU-{liar}");
        let mut bench = Bench::new(&[&uuid]);
        for _ in 0..3 {
            bench.verify(verified(1), 4);
        }
        let accused = bench.accused();
        assert!(accused.iter().all(|it| *it == uuid), "{liar}: {accused:?}");
        let met = bench.script.log.iter().any(|entry| {
            entry.members.iter().any(|it| match &it.command {
                Command::Check(CheckCommand::Run { members, .. }) => members.iter().any(|it| {
                    let row = bench.script.view().node(it.node).unwrap();
                    let gpus = it.tasks.iter().flat_map(|task| &task.gpus);
                    gpus.clone().any(|gpu| format!("GPU-{}-{gpu}", row.inventory.name) == uuid)
                }),
                _ => false,
            })
        });
        if met || liar == "a-0" {
            assert_eq!(accused, std::slice::from_ref(&uuid), "{liar} was met");
        }
        let names = bench
            .script
            .view()
            .all_nodes()
            .any(|(_, node)| node.serving().any(|gpu| gpu.uuid == uuid) && !accused.is_empty());
        assert!(!names, "what is accused takes no work");
    }
}

#[test]
fn a_thousand_clean_runs_name_nobody() {
    let mut runs = 0;
    let mut bench = Bench::new(&[]);
    while runs < 1_000 {
        let gpus = 1 + runs as u32 % 2;
        let id = bench.verify(verified(gpus), 40);
        runs += bench.says(id).iter().filter(|it| it.ends_with(": equal")).count();
        assert_eq!(bench.accused(), [""; 0]);
    }
}

#[test]
fn programs_that_never_give_the_same_bits_name_nobody() {
    let mut bench = Bench::new(&["GPU-a-0", "GPU-a-1"]);
    let id = bench.script.submit(verified(2));
    bench.look();
    // Each run gives bits of its own.
    for number in 0..60u8 {
        bench.hear(Event::Tick);
        bench.mono += 250;
        let leases: Vec<Lease> = bench.script.view().all_leases().cloned().collect();
        for lease in leases {
            if lease.element.job == id {
                continue;
            }
            if let Phase::Stopping { .. } = lease.phase {
                bench.script.report(lease.lead(), Report::Stopped { lease: lease.id });
                continue;
            }
            let root = Digest::of(&[number]);
            let step = 1;
            let checkpoint = Checkpoint { step, root, tree: root, size: Bytes(1), lease: lease.id };
            bench.script.report(lease.lead(), Report::Checkpoint { checkpoint });
        }
    }
    let says = bench.says(id);
    assert!(says[0].contains("nobody is named"), "{says:?}");
    assert_eq!(bench.accused(), [""; 0]);
}

#[test]
fn a_run_of_a_check_makes_room_for_a_job_that_wants_it() {
    let mut bench = Bench::new(&[]);
    let id = bench.script.submit(verified(2));
    bench.look();
    bench.hear(Event::Tick);
    bench.mono += 250;
    bench.hear(Event::Tick);
    let runs = |bench: &Bench| -> Vec<LeaseId> {
        let view = bench.script.view();
        let mut leases = view.all_leases();
        let of = leases.by_ref().filter(|lease| lease.element.job != id);
        of.map(|lease| lease.id).collect()
    };
    let first = runs(&bench);
    assert_eq!(first.len(), 1, "the segment is run again");
    let wanted: Vec<JobId> = (0..3).map(|_| bench.script.submit(job(1, 2))).collect();
    bench.mono += 250;
    bench.hear(Event::Tick);
    let stopping = bench.script.view().lease(first[0]).map(|lease| lease.phase.clone());
    assert!(matches!(stopping, Some(Phase::Stopping { .. })), "{stopping:?}");
    bench.script.report(
        bench.script.view().lease(first[0]).unwrap().lead(),
        Report::Stopped { lease: first[0] },
    );
    // Its end wakes the planner; here it looks by itself, once a second.
    for _ in 0..6 {
        bench.mono += 250;
        bench.hear(Event::Tick);
    }
    for job in wanted {
        assert_eq!(bench.script.word(job), "running");
    }
    assert!(bench.says(id)[0].contains("waits for idle GPUs"), "{:?}", bench.says(id));
}

/// Quarantines a GPU of machine `a` and asks for its acceptance.
fn accept(bench: &mut Bench, index: u32) -> Reply {
    let node = bench.nodes[0];
    let mut inventory = machine("a", 2, "H100");
    inventory.gpus.retain(|gpu| gpu.index != index);
    bench.script.register(inventory);
    let gpus = vec![held(index, HeldState::Quarantined, 5)];
    bench.script.send(None, Command::Health { node, gpus });
    let command = CheckCommand::Accept { node: "a".into(), gpu: None };
    bench.script.send(None, Command::Check(command))
}

#[test]
fn a_gpu_in_quarantine_serves_again_only_with_the_digest_that_two_others_gave() {
    for (liar, passes) in [("GPU-x", true), ("GPU-a-1", false)] {
        let mut bench = Bench::new(&[liar]);
        let node = bench.nodes[0];
        assert!(matches!(accept(&mut bench, 1), Reply::Done { .. }));
        let view = bench.script.view();
        let waits = view.check(&bench.script.rows, domain::CheckId(1)).unwrap().says;
        assert!(waits.contains("two other GPUs"), "{waits}");
        for _ in 0..40 {
            bench.look();
        }
        let view = bench.script.view();
        assert_eq!(view.open_checks().count(), 0);
        assert_eq!(view.acceptances(node).len(), usize::from(passes), "{liar}");
        let check = view.check(&bench.script.rows, domain::CheckId(1)).unwrap();
        let found = check.check.finding().unwrap();
        assert_eq!(*found == Finding::Equal, passes, "{}", check.says);
        assert_eq!(bench.accused(), [""; 0], "who is in quarantine is not charged again");
        let class = view.check(&bench.script.rows, domain::CheckId(2)).unwrap().check;
        assert_eq!(class.subject, Subject::Class);
        assert!(class.ballots.iter().all(|it| it.gpus[0].uuid != "GPU-a-1"), "no sick GPU sets it");
        assert_ne!(class.ballots[0].nodes, class.ballots[1].nodes);
        assert_eq!(Cluster::load(&bench.script.rows), bench.script.cluster);
    }
}

#[test]
fn a_later_symptom_makes_the_check_void_and_a_boot_begins_another() {
    let mut bench = Bench::new(&[]);
    accept(&mut bench, 1);
    let node = bench.nodes[0];
    let gpus = vec![held(1, HeldState::Quarantined, 6)];
    bench.script.send(None, Command::Health { node, gpus });
    let check = bench.script.view().check(&bench.script.rows, domain::CheckId(1)).unwrap();
    assert!(check.says.contains("a symptom came since"), "{}", check.says);

    let booted = domain::node::Inventory { boot_id: "boot-2".into(), ..machine("a", 1, "H100") };
    bench.script.register(booted);
    let view = bench.script.view();
    assert!(view.open_checks().any(|(_, it)| matches!(it.subject, Subject::Gpu { .. })));
    for _ in 0..40 {
        bench.look();
    }
    assert_eq!(bench.script.view().acceptances(node).len(), 1);
}

#[test]
fn without_two_gpus_that_agree_the_check_says_what_it_waits_for() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    let mut bench = Bench {
        nodes: vec![node],
        duties: Duties::new(Millis(0), &script.view()),
        script,
        ..Bench::new(&[])
    };
    bench.nodes = vec![node];
    let none = domain::node::Inventory { gpus: Vec::new(), ..machine("a", 1, "H100") };
    bench.script.register(none);
    let gpus = vec![held(0, HeldState::Quarantined, 5)];
    bench.script.send(None, Command::Health { node, gpus });
    let command = CheckCommand::Accept { node: "a".into(), gpu: Some("0".into()) };
    bench.script.send(None, Command::Check(command));
    for _ in 0..20 {
        bench.look();
    }
    assert_eq!(bench.script.view().open_checks().count(), 2, "both wait");
    let nodes = bench.script.view().nodes(&bench.script.rows);
    let says = &nodes[0].held_back[0].check.as_ref().unwrap().says;
    assert!(says.contains("waits until two other GPUs of class H100"), "{says}");
    bench.script.now = bench.script.now.plus(domain::limit::CHECK_KEPT);
    for _ in 0..4 {
        bench.look();
    }
    assert_eq!(bench.script.view().open_checks().count(), 0, "and not for ever");
}

#[test]
fn a_proposal_that_comes_twice_grants_one_run() {
    let mut bench = Bench::new(&[]);
    accept(&mut bench, 1);
    let (id, check) =
        bench.script.view().open_checks().next().map(|(id, it)| (id, it.clone())).unwrap();
    assert!(matches!(check.subject, Subject::Gpu { .. }));
    let class = domain::CheckId(id.0 + 1);
    let check = bench.script.view().open_checks().find(|(id, _)| *id == class).unwrap().1.clone();
    let members = crate::planner::seats(&bench.script.view(), &check).unwrap();
    let run = CheckCommand::Run { check: class, granted: 0, members };
    for _ in 0..3 {
        bench.script.send(None, Command::Check(run.clone()));
    }
    assert_eq!(bench.script.view().all_leases().count(), 1);
}

#[test]
fn what_a_hung_rank_waited_for_is_of_record_bounded_and_known_after_a_restart() {
    let mut bench = Bench::new(&[]);
    let id = bench.script.submit(job(1, 1));
    bench.script.plan();
    let lease = bench.script.lease_of(&id.to_string());
    let node = bench.script.view().lease(lease).unwrap().lead();
    for number in 0..domain::limit::DUMPS_MAX as u32 + 3 {
        let dump = Digest::of(&number.to_be_bytes());
        bench.script.report(node, Report::Dumped { lease, rank: 0, dump, size: Bytes(9) });
    }
    let dumps = bench.script.view().job(&bench.script.rows, id).unwrap().dumps;
    assert_eq!(dumps.len(), domain::limit::DUMPS_MAX, "the first are kept");
    assert_eq!((dumps[0].lease, dumps[0].dump), (lease, Digest::of(&0u32.to_be_bytes())));
    assert_eq!(Cluster::load(&bench.script.rows), bench.script.cluster);
    bench.script.cancel(&id.to_string());
    bench.script.report(node, Report::Stopped { lease });
    let late = Report::Dumped { lease, rank: 0, dump: Digest::default(), size: Bytes(9) };
    assert!(matches!(bench.script.report(node, late), Reply::Refused(_)), "its lease is over");
}
