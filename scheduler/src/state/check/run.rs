//! Granting runs of checks, and ending those that are in the way.

use super::{as_run, burn_in};
use crate::state::{
    command::{Placement, Reply},
    key,
    place::{fits_among, gang_is_whole},
    row::{ElementRow, Submitted},
    sched::{Job, Sched},
    step::{Step, absent},
};
use domain::{
    CheckId, ElementId, JobId, LeaseId,
    check::{Check, CheckRun, CheckTask, Finding, Subject, Underway},
    health::HeldState,
    job::{EndCause, JobSpec, Outputs},
    lease::Member,
    limit,
    port::RowRead,
    resource::TaskResources,
};

/// A run's job, ready to be granted.
struct Ready {
    submitted: Submitted,
    row: ElementRow,
}

impl Sched {
    /// Grants a check its next run, if that still holds.
    pub(super) fn run_check<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: CheckId,
        granted: u32,
        members: Vec<Member>,
    ) -> Reply {
        let Some(check) = self.checks.open.get(&id).cloned() else {
            return absent(format!("open check {id}"), "nodes");
        };
        if check.underway.is_some() || check.granted != granted {
            return step.done();
        }
        let ready = match self.make_ready(step, id, &check) {
            Ok(ready) => ready,
            Err(why) => {
                self.close_check(step, actor, id, Finding::GivenUp { why });
                return step.done();
            }
        };
        let spec = &ready.submitted.spec;
        if !self.may_run(&check, spec, &members)
            || self.is_kept_out(spec.into(), &members, step.now)
            || self.jobs.len() >= limit::JOBS_MAX
        {
            return step.done();
        }
        let job = self.take_in_run(step, ready);
        let lease = LeaseId { index: step.at.0, ordinal: step.ordinal };
        let (nodes, gpus) = (self.names_of(&members), self.seats_of(&members));
        let placement = Placement { element: ElementId::from(job), members: members.clone() };
        self.grant(step, actor, placement, check.class.clone());
        if let Some(open) = self.checks.open.get_mut(&id) {
            open.granted += 1;
            let (yields, told) = (false, false);
            open.underway = Some(Underway { job, lease, members, nodes, gpus, yields, told });
        }
        self.keep_check(step, id);
        self.tell_of(step, &check);
        step.done()
    }

    /// The job that a run is, and where it begins.
    fn make_ready<R: RowRead>(
        &self,
        step: &Step<'_, R>,
        id: CheckId,
        check: &Check,
    ) -> Result<Ready, String> {
        let name = format!("check {id} run {}", check.granted + 1);
        let mut row = ElementRow::default();
        let (spec, recipe) = match &check.subject {
            Subject::Gpu { .. } | Subject::Node { .. } | Subject::Class => {
                if self.burn_in_key(&check.class) != check.build_key {
                    return Err("the cluster's burn-in was changed meanwhile".to_owned());
                }
                let spec = burn_in(&self.acceptance, &check.class);
                let recipe = registry::seal::recipe::recipe(&spec);
                let run = CheckRun { check: id, task: CheckTask::BurnIn };
                (as_run(spec, name, run), recipe)
            }
            Subject::Segment { of, from, to } => {
                let submitted = step.submitted(of.job).ok_or("its job is not there")?;
                let recipe = submitted.recipe_of(*of);
                row.newest.clone_from(from);
                let task = CheckTask::Segment { of: *of, until: to.step };
                let spec = as_run(submitted.spec, name, CheckRun { check: id, task });
                (JobSpec { outputs: Outputs::None, ..spec }, recipe)
            }
        };
        let submitted = Submitted { spec, recipe, time: step.now, at: step.at, pin: None };
        Ok(Ready { submitted, row })
    }

    fn take_in_run<R: RowRead>(&mut self, step: &mut Step<'_, R>, ready: Ready) -> JobId {
        self.meta.jobs += 1;
        let id = JobId(self.meta.jobs);
        let mut job = Job::new(ready.submitted.brief());
        job.elements.insert(0, ready.row);
        step.rows.put_new(key::job_spec(id), &ready.submitted);
        step.rows.put_new(key::live(id), &job.progress);
        // It reads what the job read that it runs again: that stays until it has ended, too.
        self.inputs.note(id, &ready.submitted.spec);
        self.jobs.insert(id, job);
        id
    }

    /// Whether a run may have these places: those of the class where nothing else is, and none
    /// that has already had its say.
    fn may_run(&self, check: &Check, spec: &JobSpec, members: &[Member]) -> bool {
        if !gang_is_whole(spec.tasks, members) {
            return false;
        }
        let gpu_share = check.resources().gpu_share;
        let wanted = TaskResources { gpu_share, ..spec.resources.clone() };
        if let Subject::Gpu { node, index, uuid, since } = &check.subject {
            let [member] = members else { return false };
            let Some(on) = self.nodes.get(node).filter(|_| member.node == *node) else {
                return false;
            };
            let held = on.health.gpus.iter().find(|gpu| gpu.uuid == *uuid);
            let Some(held) = held.filter(|gpu| gpu.since == *since) else { return false };
            let one = member.tasks.iter().all(|task| task.gpus == [*index]);
            return one
                && held.state == HeldState::Quarantined
                && !on.row.lost
                && fits_among(on, &wanted, member, held.offers.iter());
        }
        if let Subject::Node { node } = &check.subject {
            let [member] = members else { return false };
            return member.node == *node
                && self.is_quarantined(*node)
                && self.nodes.get(node).is_some_and(|on| {
                    on.class == check.class
                        && !on.row.lost
                        && on.row.inventory.isolation.takes(&spec.confinement, false)
                        && fits_among(on, &wanted, member, on.serving())
                });
        }
        let gang = members.len() > 1;
        let taken = self.seats_of(members);
        let fresh = check.ballots.iter().all(|ballot| match check.subject {
            Subject::Class if !taken.is_empty() => {
                ballot.gpus.iter().all(|seat| !taken.contains(seat))
            }
            Subject::Class
            | Subject::Gpu { .. }
            | Subject::Node { .. }
            | Subject::Segment { .. } => {
                let there =
                    |member: &Member| ballot.members.iter().any(|it| it.node == member.node);
                !members.iter().any(there)
            }
        });
        fresh
            && members.iter().all(|member| {
                self.nodes.get(&member.node).is_some_and(|node| {
                    node.class == check.class
                        && node.row.takes_work()
                        && node.row.inventory.isolation.takes(&spec.confinement, gang)
                        && fits_among(node, &wanted, member, node.serving())
                })
            })
    }

    /// Ends runs whose room a job could have.
    pub(in crate::state) fn make_room<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        leases: Vec<LeaseId>,
    ) -> Reply {
        for lease in leases {
            let of = |check: &Check| check.underway.as_ref().is_some_and(|run| run.lease == lease);
            let found = self.checks.open.iter_mut().find(|(_, check)| of(check));
            let Some((id, check)) = found.filter(|(_, check)| check.yields()) else { continue };
            if let Some(run) = &mut check.underway {
                run.yields = true;
            }
            let (id, check) = (*id, check.clone());
            self.keep_check(step, id);
            self.tell_of(step, &check);
            self.stop_lease(step, lease, EndCause::MadeRoom);
        }
        step.done()
    }
}
