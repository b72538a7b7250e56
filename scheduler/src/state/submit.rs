//! Taking jobs in.

use super::{
    command::{Effect, NewJob, Refusal, Reply, Tie},
    gate::UNASKED,
    key,
    record::Kind,
    registry_step::DATA_LOOKED_AT,
    row::{AttemptRow, ElementRow, Pin, Submitted},
    sched::{Job, Sched},
    step::Step,
    tie,
    waits::has_completed,
};
use domain::{AttemptNo, Digest, JobId, isolation::Isolation, job::JobSpec, limit, port::RowRead};
use registry::ledger::dataset;
use serde::Serialize;

/// What the event of record says of a job that was taken in.
#[derive(Serialize)]
struct TakenIn<'a> {
    elements: u32,
    job: String,
    name: &'a str,
    policy: Option<&'static str>,
    queue: &'a str,
    recipe: Digest,
}

/// Queues that one refusal names.
const NAMES_MAX: usize = 20;

impl Sched {
    /// Takes jobs in, some of which wait for others of them: all or none.
    pub(super) fn take_all<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        mut jobs: Vec<NewJob>,
        ties: &[Tie],
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
        if let Err(refusal) = tie::check(&jobs, ties) {
            return Reply::Refused(refusal);
        }
        tie::tie(&mut jobs, ties, self.meta.jobs + 1);
        let mut ids = Vec::with_capacity(jobs.len());
        for (new, pin) in jobs.into_iter().zip(pins) {
            ids.push(self.take_in(step, actor, new, pin));
        }
        step.effect(Effect::Plan);
        Reply::Submitted { jobs: ids, at: step.at }
    }

    /// Takes in one job that the cluster itself submits.
    pub(super) fn submit_own<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        new: NewJob,
    ) -> Result<JobId, Refusal> {
        if let Some(refusal) = self.too_many(1) {
            return Err(refusal);
        }
        let pin = self.check(step, &new)?;
        let id = self.take_in(step, actor, new, pin);
        step.effect(Effect::Plan);
        Ok(id)
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
        self.check_queue(spec)?;
        self.check_after(spec)?;
        self.check_window(spec)?;
        self.check_data(step, spec)?;
        let pin = spec.reproduces.map(|original| pin_to(step, original)).transpose()?;
        match (&spec.hardware_class, &pin) {
            (Some(asked), Some(pin)) if *asked != pin.class => Err(Refusal::Spec(format!(
                "job `{}`: hardware_class: is `{asked}`, and the run that it repeats was on `{}`; \
                 leave it out",
                spec.name, pin.class
            ))),
            _ => Ok(pin),
        }
    }

    /// Whether the jobs that a job waits for are known.
    fn check_after(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let newest = self.meta.jobs;
        match spec.after.iter().find(|after| after.job.0 == 0 || after.job.0 > newest) {
            None => Ok(()),
            Some(after) => Err(Refusal::Spec(format!(
                "job `{}`: after: there is no job {}; `assay jobs` shows what there is",
                spec.name, after.job
            ))),
        }
    }

    /// Whether a job may wait in the queue that it names.
    fn check_queue(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let refuse = |field: &str, fault: String| {
            Err(Refusal::Spec(format!("job `{}`: {field}: {fault}", spec.name)))
        };
        let parent = |name: &str| {
            self.queues.values().any(|queue| queue.above.first().is_some_and(|up| **up == *name))
        };
        let named = self.queues.get(spec.queue.as_str());
        let Some(queue) = named.filter(|_| !parent(&spec.queue)) else {
            let leaves = self.queues.keys().filter(|name| !parent(name));
            let known: Vec<&str> = leaves.take(NAMES_MAX).map(|name| &**name).collect();
            let what =
                if named.is_none() { "there is no queue" } else { "jobs wait in the parts of" };
            return refuse(
                "queue",
                format!("{what} `{}`; use one of: {}", spec.queue, known.join(", ")),
            );
        };
        if let Some(max) = queue.spec.priority_max.filter(|max| spec.priority > *max) {
            let (asked, queue) = (spec.priority, &spec.queue);
            return refuse(
                "priority",
                format!("is {asked}, queue `{queue}` allows {max}; lower it to {max}"),
            );
        }
        let least = self.demanded(&spec.queue.as_str().into());
        if least == Isolation::Container && spec.image.is_none() {
            return refuse(
                "image",
                format!(
                    "queue `{}` runs containers alone, and none is named; add \
                     `image = \"docker.io/library/python@sha256:...\"`",
                    spec.queue
                ),
            );
        }
        let gpus = u64::from(spec.tasks) * u64::from(spec.resources.gpus);
        let line = std::iter::once(spec.queue.as_str()).chain(queue.above.iter().map(|up| &**up));
        for (name, queue) in line.filter_map(|name| Some((name, self.queues.get(name)?))) {
            let user = queue.spec.user_gpus_max.filter(|_| name == spec.queue);
            if let Some(max) =
                queue.spec.gpus_max().into_iter().chain(user).min().filter(|max| gpus > *max)
            {
                return refuse(
                    "gpus",
                    format!(
                        "{gpus} are asked for, queue `{name}` may never hold more than {max}; ask for {max}"
                    ),
                );
            }
        }
        Ok(())
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
        let member = TakenIn {
            elements: new.spec.elements(),
            job: id.to_string(),
            name: &new.spec.name,
            policy: (!self.gate_training).then_some(UNASKED),
            queue: &new.spec.queue,
            recipe: new.recipe,
        };
        step.events.add_in_order(Kind::JobSubmitted, actor, &member);
        let submitted =
            Submitted { spec: new.spec, recipe: new.recipe, time: step.now, at: step.at, pin };
        self.inputs.note(id, &submitted.spec);
        let mut job = Job::new(submitted.brief());
        self.intern(&mut job.brief);
        self.enlist(&job.brief);
        self.learn_arrival(&job.brief);
        step.rows.put_new(key::job_spec(id), &submitted);
        step.rows.put_new(key::live(id), &job.progress);
        let doubtful = !job.brief.after().is_empty();
        self.jobs.insert(id, job);
        if doubtful && let Some(never) = self.begin_waiting(id, |job| has_completed(step, job)) {
            self.give_up(step, actor, id, never);
            return id;
        }
        self.bring_to_gate(step, id);
        self.wait(id);
        id
    }

    /// Whether all data of a job may be used, also where it is given as code.
    pub(super) fn check_data<R: RowRead>(
        &self,
        step: &Step<'_, R>,
        spec: &JobSpec,
    ) -> Result<(), Refusal> {
        dataset::check_names(&step.rows, spec).map_err(Refusal::Registry)?;
        let code = spec.code.iter().filter(|_| self.version >= DATA_LOOKED_AT);
        let trees = spec.datasets.values().chain(code).map(|captured| captured.tree);
        dataset::check_trees(&step.rows, trees).map_err(Refusal::Registry)
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
