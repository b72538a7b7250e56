//! Episodes: opened by drift, told once, over when what drifted has come back.

use super::{
    super::{
        Ledger,
        command::{Act, check_text},
        dataset,
    },
    MonitorRow, RetrainWanted, key,
};
use domain::{
    EpisodeId,
    drift::{
        Closing, DataSlice, Dispatch, DriftedFeature, Episode, FeatureFinding, Observation,
        Retrain, WHOLE,
    },
    limit,
    port::RowRead,
    refusal::RegistryRefusal,
};
use serde_json::{Value, json};

/// The slices that an observation is of.
fn slices_of(observation: &Observation) -> Vec<String> {
    match observation.slices.is_empty() {
        true => vec![WHOLE.to_owned()],
        false => observation.slices.clone(),
    }
}

fn has_drifted(observation: &Observation) -> bool {
    observation.reason.is_some() || observation.drifted().next().is_some()
}

/// The episode of this id, or why there is none.
pub(super) fn found<R: RowRead>(
    act: &Act<'_, '_, R>,
    id: EpisodeId,
) -> Result<Episode, RegistryRefusal> {
    act.rows.read(&key::episode(id)).ok_or_else(|| RegistryRefusal::NotFound {
        what: format!("episode {id}"),
        list: "drift alerts".into(),
    })
}

/// Takes in what an observation of drift says.
fn take_in(episode: &mut Episode, observation: &Observation) {
    let slices = slices_of(observation);
    episode.observations += 1;
    for slice in &slices {
        if episode.slices.len() < limit::EPISODE_SLICES_MAX || episode.slices.contains_key(slice) {
            episode.slices.insert(slice.clone(), true);
        }
    }
    for finding in observation.features.iter().filter(|it| it.drifted) {
        let full = episode.features.len() >= limit::FEATURES_MAX;
        if full && !episode.features.contains_key(&finding.feature) {
            continue;
        }
        let feature = episode
            .features
            .entry(finding.feature.clone())
            .or_insert_with(|| DriftedFeature { scores: Default::default(), slices: Vec::new() });
        feature.scores.clone_from(&finding.scores);
        feature.slices.extend(slices.iter().cloned());
        feature.slices.sort_unstable();
        feature.slices.dedup();
        feature.slices.truncate(limit::EPISODE_SLICES_MAX);
    }
    for (name, dataset) in &observation.data {
        episode.data.insert(name.clone(), dataset.clone());
    }
}

/// What of the data drifted: for each slice the data set that has it, with its paths.
fn data_slices<R: RowRead>(act: &Act<'_, '_, R>, episode: &Episode) -> Vec<DataSlice> {
    let versions: Vec<_> =
        episode.data.values().filter_map(|it| dataset::version(&*act.rows, it)).collect();
    let slice = |name: &String| {
        let has = versions.iter().find(|version| version.facts.slices.contains_key(name));
        DataSlice {
            slice: name.clone(),
            dataset: has.map(|version| version.dataset.clone()),
            paths: has.and_then(|it| it.facts.slices.get(name).cloned()).unwrap_or_default(),
        }
    };
    episode.slices.keys().map(slice).collect()
}

fn alert(episode: &Episode, observation: &Observation) -> Value {
    let scores = |found: &FeatureFinding| {
        let (effects, feature, scores) = (&found.effects, &found.feature, &found.scores);
        json!({ "effects": effects, "feature": feature, "scores": scores })
    };
    let features: Vec<_> =
        observation.features.iter().filter(|it| it.drifted).map(scores).collect();
    json!({
        "episode": episode.id.to_string(),
        "features": features,
        "model": episode.model.to_string(),
        "observation": observation.number,
        "reason": observation.reason,
        "slices": slices_of(observation),
        "trigger": observation.trigger,
        "windows": observation.windows.map(|digest| digest.to_string()),
    })
}

impl Ledger {
    /// What follows an observation: an episode is opened, goes on, or ends.
    pub(super) fn follow<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        row: &mut MonitorRow,
        observation: &mut Observation,
    ) -> Option<RetrainWanted> {
        let drifted = has_drifted(observation);
        let known: Option<Episode> = row.open.and_then(|id| act.rows.read(&key::episode(id)));
        let mut episode = match known {
            Some(episode) => episode,
            None if !drifted => return None,
            None => self.open_episode(act, row, observation),
        };
        if !drifted {
            self.calm(act, row, episode, observation);
            return None;
        }
        observation.episode = Some(episode.id);
        take_in(&mut episode, observation);
        let wanted = self.suggest(act, row, &mut episode);
        self.put_episode(act, &episode);
        wanted
    }

    /// Opens an episode with its alert.
    fn open_episode<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        row: &mut MonitorRow,
        observation: &Observation,
    ) -> Episode {
        let id = EpisodeId(act.rows.read::<u64>(&key::episodes()).unwrap_or_default() + 1);
        act.rows.put(key::episodes(), &id.0);
        row.open = Some(id);
        let mut episode = Episode {
            id,
            model: row.monitor.model.clone(),
            opened: act.now,
            opened_by: act.user().to_owned(),
            features: Default::default(),
            slices: Default::default(),
            observations: 0,
            data: Default::default(),
            suggested: Vec::new(),
            retrain: Retrain::Off,
            comparison: None,
            closed: None,
            alert_seq: 0,
            suggestion_seq: None,
        };
        episode.alert_seq = self.event(act, "drift.alert", alert(&episode, observation));
        episode
    }

    /// A window without drift: its slices have come back, and with the last of them all is over.
    fn calm<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        row: &mut MonitorRow,
        mut episode: Episode,
        observation: &mut Observation,
    ) {
        observation.episode = Some(episode.id);
        for slice in slices_of(observation) {
            if let Some(drifts) = episode.slices.get_mut(&slice) {
                *drifts = false;
            }
        }
        let over = episode.slices.values().all(|drifts| !drifts);
        self.put_episode(act, &episode);
        if over {
            row.open = None;
            self.close(act, episode.id, "every slice that drifted has come back".into());
        }
    }

    /// Suggests a retrain, once for each set of slices and data, and lets the policy decide.
    fn suggest<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        row: &MonitorRow,
        episode: &mut Episode,
    ) -> Option<RetrainWanted> {
        if row.monitor.policy.dispatch == Dispatch::Off {
            return None;
        }
        let slices = data_slices(act, episode);
        if slices != episode.suggested || episode.suggestion_seq.is_none() {
            let body = json!({
                "alert": episode.alert_seq,
                "data": episode.data,
                "episode": episode.id.to_string(),
                "features": episode.features.keys().collect::<Vec<_>>(),
                "model": episode.model.to_string(),
                "slices": slices,
            });
            episode.suggestion_seq = Some(self.event(act, "drift.suggestion", body));
            episode.suggested = slices;
        }
        if matches!(episode.retrain, Retrain::Dispatched { .. }) {
            return None;
        }
        Self::decide(act, row, episode)
    }

    /// A person ends an episode.
    pub(super) fn close_by_hand<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: EpisodeId,
        reason: String,
    ) -> Result<u64, RegistryRefusal> {
        check_text("the reason", &reason)?;
        let episode = found(act, id)?;
        if let Some(closed) = episode.closed {
            return Err(RegistryRefusal::Episode {
                episode: id,
                state: format!("is over: {}", closed.reason),
                remedy: "nothing is left to be done".into(),
            });
        }
        let monitor = key::monitor(&episode.model);
        if let Some(mut row) = act.rows.read::<MonitorRow>(&monitor) {
            row.open = None;
            act.rows.put(monitor, &row);
        }
        self.close(act, id, reason);
        Ok(id.0)
    }

    /// Ends an episode.
    pub(super) fn close<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: EpisodeId,
        reason: String,
    ) {
        let at = key::episode(id);
        let Some(mut episode) = act.rows.read::<Episode>(&at) else { return };
        let body = json!({
            "episode": id.to_string(), "model": episode.model.to_string(), "reason": reason,
        });
        self.event(act, "drift.episode.closed", body);
        episode.closed = Some(Closing { reason, by: act.user().to_owned(), since: act.now });
        self.put_episode(act, &episode);
    }
}
