//! Retrains: when the policy starts one, what its job is to be, and that it was submitted.

use super::{
    super::{Ledger, command::Act, dataset, key as ledger_key, seal::ArtifactRow},
    Drifted, MonitorRow,
    episode::found,
    key,
    observe::check_data,
};
use domain::{
    Bytes, Digest, ElementId, EpisodeId, JobId, Millis,
    dataset::DatasetRef,
    drift::{Episode, Retrain},
    limit,
    model::{ModelRef, ModelVersion},
    port::RowRead,
    refusal::RegistryRefusal,
    scratch::Scratch,
};
use serde_json::json;
use std::collections::BTreeMap;

/// A data set that a job is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataInput {
    /// Which.
    pub dataset: DatasetRef,
    /// Digest of its tree.
    pub tree: Digest,
    /// Number of its files.
    pub files: u64,
    /// Their length together.
    pub size: Bytes,
}

/// A job that is to be submitted in the step that recorded the drift.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrainWanted {
    /// For which episode.
    pub episode: EpisodeId,
    /// The version that drifts.
    pub model: ModelRef,
    /// What made it: the new job inherits its recipe.
    pub element: ElementId,
    /// Whose job it is.
    pub user: String,
    /// The new data, by the job's name for each; an empty name is the only one.
    pub data: BTreeMap<String, DataInput>,
    /// Whether a person started it.
    pub by_hand: bool,
}

fn held(why: impl Into<String>, due: Option<Millis>) -> Retrain {
    Retrain::Held { why: why.into(), due }
}

/// What the policy would start now, or what holds it.
pub(super) fn due<R: RowRead>(
    act: &Act<'_, '_, R>,
    row: &MonitorRow,
    episode: &Episode,
) -> Result<RetrainWanted, Retrain> {
    if episode.data.is_empty() {
        let why = "no new data is named: the same data gives the same bits; send `--data` along";
        return Err(held(why, None));
    }
    let policy = &row.monitor.policy;
    if let Some(until) = row.retrains.last().map(|last| last.plus(policy.cool_down))
        && until > act.now
    {
        return Err(held("the last retrain is not long ago (cool-down)", Some(until)));
    }
    let recent = row.retrains.iter().filter(|at| at.plus(policy.period) > act.now);
    if recent.clone().count() as u64 >= u64::from(policy.budget) {
        let until = recent.min().map(|first| first.plus(policy.period));
        return Err(held(format!("{} retrains a period are used up", policy.budget), until));
    }
    let user = row.monitor.set_by.clone();
    wanted(act, episode, &episode.data, user, false)
        .map_err(|refusal| held(refusal.to_string(), None))
}

fn wanted<R: RowRead>(
    act: &Act<'_, '_, R>,
    episode: &Episode,
    data: &BTreeMap<String, DatasetRef>,
    user: String,
    by_hand: bool,
) -> Result<RetrainWanted, RegistryRefusal> {
    let version: ModelVersion = super::super::model::wanted(act, &episode.model)?;
    let sealed: Option<ArtifactRow> = act.rows.read(&ledger_key::artifact(version.artifact));
    let sealed = sealed.ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("sealed artifact {}", version.artifact),
        list: "artifacts".into(),
    })?;
    check_data(act, data)?;
    let input = |(name, dataset): (&String, &DatasetRef)| {
        let facts = dataset::version(&*act.rows, dataset)?.facts;
        let (tree, files, size) = (facts.tree, facts.files, facts.size);
        Some((name.clone(), DataInput { dataset: dataset.clone(), tree, files, size }))
    };
    Ok(RetrainWanted {
        episode: episode.id,
        model: episode.model.clone(),
        element: sealed.artifact.ticket.element,
        user,
        data: data.iter().filter_map(input).collect(),
        by_hand,
    })
}

impl Ledger {
    /// What a person starts: neither cool-down nor budget holds it, but it counts for both.
    pub(super) fn want_retrain<R: RowRead>(
        act: &Act<'_, '_, R>,
        id: EpisodeId,
        more: BTreeMap<String, DatasetRef>,
        over: impl Fn(JobId) -> bool,
    ) -> Result<Drifted, RegistryRefusal> {
        let episode = found(act, id)?;
        let refuse = |state: String, remedy: String| {
            Err(RegistryRefusal::Episode { episode: id, state, remedy })
        };
        if let Some(closed) = &episode.closed {
            return refuse(format!("is over: {}", closed.reason), "nothing drifts now".into());
        }
        if let Retrain::Dispatched { job, .. } = episode.retrain
            && (episode.comparison.is_some() || !over(job))
        {
            let remedy = format!("see what became of it: `assay drift show {id}`");
            return refuse(format!("has its retrain, job {job}"), remedy);
        }
        let data: BTreeMap<_, _> = episode.data.clone().into_iter().chain(more).collect();
        if data.is_empty() {
            let remedy = format!("name some: `assay drift retrain {id} --data NAME=DATASET`");
            return refuse(
                "names no new data, and the same data gives the same bits".into(),
                remedy,
            );
        }
        let wanted = wanted(act, &episode, &data, act.user().to_owned(), true)?;
        Ok(Drifted { number: id.0, wanted: Some(wanted) })
    }

    /// Records that a retrain's job was submitted.
    pub fn retrain_placed<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        wanted: &RetrainWanted,
        job: (JobId, Digest),
    ) {
        let mut act = Act { rows, now, actor };
        let at = key::episode(wanted.episode);
        let Some(mut episode) = act.rows.read::<Episode>(&at) else { return };
        let (job, recipe) = job;
        for (name, input) in &wanted.data {
            episode.data.insert(name.clone(), input.dataset.clone());
        }
        let by = if wanted.by_hand { actor } else { "policy" };
        let body = json!({
            "by": by,
            "data": episode.data,
            "element": wanted.element.to_string(),
            "episode": episode.id.to_string(),
            "job": job.to_string(),
            "model": episode.model.to_string(),
            "recipe": recipe.to_string(),
            "slices": episode.suggested,
            "user": wanted.user,
        });
        self.event(&mut act, "drift.retrain.dispatched", body);
        episode.retrain = Retrain::Dispatched { job, since: now, by: by.to_owned() };
        self.put_episode(&mut act, &episode);
        act.rows.put_new(key::of_job(job), &episode.id);
        let monitor = key::monitor(&episode.model);
        if let Some(mut row) = act.rows.read::<MonitorRow>(&monitor) {
            row.retrains.push(now);
            let more = row.retrains.len().saturating_sub(limit::RETRAINS_MAX as usize);
            row.retrains.drain(..more);
            act.rows.put(monitor, &row);
        }
    }

    /// Records why a retrain's job could not be submitted. It is tried again with the next
    /// observation of drift.
    pub fn retrain_held<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        episode: EpisodeId,
        mut why: String,
    ) {
        let mut act = Act { rows, now, actor: "" };
        if let Some(mut row) = act.rows.read::<Episode>(&key::episode(episode)) {
            let end = why.floor_char_boundary(limit::REASON_MAX);
            why.truncate(end);
            row.retrain = held(why, None);
            self.put_episode(&mut act, &row);
        }
    }
}
