//! Why a job waits: each reason with the smallest change that removes it.

use super::{
    bound, class,
    fit::{fits, suits},
    free::{self, FreeNode},
    gated, held, making_room,
    pass::plan,
    share::Turns,
    shortage::{ALSO, shortages},
    waits, windows,
    windows::span,
};
use crate::state::{
    sched::{Job, Node, Shape},
    view::View,
};
use domain::{
    JobId, Millis, NodeId,
    isolation::{Confinement, Isolation, Network},
    job::ElementState,
    lease::Phase,
    port::RowRead,
    queue::Order,
    view::{ReasonView, WhyView},
};

use std::collections::BTreeSet;

/// Steps of the plan that is made to see who goes first.
const BUDGET_STEPS: u64 = 10_000;
/// As of a job that asks for nothing.
const PLAIN: Confinement =
    Confinement { isolation: Isolation::None, network: Some(Network::Host), disk: None };
/// Names in one sentence.
const NAMES_MAX: usize = 8;

/// Why `id` waits; none when there is no such job.
#[must_use]
pub fn why(view: &View<'_>, rows: &impl RowRead, id: JobId, now: Millis) -> Option<WhyView> {
    let (submitted, progress) = view.job_rows(rows, id)?;
    let count = submitted.spec.elements();
    let state = progress.word(count).to_owned();
    let (reasons, others) = (Vec::new(), Vec::new());
    let mut document =
        WhyView { job: id, state, reasons, not_reasons: others, start: None, seals: Vec::new() };
    if let Some(policy) = gated::reason_of(view, rows, id) {
        document.reasons.push(policy);
        return Some(document);
    }
    let Some(job) = view.live_job(id) else { return Some(document) };
    document.reasons.extend(stopping(view, job));
    document.reasons.extend(making_room::noticed(view, job, now));
    if let Some(row) = view.preemption(id) {
        document.reasons.push(making_room::promised(view, row, now));
        return Some(document);
    }
    if progress.waiting(count) == 0 {
        return Some(document);
    }
    document.reasons.extend(gated::blocked_data(rows, id, &submitted));
    let mut bounds = waits::reasons(view, id, job, now);
    bounds.extend(array_limit(job));
    bounds.extend(bound::reasons(view, job, now));
    let bound = !bounds.is_empty();
    document.reasons.extend(bounds);
    for shape in job.shapes_to_come() {
        for reason in of_shape(view, &shape, (id, job), bound, now) {
            if document.reasons.iter().all(|known| known.kind != reason.kind) {
                document.reasons.push(reason);
            }
        }
    }
    document.not_reasons = not_reasons(view, (id, job), &document.reasons, now);
    Some(document)
}

fn reason(kind: &str, detail: String, remedy: String, never: bool) -> ReasonView {
    ReasonView { kind: kind.to_owned(), detail, remedy, never }
}

/// An old attempt that has not ended everywhere.
fn stopping(view: &View<'_>, job: &Job) -> Option<ReasonView> {
    job.elements.values().find_map(|row| {
        let ElementState::Running { lease } = &row.state else { return None };
        let Phase::Stopping { remaining, cause } = &view.lease(*lease)?.phase else { return None };
        let nodes = remaining.iter().filter_map(|node| view.node(*node));
        let nodes = names(nodes.map(|row| row.inventory.name.as_str()));
        let detail =
            format!("its attempt under {lease} ({cause}) is not known to be dead on {nodes}");
        let remedy = format!("wait for {nodes}, or once off: `assay node confirm-dead {lease}`");
        Some(reason("lease", detail, remedy, false))
    })
}

fn array_limit(job: &Job) -> Option<ReasonView> {
    let most = job.brief.array?.at_once_max;
    if most == 0 || job.progress.running < most {
        return None;
    }
    let detail = format!("{} of at most {most} elements run", job.progress.running);
    let remedy = "wait for an element to end, or submit with a higher `at_once_max`".to_owned();
    Some(reason("array", detail, remedy, false))
}

fn of_shape(
    view: &View<'_>,
    shape: &Shape,
    (id, job): (JobId, &Job),
    bound_otherwise: bool,
    now: Millis,
) -> Vec<ReasonView> {
    let all = free::all_empty(view);
    if all.is_empty() {
        let remedy = "start `assay agent` on a machine".to_owned();
        return vec![reason("nodes", "no node has ever registered".into(), remedy, false)];
    }
    if !fits(&all, shape) {
        if let Some(held) = held::ever(view, &all, shape) {
            return vec![held];
        }
        if let Some(class) = class::asked(&all, shape, job, true) {
            let there = all.iter().any(|node| Some(node.class) == shape.class.as_deref());
            // What is short where no node has the class is short on any, and both are to be changed.
            let rest = if there { shape } else { &Shape { class: None, ..shape.clone() } };
            if there || fits(&all, rest) {
                let rest = if there { shortages(&all, rest, true, true) } else { Vec::new() };
                return std::iter::once(class).chain(rest).collect();
            }
            let rest = match apart(&all, rest) {
                Some(one) => vec![one],
                None => shortages(&all, rest, true, false),
            };
            return std::iter::once(class).chain(rest).map(together).collect();
        }
        let one = bound(&all, shape).or_else(|| apart(&all, shape));
        return one.map_or_else(|| shortages(&all, shape, true, false), |it| vec![it]);
    }
    let ready = free::ready_empty(view);
    if !fits(&ready, shape) {
        let mut reason = out_of_service(view, shape, now);
        if let Some(held) = held::ever(view, &ready, shape) {
            reason.detail = format!("{}; or: {}", held.detail, reason.detail);
            reason.remedy = format!("{}; or {}", held.remedy, reason.remedy);
        }
        return vec![reason];
    }
    let free = free::ready(view);
    if fits(&windows::open_to(&free, &view.barred(job, now)), shape) {
        // What is in its way otherwise is why it is not next.
        return if bound_otherwise { Vec::new() } else { vec![ahead(view, id, job, now)] };
    }
    let mut reasons = windows::reasons(view, &free, &ready, (job, shape), now);
    reasons.extend(held::now(view, &free, shape));
    // What is out of service would do, whatever others hold.
    let serves: BTreeSet<NodeId> = free.iter().map(|node| node.id).collect();
    let out = all.into_iter().filter(|node| !serves.contains(&node.id));
    let back: Vec<FreeNode<'_>> = free.iter().cloned().chain(out).collect();
    if back.len() > free.len() && fits(&windows::open_to(&back, &view.barred(job, now)), shape) {
        reasons.push(out_of_service(view, shape, now));
    }
    reasons
}

/// One of several reasons, all of which have to be removed.
fn together(mut reason: ReasonView) -> ReasonView {
    if !reason.remedy.ends_with(ALSO) {
        reason.remedy.push_str(ALSO);
    }
    reason
}

/// The hardware class is what keeps it from ever fitting.
fn bound(all: &[FreeNode<'_>], shape: &Shape) -> Option<ReasonView> {
    let class = shape.class.as_ref()?;
    fits(all, &Shape { class: None, ..shape.clone() }).then(|| {
        let detail = format!("it has to give the bits of hardware class {class}, too few nodes do");
        reason("class", detail, format!("add nodes of class {class}"), true)
    })
}

/// How far it is to be kept apart is what keeps it from ever fitting.
fn apart(all: &[FreeNode<'_>], shape: &Shape) -> Option<ReasonView> {
    let mut reached = shape.clone();
    if shape.confinement.needs_sandbox() {
        reached.confinement = reached.confinement.at_least(Isolation::Sandbox);
    }
    reached.confinement.network = Some(Network::Host);
    if fits(all, &reached) {
        let tasks = shape.tasks;
        let detail = format!(
            "its {tasks} tasks reach no network, so they need one node, and none holds them all"
        );
        let remedy = "submit with `network = \"host\"`, or lower `tasks`".to_owned();
        return Some(reason("network", detail, remedy, true));
    }
    // Nodes that demand more than it asks for are no help to it.
    let open: Vec<_> = all.iter().map(FreeNode::undemanding).collect();
    if !fits(&open, &Shape { confinement: PLAIN, ..reached }) {
        return None;
    }
    let (detail, lacks) = match shape.confinement.on(Isolation::None) {
        Isolation::None => {
            let strict = |node: &&FreeNode<'_>| node.isolation.default == Isolation::Container;
            let count = all.iter().filter(strict).count();
            let detail = format!("{count} of {} nodes run containers alone", all.len());
            let remedy = "submit it with `image = \"...@sha256:...\"`, or add nodes".to_owned();
            return (count > 0).then(|| reason("isolation", detail, remedy, true));
        }
        Isolation::Sandbox => {
            let able = all.iter().filter(|node| node.isolation.can_sandbox()).count();
            let lack = |node: &FreeNode<'_>| node.isolation.lacks.first().cloned();
            let of = all.len();
            let detail = format!("it asks for a sandbox, {able} of {of} nodes can build one");
            (detail, all.iter().find_map(lack))
        }
        Isolation::Container => {
            let able = all.iter().filter(|node| node.isolation.can_contain()).count();
            let lack = |node: &FreeNode<'_>| node.isolation.container_lack().map(str::to_owned);
            let of = all.len();
            let detail = format!("it asks for a container, {able} of {of} nodes can run one");
            (detail, all.iter().find_map(lack))
        }
    };
    let lacks = lacks.unwrap_or_else(|| "it was never asked".to_owned());
    let remedy = format!("see `assay node show`; the first that cannot says: {lacks}");
    Some(reason("isolation", detail, remedy, true))
}

/// Nodes that are out of service would have to come back.
fn out_of_service(view: &View<'_>, shape: &Shape, now: Millis) -> ReasonView {
    let suits = |node: &FreeNode<'_>| suits(node, shape) && node.room(&shape.resources, 1) > 0;
    let of = |lost: bool| {
        let nodes = view.all_nodes().filter(move |(_, node)| {
            if lost { node.row.lost } else { !node.row.lost && node.row.drained.is_some() }
        });
        nodes
            .filter(|(id, node)| suits(&FreeNode::empty(*id, node)))
            .map(|(id, node)| (id, node.row.inventory.name.as_str()))
            .collect::<Vec<_>>()
    };
    let (lost, drained) = (of(true), of(false));
    let (shut, drained): (Vec<_>, Vec<_>) =
        drained.into_iter().partition(|(id, _)| view.drain_terms(*id).quarantine);
    let mut detail = Vec::new();
    let mut remedy = Vec::new();
    if !drained.is_empty() {
        let back = drained.iter().filter_map(|(id, _)| view.drain_terms(*id).until).min();
        let names = names(drained.into_iter().map(|(_, name)| name));
        detail.push(match back.map(|at| windows::span(at.minus(now))) {
            Some(left) => format!("drained: {names}, the first back in {left}"),
            None => format!("drained: {names}"),
        });
        remedy.push(format!("put back: `assay node resume` for {names}"));
    }
    if !shut.is_empty() {
        let names = names(shut.into_iter().map(|(_, name)| name));
        detail.push(format!("in quarantine: {names}"));
        remedy.push(format!("have it pass the acceptance job: `assay node accept` for {names}"));
    }
    if !lost.is_empty() {
        let names = names(lost.into_iter().map(|(_, name)| name));
        detail.push(format!("out of contact: {names}"));
        remedy.push(format!("start the agents on {names}"));
    }
    let detail = format!("nodes that it needs are out of service ({})", detail.join("; "));
    reason("health", detail, remedy.join("; "), false)
}

/// It would fit now: either the next plan starts it, or what is free goes to others.
fn ahead(view: &View<'_>, id: JobId, job: &Job, now: Millis) -> ReasonView {
    let next = plan(view, now, BUDGET_STEPS);
    if next.record.placements.iter().any(|placement| placement.element.job == id) {
        let detail = "it fits, and the next plan starts it".to_owned();
        return reason("ahead", detail, "wait a moment".into(), false);
    }
    if let Some(other) = next.held_for.filter(|other| *other != id) {
        let detail = format!("what is free is kept for {other}, which has waited for long");
        let remedy = format!("wait until {other} has started, or `assay cancel {other}`");
        // What ends before that may run meanwhile.
        let left = next.starts_by.map(|at| at.minus(now).0 / 1_000).filter(|left| *left > 0);
        let Some(left) = left else { return reason("ahead", detail, remedy, false) };
        let detail = format!("{detail} and starts within {left} s");
        let remedy = format!("submit it with a `time_limit` of at most {left} s, or {remedy}");
        return reason("ahead", detail, remedy, false);
    }
    let turns = Turns::new(view, now);
    let leaf = turns.leaf(&job.brief.queue);
    let place = |id: JobId, job: &Job| leaf.map(|leaf| turns.turn(leaf, id, job));
    let own = place(id, job);
    let placed = next.record.placements.iter().map(|placement| placement.element.job);
    let placed: Vec<(JobId, &Job)> =
        placed.filter_map(|other| Some((other, view.live_job(other)?))).collect();
    let same = |other: &Job| other.brief.queue == job.brief.queue;
    let before: Vec<JobId> = placed
        .iter()
        .filter(|(id, other)| same(other) && place(*id, other) < own)
        .map(|(id, _)| *id)
        .collect();
    let others: Vec<_> = placed.iter().map(|(id, other)| (*id, &*other.brief.queue)).collect();
    if before.is_empty()
        && let Some(share) = bound::behind(job, &others)
    {
        return share;
    }
    let highest = before
        .iter()
        .filter_map(|other| view.live_job(*other))
        .map(|job| job.brief.priority)
        .max()
        .unwrap_or(job.brief.priority);
    let queue = &*job.brief.queue;
    let (gangs, served) = (before.len(), served(job));
    let detail = format!("what is free goes to {gangs} gangs before it in the order{served}");
    let max = view.queues().get(queue).and_then(|queue| queue.spec.priority_max);
    let remedy = match (highest.checked_add(1), max) {
        (Some(above), Some(max)) if above > max => format!(
            "raise `priority_max` of `{queue}` to {above} for `assay priority {id} {above}`, or \
             wait until they have ended"
        ),
        (Some(above), _) => {
            format!("`assay priority {id} {above}`, or wait until they have ended")
        }
        (None, _) => "wait until they have ended".to_owned(),
    };
    reason("ahead", detail, remedy, false)
}

/// How its queue is served, and what a job counts as there; nothing where that is its age.
fn served(job: &Job) -> String {
    let (queue, gpus) = (&job.brief.queue, job.brief.gang().gpus().max(1));
    let counts_as = match (job.brief.order, job.brief.estimate().map(span)) {
        (Order::Age, _) => return String::new(),
        (Order::Shortest, Some(said)) => format!("this is said to take {gpus} GPUs for {said}"),
        (Order::Shortest, None) => {
            format!("nobody said how long this takes {gpus} GPUs (`estimate`)")
        }
    };
    format!(": `{queue}` serves the shortest first, and {counts_as}")
}

fn not_reasons(
    view: &View<'_>,
    (id, job): (JobId, &Job),
    reasons: &[ReasonView],
    now: Millis,
) -> Vec<String> {
    let mut not = Vec::new();
    let queue = view.queues().get(&job.brief.queue);
    let turns = Turns::new(view, now);
    let leaf = turns.leaf(&job.brief.queue);
    if leaf.is_none_or(|leaf| turns.first(leaf) >= Some(turns.turn(leaf, id, job))) {
        not.push("priority (nobody is before it)".to_owned());
    }
    let whole = |node: &Node| node.row.takes_work() && node.health.gpus.is_empty();
    if view.all_nodes().next().is_some() && view.all_nodes().all(|(_, node)| whole(node)) {
        not.push("health (every node is in service)".to_owned());
    }
    if reasons.iter().all(|reason| !["queue", "user", "budget"].contains(&reason.kind.as_str())) {
        let max = queue.and_then(|queue| Some((queue.held.gpus(), queue.spec.gpus_max()?)));
        not.push(match max {
            Some((held, max)) => format!("queue ({} is at {held}/{max} GPUs)", job.brief.queue),
            None => "queue (it has no quota)".to_owned(),
        });
    }
    not
}

fn names<'a>(all: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = all.collect();
    match all.len().checked_sub(NAMES_MAX) {
        Some(more) if more > 0 => format!("{} and {more} more", all[..NAMES_MAX].join(" ")),
        Some(_) | None => all.join(" "),
    }
}
