//! The ledger of GPU time: what became of every millisecond of every GPU.
//!
//! GPUs are counted node by node, and what was there and free is summed up whenever that count
//! changes. What a lease holds is booked when it is known what became of it: with a checkpoint,
//! and when its attempt ends. The two sums have to agree at any time: that is the law.

mod book;
mod days;
mod law;
pub mod row;

#[cfg(test)]
mod account_test;

#[cfg(test)]
pub use law::broken_rows;

use super::{
    key,
    sched::{Node, Sched},
    step::Step,
};
use days::days;
use domain::{LeaseId, Millis, NodeId, lease::Lease, limit, port::RowRead, scratch};
use row::{DayRow, OpenRow, TotalRow};
use std::collections::BTreeMap;

/// GPUs of a node, or of all nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// Under a lease.
    pub held: u64,
    /// There, and under none.
    pub free: u64,
    /// What of these is on nodes that take no work.
    pub out: u64,
}

/// A time for which the count of GPUs was the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: Millis,
    to: Millis,
    gpus: Gpus,
}

/// What memory holds of the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// All that was ever booked.
    pub total: TotalRow,
    /// GPUs of all nodes.
    pub gpus: Gpus,
    /// What live leases and open tickets hold.
    pub open: BTreeMap<LeaseId, OpenRow>,
    /// What is to be written of days, at the end of the entry.
    span: Option<Span>,
    /// Whether the sum is to be written.
    touched: bool,
}

impl Gpus {
    /// Of one node. A node that is lost has none but those that are still under a lease.
    fn of(node: &Node) -> Self {
        let held = node.gpus_used.len() as u64;
        let gpus = &node.row.inventory.gpus;
        let there = gpus.iter().filter(|gpu| !node.gpus_used.contains(&gpu.index)).count();
        let free = if node.row.lost { 0 } else { there as u64 };
        let out = if node.row.drained.is_some() { free } else { 0 };
        Self { held, free, out }
    }

    /// In and under no lease, or under one.
    #[must_use]
    pub fn there(&self) -> u64 {
        self.held + self.free
    }

    fn replace(&mut self, old: Self, new: Self) {
        self.held = self.held + new.held - old.held;
        self.free = self.free + new.free - old.free;
        self.out = self.out + new.out - old.out;
    }
}

impl Account {
    /// Sums up what there was since the last change of the count.
    fn reach(&mut self, now: Millis) {
        let ms = now.minus(self.total.at).0;
        if ms == 0 {
            return;
        }
        if self.gpus != Gpus::default() {
            // Within an entry time stands still: there is one span at the most.
            self.span = Some(Span { from: self.total.at, to: now, gpus: self.gpus });
        }
        let of = |gpus: u64| u128::from(gpus) * u128::from(ms);
        self.total.wall += of(self.gpus.there());
        self.total.free += of(self.gpus.free);
        self.total.out += of(self.gpus.out);
        self.total.at = now;
        self.touched = true;
    }
}

impl Sched {
    /// Counts the GPUs of a node anew.
    pub(super) fn recount(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let (old, new) = (node.counted, Gpus::of(node));
        if old == new {
            return;
        }
        self.account.reach(self.meta.now);
        self.account.gpus.replace(old, new);
        node.counted = new;
    }

    /// Counts the GPUs of a lease's nodes anew.
    pub(super) fn recount_all(&mut self, lease: &Lease) {
        for member in &lease.members {
            self.recount(member.node);
        }
    }

    /// The ledger as its rows have it. All nodes are counted and all leases are known.
    pub(super) fn load_account(&mut self, rows: &impl RowRead) {
        let at = key::usage_total();
        let total = rows.get(&at).map(|bytes| scratch::decode(&at, &bytes)).unwrap_or_default();
        self.account = Account { total, gpus: self.account.gpus, ..Account::default() };
        super::load::each(rows, key::usage_opens(), |key, value| {
            let id = key::usage_open_in(key);
            self.account.open.insert(id, scratch::decode(key, value));
        });
    }

    /// Writes what there was, and the sum.
    pub(super) fn write_account<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        if let Some(span) = self.account.span.take() {
            let kept = self.account.first_kept(step.now);
            for (day, ms) in days(span.from, span.to, kept) {
                let at = key::usage_day(day);
                let mut row: DayRow = step.rows.read(&at).unwrap_or_default();
                let of = |gpus: u64| u128::from(gpus) * u128::from(ms);
                row.wall += of(span.gpus.there());
                row.free += of(span.gpus.free);
                row.out += of(span.gpus.out);
                step.rows.put(at, &row);
            }
        }
        if std::mem::take(&mut self.account.touched) {
            self.fold_days(step);
            step.rows.put(key::usage_total(), &self.account.total);
        }
    }
}

impl Account {
    /// The first day that is told by itself.
    fn first_kept(&self, now: Millis) -> u64 {
        days::day_of(now).saturating_sub(limit::USAGE_DAYS_KEPT).max(self.total.folded)
    }
}
