//! Tasks on a node: they take virtual time, save progress, and are killed at a deadline by the
//! supervisor, whether or not an agent lives.

use agent::machine::{Exit, HeldLease, HeldTask};
use domain::{
    Bytes, Digest, LeaseId, Millis,
    evaluation::METRICS_FILE,
    job::JobSpec,
    link::WantedLease,
    tree::{Tree, TreeFile},
};
use std::collections::BTreeMap;

/// What a job of the simulator does, as its command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Steps to its end.
    pub steps: u64,
    /// Time of one step. Unit: ms.
    pub step_ms: u64,
    /// Steps between two checkpoints; 0 for none.
    pub every: u64,
    /// Its exit code.
    pub code: i32,
}

impl Work {
    /// As a command.
    #[must_use]
    pub fn command(self) -> Vec<String> {
        let numbers = [self.steps, self.step_ms, self.every].map(|n| n.to_string());
        let mut words = vec!["work".to_owned()];
        words.extend(numbers);
        words.push(self.code.to_string());
        words
    }

    /// From a command.
    #[must_use]
    pub fn of(spec: &JobSpec) -> Self {
        let number = |at: usize| spec.command.get(at).and_then(|word| word.parse::<i64>().ok());
        Self {
            steps: number(1).unwrap_or(1) as u64,
            step_ms: number(2).unwrap_or(100) as u64,
            every: number(3).unwrap_or(0) as u64,
            code: number(4).unwrap_or(0) as i32,
        }
    }
}

/// The bytes of a checkpoint: a function of the build key and the step, as determinism demands.
#[must_use]
pub fn checkpoint_root(build_key: Digest, step: u64) -> Digest {
    Digest::of_value(&("checkpoint", build_key, step))
}

/// The bytes of the output: a function of the build key.
#[must_use]
pub fn output_root(build_key: Digest) -> Digest {
    Digest::of_value(&("output", build_key))
}

/// The last word of a job that measures a model.
pub const MEASURES: &str = "measures";

/// What a measuring job writes of its metrics: a function of the build key, so that whoever knows
/// what ran knows what was measured.
#[must_use]
pub fn metrics(build_key: Digest) -> String {
    let [one, two] = [build_key.0[3], build_key.0[4]].map(|byte| 60 + byte % 4);
    format!("{{\"accuracy\": 0.{one}, \"val_loss\": 0.{two}}}")
}

/// The stored list of its output's files.
#[must_use]
pub fn measured(metrics: &str) -> Vec<u8> {
    let file = TreeFile {
        digest: Digest::of(metrics.as_bytes()),
        executable: false,
        path: METRICS_FILE.into(),
        size: Bytes(metrics.len() as u64),
    };
    Tree { files: vec![file] }.encode()
}

/// The tree of a job's output. The same bits are the same files.
#[must_use]
pub fn output_tree(spec: &JobSpec, build_key: Digest) -> Digest {
    match spec.command.last().is_some_and(|word| word == MEASURES) {
        true => Digest::of(&measured(&metrics(build_key))),
        false => Digest::of_value(&("tree", output_root(build_key))),
    }
}

/// The tasks of one lease on one node.
#[derive(Clone, Debug)]
pub struct Running {
    /// The lease as it was when they were started.
    pub wanted: WantedLease,
    /// Ranks, and how each has ended.
    pub ranks: BTreeMap<u32, Option<Exit>>,
    /// When they were started, on the node's clock.
    pub started: Millis,
    /// When they are killed.
    pub deadline: Option<Millis>,
    /// The step they have reached.
    pub step: u64,
    /// When the next step is done.
    pub next: Millis,
    /// The newest complete checkpoint on the local disk.
    pub saved: Option<u64>,
    /// Whether they were asked for a checkpoint and have not saved one since.
    pub asked: bool,
}

impl Running {
    /// Whether a process of it lives.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.ranks.values().any(Option::is_none)
    }

    /// Ends what lives.
    pub fn end(&mut self, exit: Exit) -> Vec<u32> {
        let living: Vec<u32> =
            self.ranks.iter().filter(|(_, exit)| exit.is_none()).map(|(rank, _)| *rank).collect();
        for rank in &living {
            self.ranks.insert(*rank, Some(exit));
        }
        living
    }

    /// As an agent's next life finds it.
    #[must_use]
    pub fn held(&self) -> HeldLease {
        let task = |exit: &Option<Exit>| exit.map_or(HeldTask::Running, HeldTask::Exited);
        HeldLease {
            wanted: self.wanted.clone(),
            tasks: self.ranks.iter().map(|(rank, exit)| (*rank, task(exit))).collect(),
            started: self.started,
            deadline: self.deadline,
        }
    }
}

/// All tasks of a node, by lease.
pub type Tasks = BTreeMap<LeaseId, Running>;
