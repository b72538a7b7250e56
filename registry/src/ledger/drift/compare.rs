//! What a retrain made, beside what it is to replace. Nothing here promotes anything.

use super::{
    super::{
        Ledger,
        command::Act,
        key as ledger_key,
        model::{version, wanted},
        seal::ArtifactRow,
    },
    key,
};
use domain::{
    EpisodeId, Millis,
    artifact::Artifact,
    drift::{Comparison, Episode, MetricPair},
    model::ModelVersion,
    port::RowRead,
    scratch::Scratch,
};
use serde_json::json;

impl Ledger {
    /// An artifact was sealed: if it is that of a retrain, it is compared with the one before.
    ///
    /// Where the version before has metrics, a promotion is suggested only once the new one is
    /// registered with its own; where it has none, digests are all that there is to compare.
    pub fn retrain_sealed<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        artifact: &Artifact,
    ) {
        let mut act = Act { rows, now, actor };
        let job = artifact.ticket.element.job;
        let Some(id) = act.rows.read::<EpisodeId>(&key::of_job(job)) else { return };
        let Some(mut episode) = act.rows.read::<Episode>(&key::episode(id)) else { return };
        let Ok(before) = wanted(&act, &episode.model) else { return };
        let old: Option<ArtifactRow> = act.rows.read(&ledger_key::artifact(before.artifact));
        let Some(ArtifactRow { artifact: old, .. }) = old else { return };
        let (new, old_ticket) = (&artifact.ticket, &old.ticket);
        let mut found = Comparison {
            artifact: artifact.id,
            root: new.output.root,
            recipe: new.recipe,
            artifact_before: old.id,
            root_before: old_ticket.output.root,
            recipe_before: old_ticket.recipe,
            same_bits: new.output.root == old_ticket.output.root,
            model: None,
            metrics: pairs(&before, None),
            since: now,
            suggested_seq: None,
        };
        let body = compared(&episode, &found);
        self.event(&mut act, "drift.retrain.compared", body);
        if before.metrics.is_empty() {
            self.suggest_promotion(&mut act, &episode, &mut found);
        }
        episode.comparison = Some(found);
        act.rows.put_new(key::of_artifact(artifact.id), &id);
        act.rows.put(key::episode(id), &episode);
    }

    /// A version was registered: if it is what a retrain made, its metrics are compared.
    pub(in crate::ledger) fn retrain_registered<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        new: &ModelVersion,
    ) {
        let at = key::of_artifact(new.artifact);
        let Some(id) = act.rows.read::<EpisodeId>(&at) else { return };
        let Some(mut episode) = act.rows.read::<Episode>(&key::episode(id)) else { return };
        if new.model.family != episode.model.family {
            return;
        }
        let Some(before) = version(&*act.rows, &episode.model) else { return };
        let Some(mut found) = episode.comparison.take() else { return };
        found.model = Some(new.model.clone());
        found.metrics = pairs(&before, Some(new));
        let body = compared(&episode, &found);
        self.event(act, "drift.retrain.compared", body);
        let measured = before.metrics.keys().all(|name| new.metrics.contains_key(name));
        if measured && found.suggested_seq.is_none() {
            self.suggest_promotion(act, &episode, &mut found);
        }
        episode.comparison = Some(found);
        act.rows.put(key::episode(id), &episode);
    }

    /// The same bits need no promotion.
    fn suggest_promotion<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        episode: &Episode,
        found: &mut Comparison,
    ) {
        if found.same_bits {
            return;
        }
        let body = compared(episode, found);
        found.suggested_seq = Some(self.event(act, "drift.promotion.suggested", body));
    }
}

fn pairs(
    before: &ModelVersion,
    after: Option<&ModelVersion>,
) -> std::collections::BTreeMap<String, MetricPair> {
    let names = before.metrics.keys().chain(after.iter().flat_map(|it| it.metrics.keys()));
    let pair = |name: &String| {
        let after = after.and_then(|it| it.metrics.get(name).copied());
        (name.clone(), MetricPair { before: before.metrics.get(name).copied(), after })
    };
    names.map(pair).collect()
}

fn compared(episode: &Episode, found: &Comparison) -> serde_json::Value {
    json!({
        "artifactBefore": found.artifact_before.to_string(),
        "artifactId": found.artifact.to_string(),
        "episode": episode.id.to_string(),
        "metrics": found.metrics,
        "model": episode.model.to_string(),
        "modelAfter": found.model.as_ref().map(ToString::to_string),
        "recipe": found.recipe.to_string(),
        "recipeBefore": found.recipe_before.to_string(),
        "root": found.root.to_string(),
        "rootBefore": found.root_before.to_string(),
        "sameBits": found.same_bits,
    })
}
