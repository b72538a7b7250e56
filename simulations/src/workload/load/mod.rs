//! From files of each format to jobs.

mod gavel;
mod muri;
mod swf;
mod table;

use super::{error::WorkloadError, job::Trace, name::Format};
use std::path::Path;

/// Most GPUs that one job may ask for.
pub const GPUS_MAX: u64 = 1_000_000;
/// Seconds to start a job of which nothing else is known: the published default.
pub const OVERHEAD_S: f64 = 10.0;

/// Reads a trace over time.
///
/// # Errors
/// Names the file and the line of what is wrong.
pub fn load(path: &Path, format: Format) -> Result<Trace, WorkloadError> {
    let trace = match format {
        Format::Muri => muri::load(path)?,
        Format::Philly | Format::Csv => table::load(path)?,
        Format::Gavel => gavel::load(path)?,
        Format::Swf => swf::load(path)?,
        Format::Openb => {
            return Err(WorkloadError::Options(
                "openb lists have no times; this is a fault".into(),
            ));
        }
    };
    if trace.jobs.is_empty() {
        let what = format!("{} rows ask for nothing or never ran", trace.skipped);
        return Err(WorkloadError::Empty { path: path.to_owned(), what });
    }
    Ok(trace)
}

#[cfg(test)]
#[path = "load_test.rs"]
mod load_test;
