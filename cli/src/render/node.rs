//! The list of nodes, and one node in full.

use super::{count, reservation::of_node};
use crate::{
    output::{Style, table::table},
    quantity::{show_cpus, show_size, show_time},
};
use domain::{
    MegaHertz, MilliWatts,
    hardware::GpuHardware,
    health::{HeldGpu, HeldState},
    isolation::NodeIsolation,
    node::NodeState,
    resource::Gpu,
    topology::Level,
    view::{HeldGpuView, NodeView},
};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// The document of `assay nodes --json`.
#[derive(Debug, Serialize)]
pub struct Nodes {
    /// The nodes, by id.
    pub nodes: Vec<NodeView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

const HEADING: [&str; 8] = ["NODE", "NAME", "STATE", "GPUS", "MODEL", "CORES", "MEMORY", "LEASES"];

/// The list as text.
#[must_use]
pub fn text(style: Style, nodes: &Nodes) -> String {
    if nodes.nodes.is_empty() && style.table {
        return "no nodes; start an agent: assay agent --config FILE\n".into();
    }
    // Last, so that what reads the others by their place goes on to.
    let placed = nodes.nodes.iter().any(|node| place(node).is_some());
    let mut heading = HEADING.to_vec();
    heading.extend(placed.then_some("RACK"));
    let row = |node: &NodeView| {
        let mut cells = row(style, node);
        cells.extend(placed.then(|| place(node).unwrap_or_else(|| "-".into())));
        cells
    };
    let rows: Vec<_> = nodes.nodes.iter().map(row).collect();
    table(style, &heading, &rows)
}

/// The rack that a node is in, or at least the block.
fn place(node: &NodeView) -> Option<String> {
    let topology = &node.inventory.topology;
    let zone = topology.zone(Level::Rack).or(topology.zone(Level::Block));
    zone.map(|zone| zone.to_string())
}

/// GPUs of a node that have a level in common: `0 1 | 2 3`.
fn sites(node: &NodeView, level: Level) -> Option<String> {
    let topology = &node.inventory.topology;
    let mut sites: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for gpu in &topology.gpus {
        if let Some(site) = topology.site(level, gpu.index) {
            sites.entry(site).or_default().push(gpu.index.to_string());
        }
    }
    let sites: Vec<_> = sites.into_values().map(|gpus| gpus.join(" ")).collect();
    (!sites.is_empty()).then(|| sites.join(" | "))
}

/// Where a node is, and which of its GPUs are near each other: a line for each that is known.
fn topology(node: &NodeView) -> String {
    let topology = &node.inventory.topology;
    let said = |name: &String| (!name.is_empty()).then(|| name.clone());
    let facts = [
        ("rack", said(&topology.rack)),
        ("block", said(&topology.block)),
        ("nvlink", sites(node, Level::Nvlink)),
        ("numa", sites(node, Level::Numa)),
    ];
    let known = facts.into_iter().filter_map(|(name, value)| Some((name, value?)));
    known.map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

fn row(style: Style, node: &NodeView) -> Vec<String> {
    let inventory = &node.inventory;
    let models: BTreeSet<&str> = inventory.gpus.iter().map(|gpu| gpu.model.as_str()).collect();
    let models = models.into_iter().collect::<Vec<_>>().join(", ");
    let leases: Vec<_> = node.leases.iter().map(ToString::to_string).collect();
    vec![
        node.id.to_string(),
        inventory.name.clone(),
        status(style, node),
        format!("{}/{}", node.gpus_used.len(), inventory.gpus.len()),
        if models.is_empty() { "-".into() } else { models },
        format!("{}/{}", show_cpus(node.cpu_used), show_cpus(inventory.cpu)),
        format!("{}/{}", show_size(node.memory_used), show_size(inventory.memory)),
        if leases.is_empty() { "-".into() } else { leases.join(" ") },
    ]
}

fn status(style: Style, node: &NodeView) -> String {
    let state = match &node.status {
        NodeState::Ready => style.good("ready"),
        NodeState::Drained { reason, until, migrate, quarantine } => {
            let way = if *quarantine { "in quarantine" } else { "drained" };
            let way = if *migrate { format!("{way}, its jobs move") } else { way.to_owned() };
            let back = until.map(|at| format!(", back {}", show_time(at))).unwrap_or_default();
            style.busy(&format!("{way}: {reason}{back}"))
        }
        NodeState::Lost => style.bad("lost"),
    };
    let state = match node.held_back.len() {
        0 => state,
        sick => format!("{state}, {}", style.bad(&format!("{} sick", count(sick as u64, "GPU")))),
    };
    // The first to begin: more are in the node's own document.
    node.windows.first().map(|first| format!("{state}, {}", of_node(first))).unwrap_or(state)
}

/// The document of `assay node show --json`.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// The node.
    #[serde(flatten)]
    pub node: NodeView,
    /// The log index that it shows.
    pub log_index: u64,
}

const GPU_HEADING: [&str; 5] = ["GPU", "UUID", "MODEL", "MEMORY", "STATE"];

/// One node as text: what it has, every GPU with its state, and what to do.
#[must_use]
pub fn detail(style: Style, node: &NodeView) -> String {
    let has = &node.inventory;
    let leases: Vec<_> = node.leases.iter().map(ToString::to_string).collect();
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let (cpu_used, memory_used) = (show_cpus(node.cpu_used), show_size(node.memory_used));
    let facts = [
        ("node", format!("{} {}", node.id, has.name)),
        ("state", status(style, node)),
        ("class", node.hardware_class.clone()),
        ("driver", or_none(&has.driver_version)),
        ("cuda", or_none(&has.cuda_version)),
        ("cpu", format!("{} ({})", has.cpu_model, has.cpu_level)),
        ("cores", format!("{cpu_used} of {} in use", show_cpus(has.cpu))),
        ("memory", format!("{memory_used} of {} in use", show_size(has.memory))),
        ("kernel", has.kernel.clone()),
        ("agent", has.agent_version.clone()),
        ("isolation", isolation(&has.isolation)),
        ("leases", or_none(&leases.join(" "))),
    ];
    let mut out: String =
        facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect();
    for lack in &has.isolation.lacks {
        out.push_str(&format!("{:<9}   lacks {lack}\n", ""));
    }
    for lack in has.isolation.container_lacks.iter().filter(|_| has.isolation.can_sandbox()) {
        out.push_str(&format!("{:<9}   for containers lacks {lack}\n", ""));
    }
    out.push_str(&topology(node));
    out.push_str(&devices(node));
    for window in &node.windows {
        out.push_str(&format!("{:<9} {}\n", "window", of_node(window)));
    }
    let mut gpus: Vec<_> =
        has.gpus.iter().map(|gpu| (gpu.index, served(style, node, gpu))).collect();
    gpus.extend(node.held_back.iter().map(|held| (held.gpu.index, sick(style, held))));
    gpus.sort_by_key(|(index, _)| *index);
    if !gpus.is_empty() {
        let rows: Vec<_> = gpus.into_iter().map(|(_, row)| row).collect();
        out.push_str(&format!("\n{}", table(style, &GPU_HEADING, &rows)));
    }
    out.push_str(&boards(style, node));
    for charge in &node.accused {
        let what = format!("GPU {} {}; its node has to act", charge.uuid, charge.symptom);
        out.push_str(&format!("\n{}\n", style.bad(&what)));
    }
    for held in &node.held_back {
        out.push_str(&format!("\n{}", care(style, &has.name, held)));
    }
    out.push_str(&acceptance(style, node));
    out
}

/// Disks and network interfaces, a line for each.
fn devices(node: &NodeView) -> String {
    let Some(hardware) = &node.hardware else { return String::new() };
    let disks = hardware.host.disks.iter().map(|disk| {
        let kind = if disk.rotates { "rotates" } else { "solid" };
        ("disk", format!("{} {}, {kind}", disk.name, show_size(disk.size)))
    });
    let networks = hardware.host.networks.iter().map(|network| {
        let rate = network.rate.map_or("no known rate".to_owned(), |rate| rate.to_string());
        ("network", format!("{} {rate}", network.name))
    });
    disks.chain(networks).map(|(name, value)| format!("{name:<9} {value}\n")).collect()
}

const BOARD_HEADING: [&str; 7] = ["GPU", "BUS", "PCIE", "POWER", "CLOCKS", "NVLINKS", "CPUS"];

/// How each GPU is built in, as its driver tells.
fn boards(style: Style, node: &NodeView) -> String {
    let Some(gpus) = node.hardware.as_ref().map(|it| &it.gpus) else { return String::new() };
    let rows: Vec<_> = gpus.all.iter().map(board).collect();
    let mut out = match rows.is_empty() {
        true => String::new(),
        false => format!("\n{}", table(style, &BOARD_HEADING, &rows)),
    };
    for gpu in &gpus.unread {
        out.push_str(&format!(
            "{}\n",
            style.bad(&format!("GPU {} does not answer: {}", gpu.index, gpu.why))
        ));
    }
    out
}

fn board(gpu: &GpuHardware) -> Vec<String> {
    let none = || "-".to_owned();
    let watts = |it: MilliWatts| it.0 / 1_000;
    let power = gpu
        .power
        .map(|it| format!("{} W of {} to {}", watts(it.now), watts(it.min), watts(it.max)));
    let clocks = match (gpu.graphics_max, gpu.memory_max) {
        (None, None) => none(),
        (graphics, memory) => {
            let text = |it: Option<MegaHertz>| it.map_or_else(none, |it| it.0.to_string());
            format!("{}/{} MHz", text(graphics), text(memory))
        }
    };
    let up = gpu.nvlinks.iter().filter(|link| link.up).count();
    let links = match gpu.nvlinks.len() {
        0 => none(),
        all => format!("{up}/{all} up"),
    };
    let cpus = gpu.cpus.to_string();
    vec![
        gpu.gpu.index.to_string(),
        gpu.bus.clone(),
        gpu.pcie.map_or_else(none, |it| format!("gen {} x{}", it.generation, it.lanes)),
        power.unwrap_or_else(none),
        clocks,
        links,
        if cpus.is_empty() { none() } else { cpus },
    ]
}

/// Of a node in quarantine: what its acceptance has come to, and what to do.
fn acceptance(style: Style, node: &NodeView) -> String {
    let NodeState::Drained { reason, quarantine: true, .. } = &node.status else {
        return String::new();
    };
    let name = &node.inventory.name;
    let check = node.acceptance.as_ref();
    let says = check.map(|it| format!("  {} ({})\n", it.says, it.id)).unwrap_or_default();
    let next = match check.filter(|it| it.check.closed.is_none()) {
        Some(_) => "wait for the check".to_owned(),
        None => format!("assay node accept {name}"),
    };
    let title = style.strong(&format!("node {name} is in quarantine: {reason}"));
    format!("\n{title}\n{says}  -> {next}\n")
}

/// What a node does about isolation, and what it could do.
fn isolation(has: &NodeIsolation) -> String {
    let NodeIsolation { default, cgroup, landlock, .. } = has;
    let can = match has.can_sandbox() {
        true => format!("can sandbox (cgroup v{cgroup}, Landlock {landlock})"),
        false => "cannot sandbox".to_owned(),
    };
    let boxes = match has.can_contain() {
        true => format!(", run containers (podman {})", has.podman),
        false => String::new(),
    };
    format!("{default}; {can}{boxes}")
}

fn served(style: Style, node: &NodeView, gpu: &Gpu) -> Vec<String> {
    let used = node.gpus_used.contains(&gpu.index);
    let accused = node.accused.iter().any(|it| it.uuid == gpu.uuid);
    let state = match used {
        _ if accused => style.bad("accused"),
        true => style.busy("in use"),
        false => style.good("free"),
    };
    let model = gpu.model.clone();
    vec![gpu.index.to_string(), gpu.uuid.clone(), model, show_size(gpu.memory), state]
}

fn sick(style: Style, held: &HeldGpuView) -> Vec<String> {
    let gpu = &held.gpu;
    let first = gpu.offers.first();
    vec![
        gpu.index.to_string(),
        gpu.uuid.clone(),
        first.map_or("-", |it| it.model.as_str()).to_owned(),
        first.map_or("-".to_owned(), |it| show_size(it.memory)),
        style.bad(&gpu.state.to_string()),
    ]
}

/// Whether it is about to be known if it is well.
fn is_checked(held: &HeldGpuView) -> bool {
    held.check.as_ref().is_some_and(|it| it.check.closed.is_none())
}

/// What ails a GPU, and what to do.
fn care(style: Style, node: &str, held: &HeldGpuView) -> String {
    let HeldGpu { index, symptom, advice, since, refused, state, .. } = &held.gpu;
    let title = format!("GPU {index} {state} since {}: {symptom}", show_time(*since));
    let next = match (state, held.accepted) {
        (HeldState::Draining, _) => "it finishes what it runs".to_owned(),
        (HeldState::Quarantined, Some(at)) => format!("accepted (log {at}); its node has to act"),
        (HeldState::Quarantined, None) if is_checked(held) => "wait for the check".to_owned(),
        (HeldState::Quarantined, None) => {
            format!("{advice}; once it is well: assay node accept {node} {index}")
        }
    };
    let refused = match refused.0 {
        _ if *state == HeldState::Draining => String::new(),
        0 => String::new(),
        at => format!("  not accepted (log {at}): it does not answer, or had another symptom\n"),
    };
    let check = held.check.as_ref().map(|it| format!("  {} ({})\n", it.says, it.id));
    let check = check.unwrap_or_default();
    format!("{}\n{check}{refused}  -> {next}\n", style.strong(&title))
}
