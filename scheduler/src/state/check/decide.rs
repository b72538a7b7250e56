//! What runs of checks give, and what follows from it.

use super::{Reference, open::in_words};
use crate::state::{command::Effect, drain::TERMS, key, record::Kind, sched::Sched, step::Step};
use domain::{
    CheckId, Digest, JobId, LeaseId, NodeId,
    check::{Accusation, Ballot, Check, CheckRun, CheckTask, Finding, Subject, Verdict, vote},
    checkpoint::Checkpoint,
    health::{HeldGpu, HeldState},
    job::EndCause,
    limit,
    port::RowRead,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What an operator is to do about a GPU that was outvoted.
const ADVICE: &str = "look at the evidence: assay audit list; test the GPU, or replace it";

impl Sched {
    /// What a job is a run of, if it is one.
    #[must_use]
    pub fn run_of(&self, job: JobId) -> Option<&CheckRun> {
        self.jobs.get(&job)?.brief.check.as_deref()
    }

    /// A run of a segment has saved progress. Says whether that was all that was wanted of it.
    pub(in crate::state) fn segment_saved<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        job: JobId,
        saved: &Checkpoint,
    ) {
        let Some(CheckRun { task: CheckTask::Segment { until, .. }, .. }) = self.run_of(job) else {
            return;
        };
        let until = *until;
        if saved.step < until {
            return;
        }
        if saved.step == until {
            self.ballot(step, actor, job, saved.root);
        }
        self.stop_lease(step, saved.lease, EndCause::Checked);
    }

    /// A run's digest is known.
    pub(in crate::state) fn ballot<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        job: JobId,
        digest: Digest,
    ) {
        let Some((id, check)) = self.checks.of_run(job) else { return };
        let Some(run) = check.underway.as_mut().filter(|run| !run.told) else { return };
        run.told = true;
        let ballot = Ballot {
            job,
            lease: run.lease,
            members: run.members.clone(),
            nodes: run.nodes.clone(),
            gpus: run.gpus.clone(),
            digest,
        };
        check.ballots.push(ballot);
        self.decide(step, actor, id);
    }

    /// A run has ended, with a digest or without. What a node's fault ends is run again as often
    /// as there are runs; what the work itself ends, a few times.
    pub(in crate::state) fn run_over<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        job: JobId,
        cause: Option<&EndCause>,
    ) {
        let Some((id, check)) = self.checks.of_run(job) else { return };
        let Some(run) = check.underway.take() else { return };
        let cause = cause.filter(|_| !run.told && !run.yields);
        if let Some(cause) = cause {
            check.failures += u32::from(is_own_fault(cause));
            check.last = Some(cause.to_string());
        }
        let cause = check.last.clone().unwrap_or_default();
        let (failures, granted) = (check.failures, check.granted);
        let why = match run.told {
            true => None,
            false if failures >= limit::CHECK_FAILURES_MAX => {
                Some(format!("{failures} runs gave no digest; the last one: {cause}"))
            }
            false if granted >= limit::CHECK_RUNS_MAX => {
                Some(format!("none of {granted} runs came to its end; the last one: {cause}"))
            }
            false => None,
        };
        self.keep_check(step, id);
        let check = self.checks.open.get(&id).cloned();
        if let Some(check) = check {
            self.tell_of(step, &check);
        }
        if let Some(why) = why {
            self.close_check(step, actor, id, Finding::GivenUp { why });
        }
    }

    /// Closes a check whose runs have said enough.
    fn decide<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str, id: CheckId) {
        let Some(check) = self.checks.open.get(&id).cloned() else { return };
        let digests: Vec<Digest> = check.ballots.iter().map(|ballot| ballot.digest).collect();
        let verdict = match &check.subject {
            Subject::Gpu { .. } | Subject::Node { .. } => {
                let reference = self.reference(&check.class, check.build_key);
                match (reference, digests.last()) {
                    (Some(right), Some(given)) if right == *given => Verdict::Equal,
                    (Some(_), Some(_)) => Verdict::Outvoted(digests.len() - 1),
                    _ => Verdict::Open,
                }
            }
            Subject::Class | Subject::Segment { .. } => vote(&digests),
        };
        let finding = match verdict {
            Verdict::Open => {
                self.keep_check(step, id);
                self.tell_of(step, &check);
                return;
            }
            Verdict::Equal => Finding::Equal,
            Verdict::Outvoted(at) => Finding::Outvoted { ballot: at as u32 },
            Verdict::Undecided => Finding::Undecided,
        };
        self.close_check(step, actor, id, finding);
    }

    /// Closes a check, and does what follows from what it found.
    pub(in crate::state) fn close_check<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: CheckId,
        finding: Finding,
    ) {
        let Some(mut check) = self.checks.open.remove(&id) else { return };
        step.events.add(Kind::CheckDecided, actor, &evidence(id, &check, &finding));
        check.closed = Some((step.now, finding.clone()));
        step.rows.remove(key::open_check(id));
        step.rows.put_new(key::closed_check(id), &check);
        self.release_check(step, &check.subject);
        self.tell_of(step, &check);
        if let Some(run) = check.underway.as_ref().filter(|run| !run.told) {
            self.stop_lease(step, run.lease, EndCause::MadeRoom);
        }
        match (&check.subject, &finding) {
            (Subject::Gpu { node, uuid, .. }, Finding::Equal) => {
                self.passed(step, actor, *node, uuid, id, check.ballots.last());
            }
            (Subject::Node { node }, Finding::Equal) => {
                let digest = check.ballots.last().map(|it| it.digest);
                self.node_passed(step, actor, *node, id, digest);
            }
            (Subject::Class, Finding::Equal | Finding::Outvoted { .. }) => {
                let wrong = check.outvoted().map(|ballot| ballot.digest);
                let right = check.ballots.iter().find(|ballot| Some(ballot.digest) != wrong);
                if let Some(right) = right {
                    self.set_reference(step, actor, id, &check, right.digest);
                }
            }
            (Subject::Class, Finding::Undecided | Finding::GivenUp { .. }) => {
                self.give_up_waiting(step, actor, &check);
            }
            (Subject::Gpu { .. } | Subject::Node { .. } | Subject::Segment { .. }, _) => {}
        }
        if check.yields()
            && let Some(outvoted) = check.outvoted()
        {
            self.accuse(step, actor, id, &check, outvoted);
        }
    }

    /// A GPU gave the digest of its class: its node may put it back.
    fn passed<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        uuid: &str,
        check: CheckId,
        ballot: Option<&Ballot>,
    ) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(gpu) = node.health.gpus.iter().find(|gpu| gpu.uuid == uuid) else { return };
        let member = json!({
            "check": check.to_string(),
            "digest": ballot.map(|it| it.digest.to_string()),
            "gpu": uuid,
            "name": node.row.inventory.name,
            "since": gpu.since.0.to_string(),
            "symptom": gpu.symptom,
        });
        step.events.add(Kind::GpuAccepted, actor, &member);
        node.health.accepted.insert(uuid.to_owned(), step.at);
        step.rows.put(key::health(id), &node.health);
        step.effect(Effect::Wanted { node: id });
    }

    fn set_reference<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: CheckId,
        check: &Check,
        digest: Digest,
    ) {
        let reference = Reference { class: check.class.clone(), digest, check: id };
        let member = json!({
            "buildKey": check.build_key.to_string(),
            "check": id.to_string(),
            "class": check.class,
            "digest": digest.to_string(),
        });
        step.events.add(Kind::ReferenceSet, actor, &member);
        if self.checks.references.len() >= limit::CHECK_REFERENCES_MAX {
            let oldest = self.checks.references.iter().min_by_key(|(_, it)| it.check);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.checks.references.remove(&key);
                step.rows.remove(key::reference(key));
            }
        }
        step.rows.put(key::reference(check.build_key), &reference);
        self.checks.references.insert(check.build_key, reference);
    }

    /// GPUs that wait for what their class gives wait no more.
    fn give_up_waiting<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str, class: &Check) {
        let waits = |check: &Check| check.yields() || check.build_key != class.build_key;
        let open = self.checks.open.iter().filter(|(_, check)| !waits(check));
        let open: Vec<CheckId> = open.map(|(id, _)| *id).collect();
        for id in open {
            let why = format!(
                "it is not known what class {} gives: no two GPUs of it agreed, or none was idle; \
                 set `acceptance.references`, or vouch for the GPU",
                class.class
            );
            self.close_check(step, actor, id, Finding::GivenUp { why });
        }
    }

    /// Charges the GPUs of a run that was outvoted; without any, its nodes take nothing new.
    fn accuse<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: CheckId,
        check: &Check,
        ballot: &Ballot,
    ) {
        let symptom = format!("outvoted in check {id}: {}", in_words(&check.subject));
        for seat in &ballot.gpus {
            let Some(node) = self.nodes.get_mut(&seat.node) else { continue };
            let held = |gpu: &domain::health::HeldGpu| {
                gpu.uuid == seat.uuid || gpu.offers.iter().any(|it| it.uuid == seat.uuid)
            };
            if node.health.gpus.iter().any(|it| held(it) && it.state == HeldState::Quarantined) {
                continue;
            }
            let charge = Accusation {
                uuid: seat.uuid.clone(),
                check: id,
                at: step.at,
                symptom: symptom.clone(),
                advice: ADVICE.to_owned(),
            };
            let name = &node.row.inventory.name;
            let member = json!({
                "check": id.to_string(),
                "evidence": evidence(id, check, &Finding::Outvoted { ballot: at(check, ballot) }),
                "gpu": seat.uuid,
                "name": name,
            });
            step.events.add(Kind::GpuAccused, actor, &member);
            node.health.accused.insert(seat.uuid.clone(), charge);
            step.rows.put(key::health(seat.node), &node.health);
            step.effect(Effect::Wanted { node: seat.node });
        }
        if ballot.gpus.is_empty() {
            let nodes: BTreeSet<NodeId> = ballot.members.iter().map(|it| it.node).collect();
            for node in nodes {
                self.take_out(step, actor, node, &symptom);
            }
        }
        step.effect(Effect::Plan);
    }

    fn take_out<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        reason: &str,
    ) {
        if self.version >= TERMS {
            return self.quarantine_node(step, actor, id, reason);
        }
        let Some(node) = self.nodes.get_mut(&id).filter(|it| it.row.drained.is_none()) else {
            return;
        };
        let member = json!({ "name": node.row.inventory.name, "reason": reason });
        step.events.add(Kind::NodeDrained, actor, &member);
        node.row.drained = Some(reason.to_owned());
        step.rows.put(key::node(id), &node.row);
    }

    /// What a node tells of its GPUs makes checks void that were of another state of things.
    pub(in crate::state) fn void_checks<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
    ) {
        let Some(node) = self.nodes.get(&id) else { return };
        let mut void = Vec::new();
        for (check, open) in &self.checks.open {
            let Subject::Gpu { node: of, index, uuid, since } = &open.subject else { continue };
            if *of != id {
                continue;
            }
            match node.health.gpus.iter().find(|gpu| gpu.uuid == *uuid) {
                None => void.push((*check, "the GPU serves, or is gone".to_owned())),
                Some(gpu) if gpu.since != *since => {
                    void.push((*check, format!("a symptom came since: {}", gpu.symptom)));
                }
                Some(gpu) if self.version >= TERMS && !offers(gpu, *index) => {
                    void.push((*check, "it is offered in other parts now".to_owned()));
                }
                Some(_) => {}
            }
        }
        for (check, why) in void {
            self.close_check(step, actor, check, Finding::GivenUp { why });
        }
    }

    /// The lease under which a check's run goes on, for the laws.
    pub(in crate::state) fn runs_underway(&self) -> impl Iterator<Item = (CheckId, LeaseId)> + '_ {
        let runs = self.checks.open.iter();
        runs.filter_map(|(id, check)| Some((*id, check.underway.as_ref()?.lease)))
    }
}

/// Whether a run that gave no digest is likely to give none again: it failed by itself, was
/// cancelled, or passed the step at which it was to be compared.
fn is_own_fault(cause: &EndCause) -> bool {
    cause.is_jobs_fault() || matches!(cause, EndCause::Checked | EndCause::Cancelled)
}

fn at(check: &Check, ballot: &Ballot) -> u32 {
    check.ballots.iter().position(|it| it == ballot).unwrap_or(0) as u32
}

/// All that a finding rests on.
fn evidence(id: CheckId, check: &Check, finding: &Finding) -> Value {
    let run = |ballot: &Ballot| {
        let gpus: Vec<&str> = ballot.gpus.iter().map(|seat| seat.uuid.as_str()).collect();
        json!({
            "digest": ballot.digest.to_string(),
            "gpus": gpus,
            "job": ballot.job.to_string(),
            "lease": ballot.lease.to_string(),
            "nodes": ballot.nodes,
        })
    };
    let found = match finding {
        Finding::Equal => "equal".to_owned(),
        Finding::Outvoted { ballot } => format!("run {} is outvoted", ballot + 1),
        Finding::Undecided => "undecided: all runs differ".to_owned(),
        Finding::GivenUp { why } => format!("given up: {why}"),
    };
    json!({
        "buildKey": check.build_key.to_string(),
        "check": id.to_string(),
        "class": check.class,
        "found": found,
        "of": in_words(&check.subject),
        "runs": check.ballots.iter().map(run).collect::<Vec<_>>(),
    })
}

/// Whether a GPU that is held back is, or has a part that is, offered under an index.
fn offers(gpu: &HeldGpu, index: u32) -> bool {
    gpu.offers.iter().any(|offer| offer.index == index)
}
