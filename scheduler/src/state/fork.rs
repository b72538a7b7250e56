//! A copy of the live set that lives on by itself, to see what would become of it.
//!
//! It holds what has not ended and nothing of history, and goes through the very `apply` that the
//! log goes through; what it writes stays in its own memory. Nothing leads back from it.

use super::{
    Cluster,
    command::{Command, Entry, Refusal, Reply, Request},
    key,
    row::{Brief, Submitted},
    sched::Sched,
    view::View,
};
use domain::{
    Digest, JobId, LogIndex, Millis, ReplicaId,
    job::{JobSpec, Outputs},
    port::{Row, RowRead},
    scratch::{SetHash, merged_range},
};
use registry::ledger::Ledger;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Who speaks in a fork.
const ACTOR: &str = "foresight";

/// Rows of a fork: what it began with, and what it has changed since.
#[derive(Clone)]
struct Rows {
    first: Arc<BTreeMap<Vec<u8>, Vec<u8>>>,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl RowRead for Rows {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changed.get(key) {
            Some(value) => value.clone(),
            None => self.first.get(key).cloned(),
        }
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        merged_range(&*self.first, &self.changed, |value| value.as_ref(), from, to, limit)
    }
}

/// A live set that was split off.
#[derive(Clone)]
pub struct Fork {
    cluster: Cluster,
    rows: Rows,
    at: LogIndex,
    /// Digest of the view that it was split off from.
    origin: Digest,
    /// Waiting jobs that were left behind, since there were too many.
    left_out: u64,
}

/// A live set that was copied, and has nothing beside it yet: all that a reader has to wait for.
pub struct Split {
    sched: Sched,
    at: LogIndex,
    origin: Digest,
    left_out: u64,
}

impl View<'_> {
    /// Splits off the live set, with at most about `jobs_max` of the jobs that wait: of each queue
    /// those that are first in its order. All that runs comes along.
    #[must_use]
    pub fn split_off(&self, jobs_max: usize) -> Split {
        let (sched, left_out) = split_off(self.sched, jobs_max);
        Split { sched, at: self.applied(), origin: self.digest(), left_out }
    }
}

impl Split {
    /// Makes it one that lives on.
    #[must_use]
    pub fn fork(self) -> Fork {
        let Self { sched, at, origin, left_out } = self;
        let specs = sched.jobs.iter().map(|(id, job)| {
            let submitted = submitted(*id, &job.brief);
            (key::job_spec(*id), borsh::to_vec(&submitted).expect("writing to memory cannot fail"))
        });
        let first = Arc::new(specs.collect());
        let cluster = Cluster {
            sched,
            ledger: Ledger::default(),
            hash: SetHash::default(),
            #[cfg(feature = "planted")]
            planted: super::planted::Planted::default(),
        };
        Fork { cluster, rows: Rows { first, changed: BTreeMap::new() }, at, origin, left_out }
    }
}

impl Fork {
    /// What it shows.
    #[must_use]
    pub fn view(&self) -> View<'_> {
        self.cluster.view()
    }

    /// Why the cluster is too old for a command, if it is.
    #[must_use]
    pub fn refuses(&self, command: &Command) -> Option<Refusal> {
        match self.cluster.sched.too_new(command)? {
            Reply::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }

    /// Digest of the view that it was split off from.
    #[must_use]
    pub fn origin(&self) -> Digest {
        self.origin
    }

    /// Waiting jobs that were left behind, since there were too many.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The entry that it is at: that of its origin, and one more for each that went through it.
    #[must_use]
    pub fn at(&self) -> LogIndex {
        self.at
    }

    /// GPUs under leases, and all that are there.
    #[must_use]
    pub fn gpus(&self) -> (u64, u64) {
        let gpus = self.cluster.sched.account.gpus;
        (gpus.held, gpus.there())
    }

    /// Puts commands through it, as one entry at `now`.
    pub fn go_on(&mut self, now: Millis, commands: Vec<Command>) -> Vec<Reply> {
        self.at = LogIndex(self.at.0 + 1);
        let request = |command| Request { key: None, actor: ACTOR.to_owned(), command };
        let members = commands.into_iter().map(request).collect();
        let entry = Entry { now, proposer: ReplicaId(0), members };
        let applied = self.cluster.apply(&self.rows, self.at, entry);
        for change in applied.rows {
            self.rows.changed.insert(change.key, change.value);
        }
        applied.replies
    }

    /// Lets jobs start that no policy has decided on.
    ///
    /// What a policy will say is not known; a job of which it is asked how it would fare is one
    /// that is allowed.
    pub fn open_gate(&mut self) {
        self.cluster.sched.gate_training = false;
    }
}

/// The live set without what has no end in it: the time of kept checkpoints, and what jobs were
/// given, for whose bytes a fork has no use.
fn split_off(sched: &Sched, jobs_max: usize) -> (Sched, u64) {
    if sched.jobs.len() <= jobs_max {
        let inputs = Default::default();
        let forecasts = Default::default();
        return (Sched { kept_until: None, inputs, forecasts, ..sched.clone() }, 0);
    }
    let chosen = choose(sched, jobs_max);
    let left_out = (sched.jobs.len() - chosen.len()) as u64;
    let mut part = Sched {
        meta: sched.meta.clone(),
        version: sched.version,
        jobs: chosen.iter().filter_map(|id| Some((*id, sched.jobs.get(id)?.clone()))).collect(),
        nodes: sched.nodes.clone(),
        names: sched.names.clone(),
        leases: sched.leases.clone(),
        tickets: sched.tickets.clone(),
        config: sched.config.clone(),
        queues: BTreeMap::new(),
        touched: BTreeSet::new(),
        learning: BTreeSet::new(),
        later: sched.later.iter().filter(|(_, id)| chosen.contains(id)).copied().collect(),
        dependents: BTreeMap::new(),
        over: Vec::new(),
        gate_training: sched.gate_training,
        gated: sched.gated.intersection(&chosen).copied().collect(),
        kept_until: None,
        preemptions: sched.preemptions.clone(),
        ceding: sched.ceding.clone(),
        checks: sched.checks.clone(),
        acceptance: sched.acceptance.clone(),
        priority_classes: sched.priority_classes.clone(),
        account: sched.account.clone(),
        windows: sched.windows.clone(),
        drains: sched.drains.clone(),
        // What is foreseen in a fork is not what was foreseen.
        forecasts: Default::default(),
        inputs: Default::default(),
        usual: Default::default(),
    };
    for job in part.jobs.values() {
        part.usual.add(&job.brief);
    }
    for (of, all) in sched.dependents.iter().filter(|(of, _)| chosen.contains(of)) {
        let all: BTreeSet<JobId> = all.intersection(&chosen).copied().collect();
        if !all.is_empty() {
            part.dependents.insert(*of, all);
        }
    }
    for (name, queue) in &sched.queues {
        let bare = super::queue::Queue {
            spec: queue.spec.clone(),
            usage: queue.usage,
            learned: queue.learned.clone(),
            ..Default::default()
        };
        part.queues.insert(name.clone(), bare);
    }
    part.lay_out_queues();
    (part, left_out)
}

/// All that hold something, and the first of those that wait: in turns of the queues' groups, so
/// that none of them is empty here that is not there.
fn choose(sched: &Sched, jobs_max: usize) -> BTreeSet<JobId> {
    let held = sched.leases.values().map(|lease| lease.element.job);
    let sealing = sched.tickets.values().map(|ticket| ticket.element.job);
    let promised = sched.preemptions.keys().copied();
    let mut chosen: BTreeSet<JobId> = held.chain(sealing).chain(promised).collect();
    let groups = sched.queues.values().flat_map(|queue| queue.waiting.values());
    let mut orders: Vec<_> = groups.map(|order| order.iter()).collect();
    while chosen.len() < jobs_max && !orders.is_empty() {
        orders.retain_mut(|order| match order.next() {
            Some(key) => {
                if chosen.len() < jobs_max {
                    chosen.insert(key.job);
                }
                true
            }
            None => false,
        });
    }
    let soon = sched.later.iter().map(|(_, id)| *id);
    let after = sched.dependents.iter().filter(|(of, _)| sched.jobs.contains_key(of));
    let after = after.flat_map(|(_, all)| all.iter().copied());
    for id in soon.chain(after) {
        if chosen.len() >= jobs_max {
            break;
        }
        chosen.insert(id);
    }
    chosen
}

/// What a job was submitted as, as far as it decides what becomes of it here.
fn submitted(id: JobId, brief: &Brief) -> Submitted {
    let waits = brief.waits.as_deref().cloned().unwrap_or_default();
    let spec = JobSpec {
        name: brief.name.to_string(),
        user: brief.user.to_string(),
        queue: brief.queue.to_string(),
        priority: brief.priority,
        tasks: brief.tasks,
        resources: brief.resources.clone(),
        command: vec![ACTOR.to_owned()],
        env: BTreeMap::new(),
        code: None,
        datasets: BTreeMap::new(),
        hyperparameters: BTreeMap::new(),
        seed: 0,
        outputs: Outputs::None,
        time_limit: brief.time_limit,
        retries: brief.retries,
        on_disconnect: brief.on_disconnect,
        restart: brief.restart,
        array: brief.array,
        reproduces: None,
        after: waits.after,
        retry: waits.retry,
        confinement: brief.confinement,
        checkpoint: Default::default(),
        framework: None,
        image: None,
        interrupt: brief.interrupt,
        verify: brief.verify,
        topology: brief.topology,
        registered: Default::default(),
        check: brief.check.as_deref().cloned(),
        reservation: brief.reservation.as_deref().map(str::to_owned),
        retain: None,
        hardware_class: brief.hardware_class.as_deref().map(str::to_owned),
        estimate: brief.estimate(),
    };
    Submitted {
        spec,
        // Jobs of one recipe would have one build key, and be compared with each other.
        recipe: Digest::of_value(&id),
        time: brief.time,
        at: LogIndex(0),
        pin: brief.pin.as_deref().cloned(),
    }
}
