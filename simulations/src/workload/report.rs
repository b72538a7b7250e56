//! What is printed: JSON with a stable form, or a table for people.

use super::{name::PolicyName, share::stats::Shares, time::metric::Metrics};
use serde::Serialize;
use std::{fmt::Write, path::Path};

/// Name and version of the JSON's form.
pub const SCHEMA: &str = "assay-sim.workload/1";

/// One policy on one trace.
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "each is named for what it is, with its unit")]
pub struct Row {
    pub policy: String,
    pub trace: String,
    pub jobs_skipped: usize,
    #[serde(flatten)]
    pub time: Option<Metrics>,
    #[serde(flatten)]
    pub share: Option<Shares>,
}

impl Row {
    /// Without figures yet.
    #[must_use]
    pub fn new(policy: PolicyName, trace: &Path) -> Self {
        let trace = trace.display().to_string();
        Self { policy: policy.word(), trace, jobs_skipped: 0, time: None, share: None }
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they were asked for.
    pub rows: Vec<Row>,
}

impl Report {
    /// The stable form.
    #[must_use]
    pub fn json(&self) -> String {
        let report = serde_json::json!({ "schema": SCHEMA, "policies": self.rows });
        serde_json::to_string_pretty(&report).expect("rows are plain numbers and words")
    }

    /// For people.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut trace = "";
        for row in &self.rows {
            if row.trace != trace {
                trace = &row.trace;
                heading(&mut text, row);
            }
            line(&mut text, row);
        }
        text
    }
}

fn heading(text: &mut String, row: &Row) {
    let _ = writeln!(text, "{}", row.trace);
    let _ = match (&row.time, &row.share) {
        (Some(_), _) => writeln!(
            text,
            "{:<12}{:>13}{:>13}{:>13}{:>13}{:>13}{:>8}{:>8}{:>9}{:>9}",
            "policy",
            "jct avg s",
            "jct p99 s",
            "makespan s",
            "wait avg s",
            "wait p99 s",
            "used %",
            "frag %",
            "stopped",
            "unfair"
        ),
        _ => writeln!(
            text,
            "{:<12}{:>14}{:>8}{:>8}{:>10}",
            "policy", "unallocated %", "±", "frag %", "failed"
        ),
    };
}

fn line(text: &mut String, row: &Row) {
    let name = &row.policy;
    if let Some(t) = &row.time {
        let _ = writeln!(
            text,
            "{name:<12}{:>13.1}{:>13.1}{:>13.1}{:>13.1}{:>13.1}{:>8.2}{:>8.2}{:>9}{:>9.2}",
            t.jct_avg_s,
            t.jct_p99_s,
            t.makespan_s,
            t.wait_avg_s,
            t.wait_p99_s,
            t.utilisation_pct,
            t.fragmentation_pct,
            t.preemptions,
            t.finish_time_fairness_max
        );
        for size in &t.wait_by_size {
            let (from, to) = (size.gpus_min, size.gpus_max);
            let _ = writeln!(
                text,
                "    {from:>4} to {to:>4} GPUs: {:>6} jobs, wait avg {:>12.1} s, p99 {:>12.1} s",
                size.jobs, size.wait_avg_s, size.wait_p99_s
            );
        }
    }
    if let Some(s) = &row.share {
        let _ = writeln!(
            text,
            "{name:<12}{:>14.3}{:>8.3}{:>8.3}{:>10.1}",
            s.unallocated_gpu_pct, s.unallocated_gpu_pct_sd, s.fragmentation_pct, s.pods_failed_avg
        );
    }
}
