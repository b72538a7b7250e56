//! How long jobs ran so far, by doubling levels: what to expect of one that ran for so long.
//!
//! The Gittins index, which no order beats on average when only the distribution is known: of
//! all times for which a job might be let run, the one with the least work for each job that
//! ends. Where most jobs are short it prefers the youngest, where all are alike it lets them
//! run as they came; it learns which, so that nothing is set by hand.

use borsh::{BorshDeserialize, BorshSerialize, io};

/// Levels; the last takes all that is longer.
const LEVELS: usize = 48;
/// The level below which all jobs are alike. Unit: ms. Source: a minute, some times what a stop and
/// a start cost.
const FIRST: u64 = 60_000;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Jobs that ended in each level.
    ended: [u64; LEVELS],
    /// Jobs that went beyond it, whether they ended since or not.
    passed: [u64; LEVELS],
    cost: [u64; LEVELS],
}

impl BorshSerialize for History {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let Self { ended, passed, cost: _ } = self;
        (ended, passed).serialize(writer)
    }
}

impl BorshDeserialize for History {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (ended, passed) = BorshDeserialize::deserialize_reader(reader)?;
        let mut history = Self { ended, passed, cost: [0; LEVELS] };
        history.expect();
        Ok(history)
    }
}

impl Default for History {
    /// Nothing was seen: of two jobs in a level, one ends there and one goes on.
    fn default() -> Self {
        let mut history = Self { ended: [1; LEVELS], passed: [1; LEVELS], cost: [0; LEVELS] };
        history.expect();
        history
    }
}

impl History {
    /// A job ended that ran for so long.
    pub fn ended(&mut self, ran_ms: u64) {
        let level = level(ran_ms);
        self.ended[level] = self.ended[level].saturating_add(1);
        self.expect();
    }

    /// A job went beyond a level.
    pub fn passed(&mut self, level: usize) {
        let level = level.min(LEVELS - 1);
        self.passed[level] = self.passed[level].saturating_add(1);
        self.expect();
    }

    /// An attempt is over that carried a job on from one time of running to another; the job may
    /// have ended with it.
    pub fn ran(&mut self, from_ms: u64, to_ms: u64, ended: bool) {
        self.pass(from_ms, to_ms);
        if ended {
            let at = &mut self.ended[level(to_ms)];
            *at = at.saturating_add(1);
        }
        self.expect();
    }

    /// The same with what runs now: each from one time of running to another, and on.
    #[must_use]
    pub fn with_running(&self, runs: impl IntoIterator<Item = (u64, u64)>) -> Self {
        let mut all = self.clone();
        runs.into_iter().for_each(|(from_ms, to_ms)| all.pass(from_ms, to_ms));
        all.expect();
        all
    }

    fn pass(&mut self, from_ms: u64, to_ms: u64) {
        for passed in &mut self.passed[level(from_ms)..level(to_ms).max(level(from_ms))] {
            *passed = passed.saturating_add(1);
        }
    }

    /// Milliseconds of running for each job that ends, if one that ran for `ran_ms` is let run
    /// for as long as that is least.
    #[must_use]
    pub fn cost(&self, ran_ms: u64) -> u64 {
        self.cost_of(level(ran_ms))
    }

    /// The same for a job in a level.
    #[must_use]
    pub fn cost_of(&self, level: usize) -> u64 {
        self.cost[level.min(LEVELS - 1)]
    }

    fn expect(&mut self) {
        for from in 0..LEVELS {
            let (mut work, mut ends, mut least) = (0_u128, 0_u128, u128::MAX);
            for level in from..LEVELS {
                let width = u128::from(width(level));
                let (ended, passed) = (self.ended[level], self.passed[level]);
                // Who ends in a level ends in its middle.
                work += u128::from(ended) * width / 2 + u128::from(passed) * width;
                ends += u128::from(ended);
                least = least.min(work / ends.max(1));
            }
            self.cost[from] = u64::try_from(least).unwrap_or(u64::MAX);
        }
    }
}

/// The level of a job that ran for so long: how often the first level has doubled.
#[must_use]
pub fn level(ran_ms: u64) -> usize {
    // At most 64.
    ((u64::BITS - (ran_ms / FIRST).leading_zeros()) as usize).min(LEVELS - 1)
}

/// Milliseconds at which a level ends.
#[must_use]
pub fn level_end(level: usize) -> u64 {
    // The shift is below LEVELS.
    FIRST.saturating_mul(1 << level.min(LEVELS - 1))
}

fn width(level: usize) -> u64 {
    level_end(level) - if level == 0 { 0 } else { level_end(level - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_double() {
        assert_eq!([0, 59_999, 60_000, 119_999, 120_000].map(level), [0, 0, 1, 1, 2]);
        for ran_ms in [0, 61_000, 1 << 40] {
            assert!(ran_ms < level_end(level(ran_ms)));
        }
        assert_eq!(level(u64::MAX), LEVELS - 1);
    }

    #[test]
    fn what_is_kept_gives_the_same_costs() {
        let (mut by_run, mut by_level) = (History::default(), History::default());
        by_run.ran(61_000, 500_000, true);
        (1..4).for_each(|level| by_level.passed(level));
        by_level.ended(500_000);
        assert_eq!(by_run, by_level);
        assert_eq!(History::default().with_running([(0, 61_000)]).passed, {
            let mut history = History::default();
            history.passed(0);
            history.passed
        });
        let bytes = borsh::to_vec(&by_run).unwrap();
        assert_eq!(borsh::from_slice::<History>(&bytes).unwrap(), by_run);
    }

    #[test]
    fn with_nothing_seen_the_youngest_goes_first() {
        let history = History::default();
        assert!(history.cost(0) < history.cost(120_000));
        assert!(history.cost(1 << 30) < history.cost(1 << 31));
    }

    #[test]
    fn where_all_are_alike_what_has_begun_goes_first() {
        let mut history = History::default();
        for _ in 0..1_000 {
            (0..10).for_each(|level| history.passed(level));
            history.ended(level_end(10) - 1);
        }
        assert!(history.cost(level_end(9)) < history.cost(level_end(5)));
        assert!(history.cost(level_end(5)) < history.cost(0));
    }
}
