//! The pure state machine behind the log: scheduler and ledger as one.

mod account;
mod attempt;
mod cancel;
pub mod check;
pub mod claim;
pub mod command;
mod config;
mod drain;
mod drift;
mod entry;
mod forecast;
#[cfg(test)]
mod forecast_test;
pub mod fork;
mod gate;
mod hardware;
mod health;
pub mod inputs;
mod invariant;
mod keep;
pub mod keeping;
mod key;
mod load;
mod node;
pub mod order;
mod part;
mod place;
#[cfg(feature = "planted")]
pub mod planted;
mod preempt;
pub mod preemption;
pub mod queue;
mod record;
mod registry_step;
mod replies;
mod report;
mod retain;
pub mod row;
pub mod sched;
mod seal;
mod step;
mod submission;
mod submit;
mod tie;
mod touched;
pub mod usage;
pub mod usual;
mod version;
pub mod view;
mod waits;
pub mod window;

#[cfg(test)]
mod config_test;
#[cfg(test)]
pub(crate) mod dataset_test;
#[cfg(test)]
mod drain_test;
#[cfg(test)]
mod drift_compare_test;
#[cfg(test)]
mod drift_hold_test;
#[cfg(test)]
mod drift_test;
#[cfg(test)]
mod evaluation_test;
#[cfg(test)]
mod further_test;
#[cfg(test)]
mod gate_test;
#[cfg(test)]
mod gpu_share_test;
#[cfg(test)]
mod hardware_test;
#[cfg(test)]
pub(crate) mod health_test;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod model_test;
#[cfg(test)]
mod node_test;
#[cfg(test)]
mod part_test;
#[cfg(test)]
mod preempt_test;
#[cfg(test)]
mod promotion_again_test;
#[cfg(test)]
mod promotion_data_test;
#[cfg(test)]
pub(crate) mod promotion_test;
#[cfg(test)]
mod retain_laws;
#[cfg(test)]
mod retain_test;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod seal_test;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tie_test;
#[cfg(test)]
mod trace_test;
#[cfg(test)]
mod waits_test;
#[cfg(test)]
mod wanted_test;

pub use command::Applied;
pub use touched::{Touched, touched};

use command::{Command, Entry, FurtherConfig, Reply, Request, Submission};
use domain::{
    Digest, LogIndex, NodeId, RequestKey,
    link::Report,
    port::RowRead,
    scratch::{Scratch, SetHash},
    version::ClusterVersion,
};
use record::Events;
use registry::ledger::Ledger;
use replies::Known;
use sched::Sched;
use seal::Completion;
use std::collections::BTreeSet;
use step::Step;

/// Live jobs up to which every apply checks every invariant in debug builds.
const CHECK_MAX: usize = 200;

/// Scheduler and ledger behind one log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    sched: Sched,
    ledger: Ledger,
    hash: SetHash,
    /// Bugs that a test has planted.
    #[cfg(feature = "planted")]
    pub planted: planted::Planted,
}

impl Cluster {
    /// The state as its rows have it.
    #[must_use]
    pub fn load(rows: &impl RowRead) -> Self {
        Self {
            sched: Sched::load(rows),
            ledger: Ledger::load(rows),
            hash: SetHash::of_rows(rows),
            #[cfg(feature = "planted")]
            planted: planted::Planted::default(),
        }
    }

    /// The set hash of all rows.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.hash.digest()
    }

    /// The version that rows were written at, which may be newer than what this build understands.
    #[must_use]
    pub fn stored_version(rows: &impl RowRead) -> ClusterVersion {
        version::stored(rows)
    }

    /// Whether a reply is kept under a key.
    #[must_use]
    pub fn has_answered(rows: &impl RowRead, key: RequestKey) -> bool {
        rows.get(&key::reply(key)).is_some()
    }

    /// The version that the cluster runs at.
    #[must_use]
    pub fn version(&self) -> ClusterVersion {
        self.sched.version
    }

    /// What others may see.
    #[must_use]
    pub fn view(&self) -> view::View<'_> {
        view::View::new(&self.sched, &self.ledger, self.hash)
    }

    /// Applies one committed entry.
    ///
    /// Total and deterministic: it never fails, waits, draws a number or reads a clock, so every
    /// replica that applies the same log holds the same rows. `rows` shows them as they stand
    /// before `at`.
    pub fn apply(&mut self, rows: &impl RowRead, at: LogIndex, entry: Entry) -> Applied {
        assert!(at > self.sched.meta.applied, "entry {at} was applied before");
        let now = self.sched.meta.now.max(entry.now);
        self.sched.meta.now = now;
        self.sched.meta.applied = at;
        let mut step = Step {
            rows: Scratch::new(rows),
            at,
            now,
            ordinal: 0,
            effects: Vec::new(),
            told: BTreeSet::new(),
            events: Events::default(),
            kept: Vec::new(),
            #[cfg(feature = "planted")]
            planted: self.planted,
        };
        self.sched.end_pauses(&mut step);
        self.sched.release_due(&mut step);
        let replies: Vec<_> =
            entry.members.into_iter().map(|request| self.answer(&mut step, request)).collect();
        #[cfg(feature = "planted")]
        if self.planted.room_wasted {
            self.sched.waste_room(&mut step);
        }
        #[cfg(feature = "planted")]
        if self.planted.time_forgotten {
            self.sched.forget_time();
        }
        #[cfg(feature = "planted")]
        if self.planted.inputs_forgotten {
            self.sched.inputs = Default::default();
        }
        self.sched.end_drains(&mut step);
        self.sched.turn_windows(&mut step);
        self.sched.settle_preemptions(&mut step);
        self.sched.move_out_of_drains(&mut step);
        replies::close(&mut step, &mut self.sched.meta);
        self.sched.write_usage(&mut step);
        self.sched.write_learned(&mut step);
        self.sched.write_account(&mut step);
        std::mem::take(&mut step.events).flush(&mut self.ledger, &mut step.rows, now);
        if self.ledger.unsigned() > 0 {
            step.effect(command::Effect::Sign);
        }
        step.rows.put(key::meta(), &self.sched.meta);
        let (changes, hash) = step.rows.finish(self.hash);
        self.hash = hash;
        if self.sched.jobs.len() <= CHECK_MAX {
            debug_assert_eq!(self.broken_invariant(), None, "after entry {at}");
        }
        Applied { replies, effects: step.effects, rows: changes }
    }

    fn answer<R: RowRead>(&mut self, step: &mut Step<'_, R>, request: Request) -> Reply {
        let Request { key, actor, command } = request;
        #[cfg(feature = "planted")]
        let key = key.filter(|_| !self.planted.no_duplicate_check);
        let Some(key) = key else {
            return self.perform(step, &actor, command);
        };
        match replies::look(step, key, &command) {
            Known::Answered(reply) => reply,
            Known::New(digest) => {
                let reply = self.perform(step, &actor, command);
                replies::keep(step, &mut self.sched.meta, key, digest, &reply);
                reply
            }
        }
    }

    fn perform<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        command: Command,
    ) -> Reply {
        #[cfg(feature = "planted")]
        let command = self.planted.hears(command);
        let reply = match self.sched.too_new(&command) {
            Some(refused) => refused,
            None => self.carry_out(step, actor, command),
        };
        self.sched.look_after(step, actor);
        reply
    }

    fn carry_out<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        command: Command,
    ) -> Reply {
        let (sched, ledger) = (&mut self.sched, &mut self.ledger);
        match command {
            Command::Submit { jobs } => sched.submit(step, actor, jobs.into()),
            Command::SubmitPart { jobs } => sched.submit_part(step, jobs),
            Command::SubmitLast { parts, jobs } => sched.submit(step, actor, (parts, jobs).into()),
            Command::Cancel { element } => sched.cancel(step, actor, element),
            Command::Register { inventory, held } => sched.register(step, actor, inventory, &held),
            Command::Drain { node, reason } => sched.drain(step, actor, &node, reason),
            Command::DrainNodes(asked) => sched.drain_nodes(step, actor, asked),
            Command::NodeLost { node, registered_at: at } => sched.node_lost(step, actor, node, at),
            Command::Hardware { node, hardware } => sched.hardware(step, actor, node, &hardware),
            Command::ConfirmDead { lease } => sched.confirm_dead(step, actor, lease),
            Command::Place { plan } => sched.place(step, actor, plan),
            Command::Report { node, report } => self.hear(step, actor, node, report),
            Command::CompleteSeal { ticket, signature, provenance, signer, copies } => {
                let completion = Completion { ticket, signature, provenance, signer, copies };
                sched.complete_seal(step, ledger, actor, completion)
            }
            Command::AbandonSeal { ticket: t, cause } => sched.abandon_seal(step, actor, t, cause),
            Command::SignEvents { first, signatures } => {
                seal::sign_events(step, ledger, first, signatures)
            }
            Command::RecordCopies { artifact, copies } => {
                seal::record_copies(step, ledger, actor, artifact, copies)
            }
            Command::Health { node, gpus } => sched.health(step, actor, node, gpus),
            Command::AcceptGpu { node, gpu } => sched.accept_gpu(step, actor, &node, &gpu),
            Command::ApplyConfig { expected, config, why } => {
                sched.apply_further(step, actor, FurtherConfig::none(expected, config, why))
            }
            Command::ApplyFurther(change) => sched.apply_further(step, actor, change),
            Command::Wake { until } => sched.wake(step, actor, until),
            Command::Hold { job, held } => sched.hold(step, actor, job, held),
            Command::SetPriority { job, priority: to } => sched.set_priority(step, actor, job, to),
            Command::GateTraining => sched.gate_training(step, actor),
            Command::DecideTraining { decisions: all } => {
                sched.train_or_not(step, ledger, actor, all)
            }
            Command::Foretell { starts } => sched.foretell(step, starts),
            Command::RegisterShared { inventory: i, held } => sched.register(step, actor, i, &held),
            Command::Preempt { plan } => sched.preempt(step, actor, plan),
            Command::Registry(command) => registry_step::step(step, sched, ledger, actor, command),
            Command::Check(command) => sched.check_command(step, actor, command),
            Command::Drift(command) => sched.drift(step, ledger, actor, command),
            Command::SubmitTied { parts, jobs, ties } => {
                sched.submit(step, actor, Submission { ties, ..(parts, jobs).into() })
            }
            Command::SubmitFurther(submission) => sched.submit(step, actor, submission),
            Command::Reserve(command) => sched.reserve(step, actor, command),
            Command::RaiseVersion(raise) => sched.raise_version(step, actor, &raise),
        }
    }

    fn hear<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        node: NodeId,
        report: Report,
    ) -> Reply {
        #[cfg(feature = "planted")]
        if self.planted.stale_lease_accepted {
            self.sched.accept_stale(step, node, &report);
        }
        self.sched.report(step, actor, node, report)
    }
}
