//! A cluster for tests: commands in, state and rows out, all laws looked at on the way.

use super::{
    Applied, Cluster, account,
    command::{Command, Effect, Entry, NewJob, Placement, PlanRecord, Reply, Request},
    keeping,
    preemption::Preemption,
    view::View,
};
use crate::planner;
use domain::{
    Bytes, CpuMillis, Digest, ElementId, JobId, LeaseId, LogIndex, Millis, NodeId, ReplicaId,
    RequestKey,
    artifact::OutputDigests,
    job::{Array, JobSpec, OnDisconnect, Outputs, Restart},
    link::Report,
    node::Inventory,
    resource::{Gpu, TaskResources},
    view::ReasonView,
};
use std::collections::BTreeMap;

/// Rows in memory.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A state machine with its rows and its clock.
pub struct Script {
    pub cluster: Cluster,
    pub rows: Rows,
    pub at: LogIndex,
    pub now: Millis,
    /// All that was applied.
    pub log: Vec<Entry>,
    /// Effects since they were last taken.
    pub effects: Vec<Effect>,
}

/// A job of `tasks` tasks with `gpus` GPUs each.
pub fn job(tasks: u32, gpus: u32) -> JobSpec {
    JobSpec {
        name: "train".into(),
        user: "ada".into(),
        queue: "default".into(),
        priority: 0,
        tasks,
        resources: TaskResources {
            gpus,
            gpu_model: None,
            cpu: CpuMillis(1_000),
            memory: Bytes(1 << 30),
            gpu_memory: None,
            gpu_share: Default::default(),
        },
        command: vec!["./train".into()],
        env: BTreeMap::new(),
        code: None,
        datasets: BTreeMap::new(),
        hyperparameters: BTreeMap::new(),
        seed: 1,
        outputs: Outputs::Required,
        time_limit: None,
        retries: 0,
        on_disconnect: OnDisconnect::Stop,
        restart: Restart::Lease,
        array: None,
        reproduces: None,
        after: Vec::new(),
        retry: Default::default(),
        confinement: domain::isolation::Confinement::default(),
        checkpoint: domain::checkpoint::CheckpointRule::default(),
        framework: None,
        image: None,
        interrupt: domain::interrupt::Interrupt::default(),
        verify: None,
        check: None,
        reservation: None,
        retain: None,
        topology: Default::default(),
        registered: Default::default(),
        hardware_class: None,
        estimate: None,
    }
}

/// An array of one-task elements.
pub fn array(count: u32, at_once_max: u32, gpus: u32) -> JobSpec {
    JobSpec { array: Some(Array { count, at_once_max }), ..job(1, gpus) }
}

/// A machine with `gpus` GPUs of a model, 16 cores and 64 GiB.
pub fn machine(name: &str, gpus: u32, model: &str) -> Inventory {
    Inventory {
        name: name.into(),
        boot_id: "boot-1".into(),
        cpu: CpuMillis(16_000),
        memory: Bytes(64 << 30),
        gpus: (0..gpus)
            .map(|index| Gpu {
                index,
                uuid: format!("GPU-{name}-{index}"),
                model: model.into(),
                memory: Bytes(80 << 30),
                compute_capability: "9.0".into(),
            })
            .collect(),
        driver_version: "550.1".into(),
        cuda_version: "12.4".into(),
        cpu_model: "test".into(),
        cpu_level: "x86-64-v3".into(),
        kernel: "6.1".into(),
        agent_version: "0.1.0".into(),
        isolation: domain::isolation::NodeIsolation::default(),
        topology: domain::topology::NodeTopology::default(),
    }
}

/// What an agent declares.
pub fn output(of: u8) -> OutputDigests {
    let digest = |part: u8| Digest::of(&[of, part]);
    OutputDigests {
        root: digest(0),
        tree: digest(1),
        statement: digest(2),
        provenance: digest(3),
        log: digest(4),
        files: 1,
        size: Bytes(1),
    }
}

impl Script {
    pub fn new() -> Self {
        let rows = Rows::new();
        Self {
            cluster: Cluster::load(&rows),
            rows,
            at: LogIndex(0),
            now: Millis(1_000_000),
            log: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub fn view(&self) -> View<'_> {
        self.cluster.view()
    }

    /// Applies an entry and keeps its row changes.
    pub fn entry(&mut self, members: Vec<Request>) -> Vec<Reply> {
        self.at = LogIndex(self.at.0 + 1);
        let entry = Entry { now: self.now, proposer: ReplicaId(1), members };
        let applied = self.cluster.apply(&self.rows, self.at, entry.clone());
        let Applied { replies, effects, rows } = applied;
        for change in rows {
            match change.value {
                Some(value) => self.rows.insert(change.key, value),
                None => self.rows.remove(&change.key),
            };
        }
        assert_eq!(self.cluster.broken_invariant(), None, "after {entry:?}");
        assert_eq!(keeping::broken(&self.cluster.sched, &self.rows), None, "after {entry:?}");
        assert_eq!(account::broken_rows(&self.cluster.sched, &self.rows), None, "after {entry:?}");
        self.effects.extend(effects);
        self.log.push(entry);
        replies
    }

    pub fn send(&mut self, key: Option<u8>, command: Command) -> Reply {
        let key = key.map(|key| RequestKey([key; 16]));
        let request = Request { key, actor: "user:ada".into(), command };
        self.entry(vec![request]).remove(0)
    }

    pub fn submit(&mut self, spec: JobSpec) -> JobId {
        let recipe = Digest::of_value(&spec);
        match self.send(None, Command::submit(vec![NewJob { spec, recipe }])) {
            Reply::Submitted { jobs, .. } => jobs[0],
            other => panic!("not taken in: {other:?}"),
        }
    }

    pub fn register(&mut self, inventory: Inventory) -> NodeId {
        match self.send(None, Command::Register { inventory, held: Vec::new() }) {
            Reply::Registered { node } => node,
            other => panic!("not registered: {other:?}"),
        }
    }

    pub fn cancel(&mut self, element: &str) -> Reply {
        let element: ElementId = element.parse().unwrap();
        self.send(None, Command::Cancel { element })
    }

    pub fn lose(&mut self, node: NodeId) -> Reply {
        let registered_at = self.view().node(node).unwrap().registered_at;
        self.send(None, Command::NodeLost { node, registered_at })
    }

    /// Plans and applies the plan. Returns what was placed.
    pub fn plan(&mut self) -> Vec<Placement> {
        let record = planner::plan(&self.view(), self.now, 10_000).record;
        let placements = record.placements.clone();
        self.place(record);
        placements
    }

    /// Plans, applies the plan, and asks those who are to make room.
    pub fn plan_all(&mut self) -> Option<Preemption> {
        let plan = planner::plan(&self.view(), self.now, 10_000);
        if !plan.record.placements.is_empty() {
            self.place(plan.record);
        }
        let record = plan.preempt?;
        let preemption = record.preemption.clone();
        self.send(None, Command::Preempt { plan: record });
        Some(preemption)
    }

    /// A victim gives its place up.
    pub fn release(&mut self, id: LeaseId) {
        let Some(lease) = self.view().lease(id).cloned() else { return };
        if let Some(notice) = lease.notice {
            let cause = notice.cause;
            self.report(lease.members[0].node, Report::Failed { lease: id, cause });
        }
        for member in &lease.members {
            self.report(member.node, Report::Stopped { lease: id });
        }
    }

    pub fn place(&mut self, plan: PlanRecord) -> Reply {
        self.send(None, Command::Place { plan })
    }

    pub fn report(&mut self, node: NodeId, report: Report) -> Reply {
        self.send(None, Command::Report { node, report })
    }

    /// The newest lease of a job's element.
    pub fn lease_of(&self, element: &str) -> LeaseId {
        let element: ElementId = element.parse().unwrap();
        let view = self.view();
        let of_element = view.all_leases().filter(|lease| lease.element == element);
        of_element.last().expect("it holds a lease").id
    }

    /// Every member of a lease prepares, ends, and the lead reports the end.
    pub fn finish(&mut self, id: LeaseId, of: u8) {
        self.finish_with(id, output(of));
    }

    /// As [`Self::finish`], with this output.
    pub fn finish_with(&mut self, id: LeaseId, output: OutputDigests) {
        let lease = self.view().lease(id).unwrap().clone();
        for member in &lease.members {
            self.report(member.node, Report::Prepared { lease: id });
        }
        for member in &lease.members[1..] {
            let log = Digest::of(member.node.to_string().as_bytes());
            self.report(member.node, Report::Done { lease: id, log });
        }
        let reply = self.report(lease.lead(), Report::Ended { lease: id, output });
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
    }

    pub fn seal(&mut self, ticket: LeaseId) -> Reply {
        self.send(
            None,
            Command::CompleteSeal {
                ticket,
                signature: Digest::of(b"signature"),
                provenance: Digest::of(b"provenance"),
                signer: Digest::of(b"signer"),
                copies: vec![ReplicaId(1), ReplicaId(2)],
            },
        )
    }

    pub fn word(&self, job: JobId) -> String {
        self.view().job(&self.rows, job).unwrap().line.state
    }

    /// The kinds of a job's reasons, most binding first.
    pub fn reasons(&self, job: JobId) -> Vec<String> {
        self.why(job).into_iter().map(|reason| reason.kind).collect()
    }

    /// A job's reasons, most binding first.
    pub fn why(&self, job: JobId) -> Vec<ReasonView> {
        planner::why(&self.view(), &self.rows, job, self.now).unwrap().reasons
    }
}
