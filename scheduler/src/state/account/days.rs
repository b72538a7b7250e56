//! Time cut into days, and days that are no longer told apart.

use super::row::{DayRow, UsedRow};
use crate::state::{key, sched::Sched, step::Step};
use domain::{Millis, gpu_time::DAY_MS, limit, port::RowRead, scratch};

/// The day of a time.
pub fn day_of(at: Millis) -> u64 {
    at.0 / DAY_MS
}

/// The days of a time with the milliseconds of each. What is before the day `kept` counts with
/// day 0.
pub fn days(from: Millis, to: Millis, kept: u64) -> impl Iterator<Item = (u64, u64)> {
    let bound = kept.saturating_mul(DAY_MS);
    let before = to.0.min(bound).saturating_sub(from.0);
    let begin = from.0.max(bound);
    let first = begin / DAY_MS;
    let last = if to.0 > begin { (to.0 - 1) / DAY_MS } else { first };
    let each = (first..=last).map(move |day| {
        let start = begin.max(day * DAY_MS);
        let end = to.0.min((day + 1).saturating_mul(DAY_MS));
        (day, end.saturating_sub(start))
    });
    std::iter::once((0, before)).chain(each).filter(|(_, ms)| *ms > 0)
}

impl Sched {
    /// Sums up some rows of days that are no longer told apart.
    pub(super) fn fold_days<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        let kept = day_of(step.now).saturating_sub(limit::USAGE_DAYS_KEPT);
        if self.account.total.folded >= kept {
            return;
        }
        let most = limit::USAGE_FOLDED_AT_ONCE;
        let old = step.rows.range(&key::usage_day(1), &key::usage_day(kept), most);
        for (at, value) in &old {
            let row: DayRow = scratch::decode(at, value);
            let sum = key::usage_day(0);
            let mut all: DayRow = step.rows.read(&sum).unwrap_or_default();
            all.wall += row.wall;
            all.free += row.free;
            all.out += row.out;
            step.rows.put(sum, &all);
            step.rows.remove(at.clone());
        }
        let (from, to) = key::usage_owners(1, kept);
        let used = step.rows.range(&from, &to, most);
        for (at, value) in &used {
            let row: UsedRow = scratch::decode(at, value);
            step.rows.remove(at.clone());
            self.add_to_owner(step, 0, &row.owner, &row.booked);
        }
        let (from, to) = key::usage_jobs(1, kept);
        let jobs = step.rows.range(&from, &to, most);
        for (at, _) in &jobs {
            step.rows.remove(at.clone());
        }
        if old.len().max(used.len()).max(jobs.len()) < most {
            self.account.total.folded = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_time_is_cut_at_midnight() {
        let cut = |from, to, kept| days(Millis(from), Millis(to), kept).collect::<Vec<_>>();
        assert_eq!(cut(DAY_MS - 5, DAY_MS + 7, 0), [(0, 5), (1, 7)]);
        assert_eq!(cut(DAY_MS, 3 * DAY_MS, 0), [(1, DAY_MS), (2, DAY_MS)]);
        assert_eq!(cut(DAY_MS, 4 * DAY_MS + 1, 3), [(0, 2 * DAY_MS), (3, DAY_MS), (4, 1)]);
        assert_eq!(cut(7, 7, 0), []);
    }

    proptest! {
        #[test]
        fn no_millisecond_is_lost_or_told_twice(
            from in 0u64..1 << 40, ms in 0u64..1 << 36, kept in 0u64..20_000
        ) {
            let all: Vec<_> = days(Millis(from), Millis(from + ms), kept).collect();
            prop_assert_eq!(all.iter().map(|(_, ms)| ms).sum::<u64>(), ms);
            prop_assert!(all.iter().all(|(day, _)| *day == 0 || *day >= kept));
        }
    }
}
