//! What is printed: JSON with a stable form, or a table for people.

use super::time::metric::Metrics;
use serde::Serialize;
use std::fmt::Write;

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
        let mut text = format!(
            "{:<12} {:>14} {:>14} {:>14} {:>14} {:>8}\n",
            "policy", "jct avg s", "jct p99 s", "makespan s", "wait p99 s", "used %"
        );
        for row in &self.rows {
            let Some(time) = &row.time else { continue };
            let (name, used) = (&row.policy, time.utilisation_pct);
            let (avg, p99, span) = (time.jct_avg_s, time.jct_p99_s, time.makespan_s);
            let wait = time.wait_p99_s;
            let _ = writeln!(
                text,
                "{name:<12} {avg:>14.1} {p99:>14.1} {span:>14.1} {wait:>14.1} {used:>8.2}"
            );
        }
        text
    }
}
