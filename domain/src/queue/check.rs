//! Which trees of queues are possible.

use super::{ClusterConfig, DEFAULT, QueueSpec};
use crate::{job::Outputs, limit, unit::Millis};
use borsh::{BorshDeserialize, BorshSerialize};

/// A configuration that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, thiserror::Error)]
pub enum ConfigError {
    /// Someone else has changed the configuration meanwhile.
    #[error(
        "the configuration is at version {found}, the plan was made on {expected}; \
         look at it again: `assay plan FILE`"
    )]
    Moved {
        /// The version that the caller saw.
        expected: u64,
        /// The version now.
        found: u64,
    },
    /// A parent that is not there.
    #[error("queue `{queue}`: its parent `{parent}` is not in the file; add `[queues.{parent}]`")]
    UnknownParent {
        /// The queue.
        queue: String,
        /// What it names.
        parent: String,
    },
    /// A queue that is a part of itself.
    #[error("queue `{queue}` is a part of itself; give one of its line no `parent`")]
    Cycle {
        /// The queue.
        queue: String,
    },
    /// A line of queues that is too long.
    #[error("queue `{queue}` is {depth} levels deep, {max} are the most; hang it higher")]
    Depth {
        /// The queue.
        queue: String,
        /// Its level.
        depth: u64,
        /// The bound.
        max: u64,
    },
    /// Children that are promised more than there is.
    #[error(
        "queue `{parent}` is guaranteed {has} GPUs, its parts together {sum}; \
         raise its `guaranteed_gpus` to {sum} or lower theirs"
    )]
    Guarantee {
        /// The parent.
        parent: String,
        /// Its guarantee.
        has: u64,
        /// Its parts' guarantees together.
        sum: u64,
    },
    /// A field out of its range.
    #[error("{}{field} {fault}; {remedy}", of_queue(queue))]
    Field {
        /// The queue; empty for the cluster's own fields.
        queue: String,
        /// The field.
        field: String,
        /// What is wrong.
        fault: String,
        /// What to do.
        remedy: String,
    },
    /// A queue that jobs are in.
    #[error(
        "queue `{queue}` has {jobs} jobs that have not ended and cannot {what}; wait for them, \
         or cancel them: `assay jobs --queue {queue}`"
    )]
    Jobs {
        /// The queue.
        queue: String,
        /// Jobs in it.
        jobs: u64,
        /// What it cannot do.
        what: String,
    },
    /// Too many queues.
    #[error("{count} queues, {max} are the most; merge some")]
    TooMany {
        /// As many as there are.
        count: u64,
        /// The bound.
        max: u64,
    },
}

/// How the fault of a field begins; the cluster's own are in no queue.
fn of_queue(queue: &str) -> String {
    if queue.is_empty() { String::new() } else { format!("queue `{queue}`: ") }
}

pub(super) fn field(queue: &str, field: &str, fault: String, remedy: &str) -> ConfigError {
    ConfigError::Field { queue: queue.into(), field: field.into(), fault, remedy: remedy.into() }
}

impl ClusterConfig {
    /// Checks every rule that needs no cluster.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        let count = self.queues.len();
        if count > limit::QUEUES_MAX {
            return Err(ConfigError::TooMany {
                count: count as u64,
                max: limit::QUEUES_MAX as u64,
            });
        }
        if self.half_life > limit::HALF_LIFE_MAX {
            let fault = format!("is {}", self.half_life);
            return Err(field("", "half_life", fault, "give at most 3650 days"));
        }
        for (name, queue) in &self.queues {
            check_name(name)?;
            self.check_place(name, queue)?;
            check_numbers(name, queue)?;
        }
        self.check_acceptance()?;
        self.check_classes()?;
        self.check_orders()?;
        self.check_guarantees()
    }

    fn check_acceptance(&self) -> Result<(), ConfigError> {
        let Some(job) = &self.acceptance.job else { return Ok(()) };
        let fault = |fault: String, remedy| Err(field("", "acceptance.job", fault, remedy));
        if let Err(faults) = job.check() {
            return fault(format!("cannot run: {}", faults[0]), "correct the job file");
        }
        if (job.tasks, job.resources.gpus) != (1, 1) || job.array.is_some() {
            let why = format!("asks for {} tasks of {} GPUs", job.tasks, job.resources.gpus);
            return fault(why, "a burn-in is one task on one GPU, and no array");
        }
        if !job.further().is_default() {
            let why = "asks for a part of a GPU, `gpu_memory`, `hardware_class`, `retry.max` or \
                       `estimate`"
                .to_owned();
            return fault(why, "leave them out: each class of hardware is checked for itself");
        }
        if job.time_limit.is_none() || job.outputs == Outputs::None {
            let why = "has no `time_limit`, or no output".to_owned();
            return fault(why, "set `time_limit`, and write what is compared to ASSAY_OUTPUT_DIR");
        }
        if self.acceptance.references.len() > limit::CHECK_REFERENCES_MAX {
            let why = format!("has {} references", self.acceptance.references.len());
            return fault(why, "name at most 1000 classes");
        }
        Ok(())
    }

    fn check_place(&self, name: &str, queue: &QueueSpec) -> Result<(), ConfigError> {
        if let Some(parent) = &queue.parent {
            if parent == DEFAULT {
                let fault = format!("is `{DEFAULT}`, in which jobs wait that name no queue");
                return Err(field(name, "parent", fault, "make another queue the parent"));
            }
            if !self.queues.contains_key(parent) {
                let (queue, parent) = (name.to_owned(), parent.clone());
                return Err(ConfigError::UnknownParent { queue, parent });
            }
        }
        let depth = self.path(name).count();
        if self.path(name).skip(1).any(|above| above == name) {
            return Err(ConfigError::Cycle { queue: name.into() });
        }
        if depth > limit::QUEUE_DEPTH_MAX {
            return Err(ConfigError::Depth {
                queue: name.into(),
                depth: depth as u64,
                max: limit::QUEUE_DEPTH_MAX as u64,
            });
        }
        Ok(())
    }

    fn check_guarantees(&self) -> Result<(), ConfigError> {
        let mut sums = std::collections::BTreeMap::<&str, u64>::new();
        for queue in self.queues.values() {
            if let Some(parent) = &queue.parent {
                let sum = sums.entry(parent).or_default();
                *sum = sum.saturating_add(queue.guaranteed_gpus);
            }
        }
        for (parent, sum) in sums {
            let has = self.queues.get(parent).map_or(0, |queue| queue.guaranteed_gpus);
            if sum > has {
                return Err(ConfigError::Guarantee { parent: parent.into(), has, sum });
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), ConfigError> {
    if name.len() > limit::QUEUE_NAME_MAX || !is_word(name) {
        let remedy = "use 1 to 64 letters, digits, `.`, `_` and `-`";
        return Err(field(name, "name", "is none".into(), remedy));
    }
    Ok(())
}

/// Whether a text is one word of a name.
pub(super) fn is_word(text: &str) -> bool {
    let of_word = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    !text.is_empty() && text.bytes().all(of_word)
}

fn check_numbers(name: &str, queue: &QueueSpec) -> Result<(), ConfigError> {
    if queue.weight == 0 || queue.weight > limit::QUEUE_WEIGHT_MAX {
        let fault = format!("is {}", queue.weight);
        return Err(field(name, "weight", fault, "give a whole number from 1 to 1000000"));
    }
    if queue.verify.is_some_and(|verify| !verify.is_valid()) {
        let fault = "is more than all".to_owned();
        return Err(field(name, "verify", fault, "give `none`, or a part such as `segment:5%`"));
    }
    if queue.budget_period.is_some_and(|period| period < Millis(60_000)) {
        let fault = "is shorter than a minute".to_owned();
        return Err(field(name, "budget_period", fault, "give a duration such as \"30d\""));
    }
    if queue.budget_period.is_some() && queue.budget_gpu_hours.is_none() {
        let fault = "stands without a budget".to_owned();
        return Err(field(name, "budget_period", fault, "add `budget_gpu_hours`, or remove it"));
    }
    Ok(())
}
