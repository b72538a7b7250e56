//! What a queue holds and what it has used: whole numbers, halved with time.
//!
//! Use is the sum of what was held times the milliseconds for which it was, each halved with
//! every half life that has gone by since. Time is cut into ticks of a 64th of the half life,
//! counted from 1970-01-01: within a tick use grows with what is held, and at its end all of it
//! shrinks by one factor. So it is the same however often it is looked at in between.

use borsh::{BorshDeserialize, BorshSerialize};
use domain::{Millis, queue::QueueSpec, resource::TaskResources};

/// Ticks of one half life.
const TICKS: u64 = 64;
/// The 64th root of one half, times 2^32.
const SHRINK: u128 = 4_248_701_964;
/// Ticks after which use no longer changes, if what is held does not: 2^-64 of it is left.
const SETTLED: u64 = 64 * TICKS;
/// Bytes of the unit in which memory is counted.
const MEMORY_UNIT: u64 = 1 << 20;

/// What is held: GPUs, thousandths of cores, MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(pub [u64; 3]);

impl Held {
    /// What a gang holds.
    #[must_use]
    pub fn of_gang(tasks: u32, each: &TaskResources) -> Self {
        let all = |amount: u64| amount.saturating_mul(u64::from(tasks));
        let memory = each.memory.0.div_ceil(MEMORY_UNIT);
        Self([all(u64::from(each.gpus)), all(each.cpu.0), all(memory)])
    }

    /// What a node has.
    #[must_use]
    pub fn of_node(gpus: usize, cpu: u64, memory: u64) -> Self {
        Self([gpus as u64, cpu, memory / MEMORY_UNIT])
    }

    /// GPUs.
    #[must_use]
    pub fn gpus(&self) -> u64 {
        self.0[0]
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].saturating_add(other.0[at])))
    }

    /// The difference.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(std::array::from_fn(|at| self.0[at].saturating_sub(other.0[at])))
    }
}

/// How much of a budget its owner was told to be used.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize,
)]
pub enum Told {
    /// Nothing.
    #[default]
    Nothing,
    /// That it runs low.
    Low,
    /// That it is spent.
    Spent,
}

/// What a queue has used, up to a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct UseRow {
    /// The time.
    pub at: Millis,
    /// GPUs, thousandths of cores and MiB, each times milliseconds, halved with time.
    pub used: [u128; 3],
    /// GPU-milliseconds of the budget's period, in full.
    pub spent: u128,
    /// The number of that period.
    pub period: u64,
    /// What of it was told.
    pub told: Told,
}

impl UseRow {
    /// Use up to `now`, if `held` was held all the time since.
    #[must_use]
    pub fn until(&self, held: Held, now: Millis, half_life: Millis, spec: &QueueSpec) -> Self {
        let mut row = *self;
        if now <= row.at {
            return row;
        }
        row.spend(held.gpus(), now, spec);
        match half_life {
            Millis(0) => row.used = [0; 3],
            half_life => row.grow(held, now, (half_life.0 / TICKS).max(1)),
        }
        row.at = now;
        row
    }

    fn spend(&mut self, gpus: u64, now: Millis, spec: &QueueSpec) {
        let period = spec.period(now);
        let mut since = self.at.0;
        if period != self.period {
            (self.spent, self.told, self.period) = (0, Told::Nothing, period);
            since = since.max(period.saturating_mul(spec.budget_period.map_or(0, |ms| ms.0)));
        }
        let more = u128::from(gpus) * u128::from(now.0.saturating_sub(since));
        self.spent = self.spent.saturating_add(more);
    }

    fn grow(&mut self, held: Held, now: Millis, tick: u64) {
        if self.used == [0; 3] && held == Held::default() {
            return;
        }
        let (first, last) = (self.at.0 / tick, now.0 / tick);
        if first == last {
            return self.add(held, now.0 - self.at.0);
        }
        self.add(held, (first + 1) * tick - self.at.0);
        self.shrink();
        for _ in 0..(last - first - 1).min(SETTLED) {
            let before = self.used;
            self.add(held, tick);
            self.shrink();
            if self.used == before {
                break;
            }
        }
        self.add(held, now.0 - last * tick);
    }

    fn add(&mut self, held: Held, ms: u64) {
        for (used, held) in self.used.iter_mut().zip(held.0) {
            *used += u128::from(held) * u128::from(ms);
        }
    }

    fn shrink(&mut self) {
        for used in &mut self.used {
            // Below 2^64 held for 2^38 ms, the longest half life over ln 2: the product fits.
            *used = (*used >> 32) * SHRINK + (((*used & 0xffff_ffff) * SHRINK) >> 32);
        }
    }

    /// What is to be told of a budget.
    #[must_use]
    pub fn standing(&self, spec: &QueueSpec) -> Told {
        use domain::queue::BUDGET_WARN_PERCENT;
        match spec.budget_ms() {
            Some(budget) if self.spent >= budget => Told::Spent,
            Some(budget) if self.spent * 100 >= budget * BUDGET_WARN_PERCENT => Told::Low,
            Some(_) | None => Told::Nothing,
        }
    }
}

/// Milliseconds over which use is a mean: what one unit that is held for ever comes to.
#[must_use]
pub fn window(half_life: Millis) -> u128 {
    let tick = u128::from((half_life.0 / TICKS).max(1));
    if half_life.0 == 0 { 1 } else { tick * (1 << 32) / ((1 << 32) - SHRINK) }
}

/// Bits below the point of a share.
pub const SHARE_BITS: u32 = 32;

/// The largest part of the cluster's resources that is held, with what was used before.
#[must_use]
pub fn dominant(held: Held, used: [u128; 3], total: Held, window: u128) -> u128 {
    let of = |at: usize| {
        let all = u128::from(total.0[at]) * window;
        let had = u128::from(held.0[at]) * window + used[at];
        // Below 2^92 for clusters of 2^48 of a resource, and the longest half life.
        (had << SHARE_BITS).checked_div(all).unwrap_or(0)
    };
    (0..held.0.len()).map(of).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF: Millis = Millis(64_000);

    fn until(row: UseRow, gpus: u64, now: u64) -> UseRow {
        row.until(Held([gpus, 0, 0]), Millis(now), HALF, &QueueSpec::default())
    }

    #[test]
    fn after_a_half_life_half_is_left_and_what_is_held_for_ever_is_the_window() {
        let used = until(UseRow::default(), 8, 1_000).used[0];
        assert_eq!(used, 7_913, "8,000 less one tick's share");
        let later = until(
            UseRow { at: Millis(1_000), used: [1 << 40, 0, 0], ..UseRow::default() },
            0,
            65_000,
        );
        assert!((1u128 << 39).abs_diff(later.used[0]) < 1 << 14, "{}", later.used[0]);
        let ever = until(UseRow::default(), 1_000, 1 << 40).used[0];
        assert!(ever.abs_diff(1_000 * window(HALF)) < 1_000_000, "{ever}");
        assert_eq!(until(UseRow { used: [5, 0, 0], ..UseRow::default() }, 0, 1 << 40).used[0], 0);
    }

    #[test]
    fn a_budget_is_whole_again_with_its_period_and_is_told_at_four_fifths() {
        let hour = 3_600_000;
        let spec = QueueSpec {
            budget_gpu_hours: Some(10),
            budget_period: Some(Millis(24 * hour)),
            ..QueueSpec::default()
        };
        let at = |row: UseRow, hours| row.until(Held([2, 0, 0]), Millis(hours * hour), HALF, &spec);
        let low = at(UseRow::default(), 4);
        assert_eq!((low.standing(&spec), at(low, 5).standing(&spec)), (Told::Low, Told::Spent));
        let next = at(low, 25);
        assert_eq!((next.period, next.spent, next.told), (1, 2 * u128::from(hour), Told::Nothing));
    }

    proptest! {
        #[test]
        fn use_is_the_same_however_often_it_is_looked_at(
            start in 0u64..10_000_000, steps in prop::collection::vec(0u64..200_000, 0..20),
            gpus in 0u64..100
        ) {
            let row = UseRow { at: Millis(start), used: [1 << 50, 0, 0], ..UseRow::default() };
            let end = start + steps.iter().sum::<u64>();
            let (mut often, mut now) = (row, start);
            for step in steps {
                now += step;
                often = until(often, gpus, now);
            }
            prop_assert_eq!(often, until(row, gpus, end));
        }
    }
}
