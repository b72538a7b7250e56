//! Why a job waits: each reason with the smallest change that removes it.

use super::{
    fit::place_gang,
    free::{self, FreeNode},
};
use crate::state::{
    gpu_matches,
    sched::{Job, Shape},
    view::View,
};
use domain::{
    Bytes, CpuMillis, JobId, Millis,
    job::ElementState,
    lease::Phase,
    node::NodeState,
    port::RowRead,
    view::{ReasonView, WhyView},
};
use std::collections::BTreeSet;

/// Why `id` waits; none when there is no such job.
#[must_use]
pub fn why(view: &View<'_>, rows: &impl RowRead, id: JobId, _now: Millis) -> Option<WhyView> {
    let (submitted, progress) = view.job_rows(rows, id)?;
    let state = progress.word(submitted.spec.elements()).to_owned();
    let mut document = WhyView { job: id, state, reasons: Vec::new(), not_reasons: Vec::new() };
    let Some(job) = view.live_job(id) else { return Some(document) };
    document.reasons.extend(stopping(view, job));
    if job.next_position().is_some() {
        let shape = job.shape();
        document.reasons.extend(array_limit(job));
        document.reasons.extend(resources(view, &shape));
        if document.reasons.is_empty() {
            document.reasons.push(ahead(view, job, id));
        } else {
            document.not_reasons = not_reasons(view, &shape);
        }
    }
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
        let nodes: Vec<_> = remaining.iter().map(ToString::to_string).collect();
        Some(reason(
            "lease",
            format!(
                "attempt under {lease} {cause} and is not known to be dead on {}",
                nodes.join(" ")
            ),
            format!("wait for those nodes, or `assay node confirm-dead {lease}` once they are off"),
            false,
        ))
    })
}

fn array_limit(job: &Job) -> Option<ReasonView> {
    let array = job.submitted.spec.array?;
    (job.room() == 0).then(|| {
        reason(
            "array",
            format!("{} of at most {} elements run", job.progress.running, array.at_once_max),
            "raise `at_once_max`, or wait for an element to end".into(),
            false,
        )
    })
}

fn fits(nodes: &[FreeNode], shape: &Shape) -> bool {
    place_gang(&mut nodes.to_vec(), shape, &BTreeSet::new()).is_some()
}

/// What each task asks for, one part relaxed at a time.
fn relaxed(shape: &Shape) -> [(&'static str, Shape); 4] {
    let with = |change: &dyn Fn(&mut Shape)| {
        let mut shape = shape.clone();
        change(&mut shape);
        shape
    };
    [
        ("gpu_model", with(&|shape| shape.resources.gpu_model = None)),
        ("gpus", with(&|shape| shape.resources.gpus = 0)),
        ("cpu", with(&|shape| shape.resources.cpu = CpuMillis(0))),
        ("memory", with(&|shape| shape.resources.memory = Bytes(0))),
    ]
}

fn resources(view: &View<'_>, shape: &Shape) -> Vec<ReasonView> {
    let all: Vec<FreeNode> = view.all_nodes().map(|(id, node)| FreeNode::empty(id, node)).collect();
    if all.is_empty() {
        let remedy = "start `assay agent` on a machine".to_owned();
        return vec![reason("nodes", "no node has ever registered".into(), remedy, false)];
    }
    if !fits(&all, shape) {
        return never(&all, shape);
    }
    let free = free::ready(view);
    if fits(&free, shape) {
        return Vec::new();
    }
    let mut reasons = Vec::new();
    for (kind, relaxed) in relaxed(shape) {
        if fits(&free, &relaxed) {
            reasons.push(busy(kind, &free, shape));
        }
    }
    let idle: Vec<FreeNode> = view
        .all_nodes()
        .filter(|(_, node)| node.row.state != NodeState::Lost)
        .map(|(id, node)| FreeNode::now(id, node))
        .collect();
    if fits(&idle, shape) {
        reasons.push(out_of_service(view, "drained", "assay node resume"));
    } else if reasons.is_empty() || view.all_nodes().any(|(_, n)| n.row.state == NodeState::Lost) {
        let ready: Vec<FreeNode> = view
            .all_nodes()
            .filter(|(_, node)| node.row.state == NodeState::Ready)
            .map(|(id, node)| FreeNode::empty(id, node))
            .collect();
        if !fits(&ready, shape) {
            reasons.push(out_of_service(view, "lost or drained", "bring back"));
        }
    }
    if reasons.is_empty() {
        reasons.push(gang(&free, shape));
    }
    reasons
}

/// No set of registered nodes could hold it, even if nothing ran.
fn never(all: &[FreeNode], shape: &Shape) -> Vec<ReasonView> {
    let mut reasons = Vec::new();
    if let Some(class) = &shape.class
        && !fits(all, &Shape { class: None, ..shape.clone() })
        && !all.iter().any(|node| node.class == *class)
    {
        let detail = format!("it is bound to hardware class {class}, which no node has");
        reasons.push(reason("class", detail, "add a node of the class".into(), true));
    }
    for (kind, relaxed) in relaxed(shape) {
        if fits(all, &relaxed) {
            reasons.push(impossible(kind, all, shape));
        }
    }
    if reasons.is_empty() {
        let room: u32 = all.iter().map(|n| n.room(&shape.resources, shape.tasks)).sum();
        let one = Shape { tasks: 1, ..shape.clone() };
        if fits(all, &one) {
            let detail =
                format!("{} tasks asked, {room} could run if nothing else did", shape.tasks);
            let remedy = format!("lower `tasks` to {room}, or add nodes");
            reasons.push(reason("gang", detail, remedy, true));
        } else {
            let detail = "no node has all that one task asks for".to_owned();
            let remedy = "lower `gpus`, `cpus` and `memory`, or add a bigger node".to_owned();
            reasons.push(reason("resources", detail, remedy, true));
        }
    }
    reasons
}

/// The most of one kind that a single node gives.
fn most(kind: &str, nodes: &[FreeNode], shape: &Shape) -> u64 {
    let of = |node: &FreeNode| match kind {
        "gpus" | "gpu_model" => node.matching(&shape.resources).count() as u64,
        "cpu" => node.cpu,
        _ => node.memory,
    };
    nodes.iter().map(of).max().unwrap_or(0)
}

fn asked(kind: &str, shape: &Shape) -> String {
    let wanted = &shape.resources;
    let model = wanted.gpu_model.as_deref().unwrap_or("any");
    match kind {
        "gpu_model" => format!("{} × {model}", wanted.gpus),
        "gpus" => format!("{} GPUs ({model}) for each of {} tasks", wanted.gpus, shape.tasks),
        "cpu" => format!("{} for each of {} tasks", wanted.cpu, shape.tasks),
        _ => format!("{} for each of {} tasks", wanted.memory, shape.tasks),
    }
}

fn impossible(kind: &str, all: &[FreeNode], shape: &Shape) -> ReasonView {
    let most = most(kind, all, shape);
    let (detail, remedy) = match kind {
        "gpu_model" => {
            let models: BTreeSet<_> = all
                .iter()
                .flat_map(|node| node.gpus.iter().map(|(_, model)| model.as_str()))
                .collect();
            let word = shape.resources.gpu_model.as_deref();
            let known = models.iter().any(|model| gpu_matches(model, word));
            let has = models.into_iter().collect::<Vec<_>>().join(", ");
            let detail = format!("{} asked; the nodes have: {has}", asked(kind, shape));
            let remedy = match known {
                true => "lower `gpus`, or leave `gpu_model` out",
                false => "name one of those models, or leave `gpu_model` out",
            };
            (detail, remedy.to_owned())
        }
        "gpus" => (
            format!("{} asked; the largest node has {most}", asked(kind, shape)),
            format!("lower `gpus` to {most} or fewer, or spread over more `tasks`"),
        ),
        "cpu" => (
            format!("{} asked; the largest node has {most} mCPU", asked(kind, shape)),
            format!("lower `cpus` to {} or fewer", most as f64 / 1_000.0),
        ),
        _ => (
            format!("{} asked; the largest node has {most} B", asked(kind, shape)),
            format!("lower `memory` to {most} or less"),
        ),
    };
    reason(kind, detail, remedy, true)
}

fn busy(kind: &str, free: &[FreeNode], shape: &Shape) -> ReasonView {
    let most = most(kind, free, shape);
    let detail = format!("{} asked; at most {most} free on one node", asked(kind, shape));
    let remedy = match kind {
        "gpu_model" => "leave `gpu_model` out, or wait for GPUs of this model".to_owned(),
        "gpus" => format!("wait for GPUs to come free, or lower `gpus` to {most}"),
        "cpu" => "wait for processor time to come free, or lower `cpus`".to_owned(),
        _ => "wait for memory to come free, or lower `memory`".to_owned(),
    };
    reason(kind, detail, remedy, false)
}

fn gang(free: &[FreeNode], shape: &Shape) -> ReasonView {
    let room: u32 = free.iter().map(|node| node.room(&shape.resources, shape.tasks)).sum();
    reason(
        "gang",
        format!("{} tasks must start together; {room} would fit now", shape.tasks),
        format!("wait, or lower `tasks` to {room}"),
        false,
    )
}

fn out_of_service(view: &View<'_>, how: &str, what: &str) -> ReasonView {
    let names: Vec<_> = view
        .all_nodes()
        .filter(|(_, node)| node.row.state != NodeState::Ready)
        .map(|(_, node)| node.row.inventory.name.as_str())
        .collect();
    let names = names.join(" ");
    reason(
        "health",
        format!("it would fit if these were not {how}: {names}"),
        format!("{what} {names}"),
        false,
    )
}

/// It fits now, so only those before it can take the place.
fn ahead(view: &View<'_>, job: &Job, id: JobId) -> ReasonView {
    let key = job.wait_key(id);
    let before: usize = view.waiting().values().map(|order| order.range(..key).count()).sum();
    reason(
        "ahead",
        format!("it fits now; {before} jobs are before it in the order"),
        "it starts with the next plan, within a second, unless those take its place".into(),
        false,
    )
}

fn not_reasons(view: &View<'_>, shape: &Shape) -> Vec<String> {
    let mut not = Vec::new();
    if view.waiting().len() == 1 && view.waiting().contains_key(shape) {
        not.push("priority (nobody with other needs is waiting)".to_owned());
    }
    not.push("queue quota (queues have no quota in this release)".to_owned());
    not
}
