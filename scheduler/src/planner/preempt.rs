//! Room for a gang that others have to make.

use super::{fit::place_gang, free::FreeNode, victims};
use crate::state::{
    command::Placement,
    preemption::Preemption,
    sched::{Job, Node, Shape},
    view::View,
};
use domain::{JobId, Millis, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// A gang that does not fit.
#[derive(Clone, Copy)]
pub struct Gang<'a> {
    /// Its job.
    pub id: JobId,
    /// The same.
    pub job: &'a Job,
    /// What of it is to be placed.
    pub position: u32,
    /// What decides where.
    pub shape: &'a Shape,
}

/// Who makes room for a gang on `nodes`, and where it then runs; none where nobody has to, or
/// where it does not fit for all that.
#[must_use]
pub fn make_room<'a>(
    view: &View<'a>,
    now: Millis,
    nodes: &[FreeNode<'a>],
    gang: Gang<'a>,
    avoid: &BTreeSet<NodeId>,
) -> Option<Preemption> {
    let found = victims::find(view, now, nodes, gang.job, gang.shape)?;
    let known: BTreeMap<NodeId, &Node> = view.all_nodes().collect();
    let mut then = nodes.to_vec();
    for (_, lease) in &found {
        let Some(victim) = view.live_job(lease.element.job) else { continue };
        for member in &lease.members {
            let free = then.iter_mut().find(|free| free.id == member.node);
            if let (Some(free), Some(node)) = (free, known.get(&member.node)) {
                free.left_by(node, member, &victim.brief.resources);
            }
        }
    }
    let members = place_gang(&mut then, gang.shape, avoid)?;
    let element = gang.job.brief.element(gang.id, gang.position);
    let victims = found.into_iter().map(|(victim, _)| victim).collect();
    Some(Preemption { placement: Placement { element, members }, victims })
}
