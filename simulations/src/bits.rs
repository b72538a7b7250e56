//! What is run again elsewhere, and which GPU flips a bit.

use crate::chance::Chance;
use domain::{
    check::Verify,
    job::{JobSpec, Restart},
};

/// How sure the bits of a world are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bits {
    /// Three nodes of several sizes; some of the segments of some jobs are run again.
    #[default]
    Usual,
    /// Four nodes of one size; every segment is run again.
    Verified,
    /// The same, where one GPU flips one bit of every checkpoint that it makes.
    Flipped,
}

impl Bits {
    /// Number of nodes.
    #[must_use]
    pub fn nodes(self) -> usize {
        match self {
            Self::Usual => 3,
            Self::Verified | Self::Flipped => 4,
        }
    }

    /// GPUs of a node.
    #[must_use]
    pub fn gpus(self, at: usize) -> u32 {
        match self {
            Self::Usual => 2 + at as u32,
            Self::Verified | Self::Flipped => 2,
        }
    }

    /// The node and the GPU that flip bits.
    #[must_use]
    pub fn flips(self, root: &Chance) -> Option<(usize, u32)> {
        let mut chance = root.branch("flip", 0);
        let found = (chance.below(4) as usize, chance.below(2) as u32);
        (self == Self::Flipped).then_some(found)
    }

    /// A job as this world has it.
    #[must_use]
    pub fn shape(self, spec: JobSpec, chance: &mut Chance) -> JobSpec {
        let part = |segments_of_10000| Some(Verify { segments_of_10000 });
        match self {
            Self::Usual if chance.one_in(3) => JobSpec { verify: part(4_000), ..spec },
            Self::Usual => spec,
            Self::Verified | Self::Flipped => {
                let mut spec = spec;
                spec.resources.gpus = 1;
                let (tasks, restart) = (1, Restart::Lease);
                JobSpec { verify: part(10_000), tasks, restart, ..spec }
            }
        }
    }
}
