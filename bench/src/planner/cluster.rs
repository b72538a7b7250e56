//! The state machine that the servers run, in memory and without a log.

use domain::{
    Bytes, CpuMillis, Digest, ElementId, LogIndex, Millis, NodeId, ReplicaId,
    isolation::NodeIsolation,
    job::{JobSpec, Outputs},
    lease::Lease,
    link::Report,
    node::Inventory,
    resource::{Gpu, TaskResources},
    topology::NodeTopology,
};
use scheduler::{
    planner::{self, Plan},
    state::{
        Cluster,
        command::{Command, Entry, NewJob, PlanRecord, Reply, Request},
    },
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Commands in one entry, as a busy leader's entries hold.
const MEMBERS: usize = 500;
/// GPUs of a node.
const GPUS: u32 = 8;
/// Gangs that one pass may try: more than any pass here has.
const STEPS: u64 = 10_000_000;

/// A cluster with its rows and its clock.
pub struct Memory {
    cluster: Cluster,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    at: LogIndex,
    /// The log's clock.
    pub now: Millis,
}

/// What a job asks for of each task.
#[derive(Clone, Copy)]
pub struct Asks {
    pub tasks: u32,
    pub gpus: u32,
    pub cores: u64,
}

/// A job as `assay submit` sends it.
pub fn job(number: usize, asks: Asks) -> JobSpec {
    let resources = TaskResources {
        gpus: asks.gpus,
        gpu_model: None,
        cpu: CpuMillis(asks.cores * 1_000),
        memory: Bytes(asks.cores << 30),
        gpu_memory: None,
        gpu_share: Default::default(),
    };
    JobSpec {
        name: format!("job-{number}"),
        user: "bench".into(),
        queue: "default".into(),
        priority: 0,
        tasks: asks.tasks,
        resources,
        command: vec!["./train".into()],
        env: BTreeMap::new(),
        code: None,
        datasets: BTreeMap::new(),
        hyperparameters: BTreeMap::new(),
        seed: 1,
        outputs: Outputs::Required,
        time_limit: None,
        retries: 0,
        on_disconnect: Default::default(),
        restart: Default::default(),
        array: None,
        reproduces: None,
        after: Vec::new(),
        retry: Default::default(),
        confinement: Default::default(),
        checkpoint: Default::default(),
        framework: None,
        image: None,
        interrupt: Default::default(),
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

fn rack(number: usize) -> String {
    let twelve: usize = (120..132).sum();
    let (dozen, mut within) = (number / twelve, number % twelve);
    let mut rack = 0;
    while within >= 120 + rack {
        within -= 120 + rack;
        rack += 1;
    }
    format!("r{}", dozen * 12 + rack)
}

/// A node of eight GPUs, 96 cores and 1 TiB.
pub fn node(number: usize) -> Inventory {
    let name = format!("node-{number:05}");
    let gpu = |index| Gpu {
        index,
        uuid: format!("GPU-{number}-{index}"),
        model: "NVIDIA H100 80GB HBM3".into(),
        memory: Bytes(80 << 30),
        compute_capability: "9.0".into(),
    };
    Inventory {
        name,
        boot_id: "boot".into(),
        cpu: CpuMillis(96_000),
        memory: Bytes(1 << 40),
        gpus: (0..GPUS).map(gpu).collect(),
        driver_version: "550.1".into(),
        cuda_version: "12.4".into(),
        cpu_model: "bench".into(),
        cpu_level: "x86-64-v3".into(),
        kernel: "6.1".into(),
        agent_version: "0.1.0".into(),
        isolation: NodeIsolation::default(),
        // Racks of 120 to 131 nodes: few of them hold a gang of 128.
        topology: NodeTopology { rack: rack(number), ..NodeTopology::default() },
    }
}

impl Memory {
    /// So many empty nodes.
    pub fn of_nodes(nodes: usize) -> Self {
        Self::of((0..nodes).map(node))
    }

    /// So many empty nodes with so many cores and GiB each.
    pub fn with_room(nodes: usize, room: usize) -> Self {
        let room = room as u64;
        let (cpu, memory) = (CpuMillis(room * 1_000), Bytes(room << 30));
        Self::of((0..nodes).map(|number| Inventory { cpu, memory, ..node(number) }))
    }

    /// These nodes.
    pub fn of(nodes: impl Iterator<Item = Inventory>) -> Self {
        let rows = BTreeMap::new();
        let cluster = Cluster::load(&rows);
        let mut memory = Self { cluster, rows, at: LogIndex(0), now: Millis(1_000_000) };
        let register = |inventory| Command::Register { inventory, held: Vec::new() };
        memory.send(nodes.map(register).collect());
        memory
    }

    /// Applies entries, and keeps what they change.
    pub fn send(&mut self, commands: Vec<Command>) {
        let mut members = commands.into_iter().map(|command| Request {
            key: None,
            actor: "user:bench".into(),
            command,
        });
        loop {
            let members: Vec<_> = members.by_ref().take(MEMBERS).collect();
            if members.is_empty() {
                return;
            }
            self.at = LogIndex(self.at.0 + 1);
            let entry = Entry { now: self.now, proposer: ReplicaId(1), members };
            let applied = self.cluster.apply(&self.rows, self.at, entry);
            for reply in applied.replies {
                assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
            }
            for change in applied.rows {
                match change.value {
                    Some(value) => self.rows.insert(change.key, value),
                    None => self.rows.remove(&change.key),
                };
            }
        }
    }

    /// Takes jobs in.
    pub fn submit(&mut self, jobs: impl Iterator<Item = JobSpec>) {
        let new = |spec: JobSpec| NewJob { recipe: Digest::of(spec.name.as_bytes()), spec };
        let commands = jobs.map(|spec| Command::Submit { jobs: vec![new(spec)] });
        self.send(commands.collect());
    }

    /// One pass of the leader's planner, and how long it took.
    pub fn plan(&self) -> (Plan, Duration) {
        let start = Instant::now();
        let plan = planner::plan(&self.cluster.view(), self.now, STEPS);
        (plan, start.elapsed())
    }

    /// Makes a recorded plan again from the state, as `assay debug replay` does.
    pub fn replay(&self, record: &PlanRecord) -> bool {
        planner::replay(&self.cluster.view(), record).is_ok()
    }

    /// Takes a plan in.
    pub fn place(&mut self, record: PlanRecord) {
        self.send(vec![Command::Place { plan: record }]);
    }

    /// Plans until nothing more fits. Returns gangs placed, passes, and the time in the planner.
    pub fn fill(&mut self) -> Filled {
        let mut filled = Filled::default();
        loop {
            let (plan, took) = self.plan();
            filled.passes += 1;
            filled.planning += took;
            filled.longest = filled.longest.max(took);
            filled.placed += plan.record.placements.len();
            let more = plan.exhausted;
            if !plan.record.placements.is_empty() {
                self.place(plan.record);
            }
            if !more {
                return filled;
            }
        }
    }

    /// All leases, oldest first.
    pub fn leases(&self) -> Vec<Lease> {
        self.cluster.view().all_leases().cloned().collect()
    }

    /// Ends jobs that run: they are cancelled, and their nodes say that nothing is left of them.
    pub fn end(&mut self, leases: &[Lease]) {
        let element = |lease: &Lease| -> ElementId { lease.element };
        let cancel = leases.iter().map(|lease| Command::Cancel { element: element(lease) });
        self.send(cancel.collect());
        let stopped = |lease: &Lease, node: NodeId| Command::Report {
            node,
            report: Report::Stopped { lease: lease.id },
        };
        let reports = leases
            .iter()
            .flat_map(|lease| lease.members.iter().map(move |member| stopped(lease, member.node)));
        self.send(reports.collect());
    }
}

/// What [`Memory::fill`] did.
#[derive(Default)]
pub struct Filled {
    pub placed: usize,
    pub passes: usize,
    pub planning: Duration,
    pub longest: Duration,
}
