//! Checks of machines: what is open, how runs are granted, and what their digests say.
//!
//! Every step is a function of rows and command: a check survives whoever proposed it, and a
//! proposal that comes twice, or from two leaders, grants one run.

mod command;
mod decide;
mod open;
mod run;

#[cfg(test)]
mod node_test;
#[cfg(test)]
mod story_test;

pub use command::CheckCommand;

use super::{
    command::Reply,
    key,
    sched::Sched,
    step::{Step, absent},
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    CheckId, Digest, Millis, NodeId,
    check::{AcceptanceConfig, BUNDLED, Check, CheckRun, Finding, Subject, USER},
    interrupt::{Interrupt, Preemptible},
    job::{JobSpec, OnDisconnect, Outputs, Restart},
    limit,
    port::RowRead,
    resource::{GpuShare, TaskResources},
    unit::{Bytes, CpuMillis},
};
use std::collections::BTreeMap;

/// The digest that a class of hardware gives.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reference {
    /// The class.
    pub class: String,
    /// The digest.
    pub digest: Digest,
    /// The check that found it.
    pub check: CheckId,
}

/// What memory holds of checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// Those that are open.
    pub open: BTreeMap<CheckId, Check>,
    /// What classes give, by the build key of the burn-in.
    pub references: BTreeMap<Digest, Reference>,
}

impl Sched {
    /// Carries out a command about checks.
    pub(super) fn check_command<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        command: CheckCommand,
    ) -> Reply {
        match command {
            CheckCommand::Accept { node, gpu } => {
                self.start_acceptance(step, actor, &node, gpu.as_deref())
            }
            CheckCommand::Run { check, granted, members } => {
                self.run_check(step, actor, check, granted, members)
            }
            CheckCommand::MakeRoom { leases } => self.make_room(step, leases),
            CheckCommand::GiveUp { check, why } => {
                if !self.checks.open.contains_key(&check) {
                    return absent(format!("open check {check}"), "nodes");
                }
                self.close_check(step, actor, check, Finding::GivenUp { why });
                step.done()
            }
        }
    }

    /// What a class of hardware gives, if that is known: an operator's word goes before what was
    /// found.
    #[must_use]
    pub fn reference(&self, class: &str, build_key: Digest) -> Option<Digest> {
        let set = self.acceptance.references.get(class);
        set.copied().or_else(|| Some(self.checks.references.get(&build_key)?.digest))
    }

    /// The open check of a GPU.
    #[must_use]
    pub fn check_of_gpu(&self, node: NodeId, uuid: &str) -> Option<CheckId> {
        let is = |check: &Check| match &check.subject {
            Subject::Gpu { node: of, uuid: name, .. } => *of == node && name == uuid,
            Subject::Class | Subject::Segment { .. } | Subject::Node { .. } => false,
        };
        self.checks.open.iter().find(|(_, check)| is(check)).map(|(id, _)| *id)
    }

    /// Writes an open check down.
    fn keep_check<R: RowRead>(&self, step: &mut Step<'_, R>, id: CheckId) {
        if let Some(check) = self.checks.open.get(&id) {
            step.rows.put(key::open_check(id), check);
        }
    }
}

/// The burn-in of a cluster for a class of hardware. One without GPUs runs the one that agents bring
/// along: what a cluster names is for a GPU.
#[must_use]
pub fn burn_in(config: &AcceptanceConfig, class: &str) -> JobSpec {
    if !class.starts_with(WITHOUT_GPU) {
        return config.job.as_deref().cloned().unwrap_or_else(bundled);
    }
    let spec = bundled();
    JobSpec { resources: TaskResources { gpus: 0, ..spec.resources }, ..spec }
}

/// How the names of classes without GPUs begin ([`domain::node::hardware_class`]).
const WITHOUT_GPU: &str = "no-gpu/";

/// The burn-in that agents bring along. It exercises what a program without CUDA can: processor
/// and memory of the node, in the environment of the contract.
fn bundled() -> JobSpec {
    JobSpec {
        name: "burn-in".into(),
        user: USER.into(),
        queue: domain::check::QUEUE.into(),
        priority: 0,
        tasks: 1,
        resources: TaskResources {
            gpus: 1,
            gpu_model: None,
            cpu: CpuMillis(500),
            memory: Bytes(256 << 20),
            gpu_memory: None,
            gpu_share: GpuShare::Whole,
        },
        command: vec![BUNDLED.into()],
        env: BTreeMap::new(),
        code: None,
        datasets: BTreeMap::new(),
        hyperparameters: BTreeMap::new(),
        seed: 1,
        outputs: Outputs::Required,
        time_limit: Some(limit::BURN_IN_MAX),
        retries: 0,
        on_disconnect: OnDisconnect::Stop,
        restart: Restart::Lease,
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

/// A job's specification as that of a run of a check: it is tried once, waits for nobody, and
/// ends in a bounded time.
fn as_run(spec: JobSpec, name: String, run: CheckRun) -> JobSpec {
    JobSpec {
        name,
        user: USER.into(),
        queue: domain::check::QUEUE.into(),
        priority: i32::MIN,
        time_limit: Some(spec.time_limit.map_or(limit::CHECK_KEPT, |it| it.min(limit::CHECK_KEPT))),
        retries: 0,
        on_disconnect: OnDisconnect::Stop,
        restart: Restart::Lease,
        array: None,
        reproduces: None,
        after: Vec::new(),
        retry: Default::default(),
        // It makes room in its own way, as soon as a job could use it.
        interrupt: Interrupt { preemptible: Preemptible::No, ..Interrupt::default() },
        verify: None,
        check: Some(run),
        reservation: None,
        topology: Default::default(),
        registered: Default::default(),
        ..spec
    }
}

/// Whether a check has been open for too long.
#[must_use]
pub fn is_overdue(check: &Check, now: Millis) -> bool {
    now.minus(check.opened) >= limit::CHECK_KEPT
}
