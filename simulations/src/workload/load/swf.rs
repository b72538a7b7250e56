//! Standard Workload Format: eighteen numbers a line, `-1` for what is not known.

use super::{GPUS_MAX, OVERHEAD_S};
use crate::workload::{
    error::WorkloadError,
    file::{line_error, read},
    job::{Job, Trace},
};
use std::path::Path;

/// Fields of a line; archives differ in whether the last ones are there.
const FIELDS_MIN: usize = 8;

/// Reads a trace. A job that never ran, or of unknown size, is skipped.
pub fn load(path: &Path) -> Result<Trace, WorkloadError> {
    let mut jobs = Vec::new();
    let mut skipped = 0;
    for (at, line) in read(path)?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        match job(path, at as u64 + 1, line)? {
            Some(job) => jobs.push(job),
            None => skipped += 1,
        }
    }
    Ok(Trace::new(jobs, skipped))
}

fn job(path: &Path, line: u64, text: &str) -> Result<Option<Job>, WorkloadError> {
    let mut fields = Vec::with_capacity(18);
    for word in text.split_whitespace() {
        match word.parse::<f64>() {
            Ok(value) if value.is_finite() => fields.push(value),
            _ => {
                let what = format!("`{word}` is not a number; comments start with `;`");
                return Err(line_error(path, line, what));
            }
        }
    }
    if fields.len() < FIELDS_MIN {
        let what = format!("{} numbers, at least {FIELDS_MIN} of 18 needed", fields.len());
        return Err(line_error(path, line, what));
    }
    let (submit_s, service_s, allocated, requested) = (fields[1], fields[3], fields[4], fields[7]);
    // What was asked for decides; archives that do not record it have what was given.
    let gpus = if requested > 0.0 { requested } else { allocated };
    if gpus > GPUS_MAX as f64 {
        return Err(line_error(path, line, format!("{gpus} processors; {GPUS_MAX} are the most")));
    }
    if gpus < 1.0 || service_s <= 0.0 || submit_s < 0.0 {
        return Ok(None);
    }
    let user = fields.get(11).filter(|user| **user >= 0.0);
    Ok(Some(Job {
        id: format!("{}", fields[0]),
        submit_s,
        // Within GPUS_MAX.
        gpus: gpus as u32,
        service_s,
        asked_s: fields.get(8).copied().filter(|asked| *asked > 0.0),
        overhead_s: OVERHEAD_S,
        tenant: user.map(|user| format!("user{user}")).unwrap_or_default(),
    }))
}
