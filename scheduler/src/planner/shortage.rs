//! What of a gang's request keeps it from fitting, with the smallest change that makes it fit.

use super::{
    fit::{fits, suits},
    free::{FreeNode, GpuKind},
    part, topology,
};
use crate::state::sched::Shape;
use domain::{Bytes, CpuMillis, topology::Level, view::ReasonView};
use std::collections::BTreeSet;

/// Where several things have to be changed together.
pub(super) const ALSO: &str = " (and what else is named)";

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
/// no single change does, what is short for itself, all of which have to be changed; not that, where
/// another reason is `known` already.
#[must_use]
pub fn shortages(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    never: bool,
    known: bool,
) -> Vec<ReasonView> {
    let near = topology::reason(nodes, shape, never);
    let mut reasons: Vec<ReasonView> =
        near.into_iter().chain(likeness(nodes, shape, never, "")).collect();
    reasons.extend(part::reason(nodes, shape, never, ""));
    // What has no GPUs has none that are near each other.
    let inside = shape.topology.require.is_some_and(Level::is_inside_a_node);
    // To go without GPUs helps only where nothing else does.
    for (part, least) in Part::ALL.map(|part| (part, 1)).into_iter().chain([(Part::Gpus, 0)]) {
        if least == 0 && (inside || known || !reasons.is_empty()) {
            break;
        }
        if let Some(value) = largest(nodes, shape, part, least) {
            reasons.push(lower(part, shape, value, never, ""));
        }
    }
    if known || !reasons.is_empty() {
        return reasons;
    }
    for part in [Part::Gpus, Part::Cpu, Part::Memory] {
        let alone = alone(shape, part);
        if fits(nodes, &alone) {
            continue;
        }
        // One of them is enough for the GPUs.
        let like = match part {
            Part::Gpus => {
                let like = likeness(nodes, &alone, never, ALSO).into_iter().next();
                like.or_else(|| part::reason(nodes, &alone, never, ALSO))
            }
            Part::Cpu | Part::Memory | Part::Tasks => None,
        };
        reasons.push(like.unwrap_or_else(|| {
            let value = largest(nodes, &alone, part, 0).unwrap_or(0);
            lower(part, shape, value, never, ALSO)
        }));
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

/// What a GPU is asked to be like is what keeps it from fitting: its model, its memory, or both.
fn likeness(nodes: &[FreeNode<'_>], shape: &Shape, never: bool, also: &str) -> Vec<ReasonView> {
    let (model, memory) = (&shape.resources.gpu_model, shape.resources.gpu_memory);
    let without = |model: bool, memory: bool| {
        let mut shape = shape.clone();
        shape.resources.gpu_model = shape.resources.gpu_model.filter(|_| !model);
        shape.resources.gpu_memory = shape.resources.gpu_memory.filter(|_| !memory);
        shape
    };
    let open = nodes.iter().filter(|node| suits(node, shape));
    let kinds: BTreeSet<GpuKind<'_>> = open.flat_map(|node| node.gpus.keys().copied()).collect();
    // Of each what may be named in the place of what is asked for, the rest as it is.
    let named = |any_model: bool, any_memory: bool| {
        let asked = without(any_model, any_memory).resources;
        let suiting = kinds.iter().filter(|(name, has)| asked.suits(name, *has));
        let words = suiting.map(|(name, has)| match any_memory {
            true => format!("{name} ({})", has.text()),
            false => (*name).to_owned(),
        });
        words.collect::<BTreeSet<String>>().into_iter().collect::<Vec<_>>().join(", ")
    };
    let (gpus, tasks) = (shape.resources.gpus, shape.tasks);
    let wait = if never { "" } else { ", or wait until others end" };
    let reason = |kind: &str, (like, there): (String, String), remedy: String| ReasonView {
        kind: kind.into(),
        detail: format!("{gpus} GPUs {like} asked for each of {tasks} tasks; there are: {there}"),
        remedy: remedy + also + wait,
        never,
    };
    let mut reasons = Vec::new();
    if let Some(word) = model.as_ref().filter(|_| fits(nodes, &without(true, false))) {
        let remedy = "leave `gpu_model` out, or name one of those".to_owned();
        reasons.push(reason(
            "gpu_model",
            (format!("of model `{word}`"), named(true, false)),
            remedy,
        ));
    }
    let Some(least) = memory else { return reasons };
    let like = format!("of at least {}", least.text());
    if let Some(most) = largest_memory(nodes, shape, &kinds) {
        let remedy = format!("lower `gpu_memory` to {}", Part::Memory.write(most.0));
        reasons.push(reason("gpu_memory", (like, named(false, true)), remedy));
    } else if let Some(word) = model.as_ref().filter(|_| reasons.is_empty())
        && let Some(most) = largest_memory(nodes, &without(true, false), &kinds)
    {
        let lower = format!("lower `gpu_memory` to {}", Part::Memory.write(most.0));
        let remedy = format!("leave `gpu_model` out and {lower}");
        reasons.push(reason(
            "gpu_memory",
            (format!("{like} and of model `{word}`"), named(true, true)),
            remedy,
        ));
    }
    reasons
}

/// The largest memory of a GPU, below what is asked, with which a gang fits.
fn largest_memory(
    nodes: &[FreeNode<'_>],
    shape: &Shape,
    kinds: &BTreeSet<GpuKind<'_>>,
) -> Option<Bytes> {
    let asked = shape.resources.gpu_memory?;
    let mut sizes: Vec<Bytes> =
        kinds.iter().map(|(_, has)| *has).filter(|has| *has < asked).collect();
    sizes.sort_unstable();
    let with = |least: Bytes| {
        let mut shape = shape.clone();
        // As a job file has it, which has no single bytes.
        shape.resources.gpu_memory = Some(Bytes(least.0 >> 20 << 20));
        shape
    };
    sizes.into_iter().rev().find(|least| least.0 >> 20 > 0 && fits(nodes, &with(*least)))
}
