//! Sets of processors.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Processors by number, as ascending ranges that do not touch.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(transparent)]
pub struct CpuSet(Vec<(u32, u32)>);

impl CpuSet {
    /// Of a bit map in words of 64, as NVML and the kernel give it.
    #[must_use]
    pub fn from_words(words: &[u64]) -> Self {
        let bits = words.iter().zip(0u32..).flat_map(|(word, at)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit)
        });
        bits.fold(Self::default(), |mut set, cpu| {
            match set.0.last_mut() {
                Some((_, last)) if *last + 1 == cpu => *last = cpu,
                _ => set.0.push((cpu, cpu)),
            }
            set
        })
    }

    /// The ranges, first and last included.
    #[must_use]
    pub fn ranges(&self) -> &[(u32, u32)] {
        &self.0
    }
}

impl fmt::Display for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |(first, last): &(u32, u32)| match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        f.write_str(&self.0.iter().map(range).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_map_prints_as_the_kernel_prints_lists() {
        assert_eq!(CpuSet::from_words(&[]).to_string(), "");
        assert_eq!(CpuSet::from_words(&[0b1011]).to_string(), "0-1,3");
        assert_eq!(CpuSet::from_words(&[1 << 63, 0b11]).to_string(), "63-65");
        assert_eq!(CpuSet::from_words(&[u64::MAX, u64::MAX]).ranges(), [(0, 127)]);
    }
}
