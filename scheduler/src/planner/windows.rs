//! Windows as a plan sees them, and as a reason to wait.

use super::{backfill::Reservation, class, fit::fits, free::FreeNode, shortage::shortages};
use crate::state::{
    sched::{Job, Shape},
    view::View,
    window::{Barred, Guest, WindowRow},
};
use domain::{Millis, reservation::WindowKind, view::ReasonView};
use std::{borrow::Cow, collections::BTreeSet};

/// Windows that one reason names.
const NAMED_MAX: usize = 3;
/// Nodes that one reason names.
const NODES_MAX: usize = 4;

/// What of the nodes windows leave to a job.
pub(super) fn open_to<'b, 'a>(
    nodes: &'b [FreeNode<'a>],
    barred: &Barred<'_>,
) -> Cow<'b, [FreeNode<'a>]> {
    match barred.is_none() {
        true => Cow::Borrowed(nodes),
        false => nodes.iter().filter(|node| !barred.has(node.id)).cloned().collect(),
    }
}

/// Whether a window keeps a job off the nodes that would be kept for it, by the time at which it
/// could start there. Where that is not known, any that comes does.
pub(super) fn comes_between(view: &View<'_>, job: &Job, kept: &Reservation) -> bool {
    let barred = match kept.at {
        Some(at) => view.barred(job, at),
        None => view.barred_as(Guest { limit: None, ..Guest::from(&job.brief) }, view.now()),
    };
    kept.nodes.iter().any(|node| barred.has(*node))
}

/// Why a gang does not fit on what windows leave it of what is free; `empty` is what there is if
/// nothing runs.
pub(super) fn reasons(
    view: &View<'_>,
    free: &[FreeNode<'_>],
    empty: &[FreeNode<'_>],
    (job, shape): (&Job, &Shape),
    now: Millis,
) -> Vec<ReasonView> {
    let barred = view.barred(job, now);
    let open = open_to(free, &barred);
    let mut reasons = Vec::new();
    let alone = job.brief.reservation.as_deref();
    match alone.filter(|name| view.window(name).is_none_or(|it| !it.is_open(now))) {
        Some(name) => return vec![elsewhere(view, name, now)],
        None if barred.is_none() => {}
        None => {
            let ever = fits(&open_to(empty, &barred), shape);
            if !ever || fits(free, shape) {
                reasons.push(in_the_way(view, free, (job, shape), &barred, now));
            }
            if !ever {
                return reasons;
            }
        }
    }
    let class = class::asked(&open, shape, job, false);
    let known = class.is_some();
    reasons.extend(class);
    reasons.extend(shortages(&open, shape, false, known));
    reasons
}

fn reason(detail: String, remedy: String, never: bool) -> ReasonView {
    ReasonView { kind: "reservation".into(), detail, remedy, never }
}

/// It names a window that is not open.
fn elsewhere(view: &View<'_>, name: &str, now: Millis) -> ReasonView {
    match view.window(name).filter(|window| now < window.until) {
        Some(window) => {
            let left = span(window.from.minus(now));
            let detail = format!("it runs in reservation `{name}` alone, which begins in {left}");
            reason(detail, format!("wait {left}, or submit it without `reservation`"), false)
        }
        None => reason(
            format!("it runs in reservation `{name}` alone, which is over or was deleted"),
            format!("submit it without `reservation`, or make one of the name `{name}` again"),
            true,
        ),
    }
}

/// Windows keep it from nodes on which it would fit.
fn in_the_way(
    view: &View<'_>,
    free: &[FreeNode<'_>],
    (job, shape): (&Job, &Shape),
    barred: &Barred<'_>,
    now: Millis,
) -> ReasonView {
    if let (Some(name), true) = (&job.brief.reservation, barred.windows.is_empty()) {
        let detail = format!("it runs in reservation `{name}` alone, whose nodes cannot hold it");
        let remedy = "ask for less, or submit it without `reservation`".to_owned();
        return reason(detail, remedy, false);
    }
    let detail: Vec<String> =
        barred.windows.iter().take(NAMED_MAX).map(|it| told(view, it, now)).collect();
    let more = barred.windows.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let limit = job.brief.time_limit;
    let own = match limit {
        Some(limit) => format!("it may run for {}", span(limit)),
        None => "it has no `time_limit`".to_owned(),
    };
    let mut remedy = Vec::new();
    if let Some(most) = longest(view, free, (job, shape), barred, now) {
        remedy.push(format!("a `time_limit` of at most {} starts now", span(most)));
    }
    if let Some(first) = barred.windows.iter().min_by_key(|it| (it.until, &it.name)) {
        let left = span(first.until.minus(now));
        remedy.push(format!("wait: `{}` ends in {left}", first.name));
    }
    reason(format!("{}{more}; {own}", detail.join("; ")), remedy.join("; or "), false)
}

fn told(view: &View<'_>, window: &WindowRow, now: Millis) -> String {
    let names: Vec<String> =
        window.nodes.iter().take(NODES_MAX).filter_map(|id| view.node_name(*id)).collect();
    let more = window.nodes.len().saturating_sub(NODES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let nodes = names.join(" ");
    let (kind, name) = (window.kind.word(), &window.name);
    let whose = match window.kind {
        WindowKind::Maintenance => "",
        WindowKind::Reservation => " for others",
    };
    match window.is_open(now) {
        true => format!("{kind} `{name}` is open{whose} on {nodes}{more}"),
        false => {
            let left = span(window.from.minus(now));
            format!("{kind} `{name}`{whose} begins on {nodes}{more} in {left}")
        }
    }
}

/// The longest time limit with which it would start now.
fn longest(
    view: &View<'_>,
    free: &[FreeNode<'_>],
    (job, shape): (&Job, &Shape),
    barred: &Barred<'_>,
    now: Millis,
) -> Option<Millis> {
    let coming = barred.windows.iter().filter(|window| window.from > now);
    let limits: BTreeSet<Millis> = coming.map(|window| window.from.minus(now)).collect();
    let starts = |limit: &Millis| {
        let guest = Guest { limit: Some(*limit), ..Guest::from(&job.brief) };
        fits(&open_to(free, &view.barred_as(guest, now)), shape)
    };
    limits.into_iter().rev().filter(|limit| *limit >= SHORTEST).find(starts)
}

/// No limit below is advised.
const SHORTEST: Millis = Millis(1_000);

/// A time as a job file takes it, its two greatest units; not longer than it is.
pub(super) fn span(time: Millis) -> String {
    let s = time.0 / 1_000;
    match s {
        0..=59 => format!("{s}s"),
        60..=3_599 if s.is_multiple_of(60) => format!("{}m", s / 60),
        60..=3_599 => format!("{}m{}s", s / 60, s % 60),
        3_600..=86_399 => format!("{}h{}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d{}h", s / 86_400, s % 86_400 / 3_600),
    }
}
