//! When a job is likely to start.

use super::count;
use crate::quantity::{show_duration, show_time, show_time_of_day};
use domain::{
    Millis,
    foresee::{Basis, CalibrationView, StartView, StartsHeld},
};

/// Nodes that one line names.
const NODES_MAX: usize = 4;

/// Starts from which on they tell how far one may be trusted.
const TELLING: u64 = 20;

/// `starts 14:02:10-14:11:00 (p50-p90, by time limits) on n1 n2`.
#[must_use]
pub fn line(start: &StartView) -> String {
    let now = start.from_time;
    let basis = match start.basis {
        Basis::TimeLimits => "by time limits",
        Basis::History => "by history",
    };
    let why = start.not_known.as_deref().unwrap_or("nobody could look");
    let nodes = nodes(&start.nodes);
    match (start.p50, start.p90) {
        (Some(p50), Some(p90)) if p50 == p90 => {
            format!("starts {} ({basis}){nodes}", when(p50, now))
        }
        (Some(p50), Some(p90)) => format!(
            "starts {}-{} (p50-p90, {basis}{}){nodes}",
            when(p50, now),
            when(p90, now),
            trust(start),
        ),
        (Some(p50), None) => {
            format!("starts {} (p50, {basis}); p90 not known: {why}{nodes}", when(p50, now))
        }
        (None, _) => format!("start not known: {why}"),
    }
}

/// How far it may be trusted: by how often starts held, where that is known, else by run times.
fn trust(start: &StartView) -> String {
    match start.starts_held.filter(|held| held.jobs >= TELLING) {
        Some(StartsHeld { jobs, within_p90, .. }) => {
            let percent = within_p90 * 100 / jobs;
            format!("; last week {percent} % of {} held", count(jobs, "p90"))
        }
        None => start.held.map(held).unwrap_or_default(),
    }
}

/// How far the history of run times may be trusted.
fn held(held: CalibrationView) -> String {
    let percent = held.within_p90 * 100 / held.attempts.max(1);
    let of = count(held.attempts, "run");
    format!("; of the last {of} {percent} % were within their p90")
}

fn nodes(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let more = match names.len().saturating_sub(NODES_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named: Vec<&str> = names.iter().take(NODES_MAX).map(String::as_str).collect();
    format!(" on {}{more}", named.join(" "))
}

/// A point in time ahead: `now`, `14:02:10`, or with its day where that is far.
#[must_use]
pub fn when(at: Millis, now: Millis) -> String {
    let ahead = at.minus(now);
    match ahead.0 {
        0..1_000 => "now".to_owned(),
        1_000..43_200_000 => format!("{} (in {})", show_time_of_day(at), show_duration(ahead)),
        _ => format!("{} (in {})", show_time(at), show_duration(ahead)),
    }
}
