//! GPUs that are held back, as a reason to wait.

use super::{
    fit::fits,
    free::{FreeNode, kind},
};
use crate::state::{
    sched::{Node, Shape},
    view::View,
};
use domain::{
    check::{Check, Subject},
    health::{HeldGpu, HeldState},
    view::ReasonView,
};
use std::collections::BTreeMap;

/// GPUs in one sentence.
const NAMED_MAX: usize = 4;

/// Whether a gang would fit on `nodes` if those of their GPUs served that are held back.
/// `idle` says which of them would then be free.
fn fits_healed<'a>(
    view: &View<'a>,
    nodes: &[FreeNode<'a>],
    shape: &Shape,
    idle: impl Fn(&Node, u32) -> bool,
) -> bool {
    let sick: BTreeMap<_, _> =
        view.all_nodes().filter(|(_, node)| !node.health.gpus.is_empty()).collect();
    if sick.is_empty() {
        return false;
    }
    let mut healed = nodes.to_vec();
    let mut changed = false;
    for free in &mut healed {
        let Some(node) = sick.get(&free.id).copied() else { continue };
        free.class = &node.whole_class;
        for gpu in node.health.gpus.iter().flat_map(|held| &held.offers) {
            let listed = node.row.inventory.gpus.iter().any(|known| known.index == gpu.index);
            if !listed && idle(node, gpu.index) {
                free.gpus.entry(kind(gpu)).or_default().push(gpu.index);
                changed = true;
            }
        }
    }
    changed && fits(&healed, shape)
}

/// The reason, where a gang that does not fit on `nodes` would fit now with the GPUs that are
/// held back.
#[must_use]
pub fn now<'a>(view: &View<'a>, nodes: &[FreeNode<'a>], shape: &Shape) -> Option<ReasonView> {
    let idle = |node: &Node, index| !node.gpus_used.contains(&index);
    fits_healed(view, nodes, shape, idle).then(|| reason(view, nodes, shape))
}

/// As [`now`], if nothing ran.
#[must_use]
pub fn ever<'a>(view: &View<'a>, nodes: &[FreeNode<'a>], shape: &Shape) -> Option<ReasonView> {
    fits_healed(view, nodes, shape, |_, _| true).then(|| reason(view, nodes, shape))
}

/// Whether it is about to be known if a GPU is well.
fn is_checked(view: &View<'_>, gpu: &HeldGpu) -> bool {
    let of = |check: &Check| match &check.subject {
        Subject::Gpu { uuid, .. } => *uuid == gpu.uuid,
        Subject::Class | Subject::Segment { .. } | Subject::Node { .. } => false,
    };
    view.open_checks().any(|(_, check)| of(check))
}

fn reason(view: &View<'_>, nodes: &[FreeNode<'_>], shape: &Shape) -> ReasonView {
    let wanted = &shape.resources;
    let suits = |gpu: &HeldGpu| gpu.offers.iter().any(|it| wanted.suits(&it.model, it.memory));
    let mut held = Vec::new();
    for free in nodes {
        let Some(Node { row, whole_class, .. }) = view.node_in_use(free.id) else { continue };
        if shape.class.as_ref().is_some_and(|class| class != whole_class) {
            continue;
        }
        let gpus = view.health(free.id).into_iter().flat_map(|health| &health.gpus);
        held.extend(gpus.filter(|gpu| suits(gpu)).map(|gpu| (&row.inventory.name, gpu)));
    }
    let named = held.iter().take(NAMED_MAX);
    let mut detail: Vec<_> = named
        .map(|(node, gpu)| format!("GPU {} of {node} is {}, {}", gpu.index, gpu.state, gpu.symptom))
        .collect();
    if let Some(more) = held.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        detail.push(format!("and {more} more"));
    }
    let first = held.iter().find(|(_, gpu)| gpu.state == HeldState::Quarantined);
    let remedy = match first.or(held.first()) {
        Some((node, gpu)) if is_checked(view, gpu) => {
            format!("wait: GPU {} runs the acceptance job; see `assay node show {node}`", gpu.index)
        }
        Some((node, gpu)) => {
            format!("{}; once it is well: `assay node accept {node} {}`", gpu.advice, gpu.index)
        }
        None => "ask an operator".to_owned(),
    };
    ReasonView { kind: "health".into(), detail: detail.join("; "), remedy, never: false }
}
