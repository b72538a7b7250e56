//! Sealed results: the list, one in full, and the points of a verification.

use super::count;
use crate::{
    output::{Style, table::table},
    quantity::{show_size, show_time},
};
use domain::{ArtifactId, tree::Tree, view::ArtifactView};
use serde::Serialize;

/// The document of `assay artifacts --json`.
#[derive(Debug, Serialize)]
pub struct Artifacts {
    /// The artifacts, by id.
    pub artifacts: Vec<ArtifactView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay artifact show --json`.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// The artifact.
    #[serde(flatten)]
    pub artifact: ArtifactView,
    /// Its files.
    #[serde(flatten)]
    pub tree: Tree,
}

const HEADING: [&str; 8] = ["ARTIFACT", "JOB", "NAME", "ROOT", "FILES", "SIZE", "COPIES", "SEALED"];

/// The list as text.
#[must_use]
pub fn list(style: Style, all: &Artifacts) -> String {
    if all.artifacts.is_empty() && style.table {
        return "no artifacts yet; a job that completes makes one: assay jobs\n".into();
    }
    let row = |view: &ArtifactView| {
        let ticket = &view.artifact.ticket;
        vec![
            view.artifact.id.to_string(),
            ticket.element.to_string(),
            view.name.clone(),
            ticket.output.root.short(),
            ticket.output.files.to_string(),
            show_size(ticket.output.size),
            view.artifact.copies.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            show_time(view.artifact.sealed),
        ]
    };
    table(style, &HEADING, &all.artifacts.iter().map(row).collect::<Vec<_>>())
}

/// Files of an artifact that are listed.
const FILES_SHOWN: usize = 20;

/// One artifact as text.
#[must_use]
pub fn detail(style: Style, detail: &Detail) -> String {
    let (view, tree) = (&detail.artifact, &detail.tree);
    let (artifact, ticket) = (&view.artifact, &view.artifact.ticket);
    let mut out = format!(
        "{} {}, made by {} attempt {}\n",
        style.strong(&artifact.id.to_string()),
        view.name,
        ticket.element,
        ticket.attempt.0
    );
    let copies: Vec<_> = artifact.copies.iter().map(ToString::to_string).collect();
    let mut fields = vec![
        ("root", ticket.output.root.to_string()),
        ("recipe", ticket.recipe.to_string()),
        ("build key", ticket.build_key.to_string()),
        ("signed by", format!("key {}", artifact.signer)),
        ("sealed", format!("{} (audit event {})", show_time(artifact.sealed), artifact.audit_seq)),
        ("copies", copies.join(" ")),
    ];
    fields.extend(super::gc::fields(view));
    fields.extend(agreement(view));
    for (name, value) in fields {
        out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<12}"))));
    }
    for point in &artifact.checkpoints {
        let name = style.faint(&format!("{:<12}", "checkpoint"));
        out.push_str(&format!("  {name} step {}  {}\n", point.step, point.root));
    }
    for replay in &view.replays {
        let name = style.faint(&format!("{:<12}", "replay"));
        out.push_str(&format!("  {name} {}\n", replay.says));
    }
    for file in tree.files.iter().take(FILES_SHOWN) {
        let name = style.faint(&format!("{:<12}", "file"));
        let size = show_size(file.size);
        out.push_str(&format!("  {name} {}  {}  {size}\n", file.digest.short(), file.path));
    }
    if tree.files.len() > FILES_SHOWN {
        let more = count((tree.files.len() - FILES_SHOWN) as u64, "more file");
        out.push_str(&format!("  … {more}; all of them: --json\n"));
    }
    let next = match view.collected {
        None => format!("next: assay verify {0}, or: assay fetch {0} DIR\n", artifact.id),
        Some(_) => format!("next: assay reproduce {}\n", ticket.element.job),
    };
    out.push_str(&style.faint(&next));
    out
}

fn agreement(view: &ArtifactView) -> Vec<(&'static str, String)> {
    let ids =
        |ids: &[ArtifactId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let mut fields = Vec::new();
    if !view.agrees_with.is_empty() {
        fields.push(("same bits as", ids(&view.agrees_with)));
    }
    if !view.differs_from.is_empty() {
        fields.push(("DIFFERS from", ids(&view.differs_from)));
    }
    fields
}
