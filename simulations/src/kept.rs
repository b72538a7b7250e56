//! Seeds that once failed. They are run for good, whatever else is.
//!
//! A seed's course changes whenever something draws a number more, so a kept seed need not meet
//! again what it once found: where that can be told in a few steps, it is a test of its own beside
//! the code that was mended, too. What stays is a run that was hard once, in its full length.

/// A seed that once failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The seed.
    pub seed: u64,
    /// Virtual seconds with faults.
    pub seconds: u64,
    /// What it once found.
    pub found: &'static str,
}

/// All of them, by seed.
pub const KEPT: [Kept; 5] = [
    Kept {
        seed: 28,
        seconds: 300,
        found: "a leader with a flipped bit in its memory sent its rows to a healthy follower, \
                which took them in and was condemned",
    },
    Kept {
        seed: 38,
        seconds: 300,
        found: "an agent that died before it wrote its node's id down took itself for a follower \
                of its own gang, and never reported the end",
    },
    Kept {
        seed: 64,
        seconds: 300,
        found: "of four voters with one that needed a snapshot, a leader with a wrong state was \
                outvoted by nobody, and its snapshot refused for ever",
    },
    Kept {
        seed: 244,
        seconds: 300,
        found: "a result lost both copies: while no leader was up it did not count as short of \
                them, and two losses came at once",
    },
    Kept {
        seed: 337,
        seconds: 300,
        found: "a result lost both copies: a removal that was under way and a bit that flipped \
                came at once",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_seeds_stand_in_order_and_each_says_what_it_found() {
        assert!(KEPT.is_sorted_by(|one, next| one.seed < next.seed));
        assert!(KEPT.iter().all(|kept| kept.seconds > 0 && !kept.found.is_empty()));
    }
}
