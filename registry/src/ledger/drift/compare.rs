//! What a retrain made, beside what it is to replace. Nothing here promotes anything.

use super::{
    super::{
        Ledger,
        command::Act,
        evaluation::of_version,
        key as ledger_key,
        model::{version, wanted},
        seal::ArtifactRow,
    },
    key,
};
use domain::{
    Digest, ElementId, EpisodeId, JobId, Millis,
    artifact::Artifact,
    drift::{Comparison, Episode, Measurement, MetricPair},
    evaluation::Evaluation,
    job::Captured,
    model::{ModelRef, ModelVersion},
    port::RowRead,
    scratch::Scratch,
};
use serde_json::json;

/// A job that is to be submitted in the step that sealed a retrain's artifact: the evaluation of
/// the version before, of what was made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasureWanted {
    /// For which episode.
    pub episode: EpisodeId,
    /// What made the evaluation of the version: the new job inherits its recipe.
    pub element: ElementId,
    /// The files that it measured.
    pub before: Digest,
    /// The files that are to be measured.
    pub after: Captured,
}

impl Ledger {
    /// An artifact was sealed: if it is that of a retrain, it is compared with the one before.
    ///
    /// Gives the job that measures it as the version was measured, where that was.
    pub fn retrain_sealed<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        artifact: &Artifact,
    ) -> Option<MeasureWanted> {
        let mut act = Act { rows, now, actor };
        let job = artifact.ticket.element.job;
        let id = act.rows.read::<EpisodeId>(&key::of_job(job))?;
        let mut episode = act.rows.read::<Episode>(&key::episode(id))?;
        let before = wanted(&act, &episode.model).ok()?;
        let old: ArtifactRow = act.rows.read(&ledger_key::artifact(before.artifact))?;
        let old = old.artifact;
        let (new, old_ticket) = (&artifact.ticket, &old.ticket);
        let found = Comparison {
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
            measured_by: None,
            measured: None,
        };
        let body = compared(&episode, &found);
        self.event(&mut act, "drift.retrain.compared", body);
        let same = found.same_bits;
        episode.comparison = Some(found);
        act.rows.put_new(key::of_artifact(artifact.id), &id);
        act.rows.put(key::compared(&episode.model), &id);
        act.rows.put(key::episode(id), &episode);
        // The same bits measure the same.
        let newest = valid(&*act.rows, &episode.model).next().filter(|_| !same)?;
        let output = &new.output;
        let after = Captured {
            tree: output.tree,
            files: output.files,
            size: output.size,
            origin: artifact.id.to_string(),
        };
        let (element, before) = (newest.job, old_ticket.output.tree);
        Some(MeasureWanted { episode: id, element, before, after })
    }

    /// Records that the job which measures a retrain's artifact was submitted.
    pub fn measure_placed<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        now: Millis,
        actor: &str,
        wanted: &MeasureWanted,
        job: JobId,
    ) {
        let mut act = Act { rows, now, actor };
        let at = key::episode(wanted.episode);
        let Some(mut episode) = act.rows.read::<Episode>(&at) else { return };
        let Some(found) = &mut episode.comparison else { return };
        found.measured_by = Some(job);
        let body = json!({
            "artifactId": found.artifact.to_string(),
            "element": wanted.element.to_string(),
            "episode": episode.id.to_string(),
            "job": job.to_string(),
            "model": episode.model.to_string(),
        });
        self.event(&mut act, "drift.evaluation.dispatched", body);
        act.rows.put(at, &episode);
    }

    /// A version was registered: if it is what a retrain made, what is claimed of it is noted.
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
        episode.comparison = Some(found);
        act.rows.put(key::episode(id), &episode);
    }

    /// An evaluation was recorded: where the version is what a retrain made, or what it is to
    /// replace, both are compared by what was sealed. Only that may suggest a promotion.
    pub(in crate::ledger) fn retrain_measured<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        model: &ModelVersion,
    ) {
        let made = act.rows.read::<EpisodeId>(&key::of_artifact(model.artifact));
        let drifted = act.rows.read::<EpisodeId>(&key::compared(&model.model));
        for id in [made, drifted].into_iter().flatten() {
            let at = key::episode(id);
            let Some(mut episode) = act.rows.read::<Episode>(&at) else { continue };
            let Some(mut found) = episode.comparison.take() else { continue };
            let Some(new) = found.model.clone() else { continue };
            let measured = measurement(&*act.rows, &episode.model, &new);
            if measured.is_none() || measured == found.measured {
                continue;
            }
            found.measured = measured;
            let body = compared(&episode, &found);
            self.event(act, "drift.retrain.compared", body);
            let holds = found.measured.as_ref().is_some_and(Measurement::not_worse);
            // The same bits need no promotion.
            if holds && !found.same_bits && found.suggested_seq.is_none() {
                let body = compared(&episode, &found);
                found.suggested_seq = Some(self.event(act, "drift.promotion.suggested", body));
            }
            episode.comparison = Some(found);
            act.rows.put(at, &episode);
        }
    }
}

/// The evaluations of a version that count, newest first.
fn valid(rows: &impl RowRead, model: &ModelRef) -> impl Iterator<Item = Evaluation> {
    let mut all = of_version(rows, model);
    all.sort_by_key(|it| std::cmp::Reverse(it.evaluation.audit_seq));
    all.into_iter().filter(|it| it.void.is_none()).map(|it| it.evaluation)
}

/// The newest evaluations of both that measured in one way.
fn measurement(rows: &impl RowRead, old: &ModelRef, new: &ModelRef) -> Option<Measurement> {
    let before: Vec<_> = valid(rows, old).collect();
    valid(rows, new).find_map(|after| {
        let before = before.iter().find(|it| it.method == after.method)?;
        let old = (before.artifact, &before.metrics);
        Some(Measurement::of(after.method, old, (after.artifact, &after.metrics)))
    })
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
        "measured": found.measured.as_ref().map(|it| json!({
            "after": it.after.to_string(),
            "before": it.before.to_string(),
            "method": it.method.to_string(),
            "metrics": it.metrics,
            "worse": it.worse,
        })),
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
