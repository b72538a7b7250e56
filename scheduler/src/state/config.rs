//! Changing the configuration: all of it in one step, or nothing.

use super::{
    command::{Effect, FurtherConfig, Refusal, Reply},
    key,
    order::Learned,
    queue::Queue,
    record::Kind,
    row::ConfigRow,
    sched::Sched,
    step::Step,
    usage::Told,
};
use domain::{
    Digest, Millis, limit,
    port::RowRead,
    queue::{ClusterConfig, ConfigError, Order, Orders, changes},
    version::ClusterVersion,
};
use serde_json::json;
use std::sync::Arc;

/// The version since which there are classes of priority, and orders of queues.
pub(super) const FURTHER: ClusterVersion = ClusterVersion(2);

impl Sched {
    /// The configuration as a whole.
    #[must_use]
    pub fn cluster_config(&self) -> ClusterConfig {
        let queue = |(name, queue): (&Arc<str>, &Queue)| (name.to_string(), queue.spec.clone());
        ClusterConfig {
            half_life: self.config.half_life,
            queues: self.queues.iter().map(queue).collect(),
            acceptance: self.acceptance.clone(),
            priority_classes: self.priority_classes.clone(),
            orders: self.orders(),
        }
    }

    fn orders(&self) -> Orders {
        let learns = |(_, queue): &(&Arc<str>, &Queue)| queue.learned.is_some();
        let shortest = self.queues.iter().filter(learns);
        Orders(shortest.map(|(name, _)| (name.to_string(), Order::Shortest)).collect())
    }

    /// Whether another configuration may take the place of this one.
    ///
    /// # Errors
    /// Why not.
    pub fn check_config(&self, expected: u64, next: &ClusterConfig) -> Result<(), ConfigError> {
        let found = self.config.version;
        if expected != found {
            return Err(ConfigError::Moved { expected, found });
        }
        next.check()?;
        for (name, queue) in &self.queues {
            let what = match next.queues.contains_key(&**name) {
                false => "be removed",
                true if next.is_parent(name) => "have parts",
                true => continue,
            };
            if queue.jobs() > 0 {
                let (queue, jobs, what) = (name.to_string(), queue.jobs(), what.to_owned());
                return Err(ConfigError::Jobs { queue, jobs, what });
            }
        }
        Ok(())
    }

    /// Puts a configuration in the place of the one at version `expected`.
    pub(super) fn apply_config<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        expected: u64,
        next: ClusterConfig,
        why: String,
    ) -> Reply {
        let next = next.whole();
        if why.len() > limit::WHY_MAX {
            return Reply::Refused(Refusal::Limit {
                what: "the reason, in bytes,".into(),
                limit: limit::WHY_MAX as u64,
                remedy: "say it shorter".into(),
            });
        }
        if let Err(fault) = self.check_config(expected, &next) {
            return Reply::Refused(Refusal::Config(fault));
        }
        let before = self.cluster_config();
        let differences = changes(&before, &next);
        if differences.is_empty() {
            return step.done();
        }
        self.config = ConfigRow {
            version: expected + 1,
            half_life: next.half_life,
            at: step.at,
            time: step.now,
            by: actor.to_owned(),
            why,
        };
        self.settle_usage(step.now, before.half_life);
        if self.acceptance != next.acceptance {
            step.rows.put(key::acceptance(), &next.acceptance);
            self.acceptance.clone_from(&next.acceptance);
        }
        if self.priority_classes != next.priority_classes {
            let key = key::priority_classes();
            match next.priority_classes.0.is_empty() {
                true => step.rows.remove(key),
                false => step.rows.put(key, &next.priority_classes),
            }
            self.priority_classes.clone_from(&next.priority_classes);
        }
        self.replace_queues(step, next);
        step.rows.put(key::config(), &self.config);
        let member = json!({
            "changes": differences.len(),
            "changesSha256": Digest::of(
                serde_json::to_string(&differences).unwrap_or_default().as_bytes()
            ).to_string(),
            "logIndex": step.at.to_string(),
            "version": self.config.version.to_string(),
            "why": self.config.why,
        });
        step.events.add(Kind::ConfigApplied, actor, &member);
        step.effect(Effect::Plan);
        step.done()
    }

    /// The same, with what the first version's form has no place for.
    pub(super) fn apply_further<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        change: FurtherConfig,
    ) -> Reply {
        let FurtherConfig { expected, config, classes: priority_classes, orders, why } = change;
        let next = ClusterConfig { priority_classes, orders, ..config };
        self.apply_config(step, actor, expected, next, why)
    }

    /// What was held until now was held by the rules until now.
    fn settle_usage(&mut self, now: Millis, half_life: Millis) {
        for (name, queue) in &mut self.queues {
            queue.usage = queue.usage_at(now, half_life);
            self.touched.insert(name.clone());
        }
    }

    fn replace_queues<R: RowRead>(&mut self, step: &mut Step<'_, R>, next: ClusterConfig) {
        self.queues.retain(|name, _| {
            let stays = next.queues.contains_key(&**name);
            if !stays {
                step.rows.remove(key::queue(name));
                step.rows.remove(key::usage(name));
                step.rows.remove(key::learned(name));
                self.touched.remove(name);
            }
            stays
        });
        for (name, spec) in next.queues {
            step.rows.put(key::queue(&name), &spec);
            let order = next.orders.of(&name);
            let name: Arc<str> = name.into();
            let queue = self.queues.entry(name.clone()).or_default();
            match (order, &queue.learned) {
                (Order::Age, None) | (Order::Shortest, Some(_)) => {}
                (Order::Age, Some(_)) => {
                    queue.learned = None;
                    step.rows.remove(key::learned(&name));
                }
                (Order::Shortest, None) => {
                    let learned = Box::<Learned>::default();
                    step.rows.put(key::learned(&name), &*learned);
                    queue.learned = Some(learned);
                }
            }
            if queue.usage.period != spec.period(step.now) {
                // The budget counts by other periods from here on.
                queue.usage.period = spec.period(step.now);
                (queue.usage.spent, queue.usage.told) = (0, Told::Nothing);
            }
            queue.usage.at = step.now;
            queue.spec = spec;
            queue.usage.told = queue.usage.told.min(queue.usage.standing(&queue.spec));
            self.touched.insert(name);
        }
        self.lay_out_queues();
    }

    /// Takes up what waited for the time.
    pub(super) fn wake<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        until: Millis,
    ) -> Reply {
        step.now = step.now.max(until);
        self.meta.now = step.now;
        self.end_pauses(step);
        self.tell_budgets(step, actor);
        step.effect(Effect::Plan);
        step.done()
    }

    /// When the first pause is over, the first time of a kept checkpoint, or a preemption, a window
    /// or a drain has its next bound.
    #[must_use]
    pub fn next_pause(&self) -> Option<Millis> {
        let pause = self.later.first().map(|(at, _)| *at);
        // The one that is over first, where there are several.
        let others =
            self.next_bound().into_iter().chain(self.next_window()).chain(self.next_drain());
        pause.into_iter().chain(self.kept_until).chain(others).min()
    }

    /// Whether a budget has something to be told of at `now`.
    #[must_use]
    pub fn has_news(&self, now: Millis) -> bool {
        let half_life = self.config.half_life;
        self.queues.values().filter(|queue| queue.spec.budget_gpu_hours.is_some()).any(|queue| {
            let usage = queue.usage_at(now, half_life);
            usage.standing(&queue.spec) > usage.told
        })
    }

    /// Records which budgets run low or are spent.
    pub(super) fn tell_budgets<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str) {
        for (name, queue) in &mut self.queues {
            if queue.spec.budget_gpu_hours.is_none() {
                continue;
            }
            let mut usage = queue.usage_at(step.now, self.config.half_life);
            let standing = usage.standing(&queue.spec);
            if standing <= usage.told {
                continue;
            }
            usage.told = standing;
            queue.usage = usage;
            self.touched.insert(name.clone());
            let kind = match standing {
                Told::Nothing => continue,
                Told::Low => Kind::BudgetLow,
                Told::Spent => Kind::BudgetSpent,
            };
            let member = json!({
                "budgetGpuHours": queue.spec.budget_gpu_hours.unwrap_or(0).to_string(),
                "queue": name.to_string(),
                "usedGpuMs": usage.spent.to_string(),
            });
            step.events.add(kind, actor, &member);
        }
    }
}
