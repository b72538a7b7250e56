//! What agents report, and how attempts end.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::AttemptRow,
    sched::{Sched, Step},
};
use domain::{
    LeaseId, NodeId,
    artifact::{OutputDigests, SealTicket},
    checkpoint::Checkpoint,
    job::{ElementState, EndCause},
    lease::{Lease, Phase},
    link::Report,
    port::RowRead,
};
use registry::seal::recipe;
use serde_json::json;

/// Attempts that may end by nodes' faults before a job is given up.
pub const NODE_FAULTS_MAX: u32 = 100;

impl Sched {
    /// Records what a node reports of a lease. Under an ended lease nothing changes.
    pub(super) fn report<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        node: NodeId,
        report: Report,
    ) -> Reply {
        let id = report.lease();
        let Some(lease) = self.leases.get(&id).filter(|lease| lease.member(node).is_some()) else {
            return Reply::Refused(Refusal::StaleLease { lease: id });
        };
        match report {
            Report::Prepared { .. } => self.prepared(step, id, node),
            Report::Checkpoint { checkpoint } => self.checkpoint(step, actor, checkpoint),
            Report::Done { .. } => self.member_done(step, id, node),
            Report::Ended { output, .. } => {
                let lease = lease.clone();
                self.ended(step, actor, node, &lease, output)
            }
            Report::Failed { cause, .. } => {
                self.stop_lease(step, id, cause);
                step.done()
            }
            Report::Stopped { .. } => self.stopped(step, actor, id, node),
        }
    }

    fn prepared<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: LeaseId, node: NodeId) -> Reply {
        let Some(lease) = self.leases.get_mut(&id) else { return step.done() };
        let Phase::Preparing { ready } = &mut lease.phase else { return step.done() };
        ready.insert(node);
        if ready.len() == lease.members.len() {
            lease.phase = Phase::Started { done: Default::default() };
            for member in &lease.members {
                step.effect(Effect::Wanted { node: member.node });
            }
            step.effect(Effect::Changed { job: lease.element.job });
        }
        step.rows.put(key::lease(id), &*lease);
        step.done()
    }

    fn checkpoint<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        checkpoint: Checkpoint,
    ) -> Reply {
        let Some(lease) = self.leases.get(&checkpoint.lease) else { return step.done() };
        let element = lease.element;
        let Some(job) = self.jobs.get_mut(&element.job) else { return step.done() };
        let Some(position) = job.position(element) else { return step.done() };
        let Some(row) = job.elements.get_mut(&position) else { return step.done() };
        if row.newest.as_ref().is_some_and(|newest| newest.step >= checkpoint.step) {
            // A repeat, or one that a newer one has overtaken.
            return step.done();
        }
        let member = json!({
            "element": element.to_string(),
            "lease": checkpoint.lease.to_string(),
            "root": checkpoint.root.to_string(),
            "step": checkpoint.step,
        });
        step.events.add(Kind::CheckpointCommitted, actor, member);
        step.rows.put(key::checkpoint(element.job, position, checkpoint.step), &checkpoint);
        row.newest = Some(checkpoint);
        step.rows.put(key::element(element.job, position), &*row);
        step.effect(Effect::Changed { job: element.job });
        step.done()
    }

    fn member_done<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: LeaseId,
        node: NodeId,
    ) -> Reply {
        let Some(lease) = self.leases.get_mut(&id) else { return step.done() };
        if let Phase::Started { done } = &mut lease.phase {
            done.insert(node);
            // The lead reports the end of the gang once it knows that all others are done.
            step.effect(Effect::Wanted { node: lease.lead() });
            step.rows.put(key::lease(id), &*lease);
        }
        step.done()
    }

    /// The attempt ended well: the GPUs are free at once, and the output waits for its seal.
    fn ended<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        node: NodeId,
        lease: &Lease,
        output: OutputDigests,
    ) -> Reply {
        let Phase::Started { done } = &lease.phase else {
            return Reply::Refused(Refusal::WrongState {
                what: format!("lease {}", lease.id),
                state: "being stopped".into(),
                remedy: "stop what runs under it".into(),
            });
        };
        let others = lease.members.iter().map(|member| member.node).filter(|id| *id != node);
        if node != lease.lead() || !others.into_iter().all(|other| done.contains(&other)) {
            let why = format!("other nodes of lease {} have not reported their end", lease.id);
            return Reply::Refused(Refusal::NotYet { why });
        }
        let Some(job) = self.jobs.get_mut(&lease.element.job) else { return step.done() };
        let Some(position) = job.position(lease.element) else { return step.done() };
        let Some(row) = job.elements.get_mut(&position) else { return step.done() };
        row.state = ElementState::Sealing { lease: lease.id };
        step.rows.put(key::element(lease.element.job, position), &*row);
        let ticket = SealTicket {
            lease: lease.id,
            element: lease.element,
            attempt: lease.attempt,
            node,
            output,
            recipe: recipe::recipe_of_element(&job.submitted.spec, lease.element.index),
            build_key: lease.build_key,
            opened: step.now,
        };
        job.progress.running -= 1;
        job.progress.sealing += 1;
        let member = json!({
            "element": lease.element.to_string(),
            "lease": lease.id.to_string(),
            "root": ticket.output.root.to_string(),
        });
        step.events.add(Kind::SealOpened, actor, member);
        step.rows.put(key::ticket(lease.id), &ticket);
        self.tickets.insert(lease.id, ticket);
        self.drop_lease(step, lease, position, None);
        step.effect(Effect::Seal { ticket: lease.id });
        self.keep_job(step, lease.element.job);
        step.done()
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
        let Some(job) = self.jobs.get(&lease.element.job) else { return };
        let Some(position) = job.position(lease.element) else { return };
        let member = json!({
            "attempt": lease.attempt.0,
            "cause": cause.to_string(),
            "element": lease.element.to_string(),
            "lease": id.to_string(),
        });
        step.events.add(Kind::AttemptEnded, actor, member);
        self.drop_lease(step, &lease, position, Some(cause.clone()));
        self.unwait(lease.element.job);
        if let Some(job) = self.jobs.get_mut(&lease.element.job) {
            job.progress.running -= 1;
        }
        if matches!(cause, EndCause::DiskFull { .. })
            && let Some(job) = self.jobs.get_mut(&lease.element.job)
            && let Some(row) = job.elements.get_mut(&position)
        {
            row.avoid.extend(lease.members.iter().map(|member| member.node));
        }
        self.requeue_or_end(step, lease.element.job, position, cause);
    }

    /// After an attempt or a ticket ended without a result. The job is out of the order.
    pub(super) fn requeue_or_end<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: domain::JobId,
        position: u32,
        cause: EndCause,
    ) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let retries = job.submitted.spec.retries;
        let Some(row) = job.elements.get_mut(&position) else { return };
        if cause == EndCause::Cancelled {
            row.state = ElementState::Cancelled;
            job.progress.cancelled += 1;
        } else {
            let given_up = if cause.is_jobs_fault() {
                row.faults += 1;
                row.faults > retries
            } else {
                row.node_faults += 1;
                row.node_faults > NODE_FAULTS_MAX
            };
            if given_up {
                row.state = ElementState::Failed { cause };
                job.progress.failed += 1;
            } else {
                row.state = ElementState::Waiting;
                job.progress.requeued.insert(position);
            }
        }
        step.rows.put(key::element(id, position), &*row);
        if row.state.is_final() {
            job.elements.remove(&position);
        }
        self.wait(id);
        self.keep_job(step, id);
        step.effect(Effect::Plan);
    }

    /// Takes a lease out of the live set and gives its resources back.
    fn drop_lease<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: &Lease,
        position: u32,
        cause: Option<EndCause>,
    ) {
        self.vacate(lease);
        self.leases.remove(&lease.id);
        step.rows.remove(key::lease(lease.id));
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
