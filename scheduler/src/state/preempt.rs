//! Making room: victims are asked once the whole plan holds, and the gang gets what they leave.
//!
//! One entry names victims and placement. From then on the room is kept for the gang, and counts
//! with what its queue and its user hold; the entry in which the last victim is gone grants it.

use super::{
    claim::Claims,
    command::{Effect, Placement, Refusal, Reply},
    key,
    preemption::{PreemptRecord, Preemption, PreemptionRow, Victim},
    record::Kind,
    sched::Sched,
    step::Step,
};
use domain::{
    JobId, LeaseId, Millis,
    interrupt::Notice,
    job::EndCause,
    lease::{Lease, Phase},
    limit,
    port::RowRead,
};
use serde_json::json;
use std::collections::BTreeSet;

impl Sched {
    /// Asks the victims of a plan to make room, if all of it still holds.
    pub(super) fn preempt<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        record: PreemptRecord,
    ) -> Reply {
        if !record.is_whole() {
            return Reply::Refused(Refusal::Spec(format!(
                "preemption on entry {}: it is not the one of plan {}; it is to be planned anew",
                record.base, record.plan
            )));
        }
        self.meta.planned = step.at;
        let id = record.preemption.placement.element.job;
        if self.may_begin(&record.preemption, step.now) {
            match self.may_be_used(step, id) {
                true => self.begin(step, actor, record),
                // Nobody makes room for what may not run.
                false => self.hold_for_data(step, id),
            }
        }
        step.done()
    }

    fn may_begin(&mut self, plan: &Preemption, now: Millis) -> bool {
        let leases: Vec<Lease> =
            plan.victims.iter().filter_map(|it| self.leases.get(&it.lease)).cloned().collect();
        let few = self.preemptions.len() < limit::PREEMPTIONS_MAX
            && (1..=limit::VICTIMS_MAX).contains(&leases.len());
        let distinct: BTreeSet<LeaseId> = leases.iter().map(|lease| lease.id).collect();
        let all = distinct.len() == plan.victims.len();
        if !few || !all || !self.have_to_yield(plan.placement.element.job, &leases, now) {
            return false;
        }
        // The gang has to fit, whole and within its bounds, where they are now.
        for lease in &leases {
            self.vacate(lease);
        }
        let holds = self.still_holds(&plan.placement, now).is_some();
        for lease in &leases {
            self.occupy(lease);
        }
        holds
    }

    fn have_to_yield(&self, id: JobId, leases: &[Lease], now: Millis) -> bool {
        let Some(gang) = self.jobs.get(&id) else { return false };
        let mut claims = Claims::new(self, &gang.brief);
        let mut asked = false;
        for lease in leases {
            let Some(victim) = self.jobs.get(&lease.element.job) else { return false };
            let ends = matches!(lease.phase, Phase::Stopping { .. });
            let yields = self.may_yield(lease, now) && claims.allows(&victim.brief);
            if (!ends && !yields) || self.ceding.contains_key(&lease.id) {
                return false;
            }
            asked |= !ends;
            claims.take(&victim.brief);
        }
        asked
    }

    fn begin<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str, record: PreemptRecord) {
        let placement = &record.preemption.placement;
        let (id, by) = (placement.element.job, placement.element);
        self.record_begin(step, actor, &record);
        let victims = record.preemption.victims.clone();
        let row =
            PreemptionRow { preemption: record.preemption, since: step.now, by: actor.to_owned() };
        step.rows.put(key::preemption(id), &row);
        self.preemptions.insert(id, row);
        self.keep(id);
        // Out of the order: no other plan is made for it.
        self.alter(step, id, |_, _| ());
        for victim in victims {
            self.ask(step, victim.lease, EndCause::Preempted { by });
        }
    }

    fn record_begin<R: RowRead>(&self, step: &mut Step<'_, R>, actor: &str, plan: &PreemptRecord) {
        let victim = |victim: &Victim| {
            let element = self.leases.get(&victim.lease).map(|lease| lease.element.to_string());
            json!({
                "element": element.unwrap_or_default(),
                "lease": victim.lease.to_string(),
                "lostGpuMs": victim.lost_gpu_ms.to_string(),
            })
        };
        let Preemption { placement, victims } = &plan.preemption;
        let nodes: Vec<_> =
            placement.members.iter().map(|member| member.node.to_string()).collect();
        let member = json!({
            "element": placement.element.to_string(),
            "nodes": nodes,
            "victims": victims.iter().map(victim).collect::<Vec<_>>(),
        });
        step.events.add(Kind::PreemptionBegun, actor, &member);
        let evidence = json!({
            "base": plan.base.to_string(),
            "budgetSteps": plan.budget_steps.to_string(),
            "nowMs": plan.now.0.to_string(),
            "plan": plan.plan.to_string(),
            "policyVersion": plan.policy_version,
            "view": plan.view.to_string(),
        });
        step.events.explain(Kind::PreemptionBegun, actor, evidence);
    }

    /// Gives an attempt notice, or stops one that has not begun.
    pub(super) fn ask<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: LeaseId, cause: EndCause) {
        let Some(lease) = self.leases.get_mut(&id) else { return };
        if let Phase::Started { .. } = lease.phase {
            lease.notice = Some(Notice { cause, since: step.now });
            step.rows.put(key::lease(id), &*lease);
            tell(step, lease);
        } else if let Phase::Preparing { .. } = lease.phase {
            self.stop_lease(step, id, cause);
        }
    }

    /// Goes on with every preemption that is under way, as far as it can.
    pub(super) fn settle_preemptions<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        let all: Vec<JobId> = self.preemptions.keys().copied().collect();
        for id in all {
            self.settle(step, id);
        }
    }

    fn settle<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        let Some(row) = self.preemptions.get(&id) else { return };
        let (since, by) = (row.since, row.by.clone());
        let placement = row.preemption.placement.clone();
        if let Some(why) = self.cannot(&placement) {
            return self.give_up_room(step, id, why);
        }
        let left: Vec<LeaseId> = self.leaving(id).collect();
        if left.is_empty() {
            // From here on the room is as free as any, and nobody comes between.
            let row = self.forget(step, id);
            return match self.still_holds(&placement, step.now) {
                Some(class) if self.may_be_used(step, id) => {
                    self.record_end(step, &by, row, "placed");
                    self.grant(step, &by, placement, class);
                }
                Some(_) => {
                    self.record_end(step, &by, row, "a data set of it was blocked");
                    self.hold_for_data(step, id);
                    step.effect(Effect::Plan);
                }
                None => {
                    self.record_end(step, &by, row, "its bounds have changed");
                    self.alter(step, id, |_, _| ());
                    step.effect(Effect::Plan);
                }
            };
        }
        if step.now >= since.plus(limit::PREEMPTION_MAX) {
            return self.give_up_room(step, id, "not all have left in time");
        }
        if step.now >= since.plus(limit::NOTICE_MAX) {
            for lease in left {
                let known = self.leases.get(&lease);
                let cause = known.and_then(|lease| lease.notice.clone()).map(|it| it.cause);
                let stops = known.is_some_and(|it| matches!(it.phase, Phase::Stopping { .. }));
                if let Some(cause) = cause.filter(|_| !stops) {
                    self.stop_lease(step, lease, cause);
                }
            }
        }
    }

    /// Victims of a preemption that are still there.
    pub(super) fn leaving(&self, id: JobId) -> impl Iterator<Item = LeaseId> + '_ {
        let row = self.preemptions.get(&id).into_iter();
        row.flat_map(|row| &row.preemption.victims)
            .map(|victim| victim.lease)
            .filter(|lease| self.leases.contains_key(lease))
    }

    /// Why a gang can no longer have the room that is made for it.
    fn cannot(&self, placement: &Placement) -> Option<&'static str> {
        let job = self.jobs.get(&placement.element.job);
        let waits = job.is_some_and(|job| {
            job.position(placement.element).is_some_and(|position| job.may_be_placed(position))
        });
        if !waits {
            return Some("it no longer waits");
        }
        let lead = placement.members.first().and_then(|member| self.nodes.get(&member.node));
        let class = lead.map(|node| &node.class);
        let stands = placement.members.iter().all(|member| {
            let Some(node) = self.nodes.get(&member.node) else { return false };
            let gpus = &node.row.inventory.gpus;
            let has = |index: &u32| gpus.iter().any(|gpu| gpu.index == *index);
            node.row.takes_work()
                && Some(&node.class) == class
                && member.tasks.iter().flat_map(|task| &task.gpus).all(has)
        });
        (!stands).then_some("a node of its place is out of service")
    }

    pub(super) fn give_up_room<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: JobId,
        why: &str,
    ) {
        self.end_preemption(step, id, why);
        self.alter(step, id, |_, _| ());
        step.effect(Effect::Plan);
    }

    /// Ends a preemption without its placement: those that have not stopped may go on.
    pub(super) fn end_preemption<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: JobId,
        why: &str,
    ) {
        let Some(row) = self.preemptions.get(&id) else { return };
        let by = row.by.clone();
        let left: Vec<LeaseId> = self.leaving(id).collect();
        let row = self.forget(step, id);
        self.record_end(step, &by, row, why);
        for id in left {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            if lease.notice.take().is_some() {
                step.rows.put(key::lease(id), &*lease);
                tell(step, lease);
            }
        }
    }

    fn record_end<R: RowRead>(
        &self,
        step: &mut Step<'_, R>,
        by: &str,
        row: Option<PreemptionRow>,
        how: &str,
    ) {
        let Some(row) = row else { return };
        let member = json!({
            "element": row.preemption.placement.element.to_string(),
            "how": how,
            "tookMs": step.now.minus(row.since).0.to_string(),
        });
        step.events.add(Kind::PreemptionEnded, by, &member);
    }

    fn forget<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) -> Option<PreemptionRow> {
        self.stop_keeping(id);
        step.rows.remove(key::preemption(id));
        self.preemptions.remove(&id)
    }

    /// When the next bound of a preemption is reached.
    pub(super) fn next_bound(&self) -> Option<Millis> {
        let bound = |(id, row): (&JobId, &PreemptionRow)| {
            let mut left = self.leaving(*id).filter_map(|lease| self.leases.get(&lease));
            let asked = left.any(|it| !matches!(it.phase, Phase::Stopping { .. }));
            row.since.plus(if asked { limit::NOTICE_MAX } else { limit::PREEMPTION_MAX })
        };
        self.preemptions.iter().map(bound).min()
    }
}

/// Those whom a change of a lease's notice concerns.
pub(super) fn tell<R: RowRead>(step: &mut Step<'_, R>, lease: &Lease) {
    for member in &lease.members {
        step.effect(Effect::Wanted { node: member.node });
    }
    step.effect(Effect::Changed { job: lease.element.job });
}
