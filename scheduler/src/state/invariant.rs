//! Laws that the state must keep after every entry.

use super::{
    Cluster,
    queue::UserHeld,
    sched::{Job, Sched, Shape},
    usage::Held,
    usual::Usual,
};
use domain::{
    job::ElementState,
    lease::{Lease, Phase},
};
use std::collections::{BTreeMap, BTreeSet};

impl Cluster {
    /// The first law that the state breaks, in words.
    #[must_use]
    pub fn broken_invariant(&self) -> Option<String> {
        one_lease_per_gpu(&self.sched)
            .or_else(|| leases_fit_their_nodes(&self.sched))
            .or_else(|| gangs_are_whole(&self.sched))
            .or_else(|| states_agree(&self.sched))
            .or_else(|| order_is_right(&self.sched))
            .or_else(|| queues_count_what_they_hold(&self.sched))
            .or_else(|| kinds_are_counted(&self.sched))
            .or_else(|| nothing_gated_runs(&self.sched))
            .or_else(|| self.sched.miskept())
            .or_else(|| checks_know_their_runs(&self.sched))
            .or_else(|| self.sched.broken_drain())
            .or_else(|| self.sched.stale_forecast())
            .or_else(|| self.sched.misbooked())
    }
}

fn one_lease_per_gpu(sched: &Sched) -> Option<String> {
    let mut held = BTreeMap::new();
    for lease in sched.leases.values() {
        for member in &lease.members {
            for gpu in member.tasks.iter().flat_map(|task| &task.gpus) {
                if let Some(other) = held.insert((member.node, *gpu), lease.id) {
                    let (node, id) = (member.node, lease.id);
                    return Some(format!("one_lease_per_gpu: {node}/{gpu} in {other} and {id}"));
                }
            }
        }
    }
    None
}

fn leases_fit_their_nodes(sched: &Sched) -> Option<String> {
    for (id, node) in &sched.nodes {
        let (mut cpu, mut memory, mut gpus) = (0, 0, BTreeSet::new());
        for lease in node.leases.iter().filter_map(|id| sched.leases.get(id)) {
            let Some(job) = sched.jobs.get(&lease.element.job) else { continue };
            let each = &job.brief.resources;
            for task in lease.member(*id).into_iter().flat_map(|member| &member.tasks) {
                cpu = each.cpu.0.saturating_add(cpu);
                memory = each.memory.0.saturating_add(memory);
                gpus.extend(task.gpus.iter().copied());
            }
        }
        if (cpu, memory) != (node.cpu_used.0, node.memory_used.0) || gpus != node.gpus_used {
            return Some(format!("usage: {id} counts other resources than its leases hold"));
        }
    }
    None
}

fn whole(lease: &Lease, tasks: u32) -> bool {
    let ranks = lease.members.iter().flat_map(|member| member.tasks.iter().map(|task| task.rank));
    ranks.eq(0..tasks)
}

fn gangs_are_whole(sched: &Sched) -> Option<String> {
    for lease in sched.leases.values() {
        let Some(job) = sched.jobs.get(&lease.element.job) else {
            return Some(format!("lease {} belongs to no live job", lease.id));
        };
        if !whole(lease, job.brief.tasks) {
            return Some(format!("gang_whole: {} does not hold every rank once", lease.id));
        }
        if let Phase::Stopping { remaining, .. } = &lease.phase
            && remaining.is_empty()
        {
            return Some(format!("lease {} has stopped everywhere and was not ended", lease.id));
        }
    }
    None
}

/// Elements, leases and tickets name each other, and the counts are theirs.
fn states_agree(sched: &Sched) -> Option<String> {
    let (mut leases, mut tickets) = (0, 0);
    for (id, job) in &sched.jobs {
        let (mut running, mut sealing, mut waiting) = (0, 0, BTreeSet::new());
        for (position, row) in &job.elements {
            match &row.state {
                ElementState::Running { lease } => {
                    running += 1;
                    let held = sched.leases.get(lease);
                    if held.is_none_or(|l| job.position(l.element) != Some(*position)) {
                        return Some(format!(
                            "attempt_once: {id} runs under {lease}, which is not its"
                        ));
                    }
                }
                ElementState::Sealing { lease } => {
                    sealing += 1;
                    if !sched.tickets.contains_key(lease) {
                        return Some(format!("{id} is sealing without ticket {lease}"));
                    }
                }
                ElementState::Waiting => {
                    waiting.insert(*position);
                }
                ElementState::Completed { .. }
                | ElementState::Failed { .. }
                | ElementState::Cancelled => {
                    return Some(format!("{id} keeps an ended element in memory"));
                }
            }
        }
        let progress = &job.progress;
        if (running, sealing) != (progress.running, progress.sealing)
            || waiting.len() as u64 != u64::from(progress.requeued)
            || waiting != job.requeued.values().flatten().chain(job.later.keys()).copied().collect()
        {
            return Some(format!("{id} counts other elements than it has"));
        }
        leases += running as usize;
        tickets += sealing as usize;
    }
    (leases != sched.leases.len() || tickets != sched.tickets.len())
        .then(|| "a lease or a ticket belongs to no element".to_owned())
}

fn order_is_right(sched: &Sched) -> Option<String> {
    let orders = sched.queues.values().flat_map(|queue| queue.waiting.values());
    let ordered: usize = orders.map(BTreeSet::len).sum();
    let mut waiting = 0;
    for (id, job) in sched.jobs.iter().filter(|(_, job)| job.brief.check.is_none()) {
        let Some(queue) = sched.queues.get(&job.brief.queue) else {
            return Some(format!("{id} is in queue `{}`, which is not there", job.brief.queue));
        };
        // What waits at the gate is in no order: no plan may see it. Nor what has its room kept.
        let apart = sched.gated.contains(id) || sched.preemptions.contains_key(id);
        if job.room() == 0 || apart {
            continue;
        }
        let shapes = job.shapes();
        if shapes.is_empty() {
            return Some(format!("{id} waits and has no shape"));
        }
        waiting += shapes.len();
        let key = job.wait_key(*id);
        let ordered = |shape: Shape| {
            let group = queue.group(shape, job);
            queue.waiting.get(&group).is_some_and(|order| order.contains(&key))
        };
        if !shapes.into_iter().all(ordered) {
            return Some(format!("{id} waits and is not in the order"));
        }
    }
    for (name, queue) in &sched.queues {
        let keys = queue.waiting.values().flatten().filter(|_| queue.learned.is_some());
        let ages: BTreeSet<_> = keys.map(|key| (key.priority, key.job)).collect();
        if ages != queue.ages {
            return Some(format!("queue `{name}` does not know the ages of what waits in it"));
        }
    }
    (ordered != waiting).then(|| "the order holds jobs that do not wait".to_owned())
}

fn kinds_are_counted(sched: &Sched) -> Option<String> {
    let mut usual = Usual::default();
    for job in sched.jobs.values() {
        usual.add(&job.brief);
    }
    (usual != sched.usual).then(|| "the usual tasks are not those of the jobs".to_owned())
}

/// `quota_kept`, its second half: every charge has its refund.
fn queues_count_what_they_hold(sched: &Sched) -> Option<String> {
    let mut held: BTreeMap<&str, Held> = BTreeMap::new();
    let mut users: BTreeMap<(&str, &str), UserHeld> = BTreeMap::new();
    // Runs of checks are charged to nobody.
    let own = |job: &&Job| job.brief.check.is_none();
    for job in sched.jobs.values().filter(own) {
        users.entry((&job.brief.queue, &job.brief.user)).or_default().jobs += 1;
    }
    let running = sched.leases.values().filter_map(|lease| sched.jobs.get(&lease.element.job));
    for job in running.filter(own) {
        let gang = job.brief.gang();
        let user = users.entry((&job.brief.queue, &job.brief.user)).or_default();
        user.running += 1;
        user.gpus += gang.gpus();
        let above = sched.queues.get(&job.brief.queue).into_iter().flat_map(|queue| &queue.above);
        for name in std::iter::once(&job.brief.queue).chain(above) {
            let all = held.entry(name).or_default();
            *all = all.plus(gang);
        }
    }
    let mut reserved: BTreeMap<&str, Held> = BTreeMap::new();
    for job in sched.preemptions.keys().filter_map(|id| sched.jobs.get(id)) {
        let gang = job.brief.gang();
        let user = users.entry((&job.brief.queue, &job.brief.user)).or_default();
        user.running += 1;
        user.gpus += gang.gpus();
        let above = sched.queues.get(&job.brief.queue).into_iter().flat_map(|queue| &queue.above);
        for name in std::iter::once(&job.brief.queue).chain(above) {
            let all = reserved.entry(name).or_default();
            *all = all.plus(gang);
        }
    }
    for (name, queue) in &sched.queues {
        if reserved.get(&**name).copied().unwrap_or_default() != queue.reserved {
            return Some(format!(
                "queue `{name}` reserves other resources than its gangs wait for"
            ));
        }
        let all = held.get(&**name).copied().unwrap_or_default();
        if all != queue.held {
            return Some(format!("queue `{name}` counts other resources than its leases hold"));
        }
        for (user, has) in &queue.users {
            if users.remove(&(&**name, &**user)) != Some(*has) {
                return Some(format!("queue `{name}` counts other work of `{user}` than there is"));
            }
        }
    }
    (!users.is_empty()).then(|| "a user's work is counted in no queue".to_owned())
}

/// `fail_closed`: nothing of a job is placed before a policy has decided on it.
fn nothing_gated_runs(sched: &Sched) -> Option<String> {
    sched.gated.iter().find_map(|id| {
        let Some(job) = sched.jobs.get(id) else {
            return Some(format!("fail_closed: {id} has ended and waits at the gate"));
        };
        let placed = !job.elements.is_empty() || job.progress.running > 0;
        placed.then(|| format!("fail_closed: {id} runs and waits at the gate"))
    })
}

/// What a check calls its run is a live lease of a job that says the same.
fn checks_know_their_runs(sched: &Sched) -> Option<String> {
    sched.runs_underway().find_map(|(id, lease)| {
        let held = sched.leases.get(&lease);
        let run = held.and_then(|lease| sched.run_of(lease.element.job));
        run.is_none_or(|run| run.check != id)
            .then(|| format!("{id} goes on under {lease}, which is not its run"))
    })
}
