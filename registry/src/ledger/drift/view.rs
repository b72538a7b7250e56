//! What is shown of monitors and episodes.

use super::{MonitorRow, key};
use crate::drift::Sketched;
use domain::{
    EpisodeId,
    drift::{Episode, MonitorView, Observation},
    limit,
    model::ModelRef,
    port::RowRead,
    scratch,
};
use std::collections::BTreeMap;

/// The newest observations of a monitor, newest first.
fn recent(rows: &impl RowRead, row: &MonitorRow, most: u64) -> Vec<Observation> {
    let oldest = row.observations.saturating_sub(most) + 1;
    let read = |number| {
        let key = key::observation(&row.monitor.model, number);
        rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
    };
    (oldest..=row.observations).rev().filter_map(read).collect()
}

fn document(rows: &impl RowRead, row: MonitorRow, most: u64) -> MonitorView {
    MonitorView {
        recent: recent(rows, &row, most),
        monitor: row.monitor,
        open: row.open,
        observations: row.observations,
        retrains: row.retrains,
    }
}

/// The monitor of a version with what it met.
#[must_use]
pub fn monitor(rows: &impl RowRead, model: &ModelRef) -> Option<MonitorView> {
    let key = key::monitor(model);
    let row = scratch::decode(&key, &rows.get(&key)?);
    Some(document(rows, row, limit::OBSERVATIONS_KEPT))
}

/// Monitors after one, by model, each with its newest observation.
#[must_use]
pub fn monitors(rows: &impl RowRead, after: Option<&ModelRef>, limit: usize) -> Vec<MonitorView> {
    let (from, to) = key::monitors_after(after);
    let page = rows.range(&from, &to, limit);
    page.iter().map(|(key, value)| document(rows, scratch::decode(key, value), 1)).collect()
}

/// What a monitor compares with.
#[must_use]
pub fn reference(rows: &impl RowRead, model: &ModelRef) -> Option<BTreeMap<String, Sketched>> {
    let key = key::reference(model);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// One episode.
#[must_use]
pub fn episode(rows: &impl RowRead, id: EpisodeId) -> Option<Episode> {
    let key = key::episode(id);
    rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
}

/// Episodes below a number, newest first.
#[must_use]
pub fn episodes(rows: &impl RowRead, before: EpisodeId, limit: usize) -> Vec<Episode> {
    let count: u64 = {
        let key = key::episodes();
        rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default()
    };
    let newest = if before.0 == 0 { count } else { count.min(before.0 - 1) };
    (1..=newest).rev().take(limit).filter_map(|id| episode(rows, EpisodeId(id))).collect()
}
