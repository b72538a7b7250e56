//! Taking jobs in, and cancelling them.

use super::{
    command::{Effect, NewJob, Refusal, Reply},
    key,
    record::Kind,
    row::{ElementRow, Pin, Progress, Submitted},
    sched::{Job, Sched, Step, absent},
};
use domain::{
    ElementId, JobId, NodeId,
    job::{ElementState, EndCause},
    lease::Phase,
    limit,
    port::RowRead,
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

impl Sched {
    /// Takes jobs in: all or none.
    pub(super) fn submit<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        jobs: Vec<NewJob>,
    ) -> Reply {
        let mut pins = Vec::with_capacity(jobs.len());
        for new in &jobs {
            match self.check(step, new) {
                Ok(pin) => pins.push(pin),
                Err(refusal) => return Reply::Refused(refusal),
            }
        }
        if self.jobs.len() + jobs.len() > limit::JOBS_MAX {
            return Reply::Refused(Refusal::Limit {
                what: "the number of jobs that have not ended".into(),
                limit: limit::JOBS_MAX as u64,
                remedy: "wait until some have ended, or cancel some".into(),
            });
        }
        let mut ids = Vec::with_capacity(jobs.len());
        for (new, pin) in jobs.into_iter().zip(pins) {
            ids.push(self.take_in(step, actor, new, pin));
        }
        step.effect(Effect::Plan);
        Reply::Submitted { jobs: ids, at: step.at }
    }

    fn check<R: RowRead>(&self, step: &Step<'_, R>, new: &NewJob) -> Result<Option<Pin>, Refusal> {
        let spec = &new.spec;
        if let Err(faults) = spec.check() {
            let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
            return Err(Refusal::Spec(format!("job `{}`: {}", spec.name, all.join(" | "))));
        }
        if !self.queues.contains(&spec.queue) {
            let known: Vec<_> = self.queues.iter().map(String::as_str).collect();
            return Err(Refusal::Spec(format!(
                "job `{}`: queue: there is no queue `{}`; use one of: {}",
                spec.name,
                spec.queue,
                known.join(", ")
            )));
        }
        let Some(original) = spec.reproduces else { return Ok(None) };
        let missing = || Refusal::NotFound {
            what: format!("placed run of job {original} to reproduce"),
            list: "jobs".into(),
        };
        let row: ElementRow = step.rows.read(&key::element(original, 0)).ok_or_else(missing)?;
        let (_, class) = row.build.ok_or_else(missing)?;
        let last = key::attempt(original, 0, domain::AttemptNo(row.attempts));
        let attempt: Option<super::row::AttemptRow> = step.rows.read(&last);
        let away_from = attempt
            .map(|attempt| attempt.members.iter().map(|member| member.node).collect())
            .unwrap_or_default();
        Ok(Some(Pin { class, away_from }))
    }

    fn take_in<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        new: NewJob,
        pin: Option<Pin>,
    ) -> JobId {
        self.meta.jobs += 1;
        let id = JobId(self.meta.jobs);
        step.events.add(
            Kind::JobSubmitted,
            actor,
            json!({
                "elements": new.spec.elements(),
                "job": id.to_string(),
                "name": new.spec.name,
                "queue": new.spec.queue,
                "recipe": new.recipe.to_string(),
            }),
        );
        let submitted =
            Submitted { spec: new.spec, recipe: new.recipe, time: step.now, at: step.at, pin };
        step.rows.put(key::job_spec(id), &submitted);
        step.rows.put(key::live(id), &());
        let job = Job {
            submitted: Arc::new(submitted),
            progress: Progress::default(),
            elements: BTreeMap::new(),
        };
        step.rows.put(key::job(id), &job.progress);
        self.jobs.insert(id, job);
        self.wait(id);
        id
    }

    /// Ends a job, or one element of an array.
    pub(super) fn cancel<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        element: ElementId,
    ) -> Reply {
        let Some(job) = self.jobs.get(&element.job) else {
            return match step.rows.get(&key::job(element.job)) {
                Some(_) => ended(element),
                None => absent(format!("job {}", element.job), "jobs"),
            };
        };
        let array = job.submitted.spec.array;
        let whole = element.index.is_none();
        let positions: Vec<u32> = match (whole, job.position(element)) {
            (true, _) => job.elements.keys().copied().collect(),
            (false, Some(position)) if position < job.progress.next => {
                if !job.elements.contains_key(&position) {
                    return ended(element);
                }
                vec![position]
            }
            (false, Some(_)) if array.is_some() => {
                return Reply::Refused(Refusal::WrongState {
                    what: format!("element {element}"),
                    state: "not placed yet".into(),
                    remedy: format!("cancel the whole array with `assay cancel {}`", element.job),
                });
            }
            (false, _) => return absent(format!("element {element}"), "jobs"),
        };
        let sealing =
            |position: &u32| matches!(job.elements[position].state, ElementState::Sealing { .. });
        let fresh = job.submitted.spec.elements() - job.progress.next;
        if !positions.is_empty() && positions.iter().all(sealing) && (fresh == 0 || !whole) {
            return Reply::Refused(Refusal::WrongState {
                what: format!("job {element}"),
                state: "sealing: its work is done".into(),
                remedy: "wait for its artifact".into(),
            });
        }
        step.events.add(Kind::JobCancelled, actor, json!({ "element": element.to_string() }));
        self.unwait(element.job);
        if whole && let Some(job) = self.jobs.get_mut(&element.job) {
            job.progress.next += fresh;
            job.progress.cancelled += fresh;
        }
        for position in positions {
            self.cancel_one(step, element.job, position);
        }
        self.wait(element.job);
        self.keep_job(step, element.job);
        step.effect(Effect::Plan);
        step.done()
    }

    fn cancel_one<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId, position: u32) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(row) = job.elements.get_mut(&position) else { return };
        match row.state.clone() {
            ElementState::Waiting => {
                row.state = ElementState::Cancelled;
                step.rows.put(key::element(id, position), &*row);
                job.elements.remove(&position);
                job.progress.requeued.remove(&position);
                job.progress.cancelled += 1;
            }
            ElementState::Running { lease } => {
                self.stop_lease(step, lease, EndCause::Cancelled);
            }
            ElementState::Sealing { .. }
            | ElementState::Completed { .. }
            | ElementState::Failed { .. }
            | ElementState::Cancelled => {}
        }
    }

    /// Tells every member of a lease to stop; keeps the first cause.
    pub(super) fn stop_lease<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: domain::LeaseId,
        cause: EndCause,
    ) {
        let Some(lease) = self.leases.get_mut(&lease) else { return };
        match &mut lease.phase {
            Phase::Stopping { cause: first, .. } => {
                if cause == EndCause::Cancelled {
                    *first = cause;
                }
            }
            Phase::Preparing { .. } | Phase::Started { .. } => {
                let remaining = lease.members.iter().map(|member| member.node).collect();
                lease.phase = Phase::Stopping { remaining, cause };
            }
        }
        let nodes: Vec<NodeId> = lease.members.iter().map(|member| member.node).collect();
        step.rows.put(key::lease(lease.id), &*lease);
        for node in nodes {
            step.effect(Effect::Wanted { node });
        }
    }
}

fn ended(element: ElementId) -> Reply {
    Reply::Refused(Refusal::WrongState {
        what: format!("job {element}"),
        state: "ended".into(),
        remedy: format!("look at it with `assay job {}`", element.job),
    })
}
