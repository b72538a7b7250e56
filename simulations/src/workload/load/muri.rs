//! Muri's traces: raw, normalised, or of the Tiresias simulator that Muri grew from.

use super::{GPUS_MAX, OVERHEAD_S, table};
use crate::workload::{
    error::WorkloadError,
    file::{Row, Table},
    job::{Job, Trace},
};
use std::{collections::BTreeMap, path::Path, sync::LazyLock};

/// Seconds to start, by GPU count and model.
static OVERHEADS: LazyLock<BTreeMap<(u32, String), f64>> = LazyLock::new(|| {
    let text = include_str!("../../../data/muri_overheads.csv");
    let rows = text.lines().skip(1).filter_map(|line| {
        let mut cells = line.split(',');
        let gpus = cells.next()?.parse().ok()?;
        let model = cells.next()?.to_owned();
        Some(((gpus, model), cells.next()?.parse().ok()?))
    });
    rows.collect()
});

/// The published simulator slows each iteration by this factor.
const ITERATION_FACTOR: f64 = 1.015;

/// Reads a trace; the columns tell which kind it is.
pub fn load(path: &Path) -> Result<Trace, WorkloadError> {
    let table = Table::open(path)?;
    if table.has("service_s") {
        return table::from(&table, |row, gpus| overhead(row.text("model"), gpus));
    }
    table.need(&["job_id", "num_gpu", "submit_time"])?;
    let raw = table.has("iteration_time");
    table.need(if raw { &["iterations"] } else { &["duration"] })?;
    let mut jobs = Vec::new();
    let mut skipped = 0;
    for row in table.rows() {
        // Within GPUS_MAX.
        let gpus = row.count("num_gpu", GPUS_MAX)? as u32;
        let (submit_s, service_s) = times(&row, raw)?;
        if gpus == 0 || service_s == 0.0 {
            skipped += 1;
            continue;
        }
        jobs.push(Job {
            id: row.text("job_id").to_owned(),
            submit_s,
            gpus,
            service_s,
            asked_s: None,
            overhead_s: overhead(row.text("model_name"), gpus),
            tenant: row.text("tenant").to_owned(),
        });
    }
    Ok(Trace::new(jobs, skipped))
}

/// Raw traces count in milliseconds, those of Tiresias in seconds.
fn times(row: &Row<'_>, raw: bool) -> Result<(f64, f64), WorkloadError> {
    if !raw {
        return Ok((row.number("submit_time")?, row.number("duration")?));
    }
    let iteration_s = row.number("iteration_time")? * ITERATION_FACTOR / 1_000.0;
    Ok((row.number("submit_time")? / 1_000.0, row.number("iterations")? * iteration_s))
}

fn overhead(model: &str, gpus: u32) -> f64 {
    OVERHEADS.get(&(gpus, model.to_owned())).copied().unwrap_or(OVERHEAD_S)
}
