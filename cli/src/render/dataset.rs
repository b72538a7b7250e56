//! Data sets: lists, one in full, and licences.

use crate::{
    output::{Style, table::table},
    quantity::{show_size, show_time},
};
use domain::dataset::{Block, DatasetView};
use serde::Serialize;
use std::collections::BTreeMap;

/// The document of `assay dataset list --json`.
#[derive(Debug, Serialize)]
pub struct Datasets {
    /// By name, or by number.
    pub datasets: Vec<DatasetView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay dataset licences --json`.
#[derive(Debug, Serialize)]
pub struct Licences {
    /// Whether each allows training.
    pub licences: BTreeMap<String, bool>,
    /// The log index that the list shows.
    pub log_index: u64,
}

fn state(style: Style, view: &DatasetView) -> String {
    let word = |block: &Block| match block {
        Block::Pii => "pii",
        Block::Licence => "licence",
    };
    let blocked: Vec<_> = view.blocked.iter().map(word).collect();
    match blocked.is_empty() {
        true if view.version.clearances.is_empty() => style.good("free"),
        true => style.good("cleared"),
        false => style.bad(&format!("blocked ({})", blocked.join(", "))),
    }
}

/// Data sets as text.
#[must_use]
pub fn list(style: Style, all: &Datasets) -> String {
    if all.datasets.is_empty() && style.table {
        return "no data sets yet; make one: assay dataset register NAME PATH --source TEXT \
                --licence SPDX\n"
            .into();
    }
    let row = |view: &DatasetView| {
        let facts = &view.version.facts;
        vec![
            view.version.dataset.to_string(),
            state(style, view),
            facts.files.to_string(),
            show_size(facts.size),
            facts.licence.clone(),
            facts.owner.clone(),
            if view.version.hold.is_some() { "yes" } else { "" }.to_owned(),
            show_time(view.version.registered),
        ]
    };
    let rows: Vec<_> = all.datasets.iter().map(row).collect();
    let heading = ["DATASET", "STATE", "FILES", "SIZE", "LICENCE", "OWNER", "HOLD", "REGISTERED"];
    table(style, &heading, &rows)
}

fn found(view: &DatasetView) -> String {
    let scan = &view.version.facts.scan;
    let counts: Vec<_> =
        scan.counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let by = format!("{} {} in {}", scan.detector, scan.detector_version, show_size(scan.scanned));
    match counts.is_empty() {
        true => format!("no personal data found by {by}"),
        false => format!("{} found by {by}", counts.join(", ")),
    }
}

fn fields(view: &DatasetView) -> Vec<(String, String)> {
    let version = &view.version;
    let facts = &version.facts;
    let mut fields = vec![
        ("tree".to_owned(), facts.tree.to_string()),
        ("root".to_owned(), facts.root.to_string()),
        ("content".to_owned(), format!("{} files, {}", facts.files, show_size(facts.size))),
        ("source".to_owned(), facts.source.clone()),
        ("licence".to_owned(), facts.licence.clone()),
        ("owner".to_owned(), facts.owner.clone()),
        ("scan".to_owned(), found(view)),
    ];
    if facts.pii_declared {
        fields.push(("declared".to_owned(), "holds personal data".to_owned()));
    }
    fields.extend(facts.transformations.iter().map(|step| ("made by".to_owned(), step.clone())));
    for (name, paths) in &facts.slices {
        fields.push((format!("slice {name}"), paths.join(" ")));
    }
    for (file, count) in &facts.scan.files {
        fields.push(("findings".to_owned(), format!("{count} in {file}")));
    }
    for word in &version.clearances {
        let when = show_time(word.since);
        let said = format!("{when} by {}: {}", word.approver, word.reason);
        fields.push(("cleared".to_owned(), format!("{said} (audit event {})", word.audit_seq)));
    }
    if let Some(hold) = &version.hold {
        let said = format!("{} by {}: {}", show_time(hold.since), hold.by, hold.reason);
        fields.push(("LEGAL HOLD".to_owned(), said));
    }
    let used: Vec<_> = view.used_by.iter().map(ToString::to_string).collect();
    if !used.is_empty() {
        fields.push(("used by".to_owned(), used.join(" ")));
    }
    let (when, who) = (show_time(version.registered), &version.registered_by);
    let event = version.audit_seq;
    fields.push(("registered".to_owned(), format!("{when} by {who} (audit event {event})")));
    fields
}

/// One version as text.
#[must_use]
pub fn detail(style: Style, view: &DatasetView) -> String {
    let head = style.strong(&view.version.dataset.to_string());
    let mut out = format!("{head} {}\n", state(style, view));
    for block in &view.blocked {
        out.push_str(&format!("  {}\n", style.bad(&format!("blocked: {block}"))));
    }
    for (name, value) in fields(view) {
        out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<12}"))));
    }
    out.push_str(&style.faint(&format!("next: {}\n", next(view))));
    out
}

fn next(view: &DatasetView) -> String {
    let dataset = &view.version.dataset;
    match view.blocked.is_empty() {
        true => format!("assay dataset list {}", dataset.name),
        false => format!("assay dataset clear {dataset} --key FILE --reason TEXT (an approver)"),
    }
}

/// What a registration says.
#[must_use]
pub fn registered(style: Style, view: &DatasetView) -> String {
    let version = &view.version;
    let mut out = format!(
        "{} is registered: {} files, {}\n{}\n",
        version.dataset,
        version.facts.files,
        show_size(version.facts.size),
        found(view)
    );
    for block in &view.blocked {
        out.push_str(&style.bad(&format!("blocked: {block}\n")));
    }
    out.push_str(&style.faint(&format!("next: {}\n", next(view))));
    out
}

/// What an approver is about to sign.
#[must_use]
pub fn asked(view: &DatasetView) -> String {
    let blocks: Vec<_> = view.blocked.iter().map(ToString::to_string).collect();
    let facts = &view.version.facts;
    format!(
        "{} of {}, licence {}: {}; {}",
        view.version.dataset,
        facts.owner,
        facts.licence,
        if blocks.is_empty() { "not blocked".to_owned() } else { blocks.join(", and ") },
        found(view)
    )
}

/// Licences as text.
#[must_use]
pub fn licences(style: Style, all: &Licences) -> String {
    let row = |(id, allowed): (&String, &bool)| {
        vec![id.clone(), if *allowed { "allows training" } else { "forbids training" }.to_owned()]
    };
    let rows: Vec<_> = all.licences.iter().map(row).collect();
    table(style, &["LICENCE", "VERDICT"], &rows)
}
