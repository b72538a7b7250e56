//! What of a gang's request keeps it from fitting, with the smallest change that makes it fit.

use super::{fit::fits, free::FreeNode, topology};
use crate::state::sched::Shape;
use domain::{Bytes, CpuMillis, topology::Level, view::ReasonView};
use std::collections::BTreeSet;

/// A number of a request that may be lowered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Gpus,
    Cpu,
    Memory,
    Tasks,
}

impl Part {
    const ALL: [Self; 4] = [Self::Gpus, Self::Cpu, Self::Memory, Self::Tasks];

    fn of(self, shape: &Shape) -> u64 {
        match self {
            Self::Gpus => u64::from(shape.resources.gpus),
            Self::Cpu => shape.resources.cpu.0,
            Self::Memory => shape.resources.memory.0,
            Self::Tasks => u64::from(shape.tasks),
        }
    }

    /// The same request with this number set to `value`, which is not above the old one.
    fn set(self, shape: &Shape, value: u64) -> Shape {
        let mut shape = shape.clone();
        match self {
            Self::Gpus => shape.resources.gpus = shape.resources.gpus.min(value as u32),
            Self::Cpu => shape.resources.cpu = CpuMillis(value),
            Self::Memory => shape.resources.memory = Bytes(value),
            Self::Tasks => shape.tasks = shape.tasks.min(value as u32),
        }
        shape
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Gpus => "gpus",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Tasks => "gang",
        }
    }

    /// The field's name in a job file.
    fn field(self) -> &'static str {
        match self {
            Self::Gpus => "gpus",
            Self::Cpu => "cpus",
            Self::Memory => "memory",
            Self::Tasks => "tasks",
        }
    }

    /// A value as a job file has it, no greater than `value`.
    fn write(self, value: u64) -> String {
        match self {
            Self::Gpus | Self::Tasks => value.to_string(),
            Self::Cpu if value.is_multiple_of(1_000) => (value / 1_000).to_string(),
            Self::Cpu => format!("{}.{:03}", value / 1_000, value % 1_000),
            Self::Memory if value.is_multiple_of(1 << 30) => format!("{}GiB", value >> 30),
            Self::Memory => format!("{}MiB", value >> 20),
        }
    }
}

/// Why a gang does not fit on `nodes`: each reason with a change that alone makes it fit. Where
/// no single change does, what is short for itself, all of which have to be changed.
#[must_use]
pub fn shortages(nodes: &[FreeNode<'_>], shape: &Shape, never: bool) -> Vec<ReasonView> {
    let near = topology::reason(nodes, shape, never);
    let mut reasons: Vec<ReasonView> = near.into_iter().chain(model(nodes, shape, never)).collect();
    // What has no GPUs has none that are near each other.
    let inside = shape.topology.require.is_some_and(Level::is_inside_a_node);
    // To go without GPUs helps only where nothing else does.
    for (part, least) in Part::ALL.map(|part| (part, 1)).into_iter().chain([(Part::Gpus, 0)]) {
        if least == 0 && (inside || !reasons.is_empty()) {
            break;
        }
        if let Some(value) = largest(nodes, shape, part, least) {
            reasons.push(lower(part, shape, value, never, ""));
        }
    }
    if !reasons.is_empty() {
        return reasons;
    }
    for part in [Part::Gpus, Part::Cpu, Part::Memory] {
        let alone = alone(shape, part);
        if !fits(nodes, &alone) {
            let value = largest(nodes, &alone, part, 0).unwrap_or(0);
            reasons.push(lower(part, shape, value, never, " (and what else is named)"));
        }
    }
    if reasons.is_empty() {
        let detail = "no node has all that one task asks for, though some have each part of it";
        reasons.push(ReasonView {
            kind: "gang".into(),
            detail: detail.into(),
            remedy: "lower `gpus`, `cpus` and `memory` together, or add a larger node".into(),
            never,
        });
    }
    reasons
}

/// The request with all but one of its resources left out.
fn alone(shape: &Shape, part: Part) -> Shape {
    let mut alone = shape.clone();
    for other in [Part::Gpus, Part::Cpu, Part::Memory] {
        if other != part {
            alone = other.set(&alone, 0);
        }
    }
    alone
}

/// The largest value of a part, from `least` and below what is asked, with which it fits.
fn largest(nodes: &[FreeNode<'_>], shape: &Shape, part: Part, least: u64) -> Option<u64> {
    let asked = part.of(shape);
    if asked <= least || !fits(nodes, &part.set(shape, least)) {
        return None;
    }
    let (mut fitting, mut failing) = (least, asked);
    while failing - fitting > 1 {
        let middle = fitting + (failing - fitting) / 2;
        if fits(nodes, &part.set(shape, middle)) {
            fitting = middle;
        } else {
            failing = middle;
        }
    }
    Some(fitting)
}

fn lower(part: Part, shape: &Shape, value: u64, never: bool, also: &str) -> ReasonView {
    let (asked, most) = (part.write(part.of(shape)), part.write(value));
    let field = part.field();
    let detail = match part {
        Part::Tasks => {
            let near = shape.topology.require;
            let near = near.map_or(String::new(), |level| format!(" within one {}", level.one()));
            format!("{asked} tasks have to start together{near}, {most} would fit")
        }
        Part::Gpus | Part::Cpu | Part::Memory => {
            let tasks = shape.tasks;
            format!("`{field}` of {asked} asked for each of {tasks} tasks, {most} would fit")
        }
    };
    let wait = if never { "" } else { ", or wait until others end" };
    let remedy = format!("lower `{field}` to {most}{also}{wait}");
    ReasonView { kind: part.kind().into(), detail, remedy, never }
}

/// The model of GPU that is asked for is what keeps it from fitting.
fn model(nodes: &[FreeNode<'_>], shape: &Shape, never: bool) -> Option<ReasonView> {
    let word = shape.resources.gpu_model.as_ref()?;
    let mut any = shape.clone();
    any.resources.gpu_model = None;
    if !fits(nodes, &any) {
        return None;
    }
    let models: BTreeSet<&str> = nodes.iter().flat_map(|node| node.gpus.keys().copied()).collect();
    let models: Vec<&str> = models.into_iter().collect();
    let gpus = shape.resources.gpus;
    Some(ReasonView {
        kind: "gpu_model".into(),
        detail: format!(
            "{gpus} GPUs of model `{word}` asked for each of {} tasks; there are: {}",
            shape.tasks,
            models.join(", ")
        ),
        remedy: "leave `gpu_model` out, or name one of those".into(),
        never,
    })
}
