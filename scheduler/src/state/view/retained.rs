//! What names files: for collections, which may take none that something names.

use super::View;
use crate::state::{
    inputs::given,
    key,
    row::{PartRow, Submitted},
};
use domain::{ArtifactId, Digest, JobId, Millis, port::RowRead, retain::GcPage, scratch};
use registry::ledger::{dataset, retain, view as ledger};

/// Jobs, results or data sets that are looked at together.
const PAGE: usize = 256;

/// A place in the order in which everything that names trees is looked through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Results after this one.
    Artifacts(ArtifactId),
    /// Jobs after this one.
    Jobs(JobId),
    /// Data sets after this key.
    Datasets(Option<Vec<u8>>),
    /// What is on its way: open tickets, parts of submits, and the burn-in that is yet to come.
    Open,
}

impl View<'_> {
    /// A page of what a collection now would do with the results after one. Where nothing happens,
    /// the log's clock stands still until the collection itself brings it on.
    #[must_use]
    pub fn gc_page(
        &self,
        rows: &impl RowRead,
        (after, max): (ArtifactId, usize),
        wall: Millis,
    ) -> GcPage {
        let outside = |artifact: &_| self.sched.outside(rows, artifact);
        retain::plan(rows, (after, max), self.now().max(wall), &outside)
    }

    /// Whether the files of a tree went, and nothing that is kept names it.
    #[must_use]
    pub fn is_gone(&self, rows: &impl RowRead, tree: Digest) -> bool {
        retain::is_gone(rows, tree, self.sched.inputs.job_with(tree))
    }

    /// Trees that something names whose files are kept, a page of them, and where it goes on.
    ///
    /// Code and data of every job that was ever submitted are among them, but for those that are
    /// gone.
    #[must_use]
    pub fn named_trees(&self, rows: &impl RowRead, at: Place) -> (Vec<Digest>, Option<Place>) {
        match at {
            Place::Artifacts(after) => {
                let page = ledger::artifacts(rows, after, PAGE);
                let next = page.last().filter(|_| page.len() == PAGE);
                let next =
                    next.map_or(Place::Jobs(JobId(0)), |last| Place::Artifacts(last.artifact.id));
                let has = page.iter().filter(|found| found.collected.is_none());
                let trees = has.map(|found| found.artifact.ticket.output.tree).collect();
                (trees, Some(next))
            }
            Place::Jobs(after) => {
                let last = JobId(self.sched.meta.jobs.min(after.0 + PAGE as u64));
                let trees = self.trees_of_jobs(rows, after, last);
                let end = last.0 >= self.sched.meta.jobs;
                (trees, Some(if end { Place::Datasets(None) } else { Place::Jobs(last) }))
            }
            Place::Datasets(after) => {
                let page = dataset::trees(rows, after, PAGE);
                let next = page.last().filter(|_| page.len() == PAGE);
                let next = next.map_or(Place::Open, |(key, _)| Place::Datasets(Some(key.clone())));
                (page.into_iter().map(|(_, tree)| tree).collect(), Some(next))
            }
            Place::Open => (self.open_trees(rows), None),
        }
    }

    fn trees_of_jobs(&self, rows: &impl RowRead, after: JobId, last: JobId) -> Vec<Digest> {
        let mut trees = Vec::new();
        for id in after.0 + 1..=last.0 {
            let key = key::job_spec(JobId(id));
            let Some(bytes) = rows.get(&key) else { continue };
            let submitted: Submitted = scratch::decode(&key, &bytes);
            trees.extend(given(&submitted.spec).filter(|tree| !self.is_gone(rows, *tree)));
        }
        trees
    }

    fn open_trees(&self, rows: &impl RowRead) -> Vec<Digest> {
        let mut trees: Vec<_> = self.all_tickets().map(|ticket| ticket.output.tree).collect();
        trees.extend(self.sched.acceptance.job.iter().flat_map(|job| given(job)));
        for number in self.sched.meta.part_first..self.sched.meta.part_next {
            let key = key::part(number);
            let Some(bytes) = rows.get(&key) else { continue };
            let part: PartRow = scratch::decode(&key, &bytes);
            trees.extend(part.jobs.iter().flat_map(|job| given(&job.spec)));
        }
        trees
    }
}
