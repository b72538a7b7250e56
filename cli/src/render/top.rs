//! Queues, nodes and jobs on one screen.

use super::{count, jobs, node, queue};
use crate::output::Style;
use domain::{
    node::NodeState,
    queue::view::QueuesView,
    view::{JobLine, NodeView},
};
use serde::Serialize;

/// GPUs of the whole cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Gpus {
    /// On nodes in contact.
    pub total: u64,
    /// Of these, under a lease.
    pub held: u64,
    /// Of the rest, on nodes that take work.
    pub free: u64,
    /// Held back by their nodes.
    pub held_back: u64,
}

/// The document of `assay top --json`.
#[derive(Debug, Serialize)]
pub struct Top {
    /// GPUs.
    pub gpus: Gpus,
    /// Jobs in queues that wait.
    pub waiting_jobs: u64,
    /// The queues, each before its parts.
    pub queues: QueuesView,
    /// Nodes, those with the most work first.
    pub nodes: Vec<NodeView>,
    /// Nodes that are not shown.
    pub more_nodes: u64,
    /// Jobs: what runs, then what is sealed, then what waits.
    pub jobs: Vec<JobLine>,
    /// The log index that it shows, the oldest of what was read.
    pub log_index: u64,
}

impl Top {
    /// From what servers answer, with at most `limit` nodes.
    #[must_use]
    pub fn new(
        queues: QueuesView,
        mut nodes: Vec<NodeView>,
        jobs: Vec<JobLine>,
        limit: usize,
        log_index: u64,
    ) -> Self {
        let gpus = nodes.iter().fold(Gpus::default(), |sum, node| {
            let there = node.inventory.gpus.len() as u64;
            let held = node.gpus_used.len() as u64;
            let (total, free) = match node.status {
                NodeState::Ready => (there, there.saturating_sub(held)),
                NodeState::Drained { .. } => (there, 0),
                NodeState::Lost => (held, 0),
            };
            Gpus {
                total: sum.total + total,
                held: sum.held + held,
                free: sum.free + free,
                held_back: sum.held_back + node.held_back.len() as u64,
            }
        });
        let roots = queues.queues.iter().filter(|queue| queue.spec.parent.is_none());
        let waiting_jobs = roots.map(|queue| queue.waiting_jobs).sum();
        nodes.sort_by_key(|node| (std::cmp::Reverse(node.gpus_used.len()), node.id));
        let more_nodes = nodes.len().saturating_sub(limit) as u64;
        nodes.truncate(limit);
        Self { gpus, waiting_jobs, queues, nodes, more_nodes, jobs, log_index }
    }
}

/// The screen.
#[must_use]
pub fn text(style: Style, top: &Top) -> String {
    let Gpus { total, held, free, held_back } = top.gpus;
    let sick = match held_back {
        0 => String::new(),
        held_back => format!(", {held_back} held back"),
    };
    let waiting = count(top.waiting_jobs, "job");
    let at = top.log_index;
    let mut out = format!("GPUs: {held} of {total} held, {free} free{sick}; {waiting} in line\n");
    out.push_str(&style.faint(&format!("log entry {at}\n")));
    let nodes = node::Nodes { nodes: top.nodes.clone(), log_index: at };
    let jobs = jobs::Jobs { jobs: top.jobs.clone(), log_index: at };
    for part in
        [queue::list(style, &top.queues), node::text(style, &nodes), jobs::text(style, &jobs)]
    {
        out.push('\n');
        out.push_str(&part);
    }
    if top.more_nodes > 0 {
        out.push_str(&format!("{} more nodes: --limit shows them\n", top.more_nodes));
    }
    out
}
