//! What keeps a job out of the order for a time: other jobs, a pause after a failure, a user.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::{ElementRow, Progress},
    sched::{Job, Sched},
    step::{Step, absent},
};
use domain::{
    JobId, Millis,
    after::After,
    job::{ElementState, EndCause},
    port::RowRead,
};
use serde_json::json;

impl Sched {
    /// Notes which of the jobs that a job waits for have not ended; gives the condition that can
    /// never hold, if there is one.
    pub(super) fn begin_waiting(
        &mut self,
        id: JobId,
        done: impl Fn(JobId) -> bool,
    ) -> Option<After> {
        let job = self.jobs.get(&id)?;
        let after: Vec<After> = job.brief.after().to_vec();
        let mut never = None;
        for one in after {
            if self.jobs.contains_key(&one.job) {
                self.dependents.entry(one.job).or_default().insert(id);
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.pending.insert(one.job);
                }
            } else if !one.holds(done(one.job)) {
                never.get_or_insert(one);
            }
        }
        never
    }

    /// A job leaves memory: it waits for nobody any more, and those that wait for it are looked
    /// at when the command is done.
    pub(super) fn stop_waiting(&mut self, id: JobId, job: &Job) {
        for other in &job.pending {
            if let Some(all) = self.dependents.get_mut(other) {
                all.remove(&id);
                if all.is_empty() {
                    self.dependents.remove(other);
                }
            }
        }
        if self.dependents.contains_key(&id) {
            let progress = &job.progress;
            self.over.push((id, progress.failed + progress.cancelled == 0));
        }
    }

    /// Looks at those that waited for jobs that have ended: one after the other, since each may
    /// end in turn.
    pub(super) fn look_after<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str) {
        while let Some((ended, completed)) = self.over.pop() {
            for id in self.dependents.remove(&ended).unwrap_or_default() {
                let never = self.alter(step, id, |job, _| {
                    job.pending.remove(&ended);
                    let of = |one: &&After| one.job == ended;
                    let after = job.brief.after().iter().filter(of);
                    after.copied().find(|one| !one.holds(completed))
                });
                if let Some(never) = never.flatten() {
                    self.give_up(step, actor, id, never);
                }
                step.effect(Effect::Plan);
            }
        }
    }

    /// Ends a job that can never start.
    pub(super) fn give_up<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: JobId,
        never: After,
    ) {
        let how = if never.holds(true) { "it did not complete" } else { "it completed" };
        let detail = format!("it was to wait for {} {}, but {how}", never.job, never.words());
        let cause = EndCause::Dependency { detail };
        step.events.add(
            Kind::JobGivenUp,
            actor,
            &json!({ "cause": cause.to_string(), "job": id.to_string() }),
        );
        self.alter(step, id, |job, step| {
            let count = job.brief.elements();
            // None of it was ever placed. The first element tells the cause for all.
            let first = job.progress.next;
            let row = ElementRow { state: ElementState::Failed { cause }, ..ElementRow::default() };
            step.rows.put(key::element(id, first), &row);
            job.progress.failed += job.progress.fresh(count);
            job.progress.struck.clear();
            job.progress.next = count;
        });
    }

    /// Puts elements whose pause is over back into the order.
    pub(super) fn end_pauses<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        while let Some((at, id)) = self.later.first().copied() {
            if at > step.now {
                return;
            }
            let now = step.now;
            self.alter(step, id, |job, _| job.end_pauses(now));
            step.effect(Effect::Plan);
        }
    }

    /// Keeps what has not started of a job from starting, or lets it go on.
    pub(super) fn hold<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: JobId,
        held: bool,
    ) -> Reply {
        let job = match self.live(step, id) {
            Ok(job) => job,
            Err(reply) => return reply,
        };
        if job.progress.held == held {
            let (state, remedy) = match held {
                true => ("held already", format!("let it go on: `assay release {id}`")),
                false => ("not held", format!("see what it waits for: `assay why {id}`")),
            };
            return wrong_state(format!("job {id}"), state.to_owned(), remedy);
        }
        let kind = if held { Kind::JobHeld } else { Kind::JobReleased };
        step.events.add(kind, actor, &json!({ "job": id.to_string() }));
        // What a user changes was not foreseen.
        self.drop_forecast(step, id);
        self.alter(step, id, |job, _| job.progress.held = held);
        step.effect(Effect::Plan);
        step.done()
    }

    /// Gives a job another priority.
    pub(super) fn set_priority<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: JobId,
        priority: i32,
    ) -> Reply {
        let job = match self.live(step, id) {
            Ok(job) => job,
            Err(reply) => return reply,
        };
        let (before, queue) = (job.brief.priority, job.brief.queue.clone());
        let max = self.queues.get(&queue).and_then(|queue| queue.spec.priority_max);
        if let Some(max) = max.filter(|max| priority > *max) {
            return wrong_state(
                format!("priority {priority}"),
                format!("above {max}, the most in queue `{queue}`"),
                format!("`assay priority {id} {max}`, or raise `priority_max`"),
            );
        }
        let member = json!({ "from": before, "job": id.to_string(), "to": priority });
        step.events.add(Kind::JobPriority, actor, &member);
        self.drop_forecast(step, id);
        self.alter(step, id, |job, _| {
            job.brief.priority = priority;
            job.progress.priority = Some(priority);
        });
        step.effect(Effect::Plan);
        step.done()
    }

    fn live<R: RowRead>(&self, step: &Step<'_, R>, id: JobId) -> Result<&Job, Reply> {
        self.jobs.get(&id).ok_or_else(|| match step.rows.get(&key::job(id)) {
            Some(_) => wrong_state(
                format!("job {id}"),
                "over".to_owned(),
                format!("look at it with `assay job {id}`"),
            ),
            None => absent(format!("job {id}"), "jobs"),
        })
    }
}

/// Whether a job that has ended has a result of every element.
pub(super) fn has_completed<R: RowRead>(step: &Step<'_, R>, id: JobId) -> bool {
    let row: Option<Progress> = step.rows.read(&key::job(id));
    row.is_some_and(|progress| progress.failed + progress.cancelled == 0)
}

fn wrong_state(what: String, state: String, remedy: String) -> Reply {
    Reply::Refused(Refusal::WrongState { what, state, remedy })
}

impl Job {
    /// Puts an element that was placed before behind a pause.
    pub(super) fn pause(&mut self, position: u32, until: Millis) {
        if self.later.insert(position, until).is_none() {
            self.due.insert((until, position));
            self.progress.requeued += 1;
        }
    }

    /// Takes an element from behind its pause.
    pub(super) fn unpause(&mut self, position: u32) -> bool {
        let Some(until) = self.later.remove(&position) else { return false };
        self.due.remove(&(until, position));
        self.progress.requeued -= 1;
        true
    }

    fn end_pauses(&mut self, now: Millis) {
        while let Some((until, position)) = self.due.first().copied() {
            if until > now {
                return;
            }
            self.unpause(position);
            self.requeue(position);
        }
    }
}
