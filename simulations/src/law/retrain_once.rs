//! `retrain_once`: one episode of drift starts one retrain by itself, cool-down and budget are kept,
//! a trigger has one effect, and no promotion is suggested but by what was sealed.
//!
//! Told from commands and from what is shown alone: policies are those that were sent, metrics
//! those that follow from what ran.

use super::{Broken, leader};
use crate::{coverage::Coverage, runtime, world::World};
use domain::{
    ArtifactId, Decimal, Digest, EpisodeId, JobId, Millis,
    drift::{Comparison, Episode, Measurement, Retrain, RetrainPolicy},
    model::ModelRef,
    port::RowRead,
};
use registry::{
    ledger::{
        RegistryCommand,
        drift::{self, DriftCommand, Seen},
        evaluation, view,
    },
    seal::metrics,
};
use scheduler::state::command::{Applied, Command, Entry, Reply};
use std::collections::{BTreeMap, BTreeSet};

/// First bytes of the keys of episodes.
const EPISODE: [u8; 2] = [0x9e, 1];
/// Time after which what is due has been asked for. Unit: ms.
const LATE: Millis = Millis(8_000);

/// What became of models in use.
#[derive(Default)]
pub struct RetrainOnce {
    policies: BTreeMap<ModelRef, RetrainPolicy>,
    triggers: BTreeMap<(ModelRef, String), (Digest, u64)>,
    /// When retrains of a version were started.
    starts: BTreeMap<ModelRef, Vec<Millis>>,
    jobs: BTreeMap<JobId, EpisodeId>,
    suggested: BTreeSet<EpisodeId>,
    counts: Coverage,
}

impl RetrainOnce {
    /// Adds what was counted.
    pub fn count(&self, coverage: &mut Coverage) {
        let counts = &self.counts;
        coverage.windows = counts.windows;
        coverage.retrains = counts.retrains;
        coverage.resumed = counts.resumed;
        coverage.triggers = counts.triggers;
        coverage.evaluations = counts.evaluations;
        coverage.suggested = counts.suggested;
    }

    /// Looks at what an entry has left. Gives the law that it breaks.
    pub fn look(
        &mut self,
        rows: &impl RowRead,
        entry: &Entry,
        applied: &Applied,
    ) -> Option<String> {
        let before = self.policies.clone();
        let mut resumes = false;
        for (request, reply) in entry.members.iter().zip(&applied.replies) {
            let Reply::Registry { number, .. } = reply else { continue };
            match &request.command {
                Command::Drift(DriftCommand::Resume { .. }) => resumes = true,
                Command::Drift(command) => {
                    if let Some(what) = self.hear(command, *number) {
                        return Some(what);
                    }
                }
                Command::Registry(RegistryCommand::RecordEvaluation { .. }) => {
                    self.counts.evaluations += 1;
                }
                _ => {}
            }
        }
        let changed = applied.rows.iter().filter(|row| row.key.starts_with(&EPISODE));
        let ids: BTreeSet<_> = changed
            .filter_map(|row| row.key.last_chunk().map(|it| EpisodeId(u64::from_be_bytes(*it))))
            .collect();
        let all: Vec<Episode> = ids.into_iter().filter_map(|id| drift::episode(rows, id)).collect();
        all.iter().find_map(|episode| {
            let broken = self.started(episode, &before, resumes);
            broken.or_else(|| self.suggests(rows, episode))
        })
    }

    fn hear(&mut self, command: &DriftCommand, number: u64) -> Option<String> {
        match command {
            DriftCommand::SetMonitor { model, policy, .. } => {
                self.policies.insert(model.clone(), *policy);
                None
            }
            DriftCommand::Observe { model, seen, .. } => self.window(model, seen, None, number),
            DriftCommand::Alert { model, seen, reason } => {
                self.window(model, seen, Some(reason), number)
            }
            DriftCommand::RemoveMonitor { .. }
            | DriftCommand::Retrain { .. }
            | DriftCommand::Close { .. }
            | DriftCommand::Resume { .. } => None,
        }
    }

    fn window(
        &mut self,
        model: &ModelRef,
        seen: &Seen,
        reason: Option<&String>,
        number: u64,
    ) -> Option<String> {
        self.counts.windows += 1;
        let trigger = seen.trigger.clone()?;
        let content = Digest::of_value(&(&seen.slices, &seen.data, seen.windows, reason));
        let at = (model.clone(), trigger);
        match self.triggers.get(&at) {
            None => {
                self.triggers.insert(at, (content, number));
                None
            }
            Some(first) if *first == (content, number) => {
                self.counts.triggers += 1;
                None
            }
            Some((_, first)) => Some(format!(
                "retrain_once: trigger `{}` of {model} made observation {first}, then {number}",
                at.1
            )),
        }
    }

    /// A retrain that was started by this entry, if one was.
    fn started(
        &mut self,
        episode: &Episode,
        before: &BTreeMap<ModelRef, RetrainPolicy>,
        resumes: bool,
    ) -> Option<String> {
        let Retrain::Dispatched { job, since, by } = &episode.retrain else { return None };
        let (id, model) = (episode.id, &episode.model);
        match self.jobs.get(job) {
            Some(first) if *first == id => return None,
            Some(first) => return Some(format!("retrain_once: {job} is of {first} and of {id}")),
            None => {}
        }
        let earlier = self.jobs.values().any(|other| *other == id);
        self.jobs.insert(*job, id);
        let starts = self.starts.entry(model.clone()).or_default();
        let past = starts.clone();
        starts.push(*since);
        self.counts.retrains += 1;
        self.counts.resumed += u64::from(resumes);
        if by != "policy" {
            return None;
        }
        if earlier {
            return Some(format!("retrain_once: a policy started a second retrain of {id}"));
        }
        // Where the entry has set the monitor anew, either policy may have started it.
        let policies = [before.get(model), self.policies.get(model)];
        let faults: Vec<Option<&str>> =
            policies.into_iter().flatten().map(|policy| breaks(policy, &past, *since)).collect();
        let fault = faults.iter().all(Option::is_some).then(|| faults.first().copied().flatten());
        fault.flatten().map(|what| format!("retrain_once: {job} of {id} did not keep the {what}"))
    }

    /// A promotion that is suggested by this entry, if one is.
    fn suggests(&mut self, rows: &impl RowRead, episode: &Episode) -> Option<String> {
        let found = episode.comparison.as_ref().filter(|it| it.suggested_seq.is_some())?;
        if !self.suggested.insert(episode.id) {
            return None;
        }
        self.counts.suggested += 1;
        let fault = unsealed(rows, &episode.model, found)?;
        Some(format!("retrain_once: {} suggests a promotion, and {fault}", episode.id))
    }
}

/// What of its policy a start does not keep.
fn breaks(policy: &RetrainPolicy, past: &[Millis], since: Millis) -> Option<&'static str> {
    if past.last().is_some_and(|last| last.plus(policy.cool_down) > since) {
        return Some("cool-down");
    }
    let recent = past.iter().filter(|at| at.plus(policy.period) > since).count();
    (recent >= policy.budget as usize).then_some("budget")
}

/// What a suggestion lacks of two sealed measurements in one way, neither of them the worse.
fn unsealed(rows: &impl RowRead, old: &ModelRef, found: &Comparison) -> Option<String> {
    let (Some(measured), Some(new)) = (&found.measured, &found.model) else {
        return Some("nothing sealed measured both".into());
    };
    let pairs = [(old, measured.before), (new, measured.after)];
    let values: Vec<_> = pairs.map(|(model, id)| sealed(rows, model, id, measured)).into();
    let [Some(before), Some(after)] = values.as_slice() else {
        return Some(format!("{} or {} was not sealed", measured.before, measured.after));
    };
    let name = ["accuracy", "val_loss"].map(|name| (before.get(name), after.get(name)));
    let worse = name[0].1 < name[0].0 || name[1].1 > name[1].0;
    worse.then(|| format!("{} is worse than {}", measured.after, measured.before))
}

/// What a job has measured, if it is recorded of the version, by this method.
fn sealed(
    rows: &impl RowRead,
    model: &ModelRef,
    id: ArtifactId,
    measured: &Measurement,
) -> Option<BTreeMap<String, Decimal>> {
    let all = evaluation::of_version(rows, model);
    let recorded = all.into_iter().map(|it| it.evaluation).find(|it| it.artifact == id)?;
    let build_key = view::artifact(rows, id)?.artifact.ticket.build_key;
    let truth = metrics::read(runtime::metrics(build_key).as_bytes()).ok()?;
    (recorded.method == measured.method && recorded.metrics == truth).then_some(truth)
}

/// At rest: whatever was held for a time that is over has been decided on.
///
/// # Errors
/// When it has not.
pub fn settled(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let clock = server.clock.wall(world.now);
    let late = replica.view().0.0.view().held_retrains().find(|(_, due)| due.plus(LATE) < clock);
    late.map_or(Ok(()), |(id, due)| {
        let what = format!("retrain_once: {id} was held until {} ms and still is", due.0);
        Err(Broken::new(what))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::drift::Dispatch;

    #[test]
    fn a_policy_is_kept_at_its_bound_and_not_before() {
        let (cool_down, period) = (Millis(10), Millis(100));
        let policy = RetrainPolicy { dispatch: Dispatch::Auto, cool_down, budget: 2, period };
        let past = [Millis(100), Millis(150)];
        assert_eq!(breaks(&policy, &past[..1], Millis(109)), Some("cool-down"));
        assert_eq!(breaks(&policy, &past[..1], Millis(110)), None);
        assert_eq!(breaks(&policy, &past, Millis(199)), Some("budget"));
        assert_eq!(breaks(&policy, &past, Millis(200)), None);
    }
}
