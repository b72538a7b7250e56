//! What agents report.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::DumpRow,
    sched::Sched,
    step::Step,
};
use domain::{
    Bytes, Digest, ElementId, LeaseId, NodeId,
    artifact::{NodeLog, OutputDigests, SealTicket},
    check::{CheckRun, CheckTask},
    checkpoint::{Checkpoint, thin},
    job::{ElementState, EndCause},
    lease::{Lease, Member, Phase},
    limit,
    link::Report,
    port::RowRead,
};
use serde_json::json;
use std::collections::BTreeMap;

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
            Report::Done { log, .. } => self.member_done(step, id, node, log),
            Report::Ended { output, .. } => {
                let lease = lease.clone();
                self.ended(step, actor, node, &lease, output)
            }
            Report::Failed { cause, .. } => {
                self.failed_on(step, id, node, cause);
                step.done()
            }
            Report::Stopped { .. } => self.stopped(step, actor, id, node),
            Report::Dumped { rank, dump, size, .. } => {
                let element = lease.element;
                self.dumped(step, actor, (element, id, rank), dump, size)
            }
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
        let (started, of) = (matches!(lease.phase, Phase::Started { .. }), lease.element);
        if started {
            self.account_started(step, id, of);
        }
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
        if self.run_of(element.job).is_some() {
            self.segment_saved(step, actor, element.job, &checkpoint);
            return step.done();
        }
        let Some(job) = self.jobs.get_mut(&element.job) else { return step.done() };
        let Some(position) = job.position(element) else { return step.done() };
        let Some(row) = job.elements.get_mut(&position) else { return step.done() };
        if row.newest.as_ref().is_some_and(|newest| newest.step >= checkpoint.step) {
            // A repeat, or one that a newer one has overtaken.
            return step.done();
        }
        // Steps are the task's own numbers and may be too large for a JSON number.
        let member = json!({
            "element": element.to_string(),
            "lease": checkpoint.lease.to_string(),
            "root": checkpoint.root.to_string(),
            "step": checkpoint.step.to_string(),
        });
        step.events.add(Kind::CheckpointCommitted, actor, &member);
        step.rows.put(key::checkpoint(element.job, position, checkpoint.step), &checkpoint);
        row.newest_at = Some(step.now);
        let (under, to) = (checkpoint.lease, checkpoint.clone());
        let from = row.newest.replace(checkpoint.clone());
        row.checkpoints += 1;
        if row.checkpoints as usize > limit::CHECKPOINT_DIGESTS_KEPT {
            let (from, to) = key::checkpoints(element.job, position);
            let mut all = step.rows.range(&from, &to, row.checkpoints as usize);
            for (dropped, _) in thin(&mut all) {
                step.rows.remove(dropped);
            }
            row.checkpoints = all.len() as u32;
        }
        step.rows.put(key::element(element.job, position), &*row);
        self.keep_bytes(step, element.job, position, &checkpoint);
        self.account_saved(step, under, element);
        step.effect(Effect::Changed { job: element.job });
        self.consider_segment(step, actor, under, from, to);
        step.done()
    }

    /// Records what the threads of a hung rank waited for; of one element, the first ones.
    fn dumped<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        (element, lease, rank): (ElementId, LeaseId, u32),
        dump: Digest,
        size: Bytes,
    ) -> Reply {
        let (from, to) = key::dumps_of(element);
        if step.rows.range(&from, &to, limit::DUMPS_MAX).len() >= limit::DUMPS_MAX {
            return step.done();
        }
        let member = json!({
            "dump": dump.to_string(),
            "element": element.to_string(),
            "lease": lease.to_string(),
            "rank": rank,
        });
        step.events.add(Kind::RankDumped, actor, &member);
        let row = DumpRow { element, lease, rank, dump, size, time: step.now };
        step.rows.put(key::dump(element, lease, rank, step.at.0), &row);
        step.effect(Effect::Changed { job: element.job });
        step.done()
    }

    fn member_done<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: LeaseId,
        node: NodeId,
        log: Digest,
    ) -> Reply {
        let Some(lease) = self.leases.get_mut(&id) else { return step.done() };
        if let Phase::Started { done } = &mut lease.phase {
            done.insert(node, log);
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
                state: "not running: it prepares or is being stopped".into(),
                remedy: "do what its phase says".into(),
            });
        };
        let others = lease.members.iter().filter(|member| member.node != node);
        let logs: Option<Vec<NodeLog>> = others.map(|member| log_of(member, done)).collect();
        let Some(logs) = logs.filter(|_| node == lease.lead()) else {
            let why = format!("other nodes of lease {} have not reported their end", lease.id);
            return Reply::Refused(Refusal::NotYet { why });
        };
        if self.run_ended(step, actor, lease, &output) {
            return step.done();
        }
        let Some(submitted) = step.submitted(lease.element.job) else { return step.done() };
        let ticket = SealTicket {
            lease: lease.id,
            element: lease.element,
            attempt: lease.attempt,
            node,
            output,
            logs,
            recipe: submitted.recipe_of(lease.element),
            build_key: lease.build_key,
            opened: step.now,
        };
        let member = json!({
            "element": lease.element.to_string(),
            "lease": lease.id.to_string(),
            "root": ticket.output.root.to_string(),
        });
        step.events.add(Kind::SealOpened, actor, &member);
        step.rows.put(key::ticket(lease.id), &ticket);
        self.tickets.insert(lease.id, ticket);
        self.drop_lease(step, lease, None);
        self.alter(step, lease.element.job, |job, step| {
            let position = job.position(lease.element)?;
            let row = job.elements.get_mut(&position)?;
            row.state = ElementState::Sealing { lease: lease.id };
            step.rows.put(key::element(lease.element.job, position), &*row);
            job.progress.running -= 1;
            job.progress.sealing += 1;
            Some(())
        });
        step.effect(Effect::Seal { ticket: lease.id });
        step.done()
    }
}

impl Sched {
    /// A run of a check has ended well: its digest is its output's, and its result is sealed like
    /// any other. Says whether nothing is to be sealed: a segment that ends without the
    /// checkpoint that it was run for gives nothing.
    fn run_ended<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        lease: &Lease,
        output: &OutputDigests,
    ) -> bool {
        let job = lease.element.job;
        match self.run_of(job) {
            Some(CheckRun { task: CheckTask::Segment { until, .. }, .. }) => {
                let detail = format!("ended without a checkpoint at step {until}");
                self.end_attempt(step, actor, lease.id, EndCause::Seal { detail });
                true
            }
            Some(CheckRun { task: CheckTask::BurnIn, .. }) => {
                self.ballot(step, actor, job, output.root);
                self.run_over(step, actor, job, None);
                false
            }
            None => false,
        }
    }
}

/// What a node of a gang has said of its log, if it is done.
fn log_of(member: &Member, done: &BTreeMap<NodeId, Digest>) -> Option<NodeLog> {
    let ranks = member.tasks.iter().map(|task| task.rank).collect();
    done.get(&member.node).map(|log| NodeLog { node: member.node, ranks, log: *log })
}
