//! The step in which the leader dies.

use super::{
    super::{children::Children, layout::server_name},
    guide::Guide,
    steps::Sight,
};
use crate::{
    command::{Context, cluster},
    fault::Fault,
    quantity::show_duration,
};
use domain::{Millis, ReplicaId};
use std::time::{Duration, Instant};

/// Longest wait for a new leader.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Kills the leader and waits for another.
///
/// # Errors
/// When there is none in time.
pub async fn kill(
    context: &Context,
    children: &Children,
    guide: &mut Guide,
) -> Result<ReplicaId, Fault> {
    let old = cluster::status(context).await?.leader;
    let old = old.ok_or_else(|| guide.broken("there is a leader"))?;
    let pid = children.kill(&server_name(old))?;
    let start = Instant::now();
    guide.say(&format!("   kill -9 {pid}   ({}, the leader)", server_name(old)))?;
    loop {
        let seen = cluster::status(context).await;
        if let Ok(Some(new)) = seen.map(|view| view.leader)
            && new != old
        {
            let took = Millis(u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX));
            guide.say(&format!("   {new} leads after {}", show_duration(took)))?;
            return Ok(old);
        }
        if start.elapsed() > PATIENCE {
            return Err(guide.broken("another server leads within 10 s"));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Shows that the job did not notice: same attempt, same lease, further on.
///
/// # Errors
/// When it did.
pub async fn unnoticed(
    context: &Context,
    guide: &mut Guide,
    old: ReplicaId,
    before: &Sight,
    after: &Sight,
) -> Result<(), Fault> {
    let same = before.attempt == after.attempt && before.lease == after.lease;
    let lease = after.lease.map_or_else(|| "none".into(), |lease| lease.to_string());
    guide.holds(&format!("same attempt {} under the same lease {lease}", after.attempt), same)?;
    let further = after.last_step > before.last_step;
    let steps =
        format!("trained on: checkpoint {} then, {} now", before.last_step, after.last_step);
    guide.holds(&steps, further)?;
    let (leader, back) = returned(context, old).await?;
    let shown = leader.map_or_else(|| "nobody".into(), |leader| leader.to_string());
    let holds = back && leader.is_some_and(|leader| leader != old);
    guide.holds(&format!("{shown} leads, {old} is started again and hears the others"), holds)
}

/// Who leads, and whether the server that was killed is heard again; it is given a while.
async fn returned(context: &Context, old: ReplicaId) -> Result<(Option<ReplicaId>, bool), Fault> {
    let start = Instant::now();
    loop {
        let view = cluster::status(context).await?;
        let back = view.replicas.iter().any(|replica| replica.id == old && replica.active);
        if back || start.elapsed() > PATIENCE {
            return Ok((view.leader, back));
        }
        tokio::time::sleep(LOOK).await;
    }
}
