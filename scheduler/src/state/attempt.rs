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
    JobId, LeaseId, Millis, NodeId,
    job::{ElementState, EndCause},
    lease::{Lease, Phase},
    port::RowRead,
};
use serde_json::json;

/// Attempts that may end by nodes' faults before a job is given up.
pub const NODE_FAULTS_MAX: u32 = 100;
/// What filling a disk that the element has filled before counts beside: four times are the end.
const DISK_REFILLED: u32 = NODE_FAULTS_MAX / 4;

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
        self.alter(step, lease.element.job, |job, step| {
            let position = job.position(lease.element)?;
            job.progress.running -= 1;
            if matches!(cause, EndCause::DiskFull { .. }) {
                let row = job.elements.get_mut(&position)?;
                let nodes = lease.members.iter().map(|member| member.node);
                // It fills the same disk again, for no other node would have it: most likely what
                // it needs is nowhere.
                if nodes.clone().any(|node| row.avoid.contains(&node)) {
                    row.node_faults = row.node_faults.saturating_add(DISK_REFILLED);
                }
                row.avoid.extend(nodes);
            }
            requeue_or_end(step, lease.element.job, job, position, cause)
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
    id: JobId,
    job: &mut Job,
    position: u32,
    cause: EndCause,
) -> Option<()> {
    let retries = job.brief.retries;
    let rule = job.brief.waits.as_ref().map(|waits| waits.retry.clone()).unwrap_or_default();
    let row = job.elements.get_mut(&position)?;
    let given_up = if matches!(cause, EndCause::Preempted { .. } | EndCause::Reserved { .. }) {
        // Nobody is at fault, however often.
        false
    } else if cause.is_jobs_fault() {
        row.faults = row.faults.saturating_add(1);
        let pause = rule.pause(row.faults);
        row.not_before = (pause > Millis(0)).then(|| step.now.plus(pause));
        row.faults > retries || !rule.allows(&cause)
    } else {
        row.node_faults = row.node_faults.saturating_add(1);
        row.node_faults > NODE_FAULTS_MAX
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
