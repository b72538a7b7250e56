//! The queues as memory holds them: what each holds, who uses it, and what waits in it.

use super::{
    key,
    order::Learned,
    row::Brief,
    sched::{Job, Sched, Shape, WaitKey},
    step::Step,
    usage::{Held, Told, UseRow},
};
use domain::{JobId, Millis, isolation::Isolation, lease::Lease, port::RowRead, queue::QueueSpec};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Waiting elements that fit or do not fit together, and that one bound meets alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// What decides where they fit.
    pub shape: Shape,
    /// Whose they are, where the queue bounds what each user has.
    pub user: Option<Arc<str>>,
    /// How far they have run, where that decides who goes first.
    pub level: Option<u8>,
}

/// What one user has in a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UserHeld {
    /// Jobs that have not ended.
    pub jobs: u64,
    /// Elements under a lease.
    pub running: u32,
    /// GPUs.
    pub gpus: u64,
}

/// One queue.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// As it was set.
    pub spec: QueueSpec,
    /// The queues that it is a part of, the nearest first.
    pub above: Vec<Arc<str>>,
    /// What it and its parts hold.
    pub held: Held,
    /// What gangs of it and of its parts are to hold once others have made room.
    pub reserved: Held,
    /// What it and its parts have used.
    pub usage: UseRow,
    /// Who has jobs in it.
    pub users: BTreeMap<Arc<str>, UserHeld>,
    /// What waits in it, by group, in order.
    pub waiting: BTreeMap<Group, BTreeSet<WaitKey>>,
    /// What is known of its jobs, where the shortest goes first.
    pub learned: Option<Box<Learned>>,
    /// What waits in it by age, where age is not the order.
    pub ages: BTreeSet<(Reverse<i32>, JobId)>,
}

/// A bound that keeps a gang from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// The queue, or one that it is a part of, may hold no more.
    Queue {
        /// What it holds.
        held: u64,
        /// The most.
        max: u64,
    },
    /// The user may hold no more GPUs in the queue.
    UserGpus {
        /// What they hold.
        held: u64,
        /// The most.
        max: u64,
    },
    /// The user may have no more running.
    UserRunning {
        /// The most.
        max: u32,
    },
    /// The budget is spent.
    Budget {
        /// The budget.
        hours: u64,
    },
}

/// What bars a gang of `gpus` from a queue that holds `held`.
pub fn queue_bars(
    spec: &QueueSpec,
    held: Held,
    spent: bool,
    gpus: u64,
) -> impl Iterator<Item = Bar> + use<> {
    let held = held.gpus();
    let over = |max: &u64| gpus > 0 && held.saturating_add(gpus) > *max;
    let limit = spec.gpus_max().filter(over).map(|max| Bar::Queue { held, max });
    let budget = spec.budget_gpu_hours.filter(|_| gpus > 0 && spent);
    limit.into_iter().chain(budget.map(|hours| Bar::Budget { hours }))
}

/// What bars a user's gang of `gpus` from a queue.
pub fn user_bars(spec: &QueueSpec, has: UserHeld, gpus: u64) -> impl Iterator<Item = Bar> + use<> {
    let over = |max: &u64| gpus > 0 && has.gpus.saturating_add(gpus) > *max;
    let held = has.gpus;
    let gpus = spec.user_gpus_max.filter(over).map(|max| Bar::UserGpus { held, max });
    let running = spec.user_running_max.filter(|max| has.running >= *max);
    gpus.into_iter().chain(running.map(|max| Bar::UserRunning { max }))
}

impl Queue {
    /// Use as of `now`.
    #[must_use]
    pub fn usage_at(&self, now: Millis, half_life: Millis) -> UseRow {
        self.usage.until(self.held, now, half_life, &self.spec)
    }

    /// Whether its budget is spent as of `now`.
    #[must_use]
    pub fn is_spent(&self, now: Millis) -> bool {
        self.spec.budget_gpu_hours.is_some()
            && self.usage_at(now, Millis(0)).standing(&self.spec) == Told::Spent
    }

    /// Jobs that have not ended.
    #[must_use]
    pub fn jobs(&self) -> u64 {
        self.users.values().map(|user| user.jobs).sum()
    }

    /// The group that a shape of a job waits in.
    #[must_use]
    pub fn group(&self, shape: Shape, job: &Job) -> Group {
        let user = self.spec.bounds_users().then(|| job.brief.user.clone());
        Group { shape, user, level: job.level() }
    }
}

impl Sched {
    /// Every bound that keeps one more gang of a job from starting: its user's, its queue's, and
    /// those of the queues above.
    #[must_use]
    pub fn bars(&self, job: &Brief, now: Millis) -> Vec<(Arc<str>, Bar)> {
        let gpus = job.gang().gpus();
        let Some(queue) = self.queues.get(&job.queue) else { return Vec::new() };
        let has = queue.users.get(&job.user).copied().unwrap_or_default();
        let user = user_bars(&queue.spec, has, gpus).map(|bar| (job.queue.clone(), bar));
        let line = std::iter::once(&job.queue).chain(&queue.above);
        let line = line.filter_map(|name| Some((name, self.queues.get(name)?)));
        let of = |(name, queue): (&Arc<str>, &Queue)| {
            let name = name.clone();
            let held = queue.held.plus(queue.reserved);
            let bars = queue_bars(&queue.spec, held, queue.is_spent(now), gpus);
            bars.map(move |bar| (name.clone(), bar))
        };
        user.chain(line.flat_map(of)).collect()
    }

    /// The least isolation of jobs in a queue: the greatest that its line demands.
    pub(super) fn demanded(&self, name: &Arc<str>) -> Isolation {
        let above = self.queues.get(name).into_iter().flat_map(|queue| &queue.above);
        let line = std::iter::once(name).chain(above);
        let all = line.filter_map(|name| Some(self.queues.get(name)?.spec.isolation));
        all.max().unwrap_or_default()
    }

    /// Lets a job share the names of its queue and its user with the others that have them.
    pub(super) fn intern(&mut self, job: &mut Brief) {
        let Some((name, queue)) = self.queues.get_key_value(&job.queue) else { return };
        job.queue = name.clone();
        job.least = self.demanded(name);
        job.order = self.order_of(name);
        if let Some((user, _)) = queue.users.get_key_value(&job.user) {
            job.user = user.clone();
        }
    }

    /// Counts a new job with its user's, and with those of its kind.
    pub(super) fn enlist(&mut self, job: &Brief) {
        self.usual.add(job);
        enlist(&mut self.queues, job);
    }

    /// Counts a job that has ended no more.
    pub(super) fn dismiss(&mut self, job: &Job) {
        self.usual.take(&job.brief);
        let Some(queue) = self.queues.get_mut(&job.brief.queue) else { return };
        if let Some(user) = queue.users.get_mut(&job.brief.user) {
            user.jobs -= 1;
            if user.jobs == 0 {
                queue.users.remove(&job.brief.user);
            }
        }
    }

    /// Charges a lease that begins to its queue, those above, and its user. At `now`, what was
    /// held until then becomes use; without, the rows that are loaded tell it.
    pub(super) fn charge(&mut self, lease: &Lease, now: Option<Millis>) {
        self.count(lease, now, Held::plus, |user, gpus| {
            user.running += 1;
            user.gpus = user.gpus.saturating_add(gpus);
        });
    }

    /// Gives back what was charged for a lease.
    pub(super) fn refund(&mut self, lease: &Lease, now: Millis) {
        self.count(lease, Some(now), Held::minus, |user, gpus| {
            user.running -= 1;
            user.gpus = user.gpus.saturating_sub(gpus);
        });
    }

    fn count(
        &mut self,
        lease: &Lease,
        now: Option<Millis>,
        held: impl Fn(Held, Held) -> Held,
        user: impl FnOnce(&mut UserHeld, u64),
    ) {
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let gang = job.brief.gang();
        let name = &job.brief.queue;
        let Some(queue) = self.queues.get_mut(name) else { return };
        if let Some(has) = queue.users.get_mut(&job.brief.user) {
            user(has, gang.gpus());
        }
        let line: Vec<_> = std::iter::once(name.clone()).chain(queue.above.clone()).collect();
        for name in line {
            let Some(queue) = self.queues.get_mut(&name) else { continue };
            if let Some(now) = now {
                queue.usage = queue.usage_at(now, self.config.half_life);
                self.touched.insert(name);
            }
            queue.held = held(queue.held, gang);
        }
    }

    /// Writes what queues have used, where it has changed.
    pub(super) fn write_usage<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        for name in std::mem::take(&mut self.touched) {
            if let Some(queue) = self.queues.get(&name) {
                step.rows.put(key::usage(&name), &queue.usage);
            }
        }
    }

    /// Puts every queue under those that it is a part of, and counts anew what each holds and
    /// what waits in it.
    pub(super) fn lay_out_queues(&mut self) {
        let parents: BTreeMap<Arc<str>, Option<Arc<str>>> = self
            .queues
            .iter()
            .map(|(name, queue)| (name.clone(), queue.spec.parent.as_deref().map(Into::into)))
            .collect();
        for (name, queue) in &mut self.queues {
            let up = |name: &Arc<str>| parents.get(name).cloned().flatten();
            queue.above = std::iter::successors(up(name), up).collect();
            *queue = Queue {
                spec: std::mem::take(&mut queue.spec),
                above: std::mem::take(&mut queue.above),
                usage: queue.usage,
                learned: queue.learned.take(),
                ..Queue::default()
            };
        }
        let names: Vec<_> = self.queues.keys().cloned().collect();
        let rules = |name: Arc<str>| (name.clone(), (self.demanded(&name), self.order_of(&name)));
        let rules: BTreeMap<_, _> = names.into_iter().map(rules).collect();
        for job in self.jobs.values_mut() {
            let of = rules.get(&job.brief.queue).copied();
            (job.brief.least, job.brief.order) = of.unwrap_or_default();
            enlist(&mut self.queues, &job.brief);
        }
        let leases = std::mem::take(&mut self.leases);
        for lease in leases.values() {
            self.charge(lease, None);
        }
        self.leases = leases;
        self.book_all();
        let ids: Vec<_> = self.jobs.keys().copied().collect();
        for id in ids {
            self.wait(id);
        }
    }
}

fn enlist(queues: &mut BTreeMap<Arc<str>, Queue>, job: &Brief) {
    if let Some(queue) = queues.get_mut(&job.queue) {
        queue.users.entry(job.user.clone()).or_default().jobs += 1;
    }
}
