//! What leases hold, booked by what became of it.

use super::{
    days::days,
    row::{Booked, DayRow, OpenRow, Owner, UsedRow},
};
use crate::state::{key, sched::Sched, step::Step};
use domain::{
    ElementId, JobId, LeaseId, Millis,
    gpu_time::Spent,
    job::EndCause,
    lease::{Lease, Phase},
    limit,
    port::RowRead,
};

/// Time of some GPUs of a job.
#[derive(Clone, Copy)]
struct Held {
    job: JobId,
    gpus: u64,
    from: Millis,
    to: Millis,
}

impl Sched {
    /// A lease begins.
    pub(in crate::state) fn open_account<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: &Lease,
    ) {
        let tasks = lease.members.iter().flat_map(|member| &member.tasks);
        let gpus: u64 = tasks.map(|task| task.gpus.len() as u64).sum();
        if gpus == 0 {
            return;
        }
        let started = !matches!(lease.phase, Phase::Preparing { .. });
        let row = OpenRow { gpus, from: step.now, started, until: None };
        step.rows.put_new(key::usage_open(lease.id), &row);
        self.account.open.insert(lease.id, row);
    }

    /// The tasks of a gang may run: until now it held its GPUs for nothing.
    pub(in crate::state) fn account_started<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: LeaseId,
        of: ElementId,
    ) {
        let Some(open) = self.account.open.get(&lease).copied() else { return };
        if !open.started {
            self.book_until_now(step, lease, of, Spent::HeldIdle);
        }
    }

    /// A checkpoint is committed: what was done until now is not lost any more.
    pub(in crate::state) fn account_saved<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: LeaseId,
        of: ElementId,
    ) {
        self.book_until_now(step, lease, of, Spent::Useful);
    }

    fn book_until_now<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: LeaseId,
        of: ElementId,
        spent: Spent,
    ) {
        let Some(open) = self.account.open.get_mut(&lease) else { return };
        let held = Held { job: of.job, gpus: open.gpus, from: open.from, to: step.now };
        (open.from, open.started) = (step.now, true);
        step.rows.put(key::usage_open(lease), &*open);
        self.book_time(step, held, spent);
    }

    /// A lease ends: with a result that waits for its seal, or without.
    pub(in crate::state) fn close_account<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        lease: &Lease,
        cause: Option<&EndCause>,
    ) {
        let Some(open) = self.account.open.get(&lease.id).copied() else { return };
        let job = lease.element.job;
        let held = Held { job, gpus: open.gpus, from: open.from, to: step.now };
        let spent = match cause {
            None => Spent::Useful,
            // Nothing ran, and so nothing is lost.
            Some(_) if !open.started => Spent::HeldIdle,
            Some(cause) => Spent::after(cause),
        };
        self.book_time(step, held, spent);
        match cause {
            None => {
                let row = OpenRow { until: Some(step.now), ..open };
                step.rows.put(key::usage_open(lease.id), &row);
                self.account.open.insert(lease.id, row);
            }
            Some(_) => self.forget_account(step, lease.id),
        }
    }

    /// A result is sealed: what it took was useful.
    pub(in crate::state) fn forget_account<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ticket: LeaseId,
    ) {
        if self.account.open.remove(&ticket).is_some() {
            step.rows.remove(key::usage_open(ticket));
        }
    }

    /// A result will never be sealed: what was done since the last checkpoint is lost after all.
    pub(in crate::state) fn unseal_account<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        ticket: LeaseId,
        of: ElementId,
        cause: &EndCause,
    ) {
        let Some(OpenRow { gpus, from, until: Some(to), .. }) =
            self.account.open.get(&ticket).copied()
        else {
            return;
        };
        self.forget_account(step, ticket);
        let held = Held { job: of.job, gpus, from, to };
        for (day, ms) in days(from, to, self.account.first_kept(step.now)) {
            let ms = u128::from(gpus) * u128::from(ms);
            self.move_booked(step, held.job, day, ms, Spent::after(cause));
        }
    }

    /// Books time by days, for its job and for its owner.
    fn book_time<R: RowRead>(&mut self, step: &mut Step<'_, R>, held: Held, spent: Spent) {
        if held.to <= held.from {
            return;
        }
        let owner = self.owner(held.job);
        let kept = self.account.first_kept(step.now);
        for (day, ms) in days(held.from, held.to, kept) {
            let mut amount = Booked::default();
            amount[spent.place()] = u128::from(held.gpus) * u128::from(ms);
            self.account.total.booked[spent.place()] += amount[spent.place()];
            self.add_to_owner(step, day, &owner, &amount);
            if day < kept {
                continue;
            }
            let at = key::usage_job(day, held.job);
            let fresh = || UsedRow { owner: owner.clone(), booked: Booked::default() };
            let mut row: UsedRow = step.rows.read(&at).unwrap_or_else(fresh);
            add(&mut row.booked, &amount);
            step.rows.put(at, &row);
        }
        self.account.touched = true;
    }

    /// Adds time to what an owner used on a day. One too many is told with the others.
    pub(super) fn add_to_owner<R: RowRead>(
        &self,
        step: &mut Step<'_, R>,
        day: u64,
        owner: &Owner,
        amount: &Booked,
    ) {
        let mut at = key::usage_owner(day, owner);
        let mut known: Option<UsedRow> = step.rows.read(&at);
        if known.is_none() {
            let of_day = key::usage_day(day);
            let mut row: DayRow = step.rows.read(&of_day).unwrap_or_default();
            if row.owners < limit::USAGE_OWNERS_MAX {
                row.owners += 1;
                step.rows.put(of_day, &row);
                known = Some(UsedRow { owner: owner.clone(), booked: Booked::default() });
            } else {
                at = key::usage_owner(day, &Owner::others());
                known = step.rows.read(&at);
            }
        }
        let others = || UsedRow { owner: Owner::others(), booked: Booked::default() };
        let mut row = known.unwrap_or_else(others);
        add(&mut row.booked, amount);
        step.rows.put(at, &row);
    }

    /// What was called useful turns out to be something else.
    fn move_booked<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        job: JobId,
        day: u64,
        ms: u128,
        spent: Spent,
    ) {
        let mut at = key::usage_owner(day, &self.owner(job));
        if step.rows.get(&at).is_none() {
            at = key::usage_owner(day, &Owner::others());
        }
        let Some(mut of_owner) = step.rows.read::<UsedRow>(&at) else { return };
        // Never more than is there: a queue that has moved in the tree has another owner by now.
        let ms = ms.min(of_owner.booked[Spent::Useful.place()]);
        turn(&mut of_owner.booked, ms, spent);
        turn(&mut self.account.total.booked, ms, spent);
        self.account.touched = true;
        step.rows.put(at, &of_owner);
        let at = key::usage_job(day, job);
        if let Some(mut row) = step.rows.read::<UsedRow>(&at) {
            turn(&mut row.booked, ms, spent);
            step.rows.put(at, &row);
        }
    }

    /// Whose time a job's is.
    pub(in crate::state) fn owner(&self, job: JobId) -> Owner {
        let Some(job) = self.jobs.get(&job) else { return Owner::others() };
        let (queue, user) = (&job.brief.queue, &job.brief.user);
        let root = self.queues.get(queue).and_then(|it| it.above.last()).unwrap_or(queue);
        Owner { team: root.to_string(), queue: queue.to_string(), user: user.to_string() }
    }
}

fn add(sum: &mut Booked, amount: &Booked) {
    for (sum, amount) in sum.iter_mut().zip(amount) {
        *sum = sum.saturating_add(*amount);
    }
}

fn turn(booked: &mut Booked, ms: u128, into: Spent) {
    let useful = &mut booked[Spent::Useful.place()];
    let ms = ms.min(*useful);
    *useful -= ms;
    booked[into.place()] += ms;
}
