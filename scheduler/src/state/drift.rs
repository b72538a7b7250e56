//! Drift, and the retrain that is dispatched in the very step that records it.

use super::{
    command::{NewJob, Refusal, Reply},
    sched::Sched,
    step::Step,
};
use domain::{
    job::{Captured, JobSpec},
    port::RowRead,
    refusal::RegistryRefusal,
};
use registry::{
    ledger::{
        Ledger,
        drift::{DataInput, DriftCommand, MeasureWanted, RetrainWanted},
    },
    seal::recipe::recipe,
};

/// Bytes of a job's name that a retrain takes from the one before.
const NAME_MAX: usize = 180;

impl Sched {
    /// Has the ledger do what is asked, and submits the job that it wants, in one step.
    pub(super) fn drift<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ledger: &mut Ledger,
        actor: &str,
        command: DriftCommand,
    ) -> Reply {
        let over = |job| !self.jobs.contains_key(&job);
        let done = match ledger.drift(&mut step.rows, step.now, actor, command, over) {
            Ok(done) => done,
            // Scored anew, the same request may succeed.
            Err(changed @ RegistryRefusal::MonitorChanged { .. }) => {
                return Reply::Refused(Refusal::NotYet { why: changed.to_string() });
            }
            Err(refusal) => return Reply::Refused(Refusal::Registry(refusal)),
        };
        let reply = Reply::Registry { number: done.number, at: step.at };
        let Some(wanted) = done.wanted else { return reply };
        match self.retrain(step, actor, &wanted) {
            Ok(job) => ledger.retrain_placed(&mut step.rows, step.now, actor, &wanted, job),
            Err(refusal) if wanted.by_hand => return Reply::Refused(refusal),
            Err(refusal) => {
                let why = refusal.to_string();
                ledger.retrain_held(&mut step.rows, step.now, wanted.episode, why);
            }
        }
        reply
    }

    fn retrain<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        wanted: &RetrainWanted,
    ) -> Result<(domain::JobId, domain::Digest), Refusal> {
        let id = wanted.element.job;
        let submitted = step.submitted(id).ok_or_else(|| Refusal::NotFound {
            what: format!("specification of job {id}, which made {}", wanted.model),
            list: "jobs".into(),
        })?;
        let spec = inherit(submitted.spec, wanted).map_err(|why| {
            Refusal::Spec(format!("{} cannot be retrained from job {id}: {why}", wanted.model))
        })?;
        let recipe = recipe(&spec);
        self.submit_own(step, actor, NewJob { spec, recipe }).map(|job| (job, recipe))
    }
}

impl Sched {
    /// Submits the evaluation of what a retrain made. Where it cannot be, a person evaluates it:
    /// nothing is suggested before.
    pub(super) fn measure<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ledger: &mut Ledger,
        actor: &str,
        (wanted, user): (&MeasureWanted, String),
    ) {
        let Some(submitted) = step.submitted(wanted.element.job) else { return };
        let Some(spec) = measuring(submitted.spec, wanted, user) else { return };
        let recipe = recipe(&spec);
        if let Ok(job) = self.submit_own(step, actor, NewJob { spec, recipe }) {
            ledger.measure_placed(&mut step.rows, step.now, actor, wanted, job);
        }
    }
}

/// The job that measured the version, over the files that were made anew.
fn measuring(before: JobSpec, wanted: &MeasureWanted, user: String) -> Option<JobSpec> {
    let mut spec = JobSpec { user, ..once_more(before) };
    let inputs: Vec<_> = spec
        .datasets
        .iter()
        .filter(|(_, set)| set.tree == wanted.before)
        .map(|(name, _)| name.clone())
        .collect();
    if inputs.is_empty() || spec.array.is_some() {
        return None;
    }
    for name in inputs {
        spec.registered.remove(&name);
        spec.datasets.insert(name, wanted.after.clone());
    }
    Some(spec)
}

/// A job without what it repeated, waited for or checked: that was for its run alone.
fn once_more(before: JobSpec) -> JobSpec {
    JobSpec { reproduces: None, after: Vec::new(), check: None, ..before }
}

/// The job before, with the new data in the place of the old.
fn inherit(before: JobSpec, wanted: &RetrainWanted) -> Result<JobSpec, String> {
    if wanted.element.index.is_some() {
        return Err("it was an element of an array; submit a job of its own".into());
    }
    let mut spec = once_more(before.clone());
    for (name, input) in &wanted.data {
        let name = place_of(&spec, name)?;
        spec.registered.insert(name.clone(), input.dataset.clone());
        spec.datasets.insert(name, captured(input));
    }
    let trees = |spec: &JobSpec| spec.datasets.values().map(|set| set.tree).collect::<Vec<_>>();
    if trees(&spec) == trees(&before) {
        return Err("the data is what it was made with; register what is new".into());
    }
    let end = spec.name.floor_char_boundary(NAME_MAX);
    spec.name.truncate(end);
    if !spec.name.ends_with("-retrain") {
        spec.name.push_str("-retrain");
    }
    spec.user.clone_from(&wanted.user);
    Ok(spec)
}

fn captured(input: &DataInput) -> Captured {
    let origin = input.dataset.to_string();
    Captured { tree: input.tree, files: input.files, size: input.size, origin }
}

/// The job's name for a data set; an empty one stands for the only one.
fn place_of(spec: &JobSpec, name: &str) -> Result<String, String> {
    let known = || spec.datasets.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match (name, spec.datasets.len()) {
        (_, 0) => Err("it used no data set, so none can be put in its place".into()),
        ("", 1) => Ok(known()),
        ("", _) => Err(format!("it used several data sets, name which: {}", known())),
        (name, _) if spec.datasets.contains_key(name) => Ok(name.to_owned()),
        (name, _) => Err(format!("it used no data set `{name}`; it used: {}", known())),
    }
}
