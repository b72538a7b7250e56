//! What the scheduler keeps in memory: the live set and the planner's indexes.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Events,
    row::{ElementRow, Meta, NodeRow, Progress, Submitted},
};
use domain::{
    Bytes, CpuMillis, ElementId, JobId, LeaseId, LogIndex, Millis, NodeId,
    artifact::SealTicket,
    lease::Lease,
    port::RowRead,
    resource::TaskResources,
    scratch::{self, Scratch},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Rows read at once when the live set is loaded.
const PAGE: usize = 4_096;

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What was submitted.
    pub submitted: Arc<Submitted>,
    /// How far it is.
    pub progress: Progress,
    /// Elements that were placed and have not ended, by position.
    pub elements: BTreeMap<u32, ElementRow>,
}

/// A node with what is in use on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its row.
    pub row: NodeRow,
    /// Its hardware class.
    pub class: String,
    /// Leases on it.
    pub leases: BTreeSet<LeaseId>,
    /// GPUs in use, by index.
    pub gpus_used: BTreeSet<u32>,
    /// Processor time in use.
    pub cpu_used: CpuMillis,
    /// Memory in use.
    pub memory_used: Bytes,
}

impl Node {
    pub(super) fn new(row: NodeRow) -> Self {
        Self {
            class: row.inventory.hardware_class(),
            row,
            leases: BTreeSet::new(),
            gpus_used: BTreeSet::new(),
            cpu_used: CpuMillis(0),
            memory_used: Bytes(0),
        }
    }
}

/// What decides where a job fits: jobs of one shape fit or do not fit together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    /// Size of the gang.
    pub tasks: u32,
    /// What each task needs.
    pub resources: TaskResources,
    /// The hardware class it is bound to.
    pub class: Option<String>,
}

/// A waiting job's place in the order: priority, then age.
pub type WaitKey = (Reverse<i32>, JobId);

/// The scheduler's live set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sched {
    /// Counters.
    pub meta: Meta,
    /// Jobs that have not ended.
    pub jobs: BTreeMap<JobId, Job>,
    /// Waiting jobs by shape, in order.
    pub waiting: BTreeMap<Shape, BTreeSet<WaitKey>>,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Nodes by name.
    pub names: BTreeMap<String, NodeId>,
    /// Live leases.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Open tickets.
    pub tickets: BTreeMap<LeaseId, SealTicket>,
    /// Queues by name.
    pub queues: BTreeSet<String>,
}

/// The entry that is being applied.
pub struct Step<'a, R: RowRead> {
    /// The rows with this entry's changes over them.
    pub rows: Scratch<'a, R>,
    /// The entry's index.
    pub at: LogIndex,
    /// The log's clock.
    pub now: Millis,
    /// Leases granted by this entry so far.
    pub ordinal: u32,
    /// What is asked of the shell.
    pub effects: Vec<Effect>,
    /// Events of record.
    pub events: Events,
}

impl<R: RowRead> Step<'_, R> {
    /// The reply when all is done.
    pub fn done(&self) -> Reply {
        Reply::Done { at: self.at }
    }

    /// Adds an effect once.
    pub fn effect(&mut self, effect: Effect) {
        if !self.effects.contains(&effect) {
            self.effects.push(effect);
        }
    }
}

/// A refusal that names what is not there.
pub fn absent(what: impl Into<String>, list: &str) -> Reply {
    Reply::Refused(Refusal::NotFound { what: what.into(), list: list.into() })
}

impl Job {
    /// The position of an element of this job.
    pub fn position(&self, element: ElementId) -> Option<u32> {
        match (self.submitted.spec.array, element.index) {
            (None, None) => Some(0),
            (Some(array), Some(index)) if index < array.count => Some(index),
            _ => None,
        }
    }

    /// Its place in the order.
    pub fn wait_key(&self, job: JobId) -> WaitKey {
        (Reverse(self.submitted.spec.priority), job)
    }

    /// The class that its next element is bound to.
    ///
    /// All elements of an array follow the first grant, so that one shape describes the job.
    pub fn class(&self) -> Option<&str> {
        if let Some(pin) = &self.submitted.pin {
            return Some(&pin.class);
        }
        let position = *self.progress.requeued.first()?;
        self.elements.get(&position)?.build.as_ref().map(|(_, class)| class.as_str())
    }

    /// What decides where its next element fits.
    pub fn shape(&self) -> Shape {
        Shape {
            tasks: self.submitted.spec.tasks,
            resources: self.submitted.spec.resources.clone(),
            class: self.class().map(str::to_owned),
        }
    }

    /// The position that is to be placed next: requeued elements first.
    pub fn next_position(&self) -> Option<u32> {
        let count = self.submitted.spec.elements();
        let fresh = (self.progress.next < count).then_some(self.progress.next);
        self.progress.requeued.first().copied().or(fresh)
    }

    /// Elements that may still be placed now, given how many may run at once.
    pub fn room(&self) -> u32 {
        let waiting = self.progress.waiting(self.submitted.spec.elements());
        match self.submitted.spec.array {
            Some(array) if array.at_once_max > 0 => {
                waiting.min(array.at_once_max.saturating_sub(self.progress.running))
            }
            _ => waiting,
        }
    }
}

impl Sched {
    /// The live set as its rows have it.
    pub fn load(rows: &impl RowRead) -> Self {
        let key = key::meta();
        let meta = rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default();
        let mut sched = Self { meta, ..Self::default() };
        sched.queues.insert("default".into());
        each(rows, key::queues(), |key, _| {
            sched.queues.insert(String::from_utf8_lossy(&key[1..]).into_owned());
        });
        each(rows, key::nodes(), |key, value| {
            let id = key[1..].try_into().expect("node keys hold four bytes of the id");
            let id = NodeId(u32::from_be_bytes(id));
            let row: NodeRow = scratch::decode(key, value);
            sched.names.insert(row.inventory.name.clone(), id);
            sched.nodes.insert(id, Node::new(row));
        });
        each(rows, key::live_jobs(), |key, _| {
            let id = key::job_in(key);
            sched.jobs.insert(id, load_job(rows, id));
        });
        each(rows, key::leases(), |key, value| {
            let lease: Lease = scratch::decode(key, value);
            sched.occupy(&lease);
            sched.leases.insert(lease.id, lease);
        });
        each(rows, key::tickets(), |key, value| {
            let ticket: SealTicket = scratch::decode(key, value);
            sched.tickets.insert(ticket.lease, ticket);
        });
        for (id, job) in &sched.jobs {
            if job.next_position().is_some() {
                let key = job.wait_key(*id);
                sched.waiting.entry(job.shape()).or_default().insert(key);
            }
        }
        sched
    }

    /// Takes a lease's resources.
    pub(super) fn occupy(&mut self, lease: &Lease) {
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let each = &job.submitted.spec.resources;
        for member in &lease.members {
            let Some(node) = self.nodes.get_mut(&member.node) else { continue };
            node.leases.insert(lease.id);
            for task in &member.tasks {
                node.gpus_used.extend(&task.gpus);
                node.cpu_used = node.cpu_used.plus(each.cpu);
                node.memory_used = node.memory_used.plus(each.memory);
            }
        }
    }

    /// Gives a lease's resources back.
    pub(super) fn vacate(&mut self, lease: &Lease) {
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let each = &job.submitted.spec.resources;
        for member in &lease.members {
            let Some(node) = self.nodes.get_mut(&member.node) else { continue };
            node.leases.remove(&lease.id);
            for task in &member.tasks {
                for gpu in &task.gpus {
                    node.gpus_used.remove(gpu);
                }
                node.cpu_used = node.cpu_used.minus(each.cpu);
                node.memory_used = node.memory_used.minus(each.memory);
            }
        }
    }

    /// Takes a job out of the waiting order, to be put back by [`Sched::wait`] after a change.
    pub(super) fn unwait(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let (shape, key) = (job.shape(), job.wait_key(id));
        if let Some(order) = self.waiting.get_mut(&shape) {
            order.remove(&key);
            if order.is_empty() {
                self.waiting.remove(&shape);
            }
        }
    }

    /// Puts a job into the waiting order if an element waits.
    pub(super) fn wait(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.next_position().is_some() {
            let (shape, key) = (job.shape(), job.wait_key(id));
            self.waiting.entry(shape).or_default().insert(key);
        }
    }

    /// Writes a job's progress; when its last element has ended, the job leaves memory.
    pub(super) fn keep_job<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let count = job.submitted.spec.elements();
        let progress = &mut job.progress;
        let alive = progress.waiting(count) + progress.running + progress.sealing;
        if alive == 0 {
            progress.ended = Some(step.now);
        }
        step.rows.put(key::job(id), &*progress);
        step.effect(Effect::Changed { job: id });
        if alive == 0 {
            step.rows.remove(key::live(id));
            self.jobs.remove(&id);
        }
    }
}

fn each(
    rows: &impl RowRead,
    (mut from, to): (Vec<u8>, Vec<u8>),
    mut act: impl FnMut(&[u8], &[u8]),
) {
    loop {
        let page = rows.range(&from, &to, PAGE);
        for (key, value) in &page {
            act(key, value);
        }
        match page.last() {
            Some((key, _)) if page.len() == PAGE => {
                from.clone_from(key);
                from.push(0);
            }
            _ => return,
        }
    }
}

fn load_job(rows: &impl RowRead, id: JobId) -> Job {
    let read = |key: Vec<u8>| {
        let value = rows.get(&key).expect("a live job has its rows");
        (key, value)
    };
    let (key, value) = read(key::job_spec(id));
    let submitted = Arc::new(scratch::decode(&key, &value));
    let (key, value) = read(key::job(id));
    let progress = scratch::decode(&key, &value);
    let mut elements = BTreeMap::new();
    each(rows, key::elements(id), |key, value| {
        let row: ElementRow = scratch::decode(key, value);
        if !row.state.is_final() {
            let position = key[9..].try_into().expect("element keys end with the position");
            elements.insert(u32::from_be_bytes(position), row);
        }
    });
    Job { submitted, progress, elements }
}
