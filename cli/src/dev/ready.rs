//! Waits until a development cluster can take work.

use super::{
    children::{Children, Ended},
    layout::{Layout, NODES},
};
use crate::{
    command::{Context, cluster},
    fault::{Fault, Kind},
};
use domain::{
    node::NodeState,
    view::{ClusterView, NodeView},
};
use proto::v1::{NodesQuery, query_request::What};
use std::{
    fs,
    time::{Duration, Instant},
};

/// Longest wait for a leader and two nodes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// Lines of a log that are shown when its process does not start.
const LINES: usize = 15;

/// Waits for a leader, and for every node to be ready.
///
/// # Errors
/// When a process ends by itself, or time is up.
pub async fn wait(
    context: &Context,
    layout: &Layout,
    children: &mut Children,
) -> Result<(), Fault> {
    let start = Instant::now();
    loop {
        if let Ok(ended) = children.ended.try_recv()
            && !ended.killed
        {
            return Err(not_started(layout, &ended));
        }
        let missing = match look(context).await {
            Ok((cluster, nodes)) => lacks(&cluster, &nodes),
            Err(fault) => Some(fault.detail),
        };
        let Some(missing) = missing else { return Ok(()) };
        if start.elapsed() > PATIENCE {
            let detail = format!("the cluster is not ready after 30 s: {missing}");
            return Err(Fault::new(Kind::Unavailable, "not_ready", detail)
                .hint(format!("look at {}", layout.dir.join("log").display())));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(context: &Context) -> Result<(ClusterView, Vec<NodeView>), Fault> {
    let cluster = cluster::status(context).await?;
    let nodes = context.client.query(What::Nodes(NodesQuery::default())).await?.value;
    Ok((cluster, nodes))
}

/// What is still missing, if anything.
fn lacks(cluster: &ClusterView, nodes: &[NodeView]) -> Option<String> {
    if cluster.leader.is_none() {
        return Some("there is no leader".into());
    }
    let absent = |name: &&&str| {
        let is = |node: &&NodeView| node.inventory.name == **name;
        nodes.iter().find(is).is_none_or(|node| node.status != NodeState::Ready)
    };
    NODES.iter().find(absent).map(|name| format!("{name} is not registered"))
}

fn not_started(layout: &Layout, ended: &Ended) -> Fault {
    let log = layout.log(&ended.name);
    let text = fs::read_to_string(&log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    let tail = lines[lines.len().saturating_sub(LINES)..].join("\n  ");
    let detail = format!("{} ended while it started: {}\n  {tail}", ended.name, ended.how);
    Fault::internal("not_started", detail).hint(format!("all of it: {}", log.display()))
}
