//! Documents of GPU time.

use super::View;
use crate::state::{
    account::row::{Booked, DayRow, Owner, UsedRow},
    key,
};
use domain::{
    JobId, Millis,
    gpu_time::{DAY_MS, GpuTime, UsageLine, UsagePlace, UsageView},
    limit,
    port::RowRead,
    scratch,
};
use std::collections::BTreeMap;

/// What a list of GPU time tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UsageBy {
    /// Nothing: one line for all.
    All,
    /// Teams.
    Team,
    /// Queues.
    Queue,
    /// Users in queues.
    User,
    /// Jobs, page by page.
    Job,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageAsked {
    /// What is told apart.
    pub by: UsageBy,
    /// The first day.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Only this queue and its parts, if any.
    pub queue: Option<String>,
    /// Jobs after this place.
    pub after: Option<UsagePlace>,
    /// Lines of jobs.
    pub limit: usize,
    /// Up to when what goes on is told: the log's clock stands still while nothing happens. What
    /// is earlier than that clock counts as it.
    pub until: Millis,
}

/// Lines by whose they are, with what is booked and what still runs.
type Sums = BTreeMap<(Owner, Option<JobId>), (Booked, u128)>;

/// A time that is too long to be told in one document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these days have more than {max} rows of GPU time; ask for fewer days")]
pub struct TooMuch {
    /// The bound.
    pub max: usize,
}

impl View<'_> {
    /// GPU time over some days.
    ///
    /// # Errors
    /// When they have too many rows.
    pub fn usage(&self, rows: &impl RowRead, asked: &UsageAsked) -> Result<UsageView, TooMuch> {
        let (wall, free, out) = self.there(rows, asked);
        let mut next = None;
        let sums = match asked.by {
            UsageBy::Job => self.jobs_used(rows, asked, &mut next),
            UsageBy::All | UsageBy::Team | UsageBy::Queue | UsageBy::User => {
                self.owners_used(rows, asked)?
            }
        };
        let total = match next {
            // Told once: with the last page.
            Some(_) => GpuTime::default(),
            None => self.total_used(rows, asked)?,
        };
        let ms = |sum: u128| u64::try_from(sum).unwrap_or(u64::MAX);
        let line = |((owner, job), (booked, running)): ((Owner, Option<JobId>), _)| {
            let Owner { team, queue, user } = owner;
            UsageLine { team, queue, user, job, time: GpuTime::of(&booked, running) }
        };
        Ok(UsageView {
            first_day: asked.first,
            last_day: asked.last,
            now_ms: self.told_at(asked),
            wall_gpu_ms: ms(wall),
            free_gpu_ms: ms(free),
            out_of_service_gpu_ms: ms(out),
            total,
            lines: sums.into_iter().map(line).collect(),
            next,
            log_index: self.applied(),
        })
    }

    fn told_at(&self, asked: &UsageAsked) -> Millis {
        asked.until.max(self.now())
    }

    /// What there was: of days that are over from their rows, of this one with what has gone by
    /// since the count changed last.
    fn there(&self, rows: &impl RowRead, asked: &UsageAsked) -> (u128, u128, u128) {
        let account = &self.sched.account;
        let end = asked.last.saturating_add(1);
        let found =
            rows.range(&key::usage_day(asked.first), &key::usage_day(end), limit::USAGE_ROWS_MAX);
        let since = u128::from(clip(asked, account.total.at, self.told_at(asked)));
        let of = |gpus: u64| u128::from(gpus) * since;
        let gpus = account.gpus;
        let begin = (of(gpus.there()), of(gpus.free), of(gpus.out));
        found.iter().fold(begin, |sum, (key, value)| {
            let row: DayRow = scratch::decode(key, value);
            (sum.0 + row.wall, sum.1 + row.free, sum.2 + row.out)
        })
    }

    fn total_used(&self, rows: &impl RowRead, asked: &UsageAsked) -> Result<GpuTime, TooMuch> {
        let all = UsageAsked { by: UsageBy::All, queue: None, after: None, ..asked.clone() };
        let sums = self.owners_used(rows, &all)?;
        let one = sums.into_values().next().unwrap_or_default();
        Ok(GpuTime::of(&one.0, one.1))
    }

    fn owners_used(&self, rows: &impl RowRead, asked: &UsageAsked) -> Result<Sums, TooMuch> {
        let max = limit::USAGE_ROWS_MAX;
        let (from, to) = key::usage_owners(asked.first, asked.last.saturating_add(1));
        let found = rows.range(&from, &to, max + 1);
        if found.len() > max {
            return Err(TooMuch { max });
        }
        let mut sums = Sums::new();
        for (key, value) in &found {
            let row: UsedRow = scratch::decode(key, value);
            if self.shows(asked, &row.owner) {
                add(&mut sums, (told(asked.by, row.owner), None), &row.booked, 0);
            }
        }
        for (job, running) in self.running(asked) {
            let owner = self.sched.owner(job);
            if self.shows(asked, &owner) {
                add(&mut sums, (told(asked.by, owner), None), &Booked::default(), running);
            }
        }
        Ok(sums)
    }

    /// A page of jobs by day. What runs counts with the first page that is not followed by
    /// another: nothing is told twice.
    fn jobs_used(
        &self,
        rows: &impl RowRead,
        asked: &UsageAsked,
        next: &mut Option<UsagePlace>,
    ) -> Sums {
        let (mut from, to) = key::usage_jobs(asked.first, asked.last.saturating_add(1));
        if let Some(UsagePlace { day, job }) = asked.after {
            from = key::usage_job(day, JobId(job.0.saturating_add(1)));
        }
        let found = rows.range(&from, &to, asked.limit);
        let mut sums = Sums::new();
        for (key, value) in &found {
            let row: UsedRow = scratch::decode(key, value);
            if self.shows(asked, &row.owner) {
                add(&mut sums, (row.owner, Some(key::usage_job_in(key))), &row.booked, 0);
            }
        }
        match found.last() {
            Some((key, _)) if found.len() == asked.limit => {
                *next =
                    Some(UsagePlace { day: key::usage_day_in(key), job: key::usage_job_in(key) });
            }
            Some(_) | None => {
                for (job, running) in self.running(asked) {
                    let owner = self.sched.owner(job);
                    if self.shows(asked, &owner) {
                        add(&mut sums, (owner, Some(job)), &Booked::default(), running);
                    }
                }
            }
        }
        sums
    }

    /// What live leases hold and nothing is booked of yet.
    fn running(&self, asked: &UsageAsked) -> impl Iterator<Item = (JobId, u128)> {
        let open = self.sched.account.open.iter().filter(|(_, row)| row.until.is_none());
        open.filter_map(|(id, row)| {
            let job = self.sched.leases.get(id)?.element.job;
            let ms = clip(asked, row.from, self.told_at(asked));
            Some((job, u128::from(row.gpus) * u128::from(ms)))
        })
    }

    fn shows(&self, asked: &UsageAsked, owner: &Owner) -> bool {
        let Some(wanted) = &asked.queue else { return true };
        self.is_part_of(&owner.queue, wanted) || owner.team == *wanted
    }
}

/// Milliseconds of a time that are in the days asked for.
fn clip(asked: &UsageAsked, from: Millis, to: Millis) -> u64 {
    let begin = asked.first.saturating_mul(DAY_MS).max(from.0);
    let end = asked.last.saturating_add(1).saturating_mul(DAY_MS).min(to.0);
    end.saturating_sub(begin)
}

fn told(by: UsageBy, owner: Owner) -> Owner {
    let none = String::new;
    match by {
        UsageBy::All => Owner { team: none(), queue: none(), user: none() },
        UsageBy::Team => Owner { queue: none(), user: none(), ..owner },
        UsageBy::Queue => Owner { user: none(), ..owner },
        UsageBy::User | UsageBy::Job => owner,
    }
}

fn add(sums: &mut Sums, whose: (Owner, Option<JobId>), booked: &Booked, running: u128) {
    let (sum, open) = sums.entry(whose).or_default();
    sum.iter_mut().zip(booked).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
    *open = open.saturating_add(running);
}
