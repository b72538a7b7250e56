//! What a collection would do, and what one did.

use super::count;
use crate::{
    output::{Style, table::table},
    quantity::{show_size, show_time},
};
use domain::{ArtifactId, Bytes, Digest, retain::GcItem};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The document of `assay gc plan --json`.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Results whose files would go.
    pub going: Vec<GcItem>,
    /// Results whose files are kept, each with the first reason why.
    pub kept: Vec<GcItem>,
    /// Bytes that would come free at most: less where something else has the same files.
    pub bytes: Bytes,
    /// The log index that the plan shows.
    pub log_index: u64,
}

impl Plan {
    /// The plan over results that have their files.
    #[must_use]
    pub fn of((items, log_index): (Vec<GcItem>, u64)) -> Self {
        let (going, kept): (Vec<_>, Vec<_>) = items.into_iter().partition(GcItem::goes);
        let bytes = freed(&going, &kept);
        Self { going, kept, bytes, log_index }
    }
}

/// Bytes of the files that go: each list of files once, and none that a kept result has too.
fn freed(going: &[GcItem], kept: &[GcItem]) -> Bytes {
    let stay: BTreeSet<Digest> = kept.iter().map(|item| item.tree).collect();
    let sizes: BTreeMap<Digest, u64> = going.iter().map(|item| (item.tree, item.size.0)).collect();
    Bytes(sizes.iter().filter(|(tree, _)| !stay.contains(tree)).map(|(_, size)| size).sum())
}

/// The document of `assay gc run --json`.
#[derive(Debug, Default, Serialize)]
pub struct Ran {
    /// Results whose files went.
    pub collected: Vec<ArtifactId>,
    /// Bytes that come free at most.
    pub bytes: Bytes,
    /// Number of results whose files are kept.
    pub kept: u64,
    /// The newest entry of it; 0 when nothing went.
    pub log_index: u64,
    /// What was asked for.
    #[serde(skip)]
    pub candidates: Vec<GcItem>,
}

impl Ran {
    /// Sorts out what went, once it is known who has files left.
    pub fn settle(&mut self, kept: &[GcItem]) {
        let left: BTreeSet<ArtifactId> = kept.iter().map(|item| item.artifact).collect();
        let mut gone: Vec<GcItem> = std::mem::take(&mut self.candidates);
        gone.retain(|item| !left.contains(&item.artifact));
        gone.sort_by_key(|item| item.artifact);
        gone.dedup_by_key(|item| item.artifact);
        self.kept = left.len() as u64;
        self.bytes = freed(&gone, kept);
        self.collected = gone.iter().map(|item| item.artifact).collect();
    }
}

const HEADING: [&str; 6] = ["ARTIFACT", "NAME", "SIZE", "SEALED", "FILES", "WHY"];

fn row(style: Style, item: &GcItem) -> Vec<String> {
    let (word, why) = match (&item.kept, &item.rule) {
        (Some(keep), _) => (style.good("kept"), keep.to_string()),
        (None, Some(rule)) => (style.bad("go"), rule.to_string()),
        (None, None) => (style.bad("go"), String::new()),
    };
    let shared = item.shared_with.filter(|_| item.kept.is_none());
    let shared = shared.map_or_else(String::new, |other| format!("; {other} has the same files"));
    vec![
        item.artifact.to_string(),
        item.name.clone(),
        show_size(item.size),
        show_time(item.sealed),
        word,
        format!("{why}{shared}"),
    ]
}

/// The plan as text.
#[must_use]
pub fn plan(style: Style, plan: &Plan) -> String {
    if plan.going.is_empty() && plan.kept.is_empty() && style.table {
        return "no artifact has files; a job that completes makes one: assay jobs\n".into();
    }
    let rows: Vec<_> = plan.going.iter().chain(&plan.kept).map(|it| row(style, it)).collect();
    let mut out = table(style, &HEADING, &rows);
    if style.table {
        let (going, kept) = (plan.going.len() as u64, plan.kept.len() as u64);
        out.push_str(&format!(
            "the files of {} would go, {} at most; those of {kept} are kept\n",
            count(going, "artifact"),
            show_size(plan.bytes)
        ));
        if going > 0 {
            out.push_str(&style.faint("next: assay gc run (admins)\n"));
        }
    }
    out
}

/// What was done, as text.
#[must_use]
pub fn ran(style: Style, ran: &Ran) -> String {
    let went = ran.collected.len() as u64;
    if went == 0 {
        return format!(
            "nothing may go: the files of {} are kept; why: assay gc plan\n",
            count(ran.kept, "artifact")
        );
    }
    let next = format!("next: assay artifact show {}\n", ran.collected[0]);
    format!(
        "the files of {} go, {} at most, within the servers' `collect_after`; those of {} are \
         kept (log {})\n{}",
        count(went, "artifact"),
        show_size(ran.bytes),
        ran.kept,
        ran.log_index,
        style.faint(&next)
    )
}

/// What a result says of a hold on it, and of its files.
#[must_use]
pub fn fields(view: &domain::view::ArtifactView) -> Vec<(&'static str, String)> {
    let mut fields = Vec::new();
    if let Some(hold) = &view.hold {
        let since = show_time(hold.since);
        fields.push(("LEGAL HOLD", format!("{since} by {}: {}", hold.by, hold.reason)));
    }
    if let Some(gone) = &view.collected {
        let (since, event) = (show_time(gone.since), gone.audit_seq);
        let said = format!("{since} by {} (`{}`, audit event {event})", gone.rule, gone.by);
        fields.push(("COLLECTED", said));
    }
    fields
}
