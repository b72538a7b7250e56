//! Law 10: useful, rework, lost, held idle and free together are wall times GPUs.

use super::Gpus;
use crate::state::sched::Sched;

impl Sched {
    /// How the ledger does not balance, in words. To the millisecond, at any time: what was
    /// counted on nodes against what was booked for leases.
    pub(in crate::state) fn misbooked(&self) -> Option<String> {
        let account = &self.account;
        let mut gpus = Gpus::default();
        for (id, node) in &self.nodes {
            let now = Gpus::of(node);
            if node.counted != now {
                return Some(format!("ledger_balances: GPUs of {id} are counted otherwise"));
            }
            gpus.replace(Gpus::default(), now);
        }
        if gpus != account.gpus {
            return Some("ledger_balances: GPUs of nodes are not their sum".to_owned());
        }
        let since = |from| u128::from(self.meta.now.minus(from).0);
        let wall = account.total.wall + u128::from(gpus.there()) * since(account.total.at);
        let free = account.total.free + u128::from(gpus.free) * since(account.total.at);
        let live = account.open.values().filter(|row| row.until.is_none());
        let open: u128 = live.map(|row| u128::from(row.gpus) * since(row.from)).sum();
        let booked: u128 = account.total.booked.iter().sum();
        if booked + open + free != wall {
            return Some(format!(
                "ledger_balances: {booked} booked, {open} open and {free} free are not {wall}"
            ));
        }
        let strange = account.open.iter().find(|(id, row)| match row.until {
            None => !self.leases.contains_key(id),
            Some(_) => !self.tickets.contains_key(id),
        });
        strange.map(|(id, _)| format!("ledger_balances: {id} is open and ended"))
    }
}

/// How the rows of days do not add up to the sum, in words.
#[cfg(test)]
pub fn broken_rows(sched: &Sched, rows: &impl domain::port::RowRead) -> Option<String> {
    use super::row::{Booked, DayRow, UsedRow};
    use crate::state::key;
    use domain::scratch;

    let total = &sched.account.total;
    let all = |(from, to): (Vec<u8>, Vec<u8>)| rows.range(&from, &to, usize::MAX);
    let days = all((key::usage_day(0), key::usage_day(u64::MAX)));
    let days = days.iter().map(|(key, value)| scratch::decode::<DayRow>(key, value));
    let days = days.fold([0; 3], |sum: [u128; 3], row| {
        [sum[0] + row.wall, sum[1] + row.free, sum[2] + row.out]
    });
    if days != [total.wall, total.free, total.out] {
        return Some(format!("ledger_balances: days add up to {days:?}, not {total:?}"));
    }
    let sum = |found: Vec<(Vec<u8>, Vec<u8>)>| {
        found.iter().fold(Booked::default(), |mut sum, (key, value)| {
            let row: UsedRow = scratch::decode(key, value);
            sum.iter_mut().zip(row.booked).for_each(|(sum, more)| *sum += more);
            sum
        })
    };
    let owners = sum(all(key::usage_owners(0, u64::MAX)));
    if owners != total.booked {
        return Some(format!("ledger_balances: owners have {owners:?}, not {total:?}"));
    }
    let jobs = sum(all(key::usage_jobs(0, u64::MAX)));
    let all_days = super::days::day_of(sched.meta.now) <= domain::limit::USAGE_DAYS_KEPT;
    if all_days && jobs != total.booked {
        return Some(format!("ledger_balances: jobs have {jobs:?}, not {total:?}"));
    }
    let stored: std::collections::BTreeMap<_, _> = all(key::usage_opens())
        .iter()
        .map(|(key, value)| (key::usage_open_in(key), scratch::decode(key, value)))
        .collect();
    (stored != sched.account.open).then(|| "ledger_balances: other rows are open".to_owned())
}
