//! The list of nodes.

use crate::{
    output::{Style, table::table},
    quantity::{show_cpus, show_size},
};
use domain::{node::NodeState, view::NodeView};
use serde::Serialize;

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
    let rows: Vec<_> = nodes.nodes.iter().map(|node| row(style, node)).collect();
    table(style, &HEADING, &rows)
}

fn row(style: Style, node: &NodeView) -> Vec<String> {
    let inventory = &node.inventory;
    let model = inventory.gpus.first().map_or("-", |gpu| gpu.model.as_str());
    let leases: Vec<_> = node.leases.iter().map(ToString::to_string).collect();
    vec![
        node.id.to_string(),
        inventory.name.clone(),
        status(style, &node.status),
        format!("{}/{}", node.gpus_used.len(), inventory.gpus.len()),
        model.to_owned(),
        format!("{}/{}", show_cpus(node.cpu_used), show_cpus(inventory.cpu)),
        format!("{}/{}", show_size(node.memory_used), show_size(inventory.memory)),
        if leases.is_empty() { "-".into() } else { leases.join(" ") },
    ]
}

fn status(style: Style, state: &NodeState) -> String {
    match state {
        NodeState::Ready => style.good("ready"),
        NodeState::Drained { reason } => style.busy(&format!("drained: {reason}")),
        NodeState::Lost => style.bad("lost"),
    }
}
