//! What a change would do to the time ahead.

use super::{count, start};
use crate::{
    output::{Style, table::table},
    quantity::{show_duration, show_time_of_day},
};
use domain::{
    Millis,
    foresee::{EvictionView, ShiftView, StartView, WhatifView},
};
use serde::Serialize;

/// The document of `assay whatif --json`.
#[derive(Debug, Serialize)]
pub struct Whatif {
    /// What would come.
    #[serde(flatten)]
    pub view: WhatifView,
    /// The log index that was forked.
    pub log_index: u64,
}

const SHIFTS: [&str; 7] = ["JOB", "NAME", "QUEUE", "GPUS", "BEFORE", "AFTER", "SHIFT"];
const EVICTIONS: [&str; 6] = ["EVICTED", "USER", "QUEUE", "GPUS", "WHEN", "SCENARIOS"];

/// The answer as text.
#[must_use]
pub fn text(style: Style, view: &WhatifView) -> String {
    let mut out = heading(style, view);
    if let Some(job) = &view.submitted {
        let start = start::line(&job.after);
        out.push_str(&format!("{}  {start}\n", style.strong("it")));
    }
    match view.shifts.is_empty() {
        true => out.push_str(&format!("no start moves ({})\n", count(view.unmoved, "waiting job"))),
        false => {
            let rows: Vec<_> = view.shifts.iter().map(|shift| row(style, shift, view)).collect();
            out.push_str(&table(style, &SHIFTS, &rows));
            let listed = view.shifts.len() as u64;
            let moved = listed + view.more_shifts;
            let more = match view.more_shifts {
                0 => String::new(),
                more => format!(" ({more} of them not listed)"),
            };
            let stay = count(view.unmoved, "start");
            out.push_str(
                &style.faint(&format!("{} move{more}, {stay} as before\n", count(moved, "start"))),
            );
        }
    }
    out.push_str(&evictions(style, view));
    out.push_str(&used(view));
    for note in &view.notes {
        out.push_str(&style.faint(&format!("note  {note}\n")));
    }
    out
}

fn heading(style: Style, view: &WhatifView) -> String {
    let at = view.drained_at.map(|at| format!(" at {}", show_time_of_day(at)));
    let change = |change: &String| match change.starts_with("drain ") {
        true => format!("{change}{}", at.as_deref().unwrap_or_default()),
        false => change.clone(),
    };
    let changes: Vec<_> = view.changes.iter().map(change).collect();
    format!(
        "{}  {}\n{}  {} ahead of {}, {}\n",
        style.strong("if"),
        changes.join("; "),
        style.strong("for"),
        show_duration(Millis(view.horizon_ms)),
        show_time_of_day(view.from_time),
        count(view.scenarios.into(), "scenario"),
    )
}

fn row(style: Style, shift: &ShiftView, view: &WhatifView) -> Vec<String> {
    let at = |start: &StartView| match start.p50 {
        Some(at) => start::when(at, view.from_time),
        None => "not known".to_owned(),
    };
    let before = shift.before.as_ref();
    let moves = match (before.and_then(|it| it.p50), shift.after.p50) {
        (Some(_), None) => style.bad("no more"),
        (None, Some(_)) => style.good("now"),
        _ => moved(style, shift.shift_ms),
    };
    vec![
        shift.job.to_string(),
        shift.name.clone(),
        shift.queue.clone(),
        shift.gpus.to_string(),
        before.map_or_else(|| "-".to_owned(), at),
        at(&shift.after),
        moves,
    ]
}

/// How much later, or earlier.
fn moved(style: Style, shift_ms: Option<i64>) -> String {
    let time = |ms: i64| show_duration(Millis(ms.unsigned_abs()));
    match shift_ms {
        Some(0) => "p90 alone".to_owned(),
        Some(ms) if ms > 0 => style.bad(&format!("+{}", time(ms))),
        Some(ms) => style.good(&format!("-{}", time(ms))),
        None => "p90 alone".to_owned(),
    }
}

fn evictions(style: Style, view: &WhatifView) -> String {
    if view.evictions.is_empty() {
        return "nothing that runs has to make room\n".to_owned();
    }
    let row = |it: &EvictionView| {
        vec![
            it.element.to_string(),
            it.user.clone(),
            it.queue.clone(),
            it.gpus.to_string(),
            start::when(it.first_at, view.from_time),
            format!("{} -> {} of {}", it.before, it.after, view.scenarios),
        ]
    };
    let rows: Vec<_> = view.evictions.iter().map(row).collect();
    let more = match view.more_evictions {
        0 => String::new(),
        more => style.faint(&format!("and {more} more\n")),
    };
    table(style, &EVICTIONS, &rows) + &more
}

fn used(view: &WhatifView) -> String {
    let used = view.utilisation;
    let percent = |per_mille: u64| format!("{}.{} %", per_mille / 10, per_mille % 10);
    format!(
        "GPUs used: {} -> {} over {}\n",
        percent(used.before_per_mille),
        percent(used.after_per_mille),
        show_duration(Millis(used.window_ms)),
    )
}
