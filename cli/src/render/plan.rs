//! What a configuration changes, and who is worse off.

use super::count;
use crate::{output::Style, quantity::show_duration};
use domain::{
    LogIndex, Millis,
    queue::{
        Change,
        view::{ConfigPlanView, HurtView},
    },
};
use serde::Serialize;

/// The document of `assay plan --json`.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// What would change.
    #[serde(flatten)]
    pub plan: ConfigPlanView,
    /// The log index that it was compared with.
    pub log_index: u64,
}

/// The document of `assay apply --json`.
#[derive(Debug, Serialize)]
pub struct Applied {
    /// Whether anything was to be changed.
    pub applied: bool,
    /// The entry that holds the change.
    pub log_index: Option<LogIndex>,
    /// What was changed.
    #[serde(flatten)]
    pub plan: ConfigPlanView,
}

/// What was put into force, as text.
#[must_use]
pub fn applied(style: Style, applied: &Applied) -> String {
    let text = text(style, &applied.plan, None);
    match applied.log_index {
        Some(at) => {
            let version = applied.plan.version + 1;
            format!("{text}in force: version {version} (log {at}); look: assay queue list\n")
        }
        None => text,
    }
}

/// A plan as text; `file` is named where it is yet to be applied.
#[must_use]
pub fn text(style: Style, plan: &ConfigPlanView, file: Option<&str>) -> String {
    if plan.changes.is_empty() {
        return format!("nothing to change: version {} is as the file says\n", plan.version);
    }
    let mut out = String::new();
    let mut queue = None;
    for change in &plan.changes {
        let of = change.queue.as_deref().unwrap_or("all queues");
        if queue != Some(of) {
            out.push_str(&heading(style, of, change));
            queue = Some(of);
        }
        if change.field != "queue" {
            out.push_str(&line(change));
        }
    }
    match plan.hurt.is_empty() {
        true => out.push_str("nobody is worse off now\n"),
        false => out.push_str(&style.bad("worse off:\n")),
    }
    out.extend(plan.hurt.iter().map(|hurt| worse(style, hurt)));
    if let Some(file) = file {
        let next = format!("put it into force: assay apply {file} --reason TEXT\n");
        out.push_str(&style.faint(&next));
    }
    out
}

fn heading(style: Style, of: &str, change: &Change) -> String {
    let (sign, rest) = match (change.field.as_str(), &change.from, &change.to) {
        ("queue", None, _) => (style.good("+"), " (new)"),
        ("queue", _, None) => (style.bad("-"), " (goes)"),
        _ => (style.busy("~"), ""),
    };
    format!("{sign} {}{rest}\n", style.strong(of))
}

fn line(change: &Change) -> String {
    // Durations stand in the document in milliseconds.
    let (field, time) = match change.field.strip_suffix("_ms") {
        Some(field) => (field, true),
        None => (change.field.as_str(), false),
    };
    let show = |value: &Option<String>| match value {
        None => "none".to_owned(),
        Some(text) => match text.parse() {
            Ok(ms) if time => show_duration(Millis(ms)),
            Ok(_) | Err(_) => text.clone(),
        },
    };
    format!("    {field}: {} -> {}\n", show(&change.from), show(&change.to))
}

fn worse(style: Style, hurt: &HurtView) -> String {
    let who = match &hurt.user {
        Some(user) => format!("{user} in {}", hurt.queue),
        None => hurt.queue.clone(),
    };
    let mut text = format!("  {} {}\n", style.strong(&who), hurt.detail);
    if !hurt.jobs.is_empty() {
        let ids: Vec<_> = hurt.jobs.iter().map(ToString::to_string).collect();
        let more = match hurt.more {
            0 => String::new(),
            more => format!(" and {}", count(more, "more job")),
        };
        text.push_str(&format!("    {}{more}\n", ids.join(" ")));
    }
    text
}
