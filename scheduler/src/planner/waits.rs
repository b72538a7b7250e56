//! A hold, other jobs, and a pause after a failure, as reasons to wait.

use crate::state::{sched::Job, view::View};
use domain::{Millis, after::After, view::ReasonView};

/// Why nothing of a job is in the order, apart from the cluster.
#[must_use]
pub fn reasons(view: &View<'_>, id: domain::JobId, job: &Job, now: Millis) -> Vec<ReasonView> {
    let mut reasons = Vec::new();
    if job.progress.held {
        let detail = "a user keeps it from starting".to_owned();
        reasons.push(reason("held", detail, format!("let it go on: `assay release {id}`")));
    }
    if job.brief.lacks_image() {
        let queue = &job.brief.queue;
        let detail = format!("queue `{queue}` runs containers alone, and it names no image");
        let remedy = "submit it with `image`, or to another queue".to_owned();
        let never = ReasonView { never: true, ..reason("isolation", detail, remedy) };
        reasons.push(never);
    }
    let pending = job.brief.after().iter().filter(|after| job.pending.contains(&after.job));
    reasons.extend(pending.map(|after| other(view, *after)));
    if let Some((until, position)) = job.due.first()
        && job.requeued.is_empty()
        && job.progress.fresh(job.brief.elements()) == 0
    {
        let row = job.elements.get(position);
        let (own, nodes) = row.map_or((0, 0), |row| (row.faults, row.node_faults));
        let seconds = until.minus(now).0.div_ceil(1_000);
        let ended = match (own, nodes) {
            (own, 0) => format!("it failed {own} times"),
            (0, nodes) => format!("{nodes} attempts ended by faults of nodes"),
            (own, nodes) => {
                format!("it failed {own} times, and {nodes} attempts ended by faults of nodes")
            }
        };
        let detail = format!("{ended}; it pauses before it is tried again");
        reasons.push(reason("pause", detail, format!("wait {seconds} s")));
    }
    reasons
}

fn other(view: &View<'_>, after: After) -> ReasonView {
    let name = view.job_name(after.job).unwrap_or_default();
    let state = view.live_job(after.job);
    let state = state.map_or("over", |job| job.progress.word(job.brief.elements()));
    let detail =
        format!("it waits for {} `{name}`, which is {state}, {}", after.job, after.words());
    reason("after", detail, format!("wait for it, or see why: `assay why {}`", after.job))
}

fn reason(kind: &str, detail: String, remedy: String) -> ReasonView {
    ReasonView { kind: kind.to_owned(), detail, remedy, never: false }
}
