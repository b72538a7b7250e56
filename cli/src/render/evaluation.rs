//! What a sealed job measured of a version.

use crate::{output::Style, quantity::show_time};
use domain::{
    LogIndex,
    evaluation::{Evaluation, EvaluationView},
    model::ModelRef,
};
use serde::Serialize;

/// The document of `assay model evaluate --json`.
#[derive(Debug, Serialize)]
pub struct Recorded {
    /// The version.
    pub model: ModelRef,
    /// What was measured, and what it rests on.
    pub evaluation: Evaluation,
    /// The entry that records it.
    pub log_index: LogIndex,
}

fn metrics(evaluation: &Evaluation) -> String {
    let all = evaluation.metrics.iter();
    all.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// An evaluation in one line of its version.
#[must_use]
pub fn line(view: &EvaluationView) -> String {
    let Evaluation { artifact, job, method, .. } = &view.evaluation;
    let metrics = metrics(&view.evaluation);
    let void = view.void.as_ref().map(|why| format!(", VOID: {why}")).unwrap_or_default();
    format!("{artifact} by {job}, method {}: {metrics}{void}", method.short())
}

/// What was recorded, as text.
#[must_use]
pub fn recorded(style: Style, recorded: &Recorded) -> String {
    let Recorded { model, evaluation, log_index } = recorded;
    let head = style.strong(&model.to_string());
    let mut out = format!("{head} is evaluated by {} (log {log_index})\n", evaluation.artifact);
    let data = evaluation.datasets.iter().map(|(name, tree)| format!("{name} {tree}"));
    let who = &evaluation.by;
    let when = show_time(evaluation.since);
    for (name, value) in [
        ("metrics", metrics(evaluation)),
        ("sealed", format!("{} made by {}", evaluation.artifact, evaluation.job)),
        ("manifest", format!("{} signature {}", evaluation.manifest, evaluation.signature)),
        ("file", evaluation.file.to_string()),
        ("method", evaluation.method.to_string()),
        ("data", data.collect::<Vec<_>>().join(", ")),
        ("recorded", format!("{when} by {who} (audit event {})", evaluation.audit_seq)),
    ] {
        if !value.is_empty() {
            out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<12}"))));
        }
    }
    let next = format!("next: assay promotion request {model} --to staging --reason TEXT\n");
    out + &style.faint(&next)
}
