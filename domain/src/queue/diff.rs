//! What one configuration changes about another, field by field.

use super::{ClusterConfig, PriorityClasses, QueueSpec};
use crate::{check::AcceptanceConfig, digest::Digest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// One field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The queue; none for the cluster's own fields.
    pub queue: Option<String>,
    /// The field, as the file names it; `queue` for one that comes or goes as a whole.
    pub field: String,
    /// Its value before; none where it had none.
    pub from: Option<String>,
    /// Its value after.
    pub to: Option<String>,
}

/// All that differs, queue by queue in order of their names.
#[must_use]
pub fn changes(before: &ClusterConfig, after: &ClusterConfig) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.half_life != after.half_life {
        changes.push(Change {
            queue: None,
            field: "half_life_ms".into(),
            from: Some(before.half_life.0.to_string()),
            to: Some(after.half_life.0.to_string()),
        });
    }
    changes.extend(acceptance(&before.acceptance, &after.acceptance));
    changes.extend(classes(&before.priority_classes, &after.priority_classes));
    let names: BTreeSet<&String> = before.queues.keys().chain(after.queues.keys()).collect();
    for name in names {
        let (old, new) = (before.queues.get(name), after.queues.get(name));
        if old.is_some() != new.is_some() {
            let there = |queue: Option<&QueueSpec>| queue.map(|_| "present".to_owned());
            changes.push(change(name, "queue", there(old), there(new)));
        }
        let (old, new) = (old.map(fields), new.map(fields));
        let none = fields(&QueueSpec::default());
        // A queue that goes is said to go, once; one that comes is told in full.
        if let Some(new) = new {
            for (old, new) in old.unwrap_or(none).into_iter().zip(new) {
                if old.1 != new.1 {
                    changes.push(change(name, new.0, old.1, new.1));
                }
            }
            let (old, new) = (before.orders.of(name), after.orders.of(name));
            if old != new {
                changes.push(change(name, "order", Some(old.to_string()), Some(new.to_string())));
            }
        }
    }
    changes
}

/// What differs of how GPUs come out of quarantine. The burn-in is told by its digest.
fn acceptance(before: &AcceptanceConfig, after: &AcceptanceConfig) -> Vec<Change> {
    let job = |config: &AcceptanceConfig| {
        let job = config.job.as_ref();
        job.map(|job| format!("{} {}", job.name, Digest::of_value(&**job).short()))
    };
    let mut all = vec![("acceptance.job".to_owned(), job(before), job(after))];
    let classes: BTreeSet<&String> =
        before.references.keys().chain(after.references.keys()).collect();
    for class in classes {
        let of = |config: &AcceptanceConfig| config.references.get(class).map(Digest::to_string);
        all.push((format!("acceptance.references.{class}"), of(before), of(after)));
    }
    let differs = all.into_iter().filter(|(_, from, to)| from != to);
    differs.map(|(field, from, to)| Change { queue: None, field, from, to }).collect()
}

fn classes(
    PriorityClasses(before): &PriorityClasses,
    PriorityClasses(after): &PriorityClasses,
) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let number = |value: Option<&i32>| value.map(i32::to_string);
    let change = |name: &String| Change {
        queue: None,
        field: format!("priority_classes.{name}"),
        from: number(before.get(name)),
        to: number(after.get(name)),
    };
    differs.map(change).collect()
}

fn change(queue: &str, field: &str, from: Option<String>, to: Option<String>) -> Change {
    Change { queue: Some(queue.to_owned()), field: field.to_owned(), from, to }
}

/// Every field with its value as text.
fn fields(queue: &QueueSpec) -> [(&'static str, Option<String>); 12] {
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    [
        ("parent", queue.parent.clone()),
        ("weight", Some(queue.weight.to_string())),
        ("guaranteed_gpus", Some(queue.guaranteed_gpus.to_string())),
        ("borrow_gpus_max", number(queue.borrow_gpus_max)),
        ("user_gpus_max", number(queue.user_gpus_max)),
        ("user_running_max", number(queue.user_running_max.map(u64::from))),
        ("priority_max", queue.priority_max.map(|value| value.to_string())),
        ("budget_gpu_hours", number(queue.budget_gpu_hours)),
        ("budget_period_ms", number(queue.budget_period.map(|period| period.0))),
        ("isolation", Some(queue.isolation.to_string())),
        ("verify", queue.verify.map(|verify| verify.to_string())),
        ("retain", queue.retain.map(|retain| retain.to_string())),
    ]
}
