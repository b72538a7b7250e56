//! What is shown of drift.

use super::View;
use domain::{
    EpisodeId,
    drift::{Episode, EpisodeView, MonitorView, Retrain},
    model::ModelRef,
    port::RowRead,
};
use registry::ledger::drift;

impl View<'_> {
    /// Monitors after one, by model.
    #[must_use]
    pub fn monitors(
        &self,
        rows: &impl RowRead,
        after: Option<&ModelRef>,
        limit: usize,
    ) -> Vec<MonitorView> {
        drift::monitors(rows, after, limit)
    }

    /// The monitor of a version.
    #[must_use]
    pub fn monitor(&self, rows: &impl RowRead, model: &ModelRef) -> Option<MonitorView> {
        drift::monitor(rows, model)
    }

    /// Episodes below a number, newest first.
    #[must_use]
    pub fn episodes(
        &self,
        rows: &impl RowRead,
        before: EpisodeId,
        limit: usize,
    ) -> Vec<EpisodeView> {
        let view = |episode| self.episode_view(rows, episode);
        drift::episodes(rows, before, limit).into_iter().map(view).collect()
    }

    /// One episode, with how its job stands.
    #[must_use]
    pub fn episode(&self, rows: &impl RowRead, id: EpisodeId) -> Option<EpisodeView> {
        drift::episode(rows, id).map(|episode| self.episode_view(rows, episode))
    }

    fn episode_view(&self, rows: &impl RowRead, episode: Episode) -> EpisodeView {
        let job_state = match &episode.retrain {
            Retrain::Dispatched { job, .. } => self.job(rows, *job).map(|view| view.line.state),
            Retrain::Off | Retrain::Suggested | Retrain::Held { .. } => None,
        };
        EpisodeView { episode, job_state }
    }
}
