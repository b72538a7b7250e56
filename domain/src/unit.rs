//! Numbers that carry their unit in the type.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! units {
    ($($(#[$doc:meta])* $name:ident, $suffix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash,
                 BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $suffix), self.0)
            }
        }

        impl $name {
            /// The sum, or the greatest value where it would overflow.
            #[must_use]
            pub const fn plus(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, or zero where it would be negative.
            #[must_use]
            pub const fn minus(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }
    )*};
}

impl Bytes {
    /// As people read it: `512 MiB`, `1.5 GiB`.
    #[must_use]
    pub fn text(self) -> String {
        const NAMES: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut place = 0;
        let mut unit = 1u64;
        while place + 1 < NAMES.len() && self.0 / unit >= 1_024 {
            unit <<= 10;
            place += 1;
        }
        let tenths = u128::from(self.0) * 10 / u128::from(unit);
        match tenths % 10 {
            0 => format!("{} {}", tenths / 10, NAMES[place]),
            tenth => format!("{}.{tenth} {}", tenths / 10, NAMES[place]),
        }
    }
}

units! {
    /// A duration, or a point in time since the Unix epoch or since boot. Unit: ms.
    Millis, " ms";
    /// An amount of memory or of storage. Unit: bytes.
    Bytes, " B";
    /// An amount of processor time a second. Unit: thousandths of a core.
    CpuMillis, " mCPU";
    /// A power draw, or a limit of one. Unit: thousandths of a watt.
    MilliWatts, " mW";
    /// A clock rate. Unit: MHz.
    MegaHertz, " MHz";
    /// A rate of a network. Unit: millions of bits a second.
    MegaBits, " Mbit/s";
    /// A part of a whole. Unit: thousandths.
    PerMille, " ‰";
    /// A place in the replicated log, from 1.
    LogIndex, "";
}
