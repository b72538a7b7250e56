//! Which checks are opened, and when.

use super::{Checks, burn_in};
use crate::state::{
    command::{Refusal, Reply},
    drain::TERMS,
    key,
    record::Kind,
    sched::Sched,
    step::{Step, absent},
};
use domain::{
    CheckId, Digest, ElementId, JobId, LeaseId, NodeId,
    check::{Ballot, Check, Finding, Needs, Seat, Subject, Verify},
    checkpoint::Checkpoint,
    contract,
    health::{HeldGpu, HeldState},
    job::JobSpec,
    lease::Member,
    limit,
    node::build_key,
    port::RowRead,
};
use registry::seal::recipe;
use serde_json::json;
use std::sync::Arc;

impl Sched {
    /// An operator wants to know whether GPUs in quarantine are well again.
    pub(super) fn start_acceptance<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        name: &str,
        word: Option<&str>,
    ) -> Reply {
        let Some(id) = self.names.get(name).copied() else {
            return absent(format!("node `{name}`"), "nodes");
        };
        let gpus = match word {
            Some(word) => match self.in_quarantine(id, name, word) {
                Ok(gpu) => vec![gpu],
                Err(reply) => return reply,
            },
            None => self.all_in_quarantine(id),
        };
        let node = word.is_none() && self.is_quarantined(id);
        if gpus.is_empty() && !node {
            return Reply::Refused(Refusal::WrongState {
                what: format!("node `{name}`"),
                // Replies are kept: all servers have to give the same one.
                state: match self.version < TERMS {
                    true => "without a GPU in quarantine".into(),
                    false => "not in quarantine, and no GPU of it is".into(),
                },
                remedy: format!("see `assay node show {name}`"),
            });
        }
        if self.checks.open.len() + gpus.len() + usize::from(node) > limit::CHECKS_OPEN_MAX {
            return Reply::Refused(Refusal::Limit {
                what: "the number of open checks".into(),
                limit: limit::CHECKS_OPEN_MAX as u64,
                remedy: "wait until some have ended".into(),
            });
        }
        for gpu in &gpus {
            self.open_acceptance(step, actor, id, gpu);
        }
        if node {
            self.open_node_acceptance(step, actor, id);
        }
        step.done()
    }

    fn all_in_quarantine(&self, id: NodeId) -> Vec<HeldGpu> {
        let held = self.nodes.get(&id).into_iter().flat_map(|node| &node.health.gpus);
        held.filter(|gpu| gpu.state == HeldState::Quarantined).cloned().collect()
    }

    /// A node was booted, which resets its GPUs: those that are held back are looked at.
    pub(in crate::state) fn check_after_boot<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
    ) {
        let held: Vec<_> =
            self.nodes.get(&id).map(|node| node.health.gpus.clone()).unwrap_or_default();
        for gpu in held {
            if self.checks.open.len() < limit::CHECKS_OPEN_MAX {
                // What it drained for has ended with the machine.
                let gpu = HeldGpu { state: HeldState::Quarantined, ..gpu };
                self.open_acceptance(step, actor, id, &gpu);
            }
        }
        if self.is_quarantined(id) && self.checks.open.len() < limit::CHECKS_OPEN_MAX {
            self.open_node_acceptance(step, actor, id);
        }
    }

    /// Has a node in quarantine run the acceptance job.
    fn open_node_acceptance<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
    ) {
        self.void_node_check(step, actor, id);
        let Some(class) = self.nodes.get(&id).map(|it| it.whole_class.clone()) else { return };
        if self.check_of_node(id).is_some() {
            return;
        }
        let key = self.burn_in_key(&class);
        let subject = Subject::Node { node: id };
        let check = self.open_check(step, actor, subject, class.clone(), key, Vec::new());
        self.note_check(step, id, check);
        self.want_reference(step, actor, class, key);
    }

    /// Closes the check of a node whose class is another one now: it would wait for ever.
    pub(in crate::state) fn void_node_check<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
    ) {
        let Some(check) = self.check_of_node(id) else { return };
        let class = self.nodes.get(&id).map(|node| &node.whole_class);
        if self.checks.open.get(&check).map(|open| &open.class) != class {
            let why = "the node is of another class now".to_owned();
            self.close_check(step, actor, check, Finding::GivenUp { why });
        }
    }

    /// The open check of a node in quarantine.
    pub(in crate::state) fn check_of_node(&self, id: NodeId) -> Option<CheckId> {
        let is = |check: &Check| matches!(&check.subject, Subject::Node { node } if *node == id);
        self.checks.open.iter().find(|(_, check)| is(check)).map(|(id, _)| *id)
    }

    fn open_acceptance<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        gpu: &HeldGpu,
    ) {
        if self.check_of_gpu(id, &gpu.uuid).is_some() {
            return;
        }
        let (Some(node), Some(offer)) = (self.nodes.get(&id), gpu.offers.first()) else { return };
        let class = node.whole_class.clone();
        let subject =
            Subject::Gpu { node: id, index: offer.index, uuid: gpu.uuid.clone(), since: gpu.since };
        let key = self.burn_in_key(&class);
        let check = self.open_check(step, actor, subject, class.clone(), key, Vec::new());
        if let Some(node) = self.nodes.get_mut(&id) {
            node.health.checks.insert(gpu.uuid.clone(), check);
            step.rows.put(key::health(id), &node.health);
        }
        self.want_reference(step, actor, class, key);
    }

    /// Sees to it that a class has a reference, or that one is looked for.
    pub(super) fn want_reference<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        class: String,
        key: Digest,
    ) {
        let looked_for = |check: &Check| check.subject == Subject::Class && check.build_key == key;
        if self.reference(&class, key).is_none() && !self.checks.open.values().any(looked_for) {
            self.open_check(step, actor, Subject::Class, class, key, Vec::new());
        }
    }

    /// The build key of the burn-in in a class.
    pub(super) fn burn_in_key(&self, class: &str) -> Digest {
        let spec = burn_in(&self.acceptance, class);
        build_key(recipe::recipe(&spec), contract::digest(spec.framework), class)
    }

    /// An element has committed a checkpoint: the segment that it ends may be run again elsewhere.
    pub(in crate::state) fn consider_segment<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: LeaseId,
        from: Option<Checkpoint>,
        to: Checkpoint,
    ) {
        let Some(lease) = self.leases.get(&id).cloned() else { return };
        let of = lease.element;
        let Some(job) = self.jobs.get(&of.job).filter(|job| job.brief.check.is_none()) else {
            return;
        };
        let Some(verify) = job.brief.verify.or_else(|| self.queue_verify(&job.brief.queue)) else {
            return;
        };
        let first = from.as_ref().map(|from| from.step);
        if !verify.chooses(of, lease.build_key, first, to.step)
            || self.checks.open.len() >= limit::CHECKS_OPEN_MAX
        {
            return;
        }
        let class = job.position(of).and_then(|at| job.elements.get(&at)?.build.clone());
        let (Some((key, class)), Some(submitted)) = (class, step.submitted(of.job)) else { return };
        let own = Ballot {
            job: of.job,
            lease: lease.id,
            nodes: self.names_of(&lease.members),
            gpus: self.seats_of(&lease.members),
            members: lease.members,
            digest: to.root,
        };
        let at = to.step;
        let subject = Subject::Segment { of, from, to };
        let asked = (&submitted.spec, vec![own]);
        let check = self.open_with(step, actor, subject, class, key, asked);
        step.rows.put_new(key::segment(of, at), &check);
    }

    /// What a queue, or the nearest above it that says so, has run again.
    fn queue_verify(&self, name: &Arc<str>) -> Option<Verify> {
        let queue = self.queues.get(name)?;
        let above = queue.above.iter().filter_map(|up| self.queues.get(up));
        std::iter::once(queue).chain(above).find_map(|queue| queue.spec.verify)
    }

    /// The names of a gang's nodes.
    pub(super) fn names_of(&self, members: &[Member]) -> Vec<String> {
        let name = |member: &Member| {
            let node = self.nodes.get(&member.node);
            node.map_or_else(|| member.node.to_string(), |it| it.row.inventory.name.clone())
        };
        members.iter().map(name).collect()
    }

    /// The GPUs of a gang, by their names.
    pub(super) fn seats_of(&self, members: &[Member]) -> Vec<Seat> {
        let mut seats = Vec::new();
        for member in members {
            let Some(node) = self.nodes.get(&member.node) else { continue };
            let held = node.health.gpus.iter().flat_map(|gpu| &gpu.offers);
            let all: Vec<_> = node.row.inventory.gpus.iter().chain(held).collect();
            for index in member.tasks.iter().flat_map(|task| &task.gpus) {
                if let Some(gpu) = all.iter().find(|gpu| gpu.index == *index) {
                    let (index, uuid) = (*index, gpu.uuid.clone());
                    seats.push(Seat { node: member.node, index, uuid });
                }
            }
        }
        seats
    }

    fn open_check<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        subject: Subject,
        class: String,
        build_key: Digest,
        ballots: Vec<Ballot>,
    ) -> CheckId {
        let spec = burn_in(&self.acceptance, &class);
        self.open_with(step, actor, subject, class, build_key, (&spec, ballots))
    }

    fn open_with<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        subject: Subject,
        class: String,
        build_key: Digest,
        (of, ballots): (&JobSpec, Vec<Ballot>),
    ) -> CheckId {
        self.meta.checks += 1;
        let id = CheckId(self.meta.checks);
        let member = json!({
            "buildKey": build_key.to_string(),
            "check": id.to_string(),
            "class": class,
            "of": in_words(&subject),
        });
        step.events.add(Kind::CheckOpened, actor, &member);
        let check = Check {
            subject,
            class,
            build_key,
            needs: Needs::of(of),
            by: actor.to_owned(),
            opened: step.now,
            granted: 0,
            failures: 0,
            last: None,
            underway: None,
            ballots,
            closed: None,
            gpu: of.resources.gpu_like(),
        };
        step.rows.put_new(key::open_check(id), &check);
        self.tell_of(step, &check);
        self.keep_for_check(step, &check.subject);
        self.checks.open.insert(id, check);
        id
    }

    /// Tells those who watch what a check is about.
    pub(super) fn tell_of<R: RowRead>(&self, step: &mut Step<'_, R>, check: &Check) {
        if let Subject::Segment { of: ElementId { job, .. }, .. } = &check.subject {
            step.effect(crate::state::command::Effect::Changed { job: *job });
        }
    }
}

impl Checks {
    /// The open check that a job is the run of.
    pub(super) fn of_run(&mut self, job: JobId) -> Option<(CheckId, &mut Check)> {
        let runs = |check: &Check| check.underway.as_ref().is_some_and(|run| run.job == job);
        self.open.iter_mut().find(|(_, check)| runs(check)).map(|(id, check)| (*id, check))
    }
}

/// What a check is about, for the record.
pub(super) fn in_words(subject: &Subject) -> String {
    match subject {
        Subject::Gpu { node, uuid, .. } => format!("GPU {uuid} of {node}"),
        Subject::Node { node } => format!("node {node}"),
        Subject::Class => "what the class gives".to_owned(),
        Subject::Segment { of, from, to } => {
            let from = from.as_ref().map_or(0, |from| from.step);
            format!("segment {from}..{} of {of}", to.step)
        }
    }
}
