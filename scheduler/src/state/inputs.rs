//! What the jobs that have not ended were given.
//!
//! An index in memory over their own rows: a submit writes nothing more for it, and a collection
//! need not look through all jobs.

use domain::{Digest, JobId, job::JobSpec};
use std::collections::{BTreeMap, BTreeSet};

/// Trees by job, and jobs by tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inputs {
    trees: BTreeMap<JobId, Box<[Digest]>>,
    jobs: BTreeSet<(Digest, JobId)>,
}

/// Trees that a job is given: its code and its data.
pub(super) fn given(spec: &JobSpec) -> impl Iterator<Item = Digest> + '_ {
    spec.code.iter().chain(spec.datasets.values()).map(|captured| captured.tree)
}

impl Inputs {
    /// Remembers what a job is given for as long as it has not ended: a result may have these
    /// files, or come to have them.
    pub(super) fn note(&mut self, id: JobId, spec: &JobSpec) {
        let trees: Box<[Digest]> = given(spec).collect();
        if !trees.is_empty() {
            self.jobs.extend(trees.iter().map(|tree| (*tree, id)));
            self.trees.insert(id, trees);
        }
    }

    /// The job has ended.
    pub(super) fn forget(&mut self, id: JobId) {
        for tree in self.trees.remove(&id).unwrap_or_default() {
            self.jobs.remove(&(tree, id));
        }
    }

    /// The oldest job that has not ended and was given the files of a tree.
    #[must_use]
    pub fn job_with(&self, tree: Digest) -> Option<JobId> {
        let mut jobs = self.jobs.range((tree, JobId(0))..=(tree, JobId(u64::MAX)));
        jobs.next().map(|(_, job)| *job)
    }
}
