//! Jobs that wait at the gate before training, until a policy has decided on them.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    sched::Sched,
    step::Step,
};
use domain::{JobId, limit, port::RowRead, promotion::PolicyDecision};
use registry::ledger::{Ledger, promotion::decision_value};
use serde_json::{Map, Value, json};

/// What the record says of a job where nothing decides on training.
pub(super) const UNASKED: &str = "no policy configured";

impl Sched {
    /// Has jobs wait from now on until a policy has decided on them.
    ///
    /// There is no way back: a leader without a policy engine of its own must not open the gate
    /// that another has closed. An empty file of rules lets everything pass.
    pub(super) fn gate_training<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
    ) -> Reply {
        if !self.gate_training {
            self.gate_training = true;
            step.rows.put_new(key::gate_training(), &true);
            step.events.add(Kind::GateClosed, actor, &json!({ "gate": "training.start" }));
        }
        step.done()
    }

    /// Has a new job wait for its decision, if any is asked for.
    pub(super) fn bring_to_gate<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        if self.gate_training {
            self.gated.insert(id);
            step.rows.put_new(key::gated(id), &());
            step.effect(Effect::Gate);
        }
    }

    /// Records decisions: what is allowed may be placed, everything else has failed.
    pub(super) fn train_or_not<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ledger: &mut Ledger,
        actor: &str,
        decisions: Vec<(JobId, PolicyDecision)>,
    ) -> Reply {
        if decisions.len() > limit::GATE_BATCH {
            return Reply::Refused(Refusal::Limit {
                what: "the number of decisions in one request".into(),
                limit: limit::GATE_BATCH as u64,
                remedy: "send fewer".into(),
            });
        }
        for (id, decision) in decisions {
            // Decided by another leader, or cancelled.
            if !self.gated.contains(&id) {
                continue;
            }
            let mut body: Map<String, Value> = Map::new();
            body.insert("job".into(), id.to_string().into());
            body.insert("decision".into(), decision_value(&decision));
            body.insert("policy".into(), json!(decision.policy_id));
            body.insert("requestId".into(), decision.request_id.clone().into());
            ledger.record(&mut step.rows, step.now, "policy.decision", actor, body);
            step.rows.put_new(key::decision(id), &decision);
            self.leave_gate(step, id);
            let allowed = decision.allows();
            self.alter(step, id, |job, _| {
                if !allowed {
                    let count = job.brief.elements();
                    job.progress.failed += job.progress.fresh(count);
                    job.progress.struck.clear();
                    job.progress.next = count;
                }
            });
        }
        step.effect(Effect::Plan);
        step.done()
    }

    /// The job no longer waits at the gate.
    pub(super) fn leave_gate<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        if self.gated.remove(&id) {
            step.rows.remove(key::gated(id));
        }
    }
}
