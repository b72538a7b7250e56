//! A job as its author wrote it, before code and data are captured.

use super::waits::Named;
use crate::quantity::GpuCount;
use domain::{
    Bytes, CpuMillis, Digest, JobId, Millis,
    after::{After, RetryRule},
    check::Verify,
    checkpoint::CheckpointRule,
    dataset::DatasetRef,
    framework::Framework,
    image::ImageRef,
    interrupt::{Interrupt, Preemptible},
    isolation::{Confinement, Isolation, Network},
    job::{Array, Captured, JobSpec, OnDisconnect, Outputs, Restart},
    queue::Priority,
    resource::{GpuShare, TaskResources},
    retain::Retain,
    topology::Topology,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The queue of a job that names none.
pub const DEFAULT_QUEUE: &str = "default";
/// Processor time of a task that names none.
pub const DEFAULT_CPU: CpuMillis = CpuMillis(1_000);
/// Memory of a task that names none.
pub const DEFAULT_MEMORY: Bytes = Bytes(256 << 20);

/// Where a data set comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataSource {
    /// It is captured.
    Files {
        /// A file or a folder.
        path: PathBuf,
        /// What it must hash to: a file's SHA-256, or a folder's tree digest.
        sha256: Option<Digest>,
    },
    /// It is a registered version: `reviews@3`, or `reviews` for the newest.
    Registered(String),
}

impl DataSource {
    /// What one text stands for. `reviews@3` is a registered version; a file of that name is
    /// `./reviews@3`.
    #[must_use]
    pub fn of_text(text: &str, base: &Path) -> Self {
        match text.parse::<DatasetRef>() {
            Ok(_) => Self::Registered(text.to_owned()),
            Err(_) => Self::Files { path: base.join(text), sha256: None },
        }
    }
}

/// A job with paths instead of digests. What is not said is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// For people.
    pub name: Option<String>,
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// The code folder.
    pub code: Option<PathBuf>,
    /// A single file that is all of the code: a script, or a program given alone.
    pub program: Option<PathBuf>,
    /// Where it waits.
    pub queue: Option<String>,
    /// Higher goes first; or the name of a class.
    pub priority: Option<Priority>,
    /// Size of the gang.
    pub tasks: Option<u32>,
    /// GPUs of a task.
    pub gpus: Option<GpuCount>,
    /// A word of the GPU's model.
    pub gpu_model: Option<String>,
    /// The least memory of each GPU.
    pub gpu_memory: Option<Bytes>,
    /// The class of hardware that it runs on.
    pub hardware_class: Option<String>,
    /// Processor time of a task.
    pub cpu: Option<CpuMillis>,
    /// Memory of a task.
    pub memory: Option<Bytes>,
    /// Data sets by name.
    pub datasets: BTreeMap<String, DataSource>,
    /// For the record and the recipe.
    pub hyperparameters: BTreeMap<String, String>,
    /// Further variables.
    pub env: BTreeMap<String, String>,
    /// The seed.
    pub seed: Option<u64>,
    /// Whether it must write something.
    pub outputs: Option<Outputs>,
    /// Longest time of an attempt.
    pub time_limit: Option<Millis>,
    /// How long an attempt is expected to run.
    pub estimate: Option<Millis>,
    /// Further attempts after its own fault.
    pub retries: Option<u32>,
    /// When a lost attempt may be followed.
    pub restart: Option<Restart>,
    /// What an agent out of contact does.
    pub on_disconnect: Option<OnDisconnect>,
    /// Many elements.
    pub array: Option<Array>,
    /// Jobs that have to end first.
    pub after: Vec<After>,
    /// Jobs of the same file that have to end first, by name.
    pub named: Vec<Named>,
    /// When it is tried again after its own fault.
    pub retry: RetryRule,
    /// The least isolation that must be in force.
    pub isolation: Option<Isolation>,
    /// What it reaches over the network.
    pub network: Option<Network>,
    /// Bytes that its folders on one node may hold.
    pub disk: Option<Bytes>,
    /// Whose checkpoints' bytes are kept.
    pub checkpoint: CheckpointRule,
    /// What it computes with.
    pub framework: Option<Framework>,
    /// The image that it runs in.
    pub image: Option<ImageRef>,
    /// Whether it may be preempted.
    pub preemptible: Option<Preemptible>,
    /// Time for which an attempt runs before it may be.
    pub min_run: Option<Millis>,
    /// Time before its limit at which it is warned.
    pub warn: Option<Millis>,
    /// What part of its work is run again elsewhere.
    pub verify: Option<Verify>,
    /// How long the files of its results are kept.
    pub retain: Option<Retain>,
    /// The window in which alone it runs.
    pub reservation: Option<String>,
    /// How near the parts of its gang have to be.
    pub topology: Option<Topology>,
}

impl Draft {
    /// This draft over another: what this one says holds, the other fills the rest.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        fn merged<V>(
            mut base: BTreeMap<String, V>,
            over: BTreeMap<String, V>,
        ) -> BTreeMap<String, V> {
            base.extend(over);
            base
        }
        Self {
            name: self.name.or(base.name),
            command: self.command.or(base.command),
            code: self.code.or(base.code),
            program: self.program.or(base.program),
            queue: self.queue.or(base.queue),
            priority: self.priority.or(base.priority),
            tasks: self.tasks.or(base.tasks),
            gpus: self.gpus.or(base.gpus),
            gpu_model: self.gpu_model.or(base.gpu_model),
            gpu_memory: self.gpu_memory.or(base.gpu_memory),
            hardware_class: self.hardware_class.or(base.hardware_class),
            cpu: self.cpu.or(base.cpu),
            memory: self.memory.or(base.memory),
            datasets: merged(base.datasets, self.datasets),
            hyperparameters: merged(base.hyperparameters, self.hyperparameters),
            env: merged(base.env, self.env),
            seed: self.seed.or(base.seed),
            outputs: self.outputs.or(base.outputs),
            time_limit: self.time_limit.or(base.time_limit),
            estimate: self.estimate.or(base.estimate),
            retries: self.retries.or(base.retries),
            restart: self.restart.or(base.restart),
            on_disconnect: self.on_disconnect.or(base.on_disconnect),
            array: self.array.or(base.array),
            after: if self.after.is_empty() { base.after } else { self.after },
            named: if self.named.is_empty() { base.named } else { self.named },
            retry: RetryRule {
                backoff: self.retry.backoff.or(base.retry.backoff),
                on: if self.retry.on.is_empty() { base.retry.on } else { self.retry.on },
                max: self.retry.max.over(base.retry.max),
            },
            isolation: self.isolation.or(base.isolation),
            network: self.network.or(base.network),
            disk: self.disk.or(base.disk),
            checkpoint: CheckpointRule {
                keep: self.checkpoint.keep.or(base.checkpoint.keep),
                max_age: self.checkpoint.max_age.or(base.checkpoint.max_age),
            },
            framework: self.framework.or(base.framework),
            image: self.image.or(base.image),
            preemptible: self.preemptible.or(base.preemptible),
            min_run: self.min_run.or(base.min_run),
            warn: self.warn.or(base.warn),
            verify: self.verify.or(base.verify),
            retain: self.retain.or(base.retain),
            reservation: self.reservation.or(base.reservation),
            topology: self.topology.or(base.topology),
        }
    }

    /// Registered versions that it names.
    pub fn registered(&self) -> impl Iterator<Item = &str> {
        self.datasets.values().filter_map(|source| match source {
            DataSource::Registered(word) => Some(word.as_str()),
            DataSource::Files { .. } => None,
        })
    }

    /// The class of priority that it names.
    pub fn priority_class(&self) -> Option<&str> {
        self.priority.as_ref().and_then(Priority::class)
    }

    /// What each task needs.
    fn resources(&self) -> TaskResources {
        TaskResources {
            gpus: self.gpus.map_or(0, |asked| asked.gpus),
            gpu_model: self.gpu_model.clone(),
            cpu: self.cpu.unwrap_or(DEFAULT_CPU),
            memory: self.memory.unwrap_or(DEFAULT_MEMORY),
            gpu_memory: self.gpu_memory,
            gpu_share: self.gpus.map_or(GpuShare::Whole, |asked| asked.share),
        }
    }

    /// The specification, once code and data are captured and its priority is looked up.
    #[must_use]
    pub fn spec(
        &self,
        priority: i32,
        code: Option<Captured>,
        datasets: BTreeMap<String, Captured>,
        reproduces: Option<JobId>,
    ) -> JobSpec {
        JobSpec {
            name: self.name.clone().unwrap_or_else(|| self.default_name()),
            user: String::new(),
            queue: self.queue.clone().unwrap_or_else(|| DEFAULT_QUEUE.into()),
            priority,
            tasks: self.tasks.unwrap_or(1),
            resources: self.resources(),
            command: self.command.clone().unwrap_or_default(),
            env: self.env.clone(),
            code,
            datasets,
            hyperparameters: self.hyperparameters.clone(),
            seed: self.seed.unwrap_or_default(),
            outputs: self.outputs.unwrap_or_default(),
            time_limit: self.time_limit,
            retries: self.retries.unwrap_or_else(|| self.retry.max.retries()),
            on_disconnect: self.on_disconnect.unwrap_or_default(),
            restart: self.restart.unwrap_or_default(),
            array: self.array,
            reproduces,
            after: self.after.clone(),
            retry: self.retry.clone(),
            confinement: self.confinement(),
            checkpoint: self.checkpoint,
            framework: self.framework,
            image: self.image.clone(),
            interrupt: Interrupt {
                preemptible: self.preemptible.unwrap_or_default(),
                min_run: self.min_run,
                warn: self.warn,
            },
            verify: self.verify,
            check: None,
            retain: self.retain,
            reservation: self.reservation.clone(),
            topology: self.topology.unwrap_or_default(),
            registered: BTreeMap::new(),
            hardware_class: self.hardware_class.clone(),
            estimate: self.estimate,
        }
    }

    fn confinement(&self) -> Confinement {
        Confinement {
            isolation: self.isolation.unwrap_or(match self.image {
                Some(_) => Isolation::Container,
                None => Isolation::None,
            }),
            network: self.network,
            disk: self.disk,
        }
    }

    fn default_name(&self) -> String {
        let program = self.command.as_ref().and_then(|command| command.first());
        program.map_or("job", |p| p.rsplit('/').next().unwrap_or(p)).to_owned()
    }
}

/// Reads an array: `8`, `0-7`, `0-7%2`.
///
/// # Errors
/// What is wrong with it.
pub fn array(text: &str) -> Result<Array, String> {
    let fault = || format!("`{text}` is not an array; write `8`, `0-7` or `0-7%2`");
    let (range, at_once) = match text.split_once('%') {
        Some((range, most)) => (range, most.parse().map_err(|_| fault())?),
        None => (text, 0),
    };
    let count = match range.split_once('-') {
        None => range.parse().ok(),
        Some(("0", last)) => last.parse::<u32>().ok().and_then(|n| n.checked_add(1)),
        Some((_, _)) => return Err(format!("`{text}` does not start at 0; elements start there")),
    };
    match count {
        Some(count) if count > 0 => Ok(Array { count, at_once_max: at_once }),
        _ => Err(fault()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::after::RetryMax;

    #[test]
    fn arrays_are_read_as_written() {
        let of = |count, at_once_max| Ok(Array { count, at_once_max });
        assert_eq!(array("8"), of(8, 0));
        assert_eq!(array("0-7"), of(8, 0));
        assert_eq!(array("0-7%2"), of(8, 2));
        for text in ["", "0", "1-7", "7-0", "0-7%x", "0-4294967295"] {
            assert!(array(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_said_last_holds() {
        let file = Draft { gpus: Some(GpuCount::whole(1)), seed: Some(7), ..Draft::default() };
        let flags = Draft { gpus: Some(GpuCount::whole(4)), ..Draft::default() };
        let both = flags.over(file);
        assert_eq!((both.gpus, both.seed), (Some(GpuCount::whole(4)), Some(7)));
    }

    #[test]
    fn bounds_of_each_kind_of_failure_are_laid_over_each_other_and_make_the_retries() {
        let of = |words: &[(&str, u32)]| {
            let mut max = RetryMax::default();
            assert!(words.iter().all(|(word, most)| max.set(word, *most)));
            Draft { retry: RetryRule { max, ..RetryRule::default() }, ..Draft::default() }
        };
        let both = of(&[("signal", 4), ("node", 1)]).over(of(&[("signal", 1), ("limit", 2)]));
        let spec = both.spec(0, None, BTreeMap::new(), None);
        let words: Vec<_> = spec.retry.max.words().collect();
        assert_eq!(words, [("signal", 4), ("limit", 2), ("node", 1)]);
        assert_eq!(spec.retries, 6, "faults of nodes are not among them");
        let said = Draft { retries: Some(1), ..both };
        assert_eq!(said.spec(0, None, BTreeMap::new(), None).retries, 1);
    }
}
