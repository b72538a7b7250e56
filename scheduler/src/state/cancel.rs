//! Cancelling jobs, and elements of arrays.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::{ElementRow, Progress},
    sched::{Job, Sched},
    step::{Step, absent},
};
use domain::{
    ElementId, JobId, LeaseId,
    job::{ElementState, EndCause},
    port::RowRead,
};
use serde_json::json;

/// Elements of one array that may be cancelled one by one before they were ever placed.
const STRUCK_MAX: usize = 10_000;

/// What a cancellation meets.
enum Target {
    /// Every element that has not ended.
    Whole,
    /// An element that was placed at least once.
    Placed(u32),
    /// An element that was never placed.
    Fresh(u32),
}

impl Sched {
    /// Ends a job, or one element of an array.
    pub(super) fn cancel<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        element: ElementId,
    ) -> Reply {
        let id = element.job;
        let Some(job) = self.jobs.get(&id) else {
            return match step.rows.get(&key::job(id)) {
                Some(_) => ended(step, element),
                None => absent(format!("job {id}"), "jobs"),
            };
        };
        let target = match target(step, job, element) {
            Ok(target) => target,
            Err(reply) => return reply,
        };
        step.events.add(Kind::JobCancelled, actor, &json!({ "element": element.to_string() }));
        let running = self.alter(step, id, |job, step| strike_out(step, id, job, &target));
        for lease in running.into_iter().flatten() {
            self.stop_lease(step, lease, EndCause::Cancelled);
        }
        step.effect(Effect::Plan);
        step.done()
    }
}

/// Cancels what waits; returns the leases of what runs.
fn strike_out<R: RowRead>(
    step: &mut Step<'_, R>,
    id: JobId,
    job: &mut Job,
    target: &Target,
) -> Vec<LeaseId> {
    match target {
        Target::Fresh(position) => {
            job.progress.strike(*position);
            let row = ElementRow { state: ElementState::Cancelled, ..ElementRow::default() };
            step.rows.put(key::element(id, *position), &row);
            Vec::new()
        }
        Target::Placed(position) => cancel_placed(step, id, job, *position).into_iter().collect(),
        Target::Whole => {
            let count = job.brief.elements();
            job.progress.cancelled += job.progress.fresh(count);
            job.progress.struck.clear();
            job.progress.next = count;
            let placed: Vec<u32> = job.elements.keys().copied().collect();
            placed.into_iter().filter_map(|at| cancel_placed(step, id, job, at)).collect()
        }
    }
}

fn cancel_placed<R: RowRead>(
    step: &mut Step<'_, R>,
    id: JobId,
    job: &mut Job,
    position: u32,
) -> Option<LeaseId> {
    match &job.elements.get(&position)?.state {
        ElementState::Running { lease } => Some(*lease),
        ElementState::Waiting => {
            job.unqueue(position);
            let mut row = job.elements.remove(&position)?;
            row.state = ElementState::Cancelled;
            job.progress.cancelled += 1;
            step.rows.put(key::element(id, position), &row);
            None
        }
        ElementState::Sealing { .. }
        | ElementState::Completed { .. }
        | ElementState::Failed { .. }
        | ElementState::Cancelled => None,
    }
}

fn target<R: RowRead>(step: &Step<'_, R>, job: &Job, element: ElementId) -> Result<Target, Reply> {
    let sealing = |row: &ElementRow| matches!(row.state, ElementState::Sealing { .. });
    if element.index.is_none() {
        let fresh = job.progress.fresh(job.brief.elements());
        if fresh == 0 && job.elements.values().all(sealing) {
            return Err(too_late(element));
        }
        return Ok(Target::Whole);
    }
    let Some(position) = job.position(element) else {
        return Err(absent(format!("element {element}"), "jobs"));
    };
    match job.elements.get(&position) {
        Some(row) if sealing(row) => Err(too_late(element)),
        Some(_) => Ok(Target::Placed(position)),
        None if position < job.progress.next || job.progress.struck.contains(&position) => {
            Err(ended(step, element))
        }
        None if job.progress.struck.len() >= STRUCK_MAX => Err(Reply::Refused(Refusal::Limit {
            what: format!("the number of cancelled elements of {} that never ran", element.job),
            limit: STRUCK_MAX as u64,
            remedy: format!("cancel the whole array: `assay cancel {}`", element.job),
        })),
        None => Ok(Target::Fresh(position)),
    }
}

fn too_late(element: ElementId) -> Reply {
    Reply::Refused(Refusal::WrongState {
        what: format!("job {element}"),
        state: "sealing: its work is done".into(),
        remedy: "wait for its artifact".into(),
    })
}

fn ended<R: RowRead>(step: &Step<'_, R>, element: ElementId) -> Reply {
    let word = match element.index {
        None => step.submitted(element.job).and_then(|submitted| {
            let progress: Progress = step.rows.read(&key::job(element.job))?;
            Some(progress.word(submitted.spec.elements()))
        }),
        Some(position) => {
            let row: Option<ElementRow> = step.rows.read(&key::element(element.job, position));
            row.map(|row| row.state.word())
        }
    };
    // Only what was cancelled can have ended without ever being placed.
    let word = word.unwrap_or("cancelled");
    Reply::Refused(Refusal::WrongState {
        what: format!("job {element}"),
        state: format!("{word} already"),
        remedy: format!("look at it with `assay job {}`", element.job),
    })
}
