//! A part of a GPU where there are whole ones, or a whole one where there are parts, as a reason to
//! wait.

use super::{
    fit::{fits, suits},
    free::FreeNode,
};
use crate::state::sched::Shape;
use domain::{PerMille, hardware::share::shares_of, resource::GpuShare, view::ReasonView};
use std::collections::BTreeSet;

/// The reason, where it would fit if parts and whole GPUs were the same.
pub(super) fn reason(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    never: bool,
    also: &str,
) -> Option<ReasonView> {
    let asked = &shape.resources;
    let with = |gpu_share| {
        let mut shape = shape.clone();
        shape.resources.gpu_share = gpu_share;
        shape
    };
    let any = with(GpuShare::Any);
    if asked.gpus == 0 || asked.gpu_share == GpuShare::Any || !fits(nodes, &any) {
        return None;
    }
    let open = nodes.iter().filter(|node| suits(node, shape));
    let kinds = open.flat_map(|node| node.gpus.keys());
    let there: BTreeSet<&str> = kinds
        .filter(|(model, memory)| any.resources.suits(model, *memory))
        .map(|(model, _)| *model)
        .collect();
    let counts: BTreeSet<u32> = there.iter().map(|model| shares_of(model)).collect();
    // The largest part first.
    let mut parts = counts.iter().filter(|count| **count > 1).map(|count| 1_000 / count);
    let smaller =
        parts.find(|part| fits(nodes, &with(GpuShare::AtLeast(PerMille((*part).into())))));
    let (like, remedy) = match (asked.gpu_share, smaller) {
        (GpuShare::AtLeast(part), Some(most)) => {
            (format!("a part of {} of a GPU", text(part)), lower(most))
        }
        (GpuShare::AtLeast(part), None) => {
            let remedy = "ask for a whole one: `gpus = 1`".to_owned();
            (format!("a part of {} of a GPU", text(part)), remedy)
        }
        (GpuShare::Whole, Some(most)) if (shape.tasks, asked.gpus) == (1, 1) => {
            ("a whole GPU".to_owned(), lower(most))
        }
        (GpuShare::Whole, Some(_)) => {
            let tasks = shape.tasks;
            let remedy = "ask for one task with a part of a GPU, or add whole GPUs".to_owned();
            (format!("{} whole GPUs for each of {tasks} tasks", asked.gpus), remedy)
        }
        _ => return None,
    };
    let wait = if never { "" } else { ", or wait until others end" };
    let there = there.into_iter().collect::<Vec<_>>().join(", ");
    Some(ReasonView {
        kind: "gpu_share".into(),
        detail: format!("{like} asked for; there are: {there}"),
        remedy: remedy + also + wait,
        never,
    })
}

fn lower(part: u32) -> String {
    format!("lower `gpus` to {}", text(PerMille(part.into())))
}

/// As a job file has it.
fn text(PerMille(part): PerMille) -> String {
    format!("0.{part:03}").trim_end_matches('0').to_owned()
}
