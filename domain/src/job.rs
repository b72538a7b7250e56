//! What a user asks to be run.

mod cause;
mod choice;
mod element;
mod further;

pub use crate::after::RetryMax;
pub use cause::EndCause;
pub use choice::{OnDisconnect, Outputs, Restart};
pub use element::ElementState;
pub use further::Further;

use crate::{
    after::{After, RetryRule},
    check::{CheckRun, Verify},
    checkpoint::CheckpointRule,
    dataset::DatasetRef,
    digest::Digest,
    framework::Framework,
    id::{ElementId, JobId},
    image::ImageRef,
    interrupt::Interrupt,
    isolation::{self, Confinement},
    limit, reservation,
    resource::TaskResources,
    retain::Retain,
    topology::Topology,
    unit::{Bytes, Millis},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A captured folder or file: what was read at submit, by digest.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Captured {
    /// Digest of the [`crate::tree::Tree`] in its stored form.
    pub tree: Digest,
    /// Number of files.
    pub files: u64,
    /// Bytes over all files.
    pub size: Bytes,
    /// Where it was captured from, for people; not part of the recipe.
    pub origin: String,
}

/// Many like elements submitted as one row.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Array {
    /// Number of elements, numbered from 0.
    pub count: u32,
    /// Elements that may run at once; 0 means all.
    pub at_once_max: u32,
}

/// A job as submitted. Everything in it that may decide the output enters the recipe.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct JobSpec {
    /// For people; need not be unique.
    pub name: String,
    /// Who submits, from the TLS identity.
    pub user: String,
    /// Where it waits.
    pub queue: String,
    /// Higher goes first.
    pub priority: i32,
    /// Size of the gang.
    pub tasks: u32,
    /// What each task needs.
    pub resources: TaskResources,
    /// Program and arguments; a program with `/` is looked up in the code folder.
    pub command: Vec<String>,
    /// Variables beside the contract's.
    pub env: BTreeMap<String, String>,
    /// The code folder, which is also the working directory.
    pub code: Option<Captured>,
    /// Data sets by name; the name in upper case gives `ASSAY_DATASET_<NAME>`.
    pub datasets: BTreeMap<String, Captured>,
    /// For the record and the recipe, also set as `ASSAY_HYPERPARAMETERS` in JSON.
    pub hyperparameters: BTreeMap<String, String>,
    /// Set as `ASSAY_SEED`.
    pub seed: u64,
    /// Whether it must write something.
    pub outputs: Outputs,
    /// Longest time an attempt may run; none means no limit.
    pub time_limit: Option<Millis>,
    /// Further attempts after one that failed by the job's own fault.
    pub retries: u32,
    /// What an agent out of contact does.
    pub on_disconnect: OnDisconnect,
    /// When a lost attempt may be followed.
    pub restart: Restart,
    /// Many elements, if it is an array.
    pub array: Option<Array>,
    /// The job whose result this one runs again to compare, on another node where possible.
    pub reproduces: Option<JobId>,
    /// Jobs that have to end before this one starts.
    pub after: Vec<After>,
    /// When it is tried again after a failure of its own.
    pub retry: RetryRule,
    /// What it says of its own isolation.
    #[serde(default)]
    pub confinement: Confinement,
    /// Whose checkpoints' bytes are kept.
    #[serde(default, skip_serializing_if = "CheckpointRule::is_default")]
    pub checkpoint: CheckpointRule,
    /// What it computes with: what is set before it starts, and what it must say of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub framework: Option<Framework>,
    /// The image whose root it runs on, where it runs in a container.
    #[serde(default)]
    pub image: Option<ImageRef>,
    /// What it says of being interrupted.
    #[serde(default)]
    pub interrupt: Interrupt,
    /// What part of its work is run again elsewhere; none leaves it to the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
    /// What it checks, if it is a run of a check. The cluster alone sets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckRun>,
    /// The window in which alone it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<String>,
    /// How long the files of its results are kept; none leaves it to the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
    /// How near the parts of its gang have to be.
    #[serde(default, skip_serializing_if = "Topology::is_default")]
    pub topology: Topology,
    /// Data that was named by a registered version, by the job's name for it: what a reader is
    /// told, and no part of the recipe, which has the digest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub registered: BTreeMap<String, DatasetRef>,
    /// The class of hardware that it runs on, none meaning any. Stored beside the specification
    /// ([`Further`]).
    #[borsh(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hardware_class: Option<String>,
    /// How long an attempt is expected to run; none where nobody says. It ends nothing. Stored
    /// beside the specification, too.
    #[borsh(skip)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Millis>,
}

/// A specification that no cluster could run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field that is missing or out of its range.
    #[error("{field}: {fault}; {remedy}")]
    Field {
        /// The field, as the job file names it.
        field: String,
        /// What is wrong.
        fault: String,
        /// What to do.
        remedy: String,
    },
}

impl JobSpec {
    /// Number of elements that this job places: 1, or the array's count.
    #[must_use]
    pub fn elements(&self) -> u32 {
        self.array.map_or(1, |array| array.count)
    }

    /// The id of the element at `position` in `0..elements()`.
    #[must_use]
    pub fn element(&self, job: JobId, position: u32) -> ElementId {
        ElementId { job, index: self.array.map(|_| position) }
    }

    /// Checks every rule that needs no cluster; gives all faults at once.
    ///
    /// # Errors
    /// Every field that is out of its range.
    pub fn check(&self) -> Result<(), Vec<SpecError>> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, fault: String, remedy: &str| {
            faults.push(SpecError::Field { field: field.into(), fault, remedy: remedy.into() });
        };
        if self.name.is_empty() || self.name.len() > 200 {
            fault("name", format!("is {} bytes long", self.name.len()), "give 1 to 200 bytes");
        }
        if self.command.is_empty() || self.command[0].is_empty() {
            fault("command", "is empty".into(), "give a program and its arguments");
        }
        if self.tasks == 0 || self.tasks > limit::GANG_MAX {
            fault("tasks", format!("is {}", self.tasks), "give 1 to 4096");
        }
        let gpus = u64::from(self.tasks) * u64::from(self.resources.gpus);
        if gpus > limit::GANG_GPUS_MAX {
            let why = format!("asks for {gpus} GPUs over its {} tasks", self.tasks);
            fault("gpus", why, "ask for at most 65536 in one gang");
        }
        if let Some(array) = self.array
            && (array.count == 0 || array.count > limit::ARRAY_MAX)
        {
            fault("array", format!("has {} elements", array.count), "give 1 to 1000000");
        }
        if self.time_limit == Some(Millis(0)) {
            fault("time_limit", "is zero".into(), "give a duration such as `2h30m`, or leave it");
        }
        self.check_interruptions(&mut fault);
        if self.after.len() > limit::AFTER_MAX {
            let why = format!("names {} jobs", self.after.len());
            fault("after", why, "wait for at most 64, or for one that waits for the others");
        }
        self.check_names(&mut fault);
        self.checkpoint.check(&mut fault);
        self.check_further(&mut fault);
        self.topology.check(&self.resources, &mut fault);
        isolation::check(self, gpus, &mut fault);
        let captured = self.code.iter().map(|code| ("code", code));
        let captured = captured.chain(self.datasets.values().map(|set| ("datasets", set)));
        for (field, captured) in captured {
            if captured.files > limit::TREE_FILES_MAX as u64 {
                let why = format!("names a tree of {} files", captured.files);
                fault(field, why, "pack them into at most 1000000 files");
            }
        }
        if self.command.iter().any(|word| word.contains('\0')) {
            fault("command", "contains a NUL byte".into(), "remove it");
        }
        let size = borsh::object_length(self).map_or(u64::MAX, |bytes| bytes as u64);
        if size > limit::SPEC_MAX.0 {
            let why = format!("takes {size} of {} bytes", limit::SPEC_MAX.0);
            fault("job", why, "move scripts and lists into the code folder");
        }
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    }

    /// What stops it, and what is run again.
    fn check_interruptions(&self, fault: &mut impl FnMut(&str, String, &str)) {
        if let Some(min_run) = self.interrupt.min_run.filter(|time| *time > limit::MIN_RUN_MAX) {
            let remedy = "give at most 7d, or `preemptible = false`";
            fault("min_run_time", format!("is {min_run}"), remedy);
        }
        if let Some(verify) = self.verify.filter(|verify| !verify.is_valid()) {
            let why = format!("is {} of 10000", verify.segments_of_10000);
            fault("verify", why, "give `none`, or a part such as `segment:5%`");
        }
        if let Some(name) = self.reservation.as_ref().filter(|name| !reservation::is_name(name)) {
            let remedy = "name one, as `assay reservation list` shows it";
            fault("reservation", format!("is `{name}`"), remedy);
        }
        if self.check.is_some() {
            fault("check", "is not for a job to say".into(), "leave it out");
        }
    }

    /// Names that become variables of the task's environment.
    fn check_names(&self, fault: &mut impl FnMut(&str, String, &str)) {
        for name in self.env.keys() {
            if crate::contract::is_reserved(self.framework, name) {
                let why = format!("sets `{name}`, which the environment contract fixes");
                fault("env", why, "remove it; `docs/DETERMINISM.md` lists what is fixed");
            }
            if name.is_empty() || name.contains(['=', '\0']) {
                fault("env", format!("has the name `{name}`"), "use a name without `=`");
            }
        }
        for name in self.datasets.keys() {
            let good =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
            if !good {
                let why = format!("has the name `{name}`");
                fault("datasets", why, "use letters, digits and `_`, since it names a variable");
            }
        }
        for name in self.registered.keys().filter(|name| !self.datasets.contains_key(*name)) {
            let why = format!("has no files for `{name}`, which names a registered version");
            fault("datasets", why, "give the version's digest, or leave the name out");
        }
    }
}
