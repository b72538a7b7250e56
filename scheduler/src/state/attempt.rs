//! How attempts end without a result.

use super::{
    command::{Effect, Reply},
    key,
    record::Kind,
    row::AttemptRow,
    sched::{Job, Sched},
    step::Step,
};
use domain::{
    ElementId, JobId, LeaseId, Millis, NodeId,
    job::{ElementState, EndCause},
    lease::{Lease, Phase},
    limit::NODE_FAULTS_MAX,
    port::RowRead,
    version::ClusterVersion,
};
use serde_json::json;

/// What filling a disk that the element has filled before counts beside: four times are the end.
const DISK_REFILLED: u32 = NODE_FAULTS_MAX / 4;
/// Since which version a failure is kept with its node, and faults of nodes make pauses.
pub(super) const FAILED_WHERE: ClusterVersion = ClusterVersion(2);
/// Nodes on which one element failed that are kept: beyond them none is better than another.
pub const AVOIDED_MAX: usize = 64;
/// The pause after the second fault of a node; each later one is twice as long.
const NODE_PAUSE: Millis = Millis(1_000);
/// Longest pause after a fault of a node.
pub const NODE_PAUSE_MAX: Millis = Millis(30_000);

impl Sched {
    /// Tells every member of a lease to stop. The first cause is kept, except that a user's word
    /// goes before a fault.
    pub(super) fn stop_lease<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: LeaseId,
        cause: EndCause,
    ) {
        let Some(lease) = self.leases.get_mut(&lease) else { return };
        match &mut lease.phase {
            Phase::Stopping { cause: first, .. } => {
                if cause == EndCause::Cancelled {
                    *first = cause;
                }
            }
            Phase::Preparing { .. } | Phase::Started { .. } => {
                let remaining = lease.members.iter().map(|member| member.node).collect();
                lease.phase = Phase::Stopping { remaining, cause };
            }
        }
        step.rows.put(key::lease(lease.id), &*lease);
        for member in &lease.members {
            step.effect(Effect::Wanted { node: member.node });
        }
        step.effect(Effect::Changed { job: lease.element.job });
    }

    /// A node says that an attempt failed there. The next one goes elsewhere, if it can.
    pub(super) fn failed_on<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: LeaseId,
        node: NodeId,
        cause: EndCause,
    ) {
        let Some(lease) = self.leases.get(&id) else { return };
        // What follows the first failure of a gang says nothing of the node.
        let first = !matches!(lease.phase, Phase::Stopping { .. });
        let element = lease.element;
        if first && cause.may_be_the_nodes() && self.version >= FAILED_WHERE {
            self.avoid(step, element, node);
        }
        self.stop_lease(step, id, cause);
    }

    /// Keeps that an element failed on a node.
    fn avoid<R: RowRead>(&mut self, step: &mut Step<'_, R>, element: ElementId, node: NodeId) {
        let Some(job) = self.jobs.get_mut(&element.job) else { return };
        let Some(position) = job.position(element) else { return };
        let Some(row) = job.elements.get_mut(&position) else { return };
        if row.avoid.len() >= AVOIDED_MAX && !row.avoid.contains(&node) {
            row.avoid.clear();
        }
        if row.avoid.insert(node) {
            step.rows.put(key::element(element.job, position), &*row);
        }
    }

    /// A node says that nothing of a lease runs there any more.
    pub(super) fn stopped<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: LeaseId,
        node: NodeId,
    ) -> Reply {
        let Some(lease) = self.leases.get_mut(&id) else { return step.done() };
        if !matches!(lease.phase, Phase::Stopping { .. }) {
            self.stop_lease(step, id, EndCause::LeaseExpired);
        }
        let Some(lease) = self.leases.get_mut(&id) else { return step.done() };
        let Phase::Stopping { remaining, cause } = &mut lease.phase else { return step.done() };
        remaining.remove(&node);
        let over = remaining.is_empty().then(|| cause.clone());
        step.rows.put(key::lease(id), &*lease);
        if let Some(cause) = over {
            self.end_attempt(step, actor, id, cause);
        }
        step.done()
    }

    /// Ends an attempt without a result: the element waits again, or has ended.
    pub(super) fn end_attempt<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: LeaseId,
        cause: EndCause,
    ) {
        let Some(lease) = self.leases.get(&id).cloned() else { return };
        let member = json!({
            "attempt": lease.attempt.0,
            "cause": cause.to_string(),
            "element": lease.element.to_string(),
            "lease": id.to_string(),
        });
        step.events.add(Kind::AttemptEnded, actor, &member);
        self.drop_lease(step, &lease, Some(cause.clone()));
        if self.run_of(lease.element.job).is_some() {
            self.run_over(step, actor, lease.element.job, Some(&cause));
        }
        let version = self.version;
        self.alter(step, lease.element.job, |job, step| {
            let position = job.position(lease.element)?;
            job.progress.running -= 1;
            if matches!(cause, EndCause::DiskFull { .. }) {
                let weight = disk_refilled(job);
                let row = job.elements.get_mut(&position)?;
                let nodes = lease.members.iter().map(|member| member.node);
                // It fills the same disk again, for no other node would have it: most likely what
                // it needs is nowhere.
                if nodes.clone().any(|node| row.avoid.contains(&node)) {
                    row.node_faults = row.node_faults.saturating_add(weight);
                }
                row.avoid.extend(nodes);
            }
            requeue_or_end(step, version, (lease.element.job, job), position, cause)
        });
    }

    /// Takes a lease out of the live set and gives its resources back.
    pub(super) fn drop_lease<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: &Lease,
        cause: Option<EndCause>,
    ) {
        self.close_account(step, lease, cause.as_ref());
        self.learn_run(lease, step.now, cause.is_none());
        self.vacate(lease);
        self.refund(lease, step.now);
        self.leases.remove(&lease.id);
        step.rows.remove(key::lease(lease.id));
        let job = self.jobs.get(&lease.element.job);
        let position = job.and_then(|job| job.position(lease.element)).unwrap_or(0);
        let key = key::attempt(lease.element.job, position, lease.attempt);
        if let Some(mut attempt) = step.rows.read::<AttemptRow>(&key) {
            attempt.ended = Some(step.now);
            attempt.cause = cause;
            step.rows.put(key, &attempt);
        }
        for member in &lease.members {
            step.effect(Effect::Wanted { node: member.node });
        }
        step.effect(Effect::Plan);
    }
}

/// After an attempt or a ticket ended without a result: the element waits again, unless it was
/// cancelled or has failed once too often.
pub(super) fn requeue_or_end<R: RowRead>(
    step: &mut Step<'_, R>,
    version: ClusterVersion,
    (id, job): (JobId, &mut Job),
    position: u32,
    cause: EndCause,
) -> Option<()> {
    let retries = job.brief.retries;
    let rule = job.brief.waits.as_ref().map(|waits| waits.retry.clone()).unwrap_or_default();
    let node_faults_max = node_faults_max(job);
    let row = job.elements.get_mut(&position)?;
    let given_up = if cause.makes_way() {
        false
    } else if cause.is_jobs_fault() {
        row.faults = row.faults.saturating_add(1);
        let pause = rule.pause(row.faults);
        row.not_before = (pause > Millis(0)).then(|| step.now.plus(pause));
        row.faults > retries || !rule.allows(&cause) || row.count(&rule, &cause)
    } else {
        row.node_faults = row.node_faults.saturating_add(1);
        let pause = node_pause(row.node_faults);
        if version >= FAILED_WHERE {
            row.not_before = (pause > Millis(0)).then(|| step.now.plus(pause));
        }
        row.node_faults > node_faults_max
    };
    // Whether a check needs another run is for the check to say.
    let given_up = given_up || job.brief.check.is_some();
    row.state = match cause {
        EndCause::Cancelled | EndCause::Checked | EndCause::MadeRoom => ElementState::Cancelled,
        cause if given_up => ElementState::Failed { cause },
        _ => ElementState::Waiting,
    };
    step.rows.put(key::element(id, position), &*row);
    match row.state {
        ElementState::Cancelled => job.progress.cancelled += 1,
        ElementState::Failed { .. } => job.progress.failed += 1,
        ElementState::Waiting
        | ElementState::Running { .. }
        | ElementState::Sealing { .. }
        | ElementState::Completed { .. } => match row.not_before.filter(|at| *at > step.now) {
            Some(until) => job.pause(position, until),
            None => job.requeue(position),
        },
    }
    if job.elements.get(&position)?.state.is_final() {
        job.elements.remove(&position);
    }
    step.effect(Effect::Plan);
    Some(())
}

/// The same for an element of this job: in all a quarter of the faults of nodes that it may have.
fn disk_refilled(job: &Job) -> u32 {
    let said = job.brief.waits.as_ref().and_then(|waits| waits.retry.max.node);
    said.map_or(DISK_REFILLED, |most| (most / 4).saturating_sub(1))
}

/// How many faults of nodes an element of a job may have.
fn node_faults_max(job: &Job) -> u32 {
    let said = job.brief.waits.as_ref().and_then(|waits| waits.retry.max.node);
    said.unwrap_or(NODE_FAULTS_MAX)
}

/// How long an element pauses after so many faults of nodes. After the first it goes on at once:
/// nearly always another node has it. Where one fault follows another, all nodes may be at fault.
fn node_pause(faults: u32) -> Millis {
    let doublings = match faults.checked_sub(2) {
        None => return Millis(0),
        Some(doublings) => doublings.min(16),
    };
    NODE_PAUSE_MAX.min(Millis(NODE_PAUSE.0 << doublings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_nodes_make_longer_and_longer_pauses_from_the_second_on() {
        let pauses = [0, 1, 2, 3, 4, 6, 7, 100, u32::MAX].map(node_pause);
        let ms = [0, 0, 1_000, 2_000, 4_000, 16_000, 30_000, 30_000, 30_000];
        assert_eq!(pauses, ms.map(Millis));
    }
}
