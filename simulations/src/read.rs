//! What clients read, and what they are shown.

use crate::record;
use domain::{Digest, JobId, port::RowRead};
use scheduler::state::Cluster;

/// What a read is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadOf {
    /// One job in full.
    Job(JobId),
    /// The newest jobs.
    List,
}

/// What it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadValue {
    /// The digest of the job's document, if there is such a job.
    Job(Option<Digest>),
    /// The jobs with the digests of their lines, newest first.
    List(Vec<(JobId, Digest)>),
}

/// Reads a machine.
#[must_use]
pub fn read(machine: &Cluster, rows: &impl RowRead, of: ReadOf) -> ReadValue {
    match of {
        ReadOf::Job(job) => ReadValue::Job(machine.view().job(rows, job).map(record::job_digest)),
        ReadOf::List => ReadValue::List(record::list(machine, rows)),
    }
}
