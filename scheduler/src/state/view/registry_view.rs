//! What the registry shows of models and promotions.

use super::View;
use domain::{
    ElementId, EpisodeId, JobId, Millis, PromotionId,
    model::{FamilyView, LineageView, ModelRef, ModelView},
    port::RowRead,
    promotion::{ApproversView, PolicyDecision, Promotion},
    scratch,
};
use registry::ledger::{
    OpenPromotion,
    lineage::{self, Bounds, Sources},
    model, promotion,
};

impl View<'_> {
    /// Model families after a name.
    #[must_use]
    pub fn families(&self, rows: &impl RowRead, after: &str, limit: usize) -> Vec<FamilyView> {
        model::families(rows, after, limit)
    }

    /// Versions of a family from a number on.
    #[must_use]
    pub fn versions(
        &self,
        rows: &impl RowRead,
        family: &str,
        first: u64,
        limit: usize,
    ) -> Vec<ModelView> {
        model::versions(rows, family, first, limit)
    }

    /// The version that a word names: `digits@3`, `digits@prod`, or `digits` for the newest.
    #[must_use]
    pub fn model(&self, rows: &impl RowRead, word: &str) -> Option<ModelView> {
        model::view(rows, &model::resolve(rows, word)?)
    }

    /// What a version was made of, and what was made of it.
    #[must_use]
    pub fn lineage(
        &self,
        rows: &impl RowRead,
        of: &ModelRef,
        bounds: Bounds,
    ) -> Option<LineageView> {
        lineage::lineage(rows, of, bounds, &|element| sources(rows, element))
    }

    /// Promotions below a number, newest first.
    #[must_use]
    pub fn promotions(
        &self,
        rows: &impl RowRead,
        before: PromotionId,
        limit: usize,
    ) -> Vec<Promotion> {
        promotion::promotions(rows, before, limit)
    }

    /// One promotion.
    #[must_use]
    pub fn promotion(&self, rows: &impl RowRead, id: PromotionId) -> Option<Promotion> {
        promotion::promotion(rows, id)
    }

    /// Promotions that something may still happen to.
    pub fn open_promotions(&self) -> impl Iterator<Item = (PromotionId, OpenPromotion)> + '_ {
        self.ledger.open().iter().map(|(id, open)| (*id, *open))
    }

    /// Retrains that are held for a time, with its end by the log's clock.
    pub fn held_retrains(&self) -> impl Iterator<Item = (EpisodeId, Millis)> + '_ {
        self.ledger.held_retrains().iter().map(|(id, due)| (*id, *due))
    }

    /// Whether jobs wait for a policy before training.
    #[must_use]
    pub fn gates_training(&self) -> bool {
        self.sched.gate_training
    }

    /// Whether a job waits for a policy's decision.
    #[must_use]
    pub fn is_gated(&self, id: JobId) -> bool {
        self.sched.gated.contains(&id)
    }

    /// Jobs that wait for a policy's decision.
    pub fn gated_jobs(&self) -> impl Iterator<Item = JobId> + '_ {
        self.sched.gated.iter().copied()
    }

    /// What the policy said of a job before training.
    #[must_use]
    pub fn training_decision(&self, rows: &impl RowRead, id: JobId) -> Option<PolicyDecision> {
        let key = super::super::key::decision(id);
        rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
    }

    /// Approvers and quorum.
    #[must_use]
    pub fn approvers(&self, rows: &impl RowRead) -> ApproversView {
        promotion::approvers(rows)
    }
}

/// What a job was given.
pub(in crate::state) fn sources(rows: &impl RowRead, element: ElementId) -> Option<Sources> {
    let key = super::super::key::job_spec(element.job);
    let submitted: super::Submitted = scratch::decode(&key, &rows.get(&key)?);
    let spec = submitted.spec;
    Some(Sources {
        name: spec.name,
        code: spec.code.map(|code| code.tree),
        datasets: spec.datasets.into_iter().map(|(name, set)| (name, set.tree)).collect(),
    })
}
