//! Granting leases: each placement of a plan is checked again on the state as it is.

use super::{
    command::{Effect, Placement, PlanRecord, Reply},
    key,
    record::Kind,
    row::{AttemptRow, ElementRow},
    sched::{Node, Sched, Step},
};
use domain::{
    AttemptNo, Bytes, CpuMillis, LeaseId, contract,
    job::{ElementState, JobSpec},
    lease::{Lease, Member, Phase},
    node::{NodeState, build_key},
    port::RowRead,
};
use registry::seal::recipe;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Whether `gpu` of a node is what a specification asks for.
#[must_use]
pub fn gpu_matches(model: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|word| model.to_lowercase().contains(&word.to_lowercase()))
}

impl Sched {
    /// Grants what of a plan still holds.
    pub(super) fn place<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        plan: PlanRecord,
    ) -> Reply {
        for placement in plan.placements {
            if self.still_holds(&placement) {
                self.grant(step, actor, placement);
            }
        }
        step.done()
    }

    fn still_holds(&self, placement: &Placement) -> bool {
        let Some(job) = self.jobs.get(&placement.element.job) else { return false };
        let spec = &job.submitted.spec;
        let Some(position) = job.position(placement.element) else { return false };
        let waits = job.progress.requeued.contains(&position) || position == job.progress.next;
        if !waits || job.room() == 0 || !gang_is_whole(spec, &placement.members) {
            return false;
        }
        let bound = job.elements.get(&position).and_then(|row| row.build.as_ref());
        let pin = job.submitted.pin.as_ref().map(|pin| &pin.class);
        let class = bound.map(|(_, class)| class).or(pin);
        let mut classes = BTreeSet::new();
        placement.members.iter().all(|member| {
            self.nodes.get(&member.node).is_some_and(|node| {
                classes.insert(&node.class);
                classes.len() == 1
                    && class.is_none_or(|class| *class == node.class)
                    && fits(node, spec, member)
            })
        })
    }

    fn grant<R: RowRead>(&mut self, step: &mut Step<'_, R>, actor: &str, placement: Placement) {
        let id = LeaseId { index: step.at.0, ordinal: step.ordinal };
        step.ordinal += 1;
        let job_id = placement.element.job;
        let lead = placement.members.first().map(|member| member.node);
        let class = lead.and_then(|node| self.nodes.get(&node)).map(|node| node.class.clone());
        self.unwait(job_id);
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let Some(position) = job.position(placement.element) else { return };
        if !job.progress.requeued.remove(&position) {
            job.progress.next += 1;
        }
        job.progress.running += 1;
        let submitted = job.submitted.clone();
        let row = job.elements.entry(position).or_insert_with(ElementRow::default);
        row.attempts += 1;
        row.state = ElementState::Running { lease: id };
        let build = row.build.get_or_insert_with(|| {
            let recipe = match placement.element.index {
                None => submitted.recipe,
                index => recipe::recipe_of_element(&submitted.spec, index),
            };
            let class = class.unwrap_or_default();
            (build_key(recipe, contract::digest(), &class), class)
        });
        let lease = Lease {
            id,
            element: placement.element,
            attempt: AttemptNo(row.attempts),
            granted: step.now,
            phase: first_phase(&placement.members),
            members: placement.members,
            resume_from: row.newest.clone(),
            build_key: build.0,
        };
        step.rows.put(key::element(job_id, position), &*row);
        self.record_grant(step, actor, position, &lease);
        self.occupy(&lease);
        self.leases.insert(id, lease);
        self.wait(job_id);
        self.keep_job(step, job_id);
    }

    fn record_grant<R: RowRead>(
        &self,
        step: &mut Step<'_, R>,
        actor: &str,
        position: u32,
        lease: &Lease,
    ) {
        let attempt = AttemptRow {
            lease: lease.id,
            members: lease.members.clone(),
            granted: lease.granted,
            ended: None,
            cause: None,
        };
        step.rows.put(key::attempt(lease.element.job, position, lease.attempt), &attempt);
        step.rows.put(key::lease(lease.id), lease);
        let nodes: Vec<_> = lease.members.iter().map(|member| member.node.to_string()).collect();
        let member = json!({
            "attempt": lease.attempt.0,
            "buildKey": lease.build_key.to_string(),
            "element": lease.element.to_string(),
            "lease": lease.id.to_string(),
            "nodes": nodes,
        });
        step.events.add(Kind::LeaseGranted, actor, member);
        for member in &lease.members {
            step.effect(Effect::Wanted { node: member.node });
        }
    }
}

/// A gang on one node needs no second phase: its tasks start together anyway.
fn first_phase(members: &[Member]) -> Phase {
    if members.len() == 1 {
        Phase::Started { done: BTreeSet::new() }
    } else {
        Phase::Preparing { ready: BTreeSet::new() }
    }
}

/// Every rank once, in order, each node once.
fn gang_is_whole(spec: &JobSpec, members: &[Member]) -> bool {
    let nodes: BTreeSet<_> = members.iter().map(|member| member.node).collect();
    let ranks = members.iter().flat_map(|member| member.tasks.iter().map(|task| task.rank));
    nodes.len() == members.len()
        && members.iter().all(|member| !member.tasks.is_empty())
        && ranks.eq(0..spec.tasks)
}

fn fits(node: &Node, spec: &JobSpec, member: &Member) -> bool {
    let inventory = &node.row.inventory;
    let known: BTreeMap<_, _> =
        inventory.gpus.iter().map(|gpu| (gpu.index, gpu.model.as_str())).collect();
    let mut taken = node.gpus_used.clone();
    let wanted = spec.resources.gpu_model.as_deref();
    let gpus = member.tasks.iter().all(|task| {
        task.gpus.len() as u32 == spec.resources.gpus
            && task.gpus.iter().all(|gpu| {
                known.get(gpu).is_some_and(|model| gpu_matches(model, wanted)) && taken.insert(*gpu)
            })
    });
    let tasks = member.tasks.len() as u64;
    let cpu = CpuMillis(spec.resources.cpu.0.saturating_mul(tasks)).plus(node.cpu_used);
    let memory = Bytes(spec.resources.memory.0.saturating_mul(tasks)).plus(node.memory_used);
    gpus && node.row.state == NodeState::Ready && cpu <= inventory.cpu && memory <= inventory.memory
}
