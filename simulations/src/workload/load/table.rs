//! Tables of `job_id,submit_s,gpus,service_s[,tenant][,asked_s]`.

use super::{GPUS_MAX, OVERHEAD_S};
use crate::workload::{
    error::WorkloadError,
    file::{Row, Table},
    job::{Job, Trace},
};
use std::path::Path;

/// Reads a table.
pub fn load(path: &Path) -> Result<Trace, WorkloadError> {
    from(&Table::open(path)?, |_, _| OVERHEAD_S)
}

/// Jobs of a table, with the overhead of each row.
pub fn from(
    table: &Table,
    overhead: impl Fn(&Row<'_>, u32) -> f64,
) -> Result<Trace, WorkloadError> {
    table.need(&["job_id", "submit_s", "gpus", "service_s"])?;
    let mut jobs = Vec::new();
    let mut skipped = 0;
    for row in table.rows() {
        // Within GPUS_MAX.
        let gpus = row.count("gpus", GPUS_MAX)? as u32;
        let (submit_s, service_s) = (row.number("submit_s")?, row.number("service_s")?);
        if gpus == 0 || service_s == 0.0 {
            skipped += 1;
            continue;
        }
        jobs.push(Job {
            id: row.text("job_id").to_owned(),
            submit_s,
            gpus,
            service_s,
            asked_s: match row.text("asked_s") {
                "" => None,
                _ => Some(row.number("asked_s")?),
            },
            overhead_s: overhead(&row, gpus),
            tenant: row.text("tenant").to_owned(),
        });
    }
    Ok(Trace::new(jobs, skipped))
}
