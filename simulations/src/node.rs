//! A node: its agent's machine over tasks that take virtual time.

use crate::{
    chance::Chance,
    near,
    runtime::{Running, Tasks, Work, checkpoint_root, output_root, output_tree},
    world::{documents_of, file_of},
};
use agent::machine::{AgentMachine, Boot, Config, Exit, Input, Output};
use domain::{
    Bytes, CpuMillis, Digest, LeaseId, Millis, NodeId,
    artifact::OutputDigests,
    checkpoint::Checkpoint,
    job::EndCause,
    limit,
    link::{Down, Up, WantedLease},
    node::Inventory,
    resource::Gpu,
};
use scheduler::leader::duties::LOST_AFTER;

/// How far an agent's clock may run fast or slow: beside a server that is off by as much the
/// other way, all of the drift margin within the time of a lease. Unit: thousandths.
pub const DRIFT_MAX: u64 = 35;
const _: () =
    assert!(DRIFT_MAX * (limit::LEASE_TTL.0 + LOST_AFTER.0) <= limit::DRIFT_MARGIN.0 * 1_000);

/// One node.
pub struct Node {
    /// Its number.
    pub at: usize,
    /// The agent, while it lives.
    pub machine: Option<AgentMachine>,
    /// Counts lives of the agent.
    pub life: u64,
    /// Counts boots of the machine.
    pub boot: u64,
    /// What runs.
    pub tasks: Tasks,
    /// The stream: its number, and the server it goes to.
    pub link: Option<(u64, usize)>,
    /// The server to try next.
    pub hint: Option<usize>,
    /// This node's chance.
    pub chance: Chance,
    /// How much faster its clock runs. Unit: thousandths.
    drift: i64,
    gpus: u32,
    /// A GPU that flips a bit of every checkpoint that it makes.
    flips: Option<u32>,
    next_report: u64,
    /// Its id in the cluster, kept on its disk once it was told.
    id: Option<NodeId>,
}

/// What a node asks of the world.
pub enum Ask {
    /// Send this on the stream.
    Send(Box<Up>),
    /// Give this input to the machine after so many ms.
    Later(u64, Input),
    /// Store blobs on servers, then give this input.
    Store(LeaseId, Vec<Digest>, Box<Input>),
    /// Tasks have started: laws look at them.
    Started(LeaseId),
}

impl Node {
    /// A node with `gpus` GPUs.
    #[must_use]
    pub fn new(at: usize, gpus: u32, mut chance: Chance) -> Self {
        let drift = chance.below(2 * DRIFT_MAX + 1) as i64 - DRIFT_MAX as i64;
        Self {
            at,
            machine: None,
            life: 0,
            boot: 1,
            tasks: Tasks::new(),
            link: None,
            hint: None,
            chance,
            drift,
            gpus,
            flips: None,
            next_report: 1,
            id: None,
        }
    }

    /// The same, where one GPU flips a bit of every checkpoint that it makes.
    #[must_use]
    pub fn flipping(self, flips: Option<u32>) -> Self {
        Self { flips, ..self }
    }

    /// The name of its GPU that flips bits.
    #[must_use]
    pub fn liar(&self) -> Option<String> {
        self.flips.map(|gpu| format!("GPU-{}-{gpu}", self.at))
    }

    /// Its id in the cluster, once it was told.
    #[must_use]
    pub fn id(&self) -> Option<NodeId> {
        self.id
    }

    /// Its own clock at a time of the world.
    #[must_use]
    pub fn clock(&self, now: u64) -> Millis {
        let skew = now as i64 * self.drift / 1_000;
        Millis((now as i64 + skew + 1_000_000) as u64)
    }

    /// What it has.
    #[must_use]
    pub fn inventory(&self) -> Inventory {
        let gpu = |index| Gpu {
            index,
            uuid: format!("GPU-{}-{index}", self.at),
            model: "NVIDIA H100".into(),
            memory: Bytes(80 << 30),
            compute_capability: "9.0".into(),
        };
        Inventory {
            name: format!("node-{}", self.at),
            boot_id: format!("boot-{}", self.boot),
            cpu: CpuMillis(16_000),
            memory: Bytes(64 << 30),
            gpus: (0..self.gpus).map(gpu).collect(),
            driver_version: "550.1".into(),
            cuda_version: "12.4".into(),
            cpu_model: "sim".into(),
            cpu_level: "x86-64-v3".into(),
            kernel: "6.1".into(),
            agent_version: "0.1.0".into(),
            isolation: domain::isolation::NodeIsolation::default(),
            topology: near::place(self.at, self.gpus),
        }
    }

    /// Starts the agent over what runs.
    pub fn start(&mut self) {
        self.life += 1;
        // A life counts its reports from where no earlier one can have come.
        self.next_report += 1_000_000;
        let config = Config { first_report: self.next_report, ..Config::new(self.inventory()) };
        let held = self.tasks.values().map(Running::held).collect();
        self.machine = Some(AgentMachine::new(config, Boot { node: self.id, held }));
        self.link = None;
    }

    /// The agent's process dies; tasks and supervisor go on.
    pub fn kill_agent(&mut self) {
        self.machine = None;
        self.life += 1;
        self.link = None;
    }

    /// The machine loses power: nothing of it runs any more.
    pub fn reboot(&mut self) {
        self.kill_agent();
        self.boot += 1;
        self.tasks.clear();
    }

    /// Gives an input to the agent and does what it says.
    pub fn input(&mut self, input: Input, now: u64) -> Vec<Ask> {
        if let Input::Down(Down::Welcome { node }) = &input {
            self.id = Some(*node);
        }
        let clock = self.clock(now);
        let Some(machine) = &mut self.machine else { return Vec::new() };
        let outputs = machine.on(input, clock);
        let mut asks = Vec::new();
        for output in outputs {
            self.perform(output, clock, &mut asks);
        }
        asks
    }

    fn perform(&mut self, output: Output, clock: Millis, asks: &mut Vec<Ask>) {
        match output {
            Output::Send(up) => asks.push(Ask::Send(Box::new(up))),
            Output::Prepare { wanted } => {
                let lease = wanted.lease.id;
                let wait = self.chance.between(1, 400);
                let result = match self.chance.one_in(200) {
                    true => Err(EndCause::DiskFull { detail: "simulated".into() }),
                    false => Ok(()),
                };
                asks.push(Ask::Later(wait, Input::Prepared { lease, result }));
            }
            Output::Start { wanted, node_rank: _, tasks, deadline } => {
                let lease = wanted.lease.id;
                let work = Work::of(&wanted.spec);
                let step = wanted.lease.resume_from.as_ref().map_or(0, |saved| saved.step);
                let running = Running {
                    ranks: tasks.iter().map(|task| (task.rank, None)).collect(),
                    started: clock,
                    deadline,
                    step,
                    next: clock.plus(Millis(work.step_ms)),
                    saved: None,
                    asked: false,
                    wanted: *wanted,
                };
                self.tasks.insert(lease, running);
                asks.push(Ask::Started(lease));
            }
            Output::RenewDeadline { lease, deadline } => {
                if let Some(running) = self.tasks.get_mut(&lease) {
                    running.deadline = deadline;
                }
            }
            Output::AskCheckpoint { lease, .. } => {
                // Some programs do not look.
                let asked = !self.chance.one_in(4);
                self.ask(lease, asked);
            }
            Output::UnaskCheckpoint { lease } => self.ask(lease, false),
            Output::Kill { lease, grace } => {
                if let Some(running) = self.tasks.get_mut(&lease) {
                    running.end(Exit::Killed);
                }
                let wait = 1 + self.chance.below(grace.0.min(200) + 1);
                asks.push(Ask::Later(wait, Input::Killed { lease }));
            }
            Output::StoreCheckpoint { lease, step } => self.store_checkpoint(lease, step, asks),
            Output::StoreOutput { wanted } => self.store_output(&wanted, asks),
            Output::StoreLog { wanted, node } => {
                let lease = wanted.lease.id;
                let log = Digest::of_value(&("log", node, lease));
                let input = Input::LogStored { lease, result: Ok(log) };
                asks.push(Ask::Store(lease, vec![log], Box::new(input)));
            }
            Output::Forget { lease } => {
                self.tasks.remove(&lease);
            }
        }
    }

    fn ask(&mut self, lease: LeaseId, asked: bool) {
        if let Some(running) = self.tasks.get_mut(&lease) {
            running.asked = asked;
        }
    }

    fn store_checkpoint(&mut self, lease: LeaseId, step: u64, asks: &mut Vec<Ask>) {
        let Some(running) = self.tasks.get(&lease) else { return };
        let mut root = checkpoint_root(running.wanted.lease.build_key, step);
        let own = self.id.and_then(|id| running.wanted.lease.member(id));
        let mut gpus = own.into_iter().flat_map(|it| &it.tasks).flat_map(|task| &task.gpus);
        root.0[11] ^= u8::from(gpus.any(|gpu| self.flips == Some(*gpu))) << 3;
        let checkpoint = Checkpoint { step, root, tree: root, size: Bytes(1 << 20), lease };
        let input = Input::CheckpointStored { lease, step, result: Ok(checkpoint) };
        asks.push(Ask::Store(lease, vec![root], Box::new(input)));
    }

    fn store_output(&mut self, wanted: &WantedLease, asks: &mut Vec<Ask>) {
        let lease = wanted.lease.id;
        let root = output_root(wanted.lease.build_key);
        let part = |name: &str| Digest::of_value(&(name, root, lease));
        let output = OutputDigests {
            root,
            tree: output_tree(&wanted.spec, wanted.lease.build_key),
            statement: part("statement"),
            provenance: part("provenance"),
            log: part("log"),
            files: 1,
            size: Bytes(1 << 20),
        };
        let mut blobs = documents_of(&output).to_vec();
        blobs.push(file_of(output.tree));
        let input = Input::OutputStored { lease, result: Ok(output) };
        asks.push(Ask::Store(lease, blobs, Box::new(input)));
    }

    /// Lets tasks go on to `now`. Gives what an agent, if it lives, hears of it.
    pub fn work(&mut self, now: u64) -> Vec<Input> {
        let clock = self.clock(now);
        let mut heard = Vec::new();
        for (lease, running) in &mut self.tasks {
            let lease = *lease;
            if running.deadline.is_some_and(|deadline| deadline <= clock) {
                for rank in running.end(Exit::Killed) {
                    heard.push(Input::Exited { lease, rank, exit: Exit::Killed });
                }
            }
            let work = Work::of(&running.wanted.spec);
            while running.alive() && running.next <= clock {
                running.step += 1;
                running.next = running.next.plus(Millis(work.step_ms));
                let asked = std::mem::take(&mut running.asked);
                if work.every > 0 && (asked || running.step.is_multiple_of(work.every)) {
                    running.saved = Some(running.step);
                    heard.push(Input::CheckpointSeen { lease, step: running.step });
                }
                if running.step >= work.steps {
                    for rank in running.end(Exit::Code(work.code)) {
                        let exit = Exit::Code(work.code);
                        heard.push(Input::Exited { lease, rank, exit });
                    }
                }
            }
        }
        heard
    }
}
