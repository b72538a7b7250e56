//! What a configuration would change, and who would be worse off.

use super::View;
use crate::state::{
    queue::UserHeld,
    sched::Job,
    usage::{Held, Told},
};
use domain::{
    JobId,
    isolation::Isolation,
    queue::{
        ClusterConfig, ConfigError, QueueSpec, changes,
        view::{ConfigPlanView, HurtView},
    },
};
use std::collections::BTreeMap;

/// Jobs that one line names.
const JOBS_MAX: usize = 8;

/// Jobs of one kind.
#[derive(Default)]
struct Met {
    jobs: Vec<JobId>,
    more: u64,
}

impl Met {
    fn add(&mut self, id: JobId) {
        if self.jobs.last() == Some(&id) {
            return;
        }
        match self.jobs.len() < JOBS_MAX {
            true => self.jobs.push(id),
            false => self.more += 1,
        }
    }

    fn hurt(self, queue: &str, user: Option<&str>, kind: &str, detail: String) -> HurtView {
        HurtView {
            queue: queue.to_owned(),
            user: user.map(str::to_owned),
            kind: kind.to_owned(),
            detail,
            jobs: self.jobs,
            more: self.more,
        }
    }
}

/// What every queue and user would hold in the new tree, and whom its bounds would meet.
#[derive(Default)]
struct Tally<'a> {
    queues: BTreeMap<&'a str, (Held, Met)>,
    users: BTreeMap<(&'a str, &'a str), (UserHeld, Met)>,
    never: BTreeMap<&'a str, Met>,
    priority: BTreeMap<&'a str, Met>,
    no_image: BTreeMap<&'a str, Met>,
}

impl View<'_> {
    /// What `next` would change, and who would be worse off.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn config_plan(&self, next: &ClusterConfig) -> Result<ConfigPlanView, ConfigError> {
        let before = self.cluster_config();
        let version = self.config().version;
        self.check_config(version, next)?;
        let changes = changes(&before, next);
        let hurt = if changes.is_empty() { Vec::new() } else { self.hurt(&before, next) };
        Ok(ConfigPlanView { version, changes, hurt })
    }

    fn hurt(&self, before: &ClusterConfig, next: &ClusterConfig) -> Vec<HurtView> {
        let mut tally = self.tally(before, next);
        let mut hurt = Vec::new();
        let none = QueueSpec::default();
        for (name, queue) in &next.queues {
            let old = before.queues.get(name).unwrap_or(&none);
            if queue.guaranteed_gpus < old.guaranteed_gpus {
                let (from, to) = (old.guaranteed_gpus, queue.guaranteed_gpus);
                let detail = format!("its guarantee falls from {from} to {to} GPUs");
                hurt.push(Met::default().hurt(name, None, "guarantee", detail));
            }
            if let Some((held, met)) = tally.queues.remove(name.as_str())
                && let Some(max) = queue.gpus_max().filter(|max| held.gpus() > *max)
            {
                let (held, over) = (held.gpus(), held.gpus() - max);
                let detail = format!(
                    "it holds {held} GPUs, its limit is {max}: nothing new starts before {over} are free"
                );
                hurt.push(met.hurt(name, None, "limit", detail));
            }
            hurt.extend(users_over(name, queue, &mut tally));
            if let Some(met) = tally.never.remove(name.as_str()) {
                let detail = "they ask for more GPUs than its bounds allow, and never start".into();
                hurt.push(met.hurt(name, None, "never", detail));
            }
            if let Some(met) = tally.priority.remove(name.as_str()) {
                let max = queue.priority_max.unwrap_or(i32::MAX);
                let detail =
                    format!("they keep a priority above {max}, which new ones may not have");
                hurt.push(met.hurt(name, None, "priority", detail));
            }
            if let Some(met) = tally.no_image.remove(name.as_str()) {
                let detail = "they name no image, it runs containers alone, and they never start";
                hurt.push(met.hurt(name, None, "isolation", detail.into()));
            }
            hurt.extend(self.budget_over(name, queue));
        }
        for name in before.queues.keys().filter(|name| !next.queues.contains_key(*name)) {
            let guaranteed = before.queues[name].guaranteed_gpus;
            if guaranteed > 0 {
                let detail = format!("it goes, with its guarantee of {guaranteed} GPUs");
                hurt.push(Met::default().hurt(name, None, "guarantee", detail));
            }
        }
        hurt
    }

    fn budget_over(&self, name: &str, queue: &QueueSpec) -> Option<HurtView> {
        let now = self.now();
        let known = self.queues().get(name)?;
        let usage = known.usage_at(now, self.config().half_life);
        let same = usage.period == queue.period(now);
        if !same
            || usage.standing(queue) != Told::Spent
            || usage.standing(&known.spec) == Told::Spent
        {
            return None;
        }
        let hours = usage.spent / domain::queue::GPU_HOUR_MS;
        let budget = queue.budget_gpu_hours.unwrap_or(0);
        let detail = format!("{hours} of its {budget} GPU-hours are used: nothing new starts");
        Some(Met::default().hurt(name, None, "budget", detail))
    }

    fn tally<'a>(&'a self, before: &ClusterConfig, next: &'a ClusterConfig) -> Tally<'a> {
        let mut tally = Tally::default();
        for lease in self.all_leases() {
            let Some(job) = self.live_job(lease.element.job) else { continue };
            let gang = job.brief.gang();
            for name in next.path(&job.brief.queue) {
                let (held, met) = tally.queues.entry(name).or_default();
                *held = held.plus(gang);
                met.add(lease.element.job);
            }
            let user = (&*job.brief.queue, &*job.brief.user);
            let (has, met) = tally.users.entry(user).or_default();
            has.running += 1;
            has.gpus += gang.gpus();
            met.add(lease.element.job);
        }
        for (id, job) in self.all_live_jobs() {
            tally.waiting(before, next, id, job);
        }
        tally
    }
}

impl<'a> Tally<'a> {
    /// A job that would now be met by a bound that did not meet it before.
    fn waiting(
        &mut self,
        before: &ClusterConfig,
        next: &'a ClusterConfig,
        id: JobId,
        job: &'a Job,
    ) {
        let name: &str = &job.brief.queue;
        let gpus = job.brief.gang().gpus();
        let waits = job.progress.waiting(job.brief.elements()) > 0;
        if waits && never(next, name, gpus) && !never(before, name, gpus) {
            self.never.entry(name).or_default().add(id);
        }
        let boxed = |config: &ClusterConfig| config.isolation(name) == Isolation::Container;
        let bare = job.brief.confinement.isolation < Isolation::Container;
        if waits && bare && boxed(next) && !boxed(before) {
            self.no_image.entry(name).or_default().add(id);
        }
        let above = |config: &ClusterConfig| {
            let max = config.queues.get(name).and_then(|queue| queue.priority_max);
            max.is_some_and(|max| job.brief.priority > max)
        };
        if above(next) && !above(before) {
            self.priority.entry(name).or_default().add(id);
        }
    }
}

/// Whether a gang of `gpus` never starts in a queue.
fn never(config: &ClusterConfig, name: &str, gpus: u64) -> bool {
    let user = config.queues.get(name).and_then(|queue| queue.user_gpus_max);
    let line = config.path(name).filter_map(|name| config.queues.get(name)?.gpus_max());
    gpus > 0 && line.chain(user).any(|max| gpus > max)
}

fn users_over(name: &str, queue: &QueueSpec, tally: &mut Tally<'_>) -> Vec<HurtView> {
    let mut hurt = Vec::new();
    for ((at, user), (has, met)) in &mut tally.users {
        if *at != name {
            continue;
        }
        let detail = match (queue.user_gpus_max, queue.user_running_max) {
            (Some(max), _) if has.gpus > max => {
                format!("holds {} GPUs, a user's limit is {max}: nothing new starts", has.gpus)
            }
            (_, Some(max)) if has.running > max => {
                format!("has {} running, a user's limit is {max}: nothing new starts", has.running)
            }
            (Some(_) | None, Some(_) | None) => continue,
        };
        hurt.push(std::mem::take(met).hurt(name, Some(user), "user_limit", detail));
    }
    hurt
}
