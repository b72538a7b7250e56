//! The list of jobs.

use super::state;
use crate::{
    output::{Style, table::table},
    quantity::show_time,
};
use domain::view::{ElementCounts, JobLine};
use serde::Serialize;

/// The document of `assay jobs --json`.
#[derive(Debug, Serialize)]
pub struct Jobs {
    /// The jobs, newest first.
    pub jobs: Vec<JobLine>,
    /// The log index that the list shows, the oldest where it was read in several pages.
    pub log_index: u64,
}

const HEADING: [&str; 8] =
    ["JOB", "STATE", "NAME", "USER", "QUEUE", "GPUS", "ELEMENTS", "SUBMITTED"];

/// The list as text.
#[must_use]
pub fn text(style: Style, jobs: &Jobs) -> String {
    if jobs.jobs.is_empty() && style.table {
        return "no jobs; submit one: assay submit JOB.toml\n".into();
    }
    let rows: Vec<_> = jobs.jobs.iter().map(|job| row(style, job)).collect();
    table(style, &HEADING, &rows)
}

fn row(style: Style, job: &JobLine) -> Vec<String> {
    vec![
        job.id.to_string(),
        state(style, &job.state),
        job.name.clone(),
        job.user.clone(),
        job.queue.clone(),
        job.gpus.to_string(),
        elements(&job.elements),
        show_time(job.submitted),
    ]
}

/// How far an array is, `3/8 done, 1 failed`; `-` for a job that is none.
#[must_use]
pub fn elements(counts: &ElementCounts) -> String {
    let all = counts.waiting
        + counts.running
        + counts.sealing
        + counts.completed
        + counts.failed
        + counts.cancelled;
    if all <= 1 {
        return "-".into();
    }
    let mut text = format!("{}/{all} done", counts.completed);
    for (number, word) in [
        (counts.running + counts.sealing, "running"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    ] {
        if number > 0 {
            text.push_str(&format!(", {number} {word}"));
        }
    }
    text
}
