//! Taking jobs in.

use super::{
    command::{Effect, NewJob, Refusal, Reply},
    gate::UNASKED,
    key,
    record::Kind,
    row::{AttemptRow, ElementRow, Pin, Submitted},
    sched::{Job, Sched},
    step::Step,
};
use domain::{AttemptNo, JobId, limit, port::RowRead};
use serde_json::json;

impl Sched {
    /// Takes jobs in: all or none.
    pub(super) fn submit<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        jobs: Vec<NewJob>,
    ) -> Reply {
        if let Some(refusal) = self.too_many(jobs.len()) {
            return Reply::Refused(refusal);
        }
        let mut pins = Vec::with_capacity(jobs.len());
        for new in &jobs {
            match self.check(step, new) {
                Ok(pin) => pins.push(pin),
                Err(refusal) => return Reply::Refused(refusal),
            }
        }
        let mut ids = Vec::with_capacity(jobs.len());
        for (new, pin) in jobs.into_iter().zip(pins) {
            ids.push(self.take_in(step, actor, new, pin));
        }
        step.effect(Effect::Plan);
        Reply::Submitted { jobs: ids, at: step.at }
    }

    fn too_many(&self, more: usize) -> Option<Refusal> {
        if more > limit::SUBMIT_BATCH_MAX {
            return Some(Refusal::Limit {
                what: "the number of jobs in one request".into(),
                limit: limit::SUBMIT_BATCH_MAX as u64,
                remedy: "submit an array, or several requests".into(),
            });
        }
        (self.jobs.len() + more > limit::JOBS_MAX).then(|| Refusal::Limit {
            what: "the number of jobs that have not ended".into(),
            limit: limit::JOBS_MAX as u64,
            remedy: "wait until some have ended, or cancel some".into(),
        })
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
        spec.reproduces.map(|original| pin_to(step, original)).transpose()
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
        let policy = (!self.gate_training).then_some(UNASKED);
        step.events.add(
            Kind::JobSubmitted,
            actor,
            json!({
                "elements": new.spec.elements(),
                "job": id.to_string(),
                "name": new.spec.name,
                "policy": policy,
                "queue": new.spec.queue,
                "recipe": new.recipe.to_string(),
            }),
        );
        let submitted =
            Submitted { spec: new.spec, recipe: new.recipe, time: step.now, at: step.at, pin };
        let job = Job::new(submitted.brief());
        step.rows.put_new(key::job_spec(id), &submitted);
        step.rows.put_new(key::live(id), &job.progress);
        self.jobs.insert(id, job);
        self.bring_to_gate(step, id);
        self.wait(id);
        id
    }
}

/// Where a repeated run has to go: the class of the original, on other nodes where they fit.
fn pin_to<R: RowRead>(step: &Step<'_, R>, original: JobId) -> Result<Pin, Refusal> {
    let missing = || Refusal::NotFound {
        what: format!("placed run of job {original} to reproduce"),
        list: "jobs".into(),
    };
    let row: ElementRow = step.rows.read(&key::element(original, 0)).ok_or_else(missing)?;
    let (_, class) = row.build.ok_or_else(missing)?;
    let last = key::attempt(original, 0, AttemptNo(row.attempts));
    let attempt: Option<AttemptRow> = step.rows.read(&last);
    let members = attempt.map(|attempt| attempt.members).unwrap_or_default();
    Ok(Pin { class, away_from: members.iter().map(|member| member.node).collect() })
}
