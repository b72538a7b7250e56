//! The list of reservations, and one in full.

use crate::{
    output::{Style, table::table},
    quantity::{show_duration, show_time},
};
use domain::{
    ElementId, Millis,
    reservation::{NodeWindow, ReservationView, WindowKind},
};
use serde::Serialize;

/// The document of `assay reservation list --json`.
#[derive(Debug, Serialize)]
pub struct Reservations {
    /// The reservations, the first to begin first.
    pub reservations: Vec<ReservationView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay reservation show --json`.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// The reservation.
    #[serde(flatten)]
    pub reservation: ReservationView,
    /// The log index that it shows.
    pub log_index: u64,
}

const HEADING: [&str; 7] = ["NAME", "KIND", "STATE", "START", "END", "NODES", "REASON"];

/// The list as text.
#[must_use]
pub fn list(style: Style, all: &Reservations, now: Millis) -> String {
    if all.reservations.is_empty() && style.table {
        return "no reservations; make one: assay reservation create\n".into();
    }
    let rows: Vec<_> = all.reservations.iter().map(|it| row(style, it, now)).collect();
    table(style, &HEADING, &rows)
}

fn row(style: Style, it: &ReservationView, now: Millis) -> Vec<String> {
    vec![
        it.name.clone(),
        it.kind.word().to_owned(),
        state(style, &it.state, it.starts, it.ends, now),
        minute(it.starts),
        minute(it.ends),
        it.nodes.join(","),
        it.reason.clone(),
    ]
}

fn state(style: Style, word: &str, starts: Millis, ends: Millis, now: Millis) -> String {
    match word {
        "open" => style.busy(&format!("open for {}", show_duration(ends.minus(now)))),
        word => format!("{word} in {}", show_duration(starts.minus(now))),
    }
}

/// A time without its seconds: `2026-01-31T18:00Z`.
fn minute(at: Millis) -> String {
    let text = show_time(at);
    format!("{}Z", text.get(..16).unwrap_or(&text))
}

/// One reservation as text.
#[must_use]
pub fn detail(style: Style, it: &ReservationView, now: Millis) -> String {
    let or_none = |names: &[String]| match names {
        [] => "-".to_owned(),
        names => names.join(", "),
    };
    let elements = |all: &[ElementId]| {
        let all: Vec<_> = all.iter().map(ToString::to_string).collect();
        if all.is_empty() { "nothing".to_owned() } else { all.join(" ") }
    };
    let members = match (it.kind, it.users.is_empty() && it.queues.is_empty()) {
        (WindowKind::Maintenance, _) => "nobody".to_owned(),
        (WindowKind::Reservation, true) => {
            format!("jobs with `reservation = \"{}\"`", it.name)
        }
        (WindowKind::Reservation, false) => {
            format!("users {}; queues {}", or_none(&it.users), or_none(&it.queues))
        }
    };
    let facts = [
        ("name", it.name.clone()),
        ("kind", it.kind.word().to_owned()),
        ("state", state(style, &it.state, it.starts, it.ends, now)),
        ("start", show_time(it.starts)),
        ("end", show_time(it.ends)),
        ("nodes", it.nodes.join(" ")),
        ("members", members),
        ("reason", it.reason.clone()),
        ("made by", format!("{} (log {})", it.by, it.at)),
        ("inside", elements(&it.inside)),
        ("others", elements(&it.others)),
    ];
    facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

/// A node's window in a few words: `maintenance kernel from 2026-01-31T18:00Z`.
#[must_use]
pub fn of_node(window: &NodeWindow) -> String {
    let (kind, name) = (window.kind.word(), &window.name);
    match window.state.as_str() {
        "open" => format!("{kind} {name} until {}", minute(window.ends)),
        _ => format!("{kind} {name} from {}", minute(window.starts)),
    }
}
