//! Granting leases: each placement of a plan is checked again on the state as it is.

use super::{
    command::{Effect, Placement, PlanRecord, Refusal, Reply},
    key,
    record::Kind,
    row::{AttemptRow, Submitted},
    sched::{Job, Node, Sched},
    step::Step,
};
use domain::{
    AttemptNo, Bytes, CpuMillis, JobId, LeaseId, Millis, contract,
    job::ElementState,
    lease::{Lease, Member, Phase},
    node::build_key,
    port::RowRead,
    resource::{Gpu, TaskResources},
    topology::{self, Level},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What the event of record says of a lease that was granted.
#[derive(Serialize)]
struct Granted {
    attempt: u32,
    #[serde(rename = "buildKey")]
    build_key: String,
    element: String,
    lease: String,
    nodes: Vec<String>,
}

impl Sched {
    /// Grants what of a plan still holds.
    pub(super) fn place<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        plan: PlanRecord,
    ) -> Reply {
        if !plan.is_whole() {
            return Reply::Refused(Refusal::Spec(format!(
                "plan on entry {}: its placements are not those of plan {}; it is to be made anew",
                plan.base, plan.plan
            )));
        }
        self.meta.planned = step.at;
        self.tell_budgets(step, actor);
        let granted = step.ordinal;
        let evidence = evidence(&plan);
        for placement in plan.placements {
            let Some(class) = self.still_holds(&placement, step.now) else { continue };
            let id = placement.element.job;
            let submitted = step.submitted(id);
            match submitted.as_ref().is_none_or(|job| self.check_data(step, &job.spec).is_ok()) {
                true => self.grant_of(step, actor, (placement, submitted), class),
                false => self.hold_for_data(step, id),
            }
        }
        if step.ordinal > granted {
            step.events.explain(Kind::LeaseGranted, actor, evidence);
        }
        step.done()
    }

    /// Whether no data set of a job was blocked since it was submitted.
    pub(super) fn may_be_used<R: RowRead>(&self, step: &Step<'_, R>, id: JobId) -> bool {
        step.submitted(id).is_none_or(|job| self.check_data(step, &job.spec).is_ok())
    }

    /// What is blocked is not trained with: the job waits until somebody has cleared the data set
    /// and lets the job go on.
    pub(super) fn hold_for_data<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: JobId) {
        step.events.add(Kind::JobHeld, "registry", &json!({ "job": id.to_string() }));
        self.drop_forecast(step, id);
        self.alter(step, id, |job, _| job.progress.held = true);
    }

    /// The hardware class of the gang's nodes, if the placement may be granted.
    pub(super) fn still_holds(&self, placement: &Placement, now: Millis) -> Option<String> {
        let id = placement.element.job;
        if self.gated.contains(&id) || self.preemptions.contains_key(&id) {
            return None;
        }
        let job = self.jobs.get(&placement.element.job)?;
        let position = job.position(placement.element)?;
        let whole = gang_is_whole(job.brief.tasks, &placement.members);
        if !whole || !job.may_be_placed(position) || !self.bars(&job.brief, now).is_empty() {
            return None;
        }
        if self.is_kept_out((&job.brief).into(), &placement.members, now) {
            return None;
        }
        let lead = self.nodes.get(&placement.members.first()?.node)?;
        if !self.lies_near(job.brief.topology.require, &placement.members) {
            return None;
        }
        let bound = bound_to(job, position);
        let others = placement.members.len() > 1;
        let good = bound.is_none_or(|class| class == lead.class)
            && placement.members.iter().all(|member| {
                let node = self.nodes.get(&member.node);
                node.is_some_and(|node| {
                    node.class == lead.class
                        && fits(node, &job.brief.resources, member)
                        && node.row.inventory.isolation.takes(&job.brief.owed(), others)
                })
            });
        good.then(|| lead.class.clone())
    }

    /// Whether a gang has in common what its job requires, on nodes as they are now.
    fn lies_near(&self, require: Option<Level>, members: &[Member]) -> bool {
        let Some(level) = require else { return true };
        let parts: Option<Vec<_>> = members
            .iter()
            .map(|member| {
                let node = self.nodes.get(&member.node)?;
                Some((&node.row.inventory.topology, member))
            })
            .collect();
        parts.is_some_and(|parts| topology::is_within(level, &parts))
    }

    pub(super) fn grant<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        placement: Placement,
        class: String,
    ) {
        let submitted = step.submitted(placement.element.job);
        self.grant_of(step, actor, (placement, submitted), class);
    }

    /// As [`Self::grant`], with what the job was submitted as: a plan has thousands.
    fn grant_of<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        (placement, submitted): (Placement, Option<Submitted>),
        class: String,
    ) {
        let id = LeaseId { index: step.at.0, ordinal: step.ordinal };
        step.ordinal += 1;
        let element = placement.element;
        let lease = self.alter(step, element.job, |job, step| {
            let position = job.position(element)?;
            let submitted = submitted?;
            let recipe = submitted.recipe_of(element);
            let contract = contract::digest(submitted.spec.framework);
            if !job.unqueue(position) {
                job.progress.advance();
            }
            job.progress.running += 1;
            let row = job.elements.entry(position).or_default();
            row.attempts += 1;
            row.state = ElementState::Running { lease: id };
            let build =
                row.build.get_or_insert_with(|| (build_key(recipe, contract, &class), class));
            let resume_from = row.newest.clone();
            #[cfg(feature = "planted")]
            let resume_from = resume_from.filter(|_| !step.planted.checkpoint_overlooked);
            let lease = Lease {
                id,
                element,
                attempt: AttemptNo(row.attempts),
                granted: step.now,
                phase: first_phase(&placement.members),
                members: placement.members,
                resume_from,
                build_key: build.0,
                isolation: job.brief.owed().isolation,
                notice: None,
            };
            step.rows.put(key::element(element.job, position), &*row);
            record_grant(step, actor, position, &lease);
            Some(lease)
        });
        if let Some(lease) = lease.flatten() {
            self.meet_forecast(step, element.job);
            self.occupy(&lease);
            self.open_account(step, &lease);
            self.charge(&lease, Some(step.now));
            self.leases.insert(id, lease);
        }
    }
}

/// What makes a plan again, for the record: it outlives the log. Numbers are the proposer's own
/// and may be too large for JSON.
fn evidence(plan: &PlanRecord) -> Value {
    json!({
        "base": plan.base.to_string(),
        "budgetSteps": plan.budget_steps.to_string(),
        "nowMs": plan.now.0.to_string(),
        "plan": plan.plan.to_string(),
        "policyVersion": plan.policy_version,
        "view": plan.view.to_string(),
    })
}

/// The class that an element is bound to: by its first grant, or by the run it repeats.
fn bound_to(job: &Job, position: u32) -> Option<&str> {
    let build = job.elements.get(&position).and_then(|row| row.build.as_ref());
    build.map(|(_, class)| class.as_str()).or(job.fresh_class())
}

fn record_grant<R: RowRead>(step: &mut Step<'_, R>, actor: &str, position: u32, lease: &Lease) {
    let attempt = AttemptRow {
        lease: lease.id,
        members: lease.members.clone(),
        granted: lease.granted,
        ended: None,
        cause: None,
    };
    step.rows.put_new(key::attempt(lease.element.job, position, lease.attempt), &attempt);
    step.rows.put_new(key::lease(lease.id), lease);
    let member = Granted {
        attempt: lease.attempt.0,
        build_key: lease.build_key.to_string(),
        element: lease.element.to_string(),
        lease: lease.id.to_string(),
        nodes: lease.members.iter().map(|member| member.node.to_string()).collect(),
    };
    step.events.add_in_order(Kind::LeaseGranted, actor, &member);
    for member in &lease.members {
        step.effect(Effect::Wanted { node: member.node });
    }
}

/// A gang on one node needs no second phase: its tasks start together anyway.
fn first_phase(members: &[Member]) -> Phase {
    if members.len() == 1 {
        Phase::Started { done: BTreeMap::new() }
    } else {
        Phase::Preparing { ready: BTreeSet::new() }
    }
}

/// Every rank once, in order, each node once.
pub(super) fn gang_is_whole(tasks: u32, members: &[Member]) -> bool {
    let nodes: BTreeSet<_> = members.iter().map(|member| member.node).collect();
    let ranks = members.iter().flat_map(|member| member.tasks.iter().map(|task| task.rank));
    nodes.len() == members.len()
        && members.iter().all(|member| !member.tasks.is_empty())
        && ranks.eq(0..tasks)
}

fn fits(node: &Node, wanted: &TaskResources, member: &Member) -> bool {
    node.row.takes_work() && fits_among(node, wanted, member, node.serving())
}

/// Whether a node has room for a gang's part on some of its GPUs.
pub(super) fn fits_among<'a>(
    node: &Node,
    wanted: &TaskResources,
    member: &Member,
    gpus: impl Iterator<Item = &'a Gpu>,
) -> bool {
    let inventory = &node.row.inventory;
    let known: BTreeMap<_, _> = gpus.map(|gpu| (gpu.index, gpu)).collect();
    let mut taken = node.gpus_used.clone();
    taken.extend(&node.kept.gpus);
    let gpus = member.tasks.iter().all(|task| {
        task.gpus.len() as u64 == u64::from(wanted.gpus)
            && task.gpus.iter().all(|gpu| {
                known.get(gpu).is_some_and(|has| wanted.suits(&has.model, has.memory))
                    && taken.insert(*gpu)
            })
    });
    let tasks = member.tasks.len() as u64;
    let cpu = CpuMillis(wanted.cpu.0.saturating_mul(tasks)).plus(node.cpu_taken());
    let memory = Bytes(wanted.memory.0.saturating_mul(tasks)).plus(node.memory_taken());
    gpus && cpu <= inventory.cpu && memory <= inventory.memory
}
