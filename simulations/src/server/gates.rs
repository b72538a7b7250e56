//! The leader's gates: a policy that decides by the number of what it is asked about, is silent
//! now and then, and a signing proxy.

use super::{Ask, Server};
use crate::session::Caller;
use domain::{
    Digest, JobId, PromotionId,
    promotion::{Bound, EvaluationGate, PolicyDecision, Promotion, Risk, Ruling},
};
use registry::{ledger::RegistryCommand, seal::manifest};
use scheduler::{
    leader::duties::{Duty, Event},
    state::command::Command,
};

fn ruled(number: u64) -> PolicyDecision {
    let decision = match number % 11 {
        7 => Ruling::Deny,
        8 => Ruling::Quarantine,
        _ => Ruling::Allow,
    };
    PolicyDecision {
        engine: "sim".into(),
        request_id: number.to_string(),
        decision,
        policy_id: Some("by-number".into()),
        policy_version: Some("1".into()),
        rule_id: None,
        rationale: "its number".into(),
        evidence_refs: Vec::new(),
        ts: None,
    }
}

impl Server {
    /// Does a duty at a gate.
    pub(super) fn gate(&mut self, duty: Duty, now: u64, asks: &mut Vec<Ask>) {
        let silent = self.chance.one_in(8);
        match duty {
            Duty::DecideTraining { jobs } => {
                let silent_on = |(_, last): &(JobId, bool)| silent && !*last;
                let (undecided, decided): (Vec<_>, Vec<_>) = jobs.into_iter().partition(silent_on);
                let decisions =
                    decided.into_iter().map(|(id, _)| (id, ruled(id.0))).collect::<Vec<_>>();
                let undecided = undecided.into_iter().map(|(id, _)| id).collect();
                if decisions.is_empty() {
                    self.duty(Event::TrainingDecided { undecided }, now, asks);
                } else {
                    let command = Command::DecideTraining { decisions };
                    let caller = Caller::Training { undecided };
                    self.propose(caller, self.own(command), now, asks);
                }
            }
            Duty::DecidePromotion { promotion } | Duty::SignPromotion { promotion } if silent => {
                self.duty(Event::GateFailed { promotion }, now, asks);
            }
            Duty::DecidePromotion { promotion } => {
                let Some(command) = self.decide(promotion) else { return };
                self.propose(Caller::Duty, self.own(Command::Registry(command)), now, asks);
            }
            Duty::SignPromotion { promotion } => {
                let Some(found) = self.promotion(promotion) else { return };
                let digest = manifest::digest(&found);
                let command = RegistryCommand::SignPromotion {
                    promotion,
                    manifest: digest,
                    signature: [digest.0, Digest::of(&digest.0).0].concat(),
                    signer: "sim".into(),
                };
                self.propose(Caller::Duty, self.own(Command::Registry(command)), now, asks);
            }
            Duty::Propose(_)
            | Duty::Reconnect { .. }
            | Duty::Seal { .. }
            | Duty::Sign { .. }
            | Duty::CheckCopies { .. } => unreachable!("these are no duties at a gate"),
        }
    }

    fn promotion(&self, id: PromotionId) -> Option<Promotion> {
        let (machine, rows) = self.replica.as_ref()?.view();
        machine.0.view().promotion(rows, id)
    }

    fn decide(&self, id: PromotionId) -> Option<RegistryCommand> {
        let promotion = self.promotion(id)?;
        let (machine, rows) = self.replica.as_ref()?.view();
        let model = machine.0.view().model(rows, &promotion.model.to_string())?;
        let metric = "accuracy".to_owned();
        let needed = "0.5".parse().expect("a number");
        let (bound, claimed) = (Bound::Min, true);
        let gate = EvaluationGate { metric, bound, needed, claimed, method: None };
        let gates = vec![model.metrics().meet(gate)];
        let risk = if promotion.model.version.is_multiple_of(2) { Risk::High } else { Risk::Low };
        let policy = ruled(id.0);
        Some(RegistryCommand::DecidePromotion {
            promotion: id,
            gates,
            ungated: false,
            risk,
            policy,
        })
    }
}
