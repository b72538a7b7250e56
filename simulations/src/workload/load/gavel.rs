//! Gavel's traces: steps to make, turned into seconds by the measured speed of a V100.

use super::{GPUS_MAX, OVERHEAD_S};
use crate::workload::{
    error::WorkloadError,
    file::{line_error, number, read},
    job::{Job, Trace},
};
use std::{collections::BTreeMap, path::Path, sync::LazyLock};

/// Steps a second by job type and GPU count.
static STEPS: LazyLock<BTreeMap<String, BTreeMap<u32, f64>>> = LazyLock::new(|| {
    let text = include_str!("../../../data/gavel_v100_steps.csv");
    let mut steps: BTreeMap<String, BTreeMap<u32, f64>> = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut cells = line.rsplitn(3, ',');
        let rate = cells.next().and_then(|cell| cell.parse().ok());
        let gpus = cells.next().and_then(|cell| cell.parse().ok());
        if let (Some(rate), Some(gpus), Some(kind)) = (rate, gpus, cells.next()) {
            steps.entry(kind.to_owned()).or_default().insert(gpus, rate);
        }
    }
    steps
});

/// Columns of a line.
const COLUMNS: usize = 7;

/// Reads a trace.
pub fn load(path: &Path) -> Result<Trace, WorkloadError> {
    let mut jobs = Vec::new();
    let mut skipped = 0;
    for (at, line) in read(path)?.lines().enumerate() {
        if line.trim().is_empty() || (at == 0 && line.starts_with("job_type\t")) {
            continue;
        }
        match job(path, at as u64 + 1, line, jobs.len())? {
            Some(job) => jobs.push(job),
            None => skipped += 1,
        }
    }
    Ok(Trace::new(jobs, skipped))
}

fn job(path: &Path, line: u64, text: &str, at: usize) -> Result<Option<Job>, WorkloadError> {
    let fault = |what: String| line_error(path, line, what);
    let cells: Vec<&str> = text.split('\t').map(str::trim).collect();
    let [kind, _, _, _, steps, submit, gpus] = cells.as_slice() else {
        let what = format!(
            "{} cells between tabs, {COLUMNS} needed: job type, command, steps option, data \
             folder, steps, arrival in seconds, GPUs",
            cells.len()
        );
        return Err(fault(what));
    };
    let read = |name: &str, cell: &str| {
        number(cell).ok_or_else(|| fault(format!("{name} is `{cell}`; it must be at least 0")))
    };
    let (steps, submit_s) = (read("steps", steps)?, read("arrival", submit)?);
    let count = read("GPUs", gpus)?;
    if count.fract() != 0.0 || count > GPUS_MAX as f64 {
        return Err(fault(format!("GPUs is `{gpus}`; it must be a whole number")));
    }
    // Whole and within GPUS_MAX.
    let gpus = count as u32;
    if gpus == 0 || steps == 0.0 {
        return Ok(None);
    }
    let Some(rate) = rate(kind, gpus) else {
        return Err(fault(format!("job type `{kind}` has no measured speed on a V100")));
    };
    Ok(Some(Job {
        id: at.to_string(),
        submit_s,
        gpus,
        service_s: steps / rate,
        asked_s: None,
        overhead_s: OVERHEAD_S,
        tenant: String::new(),
    }))
}

/// Speed on `gpus`. Counts that were not measured grow or shrink in proportion to the nearest
/// smaller one, or else to the smallest.
fn rate(kind: &str, gpus: u32) -> Option<f64> {
    let measured = STEPS.get(kind)?;
    let below = measured.range(..=gpus).next_back();
    let (count, rate) = below.or_else(|| measured.first_key_value())?;
    Some(rate * f64::from(gpus) / f64::from(*count))
}
