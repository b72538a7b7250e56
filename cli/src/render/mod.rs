//! Documents as people read them: pure functions from a view to text.

pub mod artifact;
pub mod audit;
pub mod cluster;
pub mod dataset;
pub mod drift;
pub mod evaluation;
pub mod gc;
pub mod job;
pub mod jobs;
pub mod keys;
pub mod lineage;
pub mod model;
pub mod node;
pub mod plan;
pub mod promotion;
pub mod queue;
pub mod reservation;
pub mod start;
pub mod top;
pub mod usage;
pub mod whatif;
pub mod why;

use crate::output::Style;
use domain::lease::Member;

/// A job's state in its colour.
#[must_use]
pub fn state(style: Style, word: &str) -> String {
    match word {
        "completed" => style.good(word),
        "failed" => style.bad(word),
        "running" | "sealing" => style.busy(word),
        "cancelled" => style.faint(word),
        _ => word.to_owned(),
    }
}

/// Where a gang runs: `n1[0,1] n2[0]`; a node without GPUs shows `n1`.
#[must_use]
pub fn members(members: &[Member]) -> String {
    let one = |member: &Member| {
        let gpus: Vec<_> =
            member.tasks.iter().flat_map(|task| &task.gpus).map(ToString::to_string).collect();
        match gpus.as_slice() {
            [] => member.node.to_string(),
            gpus => format!("{}[{}]", member.node, gpus.join(",")),
        }
    };
    members.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// `1 file`, `2 files`.
#[must_use]
pub fn count(number: u64, noun: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{end}")
}

/// `{"step":20,"loss":2.1}` as `step 20 loss 2.1`; anything else as it is.
#[must_use]
pub fn show_metrics(text: &str) -> String {
    let Ok(serde_json::Value::Object(map)) = serde_json::from_str(text) else {
        return text.to_owned();
    };
    let step = map.get("step").map(|step| format!("step {step}"));
    let rest = map.iter().filter(|(name, _)| *name != "step");
    let rest = rest.map(|(name, value)| format!("{name} {value}"));
    step.into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod golden_drift_test;
#[cfg(test)]
mod golden_registry_test;
#[cfg(test)]
mod golden_test;
#[cfg(test)]
mod queue_test;
#[cfg(test)]
mod reservation_test;
#[cfg(test)]
pub mod sample;
#[cfg(test)]
pub mod sample_drift;
#[cfg(test)]
pub mod sample_gc;
#[cfg(test)]
pub mod sample_hardware;
#[cfg(test)]
pub mod sample_registry;
#[cfg(test)]
mod top_test;
#[cfg(test)]
mod usage_test;
#[cfg(test)]
mod whatif_test;
