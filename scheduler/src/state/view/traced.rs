//! What jobs took, as rows of a workload.

use super::{View, wanted::checkpoints};
use crate::state::{
    key,
    row::{AttemptRow, ElementRow, Submitted},
};
use domain::{
    ElementId, JobId, LeaseId, Millis,
    gpu_time::Spent,
    job::ElementState,
    port::RowRead,
    scratch,
    trace::{TraceRow, TraceView},
};
use std::collections::BTreeSet;

/// Jobs that are looked at for one page.
const JOBS_MAX: usize = 10_000;
/// Attempts of one element that are looked at.
const ATTEMPTS_MAX: usize = 1_000;

/// Which elements are told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceAsked {
    /// Those after this one.
    pub after: Option<ElementId>,
    /// Those submitted from here on.
    pub from: Millis,
    /// And before this, if anything is.
    pub until: Option<Millis>,
    /// Only this queue and its parts, if any.
    pub queue: Option<String>,
    /// Rows of a page.
    pub limit: usize,
}

impl View<'_> {
    /// A page of what ran and has ended. Runs of checks are no user's work.
    #[must_use]
    pub fn trace(&self, rows: &impl RowRead, asked: &TraceAsked) -> TraceView {
        let mut page =
            TraceView { rows: Vec::new(), unended: 0, next: None, log_index: self.applied() };
        let first = asked.after.map_or(JobId(1), |after| after.job);
        let newest = self.newest_job();
        for id in (first.0..=newest.0).take(JOBS_MAX).map(JobId) {
            let Some((submitted, progress)) = self.job_rows(rows, id) else { continue };
            let Some(from) = self.from(asked, id, &submitted) else { continue };
            if page.rows.len() >= asked.limit {
                page.next = Some(past(JobId(id.0 - 1)));
                return page;
            }
            if from == 0 {
                let counts = progress.counts(submitted.spec.elements());
                page.unended += u64::from(counts.waiting + counts.running + counts.sealing);
            }
            page.next = elements(rows, (id, &submitted, from), asked.limit, &mut page.rows);
            if page.next.is_some() {
                return page;
            }
        }
        let last = JobId(first.0.saturating_add(JOBS_MAX as u64 - 1));
        page.next = (last < newest).then(|| past(last));
        page
    }

    /// The first of a job's elements that is told of; none if none is.
    fn from(&self, asked: &TraceAsked, id: JobId, submitted: &Submitted) -> Option<u32> {
        let in_time =
            submitted.time >= asked.from && asked.until.is_none_or(|until| submitted.time < until);
        let spec = &submitted.spec;
        let in_queue =
            || asked.queue.as_ref().is_none_or(|name| self.is_part_of(&spec.queue, name));
        let from = match asked.after.filter(|after| after.job == id) {
            None => 0,
            Some(after) => after.index?.checked_add(1)?,
        };
        (in_time && spec.check.is_none() && in_queue()).then_some(from)
    }
}

/// After all elements of a job.
fn past(job: JobId) -> ElementId {
    ElementId { job, index: Some(u32::MAX) }
}

/// Adds a job's elements; the last one that was looked at, if the page is full before the last.
fn elements(
    rows: &impl RowRead,
    (id, submitted, from): (JobId, &Submitted, u32),
    limit: usize,
    page: &mut Vec<TraceRow>,
) -> Option<ElementId> {
    let left = limit.saturating_sub(page.len());
    let found = rows.range(&key::element(id, from), &key::elements(id).1, left + 1);
    let mut last = None;
    for (key, value) in found.iter().take(left) {
        let tail = key.last_chunk().expect("element keys end with the position");
        let position = u32::from_be_bytes(*tail);
        let row: ElementRow = scratch::decode(key, value);
        last = Some(ElementId { job: id, index: Some(position) });
        page.extend(traced(rows, (id, position), submitted, &row));
    }
    last.filter(|_| found.len() > left)
}

fn is_over(state: &ElementState) -> bool {
    !matches!(
        state,
        ElementState::Waiting | ElementState::Running { .. } | ElementState::Sealing { .. }
    )
}

/// One element; none if it has not ended, or never ran.
fn traced(
    rows: &impl RowRead,
    (job, position): (JobId, u32),
    submitted: &Submitted,
    row: &ElementRow,
) -> Option<TraceRow> {
    if !is_over(&row.state) {
        return None;
    }
    let (from, to) = key::attempts(job, position);
    let page = rows.range(&from, &to, ATTEMPTS_MAX);
    let attempts: Vec<AttemptRow> =
        page.iter().map(|(key, value)| scratch::decode(key, value)).collect();
    let saved: BTreeSet<LeaseId> =
        checkpoints(rows, job, position).into_iter().map(|it| it.lease).collect();
    let counts = |attempt: &AttemptRow| {
        let spent = attempt.cause.as_ref().map(Spent::after);
        let taken = matches!(spent, Some(Spent::LostToPreemption | Spent::LostToFaults));
        !taken || saved.contains(&attempt.lease)
    };
    let held = |attempt: &AttemptRow| attempt.ended.map_or(0, |end| end.minus(attempt.granted).0);
    let spec = &submitted.spec;
    Some(TraceRow {
        element: spec.element(job, position),
        user: spec.user.clone(),
        queue: spec.queue.clone(),
        gpus: u64::from(spec.tasks) * u64::from(spec.resources.gpus),
        submitted_ms: submitted.time,
        begun_ms: attempts.first()?.granted,
        ended_ms: attempts.iter().filter_map(|attempt| attempt.ended).max()?,
        service_ms: Millis(attempts.iter().filter(|it| counts(it)).map(held).sum()),
        held_ms: Millis(attempts.iter().map(held).sum()),
        time_limit_ms: spec.time_limit,
    })
}
