//! Completing seal tickets, and giving them up.

use super::{
    attempt::requeue_or_end,
    command::{Refusal, Reply},
    key,
    record::Kind,
    sched::Sched,
    step::{Step, absent},
};
use domain::{
    ArtifactId, Digest, LeaseId, ReplicaId,
    artifact::Artifact,
    audit::EventSignature,
    checkpoint::Checkpoint,
    job::{ElementState, EndCause},
    limit,
    port::RowRead,
    scratch,
};
use registry::ledger::{
    Ledger, SealInput,
    signing_key::{check_signer, may_sign_events},
};
use serde_json::json;

/// What completes a ticket.
pub(super) struct Completion {
    pub ticket: LeaseId,
    pub signature: Digest,
    pub provenance: Digest,
    pub signer: Digest,
    pub copies: Vec<ReplicaId>,
}

/// The committed checkpoints of an element whose digests are kept.
fn checkpoints(rows: &impl RowRead, job: domain::JobId, position: u32) -> Vec<Checkpoint> {
    let (from, to) = key::checkpoints(job, position);
    let found = rows.range(&from, &to, limit::CHECKPOINT_DIGESTS_KEPT);
    found.iter().map(|(key, value)| scratch::decode(key, value)).collect()
}

impl Sched {
    /// Makes artifact, completion and event one step.
    pub(super) fn complete_seal<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ledger: &mut Ledger,
        actor: &str,
        completion: Completion,
    ) -> Reply {
        let Some(ticket) = self.tickets.get(&completion.ticket).cloned() else {
            return absent(format!("open seal ticket {}", completion.ticket), "jobs");
        };
        if completion.copies.is_empty() {
            return Reply::Refused(Refusal::Spec(format!(
                "seal of {}: copies: no server is named; name those that hold every byte",
                completion.ticket
            )));
        }
        let counts = check_signer(&step.rows, completion.signer, step.now);
        #[cfg(feature = "planted")]
        let counts = if step.planted.revoked_key_signs { Ok(()) } else { counts };
        if let Err(refusal) = counts {
            return Reply::Refused(Refusal::Registry(refusal));
        }
        let id = ticket.element.job;
        let Some(submitted) = step.submitted(id) else { return step.done() };
        let Some(position) = submitted.brief().position(ticket.element) else {
            return step.done();
        };
        let checkpoints = checkpoints(&step.rows, id, position);
        let artifact: Artifact = ledger.seal(
            &mut step.rows,
            SealInput {
                ticket,
                spec: &submitted.spec,
                signature: completion.signature,
                provenance: completion.provenance,
                signer: completion.signer,
                copies: completion.copies,
                checkpoints,
                now: step.now,
                actor,
            },
        );
        let measure = ledger.retrain_sealed(&mut step.rows, step.now, actor, &artifact);
        self.tickets.remove(&completion.ticket);
        self.forget_account(step, completion.ticket);
        step.rows.remove(key::ticket(completion.ticket));
        self.alter(step, id, |job, step| {
            job.progress.sealing -= 1;
            job.progress.completed += 1;
            let mut row = job.elements.remove(&position)?;
            row.state = ElementState::Completed { artifact: artifact.id };
            step.rows.put(key::element(id, position), &row);
            Some(())
        });
        if let Some(wanted) = measure {
            self.measure(step, ledger, actor, (&wanted, submitted.spec.user));
        }
        Reply::Sealed { artifact: artifact.id }
    }

    /// Gives a ticket up: the element runs again from its last checkpoint, or has failed.
    pub(super) fn abandon_seal<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: LeaseId,
        cause: EndCause,
    ) -> Reply {
        let Some(ticket) = self.tickets.remove(&id) else {
            return absent(format!("open seal ticket {id}"), "jobs");
        };
        step.rows.remove(key::ticket(id));
        let member = json!({
            "cause": cause.to_string(),
            "element": ticket.element.to_string(),
            "lease": id.to_string(),
        });
        step.events.add(Kind::SealAbandoned, actor, &member);
        self.unseal_account(step, id, ticket.element, &cause);
        let (job_id, version) = (ticket.element.job, self.version);
        self.alter(step, job_id, |job, step| {
            let position = job.position(ticket.element)?;
            job.progress.sealing -= 1;
            requeue_or_end(step, version, (job_id, job), position, cause)
        });
        step.done()
    }
}

/// Attaches signatures to events of record.
pub(super) fn sign_events<R: RowRead>(
    step: &mut Step<'_, R>,
    ledger: &mut Ledger,
    first: u64,
    signatures: Vec<EventSignature>,
) -> Reply {
    // Signatures for events that another leader has signed change nothing, and nor do those of a
    // key whose word does not count.
    if may_sign_events(&step.rows, &signatures, step.now) {
        let _ = ledger.sign(&mut step.rows, first, signatures);
    }
    step.done()
}

/// Records which servers hold a result now.
pub(super) fn record_copies<R: RowRead>(
    step: &mut Step<'_, R>,
    ledger: &mut Ledger,
    actor: &str,
    artifact: ArtifactId,
    mut copies: Vec<ReplicaId>,
) -> Reply {
    copies.sort_unstable();
    copies.dedup();
    if copies.is_empty() {
        return Reply::Refused(Refusal::Spec(format!(
            "copies of {artifact}: no server is named; name those that hold every byte"
        )));
    }
    match ledger.record_copies(&mut step.rows, artifact, copies, step.now, actor) {
        true => step.done(),
        false => absent(format!("artifact {artifact}"), "artifacts"),
    }
}
