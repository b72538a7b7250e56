//! The flags that describe a job: on the command line, and in a script's `#ASSAY` lines.

use crate::{
    complete,
    jobfile::{
        draft::{DataSource, Draft, array},
        form::{ISOLATION, NETWORK, ON_DISCONNECT, OUTPUTS, RESTART},
        interrupt::PREEMPTIBLE,
        retain,
    },
    quantity::{self, GpuCount},
};
use clap::Args;
use domain::{
    Bytes, CpuMillis, JobId, Millis,
    after::{After, RetryMax, RetryOn, RetryRule, When},
    check::Verify,
    checkpoint::CheckpointRule,
    framework::Framework,
    image::ImageRef,
    interrupt::Preemptible,
    isolation::{Isolation, Network},
    job::{Array, OnDisconnect, Outputs, Restart},
    queue::Priority,
    retain::Retain,
    topology::Topology,
};
use std::path::{Path, PathBuf};

// What a job is; each flag overrides the job file's key of the same name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Job")]
pub struct SpecFlags {
    /// Name, for people
    #[arg(long, short = 'n', value_name = "NAME")]
    pub name: Option<String>,
    /// Queue to wait in
    #[arg(long, value_name = "QUEUE")]
    pub queue: Option<String>,
    /// Higher goes first: a number, or the name of a class
    #[arg(long, value_name = "N|CLASS", allow_hyphen_values = true, add = complete::priorities())]
    pub priority: Option<Priority>,
    /// Tasks that start together or not at all
    #[arg(long, value_name = "N")]
    pub tasks: Option<u32>,
    /// GPUs of each task; or a part of one, such as 0.25, where nodes offer shares
    #[arg(long, short = 'g', value_name = "N", value_parser = quantity::gpus)]
    pub gpus: Option<GpuCount>,
    /// A word that the GPU's model must contain
    #[arg(long, value_name = "WORD")]
    pub gpu_model: Option<String>,
    /// The least memory of each GPU as its driver reports it, such as 70GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub gpu_memory: Option<Bytes>,
    /// The class of hardware that it runs on, as `assay node show` has it
    #[arg(long, value_name = "CLASS", add = complete::classes())]
    pub hardware_class: Option<String>,
    /// Cores of each task, such as 1.5
    #[arg(long, value_name = "CORES", value_parser = quantity::cpus)]
    pub cpus: Option<CpuMillis>,
    /// Memory of each task, such as 32GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub memory: Option<Bytes>,
    /// Room on each node for its folders, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = quantity::size)]
    pub disk: Option<Bytes>,
    /// Folder of code, captured by digest; also the working folder
    #[arg(long, value_name = "DIR")]
    pub code: Option<PathBuf>,
    /// Data set: a file or a folder, captured by digest, or a registered version such as
    /// reviews@3; may be repeated
    #[arg(long, value_name = "NAME=PATH", value_parser = pair)]
    pub dataset: Vec<(String, String)>,
    /// Hyperparameter; may be repeated
    #[arg(long, short = 'p', value_name = "NAME=VALUE", value_parser = pair)]
    pub param: Vec<(String, String)>,
    /// Environment variable; may be repeated
    #[arg(long, short = 'e', value_name = "NAME=VALUE", value_parser = pair)]
    pub env: Vec<(String, String)>,
    /// Seed, given to the job as ASSAY_SEED
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Whether the job must write something: required, none
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &OUTPUTS))]
    pub outputs: Option<Outputs>,
    /// Longest time of one attempt, such as 2h30m
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub time_limit: Option<Millis>,
    /// How long an attempt is expected to run, such as 2h: for the order of its queue and for what
    /// is foreseen; it ends nothing
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub estimate: Option<Millis>,
    /// Further attempts after a failure of the job's own
    #[arg(long, value_name = "N")]
    pub retries: Option<u32>,
    /// Pause after the first such failure, such as 30s; each further one is twice as long
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub retry_backoff: Option<Millis>,
    /// Only after: exit_code, signal, output, time_limit, prepare, seal, limit; may be repeated
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &RetryOn::WORDS))]
    pub retry_on: Vec<RetryOn>,
    /// At most so many times after failures of one kind, such as signal=3, or node=0 for those of
    /// nodes; may be repeated
    #[arg(long, value_name = "WORD=N", value_parser = bound)]
    pub retry_max: Vec<RetryMax>,
    /// Start once this job has completed; may be repeated
    #[arg(long, value_name = "JOB", add = complete::jobs())]
    pub after: Vec<JobId>,
    /// Start once this job has ended in any way; may be repeated
    #[arg(long, value_name = "JOB", add = complete::jobs())]
    pub after_any: Vec<JobId>,
    /// Start once this job has failed or was cancelled; may be repeated
    #[arg(long, value_name = "JOB", add = complete::jobs())]
    pub after_failed: Vec<JobId>,
    /// When a lost attempt may be followed: lease, confirmed
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &RESTART))]
    pub restart: Option<Restart>,
    /// What an attempt out of contact does: stop, continue
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &ON_DISCONNECT))]
    pub on_disconnect: Option<OnDisconnect>,
    /// Many elements: 8, 0-7, or 0-7%2 for two at once
    #[arg(long, value_name = "RANGE", value_parser = array)]
    pub array: Option<Array>,
    /// Container image by digest: docker.io/library/python@sha256:...
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageRef>,
    /// The least isolation: plain, sandbox, container; a node or queue may demand more
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &ISOLATION))]
    pub isolation: Option<Isolation>,
    /// What a sandboxed job reaches: none (as by default), host
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &NETWORK))]
    pub network: Option<Network>,
    /// Checkpoints of which the servers keep the bytes: so many of the newest
    #[arg(long, value_name = "N")]
    pub keep_checkpoints: Option<u32>,
    /// For how long they keep them, such as 7d
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub checkpoint_age: Option<Millis>,
    /// What it computes with: pytorch, jax, tensorflow, xgboost, scikit-learn, cuda
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &Framework::WORDS))]
    pub framework: Option<Framework>,
    /// Whether it may be stopped so that another job can run: yes, no
    #[arg(long, value_name = "WORD", value_parser = |t: &str| word(t, &PREEMPTIBLE))]
    pub preemptible: Option<Preemptible>,
    /// How long an attempt runs before it may be stopped for another job, such as 10m
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub min_run_time: Option<Millis>,
    /// How long before its time limit it is told to save its work, such as 2m
    #[arg(long, value_name = "TIME", value_parser = quantity::duration)]
    pub warn_before: Option<Millis>,
    /// What part of its work is run again on another node, such as segment:5%, or none
    #[arg(long, value_name = "PART", value_parser = |t: &str| t.parse::<Verify>())]
    pub verify: Option<Verify>,
    /// How long the files of its results are kept: forever, or such as 90d
    #[arg(long, value_name = "TIME", value_parser = retain::parse)]
    pub retain: Option<Retain>,
    /// The reservation in which alone it runs
    #[arg(long, value_name = "NAME", add = complete::reservations())]
    pub reservation: Option<String>,
    /// How near its gang lies: rack, block, node, nvlink, numa; prefer:LEVEL; spread; any
    #[arg(long, value_name = "WORDS", value_parser = |t: &str| t.parse::<Topology>())]
    pub topology: Option<Topology>,
}

impl SpecFlags {
    /// The draft that the flags describe. Paths are taken relative to `base`.
    #[must_use]
    pub fn draft(&self, base: &Path) -> Draft {
        let source =
            |(name, text): &(String, String)| (name.clone(), DataSource::of_text(text, base));
        Draft {
            name: self.name.clone(),
            command: None,
            code: self.code.as_ref().map(|code| base.join(code)),
            program: None,
            queue: self.queue.clone(),
            priority: self.priority.clone(),
            tasks: self.tasks,
            gpus: self.gpus,
            gpu_model: self.gpu_model.clone(),
            gpu_memory: self.gpu_memory,
            hardware_class: self.hardware_class.clone(),
            cpu: self.cpus,
            memory: self.memory,
            datasets: self.dataset.iter().map(source).collect(),
            hyperparameters: self.param.iter().cloned().collect(),
            env: self.env.iter().cloned().collect(),
            seed: self.seed,
            outputs: self.outputs,
            time_limit: self.time_limit,
            estimate: self.estimate,
            retries: self.retries,
            restart: self.restart,
            on_disconnect: self.on_disconnect,
            array: self.array,
            after: self.after(),
            named: Vec::new(),
            retry: self.retry(),
            isolation: self.isolation,
            network: self.network,
            disk: self.disk,
            checkpoint: CheckpointRule {
                keep: self.keep_checkpoints,
                max_age: self.checkpoint_age,
            },
            framework: self.framework,
            image: self.image.clone(),
            preemptible: self.preemptible,
            min_run: self.min_run_time,
            warn: self.warn_before,
            verify: self.verify,
            retain: self.retain,
            reservation: self.reservation.clone(),
            topology: self.topology,
        }
    }
}

impl SpecFlags {
    fn retry(&self) -> RetryRule {
        let none = RetryMax::default();
        let max = self.retry_max.iter().fold(none, |sum, one| one.clone().over(sum));
        RetryRule { backoff: self.retry_backoff, on: self.retry_on.clone(), max }
    }

    fn after(&self) -> Vec<After> {
        let all = [
            (&self.after, When::Completed),
            (&self.after_any, When::Ended),
            (&self.after_failed, When::Failed),
        ];
        let of = |(jobs, when): (&Vec<JobId>, When)| {
            jobs.iter().map(move |job| After { job: *job, when }).collect::<Vec<_>>()
        };
        all.into_iter().flat_map(of).collect()
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// How often after failures of one kind: `signal=3`.
fn bound(text: &str) -> Result<RetryMax, String> {
    let (word, most) = pair(text)?;
    let most = most.parse().map_err(|_| format!("`{most}` is no whole number from 0"))?;
    let mut max = RetryMax::default();
    match max.set(&word, most) {
        true => Ok(max),
        false => {
            let all = RetryMax::WORDS.map(|word| format!("`{word}`")).join(", ");
            Err(format!("`{word}` is no kind of failure; use one of {all}"))
        }
    }
}

/// One of some words.
pub(super) fn word<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("use {}", all.join(" or "))
    })
}
