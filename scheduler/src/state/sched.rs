//! What the scheduler keeps in memory: the live set and the planner's indexes.

use super::{
    account::{Account, Gpus},
    check::Checks,
    command::Effect,
    forecast::Forecasts,
    inputs::Inputs,
    keep::Kept,
    key,
    preemption::PreemptionRow,
    queue::Queue,
    row::{Brief, ConfigRow, ElementRow, HealthRow, Meta, NodeRow, Progress},
    step::Step,
    usual::Usual,
    window::WindowRow,
};
use domain::{
    Bytes, CpuMillis, ElementId, JobId, LeaseId, Millis, NodeId,
    artifact::SealTicket,
    check::AcceptanceConfig,
    isolation::Confinement,
    lease::Lease,
    node::{DrainTerms, hardware_class},
    port::RowRead,
    queue::PriorityClasses,
    resource::{Gpu, TaskResources},
    topology::Topology,
    version::ClusterVersion,
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// What decides where it runs.
    pub brief: Brief,
    /// How far it is.
    pub progress: Progress,
    /// Elements that were placed and have not ended, by position.
    pub elements: BTreeMap<u32, ElementRow>,
    /// Elements that wait to be placed again, by the hardware class that they are bound to.
    pub requeued: BTreeMap<String, BTreeSet<u32>>,
    /// Elements that wait until a time before they are placed again.
    pub later: BTreeMap<u32, Millis>,
    /// The same, by time.
    pub due: BTreeSet<(Millis, u32)>,
    /// Jobs that have to end before it starts.
    pub pending: BTreeSet<JobId>,
}

/// A node with what is in use on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its row.
    pub row: NodeRow,
    /// Its GPUs that are held back.
    pub health: HealthRow,
    /// Its hardware class.
    pub class: String,
    /// Its hardware class if every GPU served.
    pub whole_class: String,
    /// Leases on it.
    pub leases: BTreeSet<LeaseId>,
    /// GPUs in use, by index.
    pub gpus_used: BTreeSet<u32>,
    /// Processor time in use.
    pub cpu_used: CpuMillis,
    /// Memory in use.
    pub memory_used: Bytes,
    /// Room on it that is kept for gangs while others leave it.
    pub kept: Kept,
    /// Its GPUs as the ledger counts them.
    pub counted: Gpus,
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
    /// What it says of its isolation. Its disk is left out, which decides nothing here.
    pub confinement: Confinement,
    /// How near the parts of its gang have to be.
    pub topology: Topology,
}

/// A waiting job's place in the order of its group: priority, what is left of it, age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitKey {
    /// Higher goes first.
    pub priority: Reverse<i32>,
    /// What is left of its estimate, where the shortest goes first; zero else.
    pub left: u64,
    /// The job.
    pub job: JobId,
}

/// The scheduler's live set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sched {
    /// Counters.
    pub meta: Meta,
    /// The version that the cluster runs at.
    pub version: ClusterVersion,
    /// Jobs that have not ended.
    pub jobs: BTreeMap<JobId, Job>,
    /// All nodes.
    pub nodes: BTreeMap<NodeId, Node>,
    /// Nodes by name.
    pub names: BTreeMap<String, NodeId>,
    /// Live leases.
    pub leases: BTreeMap<LeaseId, Lease>,
    /// Open tickets.
    pub tickets: BTreeMap<LeaseId, SealTicket>,
    /// What holds for all queues.
    pub config: ConfigRow,
    /// Queues by name, with the jobs of which an element may be placed now.
    pub queues: BTreeMap<Arc<str>, Queue>,
    /// Queues whose use is to be written at the end of the entry.
    pub touched: BTreeSet<Arc<str>>,
    /// Queues of which what was learned is to be written at the end of the entry.
    pub learning: BTreeSet<Arc<str>>,
    /// Jobs with an element that waits until a time, by the first such time.
    pub later: BTreeSet<(Millis, JobId)>,
    /// Jobs that wait for a job to end.
    pub dependents: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs that others wait for and that ended in this command, with whether they completed.
    pub over: Vec<(JobId, bool)>,
    /// Whether jobs wait for a policy before training.
    pub gate_training: bool,
    /// Jobs that wait for a policy's decision.
    pub gated: BTreeSet<JobId>,
    /// When the time of the first kept checkpoint is over.
    pub kept_until: Option<Millis>,
    /// Preemptions that are under way, by the job that room is made for.
    pub preemptions: BTreeMap<JobId, PreemptionRow>,
    /// Live leases that make room, each with that job.
    pub ceding: BTreeMap<LeaseId, JobId>,
    /// Checks of machines.
    pub checks: Checks,
    /// How GPUs come out of quarantine.
    pub acceptance: AcceptanceConfig,
    /// Names for priorities.
    pub priority_classes: PriorityClasses,
    /// The ledger of GPU time.
    pub account: Account,
    /// Windows that are not over, by name.
    pub windows: BTreeMap<String, WindowRow>,
    /// Terms of nodes that are out of service, where there are any.
    pub drains: BTreeMap<NodeId, DrainTerms>,
    /// What was foreseen of starts, and how it came.
    pub forecasts: Forecasts,
    /// What the jobs that have not ended were given.
    pub inputs: Inputs,
    /// What their tasks ask for.
    pub usual: Usual,
}

impl Node {
    pub(super) fn new(row: NodeRow) -> Self {
        let mut node = Self {
            row,
            health: HealthRow::default(),
            class: String::new(),
            whole_class: String::new(),
            leases: BTreeSet::new(),
            gpus_used: BTreeSet::new(),
            cpu_used: CpuMillis(0),
            memory_used: Bytes(0),
            kept: Kept::default(),
            counted: Gpus::default(),
        };
        node.classify();
        node
    }

    /// GPUs that take work: all that it offers, without those that gave wrong bits.
    pub fn serving(&self) -> impl Iterator<Item = &Gpu> + Clone {
        let accused = &self.health.accused;
        self.row.inventory.gpus.iter().filter(|gpu| !accused.contains_key(&gpu.uuid))
    }

    /// Derives its classes anew after a change of what it has.
    pub(super) fn classify(&mut self) {
        let inventory = &self.row.inventory;
        self.class = inventory.hardware_class();
        let held = self.health.gpus.iter().flat_map(|held| &held.offers);
        let first = inventory.gpus.iter().chain(held).min_by_key(|gpu| gpu.index);
        self.whole_class = hardware_class(
            first.map(|gpu| gpu.model.as_str()),
            &inventory.driver_version,
            &inventory.cpu_level,
        );
    }
}

impl Job {
    /// A job of which nothing was placed yet.
    pub(super) fn new(brief: Brief) -> Self {
        Self {
            brief,
            progress: Progress::default(),
            elements: BTreeMap::new(),
            requeued: BTreeMap::new(),
            later: BTreeMap::new(),
            due: BTreeSet::new(),
            pending: BTreeSet::new(),
        }
    }

    /// The position of an element of this job.
    #[must_use]
    pub fn position(&self, element: ElementId) -> Option<u32> {
        self.brief.position(element)
    }

    /// Its place in the order.
    #[must_use]
    pub fn wait_key(&self, job: JobId) -> WaitKey {
        let (priority, left) = (Reverse(self.brief.priority), self.left().unwrap_or_default());
        WaitKey { priority, left, job }
    }

    /// The class that elements which were never placed are bound to.
    #[must_use]
    pub fn fresh_class(&self) -> Option<&str> {
        let pinned = self.brief.pin.as_ref().map(|pin| pin.class.as_str());
        pinned.or(self.brief.hardware_class.as_deref())
    }

    fn shape(&self, class: Option<&str>) -> Shape {
        Shape {
            tasks: self.brief.tasks,
            resources: self.brief.resources.clone(),
            class: class.map(str::to_owned),
            confinement: Confinement { disk: None, ..self.brief.owed() },
            topology: self.brief.topology,
        }
    }

    /// What decides where its waiting elements fit: one shape for each class that they are
    /// bound to.
    #[must_use]
    pub fn shapes(&self) -> BTreeSet<Shape> {
        let fresh = self.progress.fresh(self.brief.elements()) > 0;
        let fresh = fresh.then(|| self.shape(self.fresh_class()));
        let bound = self.requeued.keys().map(|class| self.shape(Some(class)));
        bound.chain(fresh).collect()
    }

    /// The different requests among all elements that wait, those in a pause included.
    #[must_use]
    pub fn shapes_to_come(&self) -> BTreeSet<Shape> {
        let class = |row: &ElementRow| row.build.as_ref().map(|(_, class)| class.clone());
        let paused = self.later.keys().filter_map(|position| self.elements.get(position));
        let paused = paused.map(|row| self.shape(Some(&class(row).unwrap_or_default())));
        self.shapes().into_iter().chain(paused).collect()
    }

    /// Positions that may be placed where `class` fits, in the order in which they have to be.
    pub fn positions<'a>(&'a self, class: Option<&'a str>) -> impl Iterator<Item = u32> + 'a {
        let bound = class.and_then(|class| self.requeued.get(class)).into_iter().flatten();
        let count = self.brief.elements();
        let fresh = if class == self.fresh_class() { self.progress.next..count } else { 0..0 };
        let struck = &self.progress.struck;
        bound.copied().chain(fresh.filter(|position| !struck.contains(position)))
    }

    /// Whether an element waits and may be granted next: a requeued one, or the first fresh one.
    #[must_use]
    pub fn may_be_placed(&self, position: u32) -> bool {
        let requeued = || self.requeued.values().any(|all| all.contains(&position));
        let next = position == self.progress.next && position < self.brief.elements();
        self.room() > 0 && (next || requeued())
    }

    /// Elements that may be placed now, given how many may run at once.
    #[must_use]
    pub fn room(&self) -> u32 {
        if self.progress.held || !self.pending.is_empty() || self.brief.lacks_image() {
            return 0;
        }
        let waiting = self.progress.waiting(self.brief.elements()) - self.later.len() as u32;
        match self.brief.array {
            Some(array) if array.at_once_max > 0 => {
                waiting.min(array.at_once_max.saturating_sub(self.progress.running))
            }
            Some(_) | None => waiting,
        }
    }

    /// Puts an element that was placed before among those that wait.
    pub(super) fn requeue(&mut self, position: u32) {
        let row = self.elements.get(&position);
        let class = row.and_then(|row| row.build.as_ref()).map(|(_, class)| class.clone());
        if self.requeued.entry(class.unwrap_or_default()).or_default().insert(position) {
            self.progress.requeued += 1;
        }
    }

    /// Takes an element from among those that wait to be placed again.
    pub(super) fn unqueue(&mut self, position: u32) -> bool {
        if self.unpause(position) {
            return true;
        }
        let found = self.requeued.iter_mut().any(|(_, all)| all.remove(&position));
        if found {
            self.requeued.retain(|_, all| !all.is_empty());
            self.progress.requeued -= 1;
        }
        found
    }
}

impl Sched {
    /// Takes a lease's resources.
    pub(super) fn occupy(&mut self, lease: &Lease) {
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let each = &job.brief.resources;
        for member in &lease.members {
            let Some(node) = self.nodes.get_mut(&member.node) else { continue };
            node.leases.insert(lease.id);
            for task in &member.tasks {
                node.gpus_used.extend(&task.gpus);
                node.cpu_used = node.cpu_used.plus(each.cpu);
                node.memory_used = node.memory_used.plus(each.memory);
            }
        }
        self.recount_all(lease);
    }

    /// Gives a lease's resources back.
    pub(super) fn vacate(&mut self, lease: &Lease) {
        self.stop_ceding(lease.id);
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let each = &job.brief.resources;
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
        self.recount_all(lease);
    }

    /// Changes a live job, keeps its place in the order right, and writes its progress. When its
    /// last element has ended, it leaves memory.
    pub(super) fn alter<R: RowRead, T>(
        &mut self,
        step: &mut Step<'_, R>,
        id: JobId,
        change: impl FnOnce(&mut Job, &mut Step<'_, R>) -> T,
    ) -> Option<T> {
        self.unwait(id);
        let job = self.jobs.get_mut(&id)?;
        let result = change(job, step);
        let progress = &mut job.progress;
        let waiting = progress.waiting(job.brief.elements());
        let over = waiting + progress.running + progress.sealing == 0;
        if over {
            progress.ended = Some(step.now);
        }
        step.effect(Effect::Changed { job: id });
        if over {
            if self.gated.remove(&id) {
                step.rows.remove(key::gated(id));
            }
            self.drop_forecast(step, id);
            self.end_preemption(step, id, "its job has ended");
            step.rows.remove(key::live(id));
            if let Some(job) = self.jobs.remove(&id) {
                step.rows.put_new(key::job(id), &job.progress);
                self.learn_end(&job, step.now);
                self.dismiss(&job);
                self.stop_waiting(id, &job);
                self.inputs.forget(id);
            }
        } else {
            step.rows.put(key::live(id), &*progress);
            self.wait(id);
        }
        Some(result)
    }

    fn unwait(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let Some((at, _)) = job.due.first() {
            self.later.remove(&(*at, id));
        }
        let Some(queue) = self.queues.get_mut(&job.brief.queue) else { return };
        let key = job.wait_key(id);
        queue.ages.remove(&(key.priority, id));
        for shape in job.shapes() {
            let group = queue.group(shape, job);
            if let Some(order) = queue.waiting.get_mut(&group) {
                order.remove(&key);
                if order.is_empty() {
                    queue.waiting.remove(&group);
                }
            }
        }
    }

    /// Puts a job into the order if an element of it may be placed now.
    pub(super) fn wait(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        if let Some((at, _)) = job.due.first() {
            self.later.insert((*at, id));
        }
        if job.room() == 0 || self.gated.contains(&id) || self.preemptions.contains_key(&id) {
            return;
        }
        let Some(queue) = self.queues.get_mut(&job.brief.queue) else { return };
        let key = job.wait_key(id);
        if queue.learned.is_some() {
            queue.ages.insert((key.priority, id));
        }
        for shape in job.shapes() {
            let group = queue.group(shape, job);
            queue.waiting.entry(group).or_default().insert(key);
        }
    }
}
