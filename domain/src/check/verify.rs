//! How much of a job's work is run again elsewhere, and which part of it.

use crate::{digest::Digest, id::ElementId};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Hundredths of a percent in a whole.
const WHOLE: u32 = 10_000;

/// What part of a job's segments between checkpoints is run again on another node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Verify {
    /// Segments of each 10,000.
    pub segments_of_10000: u32,
}

/// A word that says of no part.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of `none` and `segment:P%`, P from 0.01 to 100; write it like `segment:5%`")]
pub struct VerifyError(pub String);

impl Verify {
    /// Nothing is run again.
    pub const NONE: Self = Self { segments_of_10000: 0 };

    /// Whether it is a part of a whole.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.segments_of_10000 <= WHOLE
    }

    /// Whether the segment that ends at step `to` is run again: a function of what is given, so
    /// that every server, and every auditor later, chooses the same ones.
    #[must_use]
    pub fn chooses(self, of: ElementId, build_key: Digest, from: Option<u64>, to: u64) -> bool {
        let drawn = Digest::of_value(&("assay verify segment v1", of, build_key, from, to));
        let (first, _) = drawn.0.split_first_chunk().expect("a digest has 32 bytes");
        // The whole divides 2^64 but for one part in 10^15.
        u64::from_be_bytes(*first) % u64::from(WHOLE) < u64::from(self.segments_of_10000)
    }
}

impl fmt::Display for Verify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.segments_of_10000 / 100, self.segments_of_10000 % 100);
        match (whole, part) {
            (0, 0) => f.write_str("none"),
            (_, 0) => write!(f, "segment:{whole}%"),
            (_, part) if part.is_multiple_of(10) => write!(f, "segment:{whole}.{}%", part / 10),
            (_, part) => write!(f, "segment:{whole}.{part:02}%"),
        }
    }
}

impl FromStr for Verify {
    type Err = VerifyError;

    fn from_str(text: &str) -> Result<Self, VerifyError> {
        let fault = || VerifyError(text.to_owned());
        if text == "none" {
            return Ok(Self::NONE);
        }
        let percent = text.strip_prefix("segment:").and_then(|it| it.strip_suffix('%'));
        let (whole, part) = percent
            .ok_or_else(fault)?
            .split_once('.')
            .unwrap_or((percent.unwrap_or_default(), "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || whole.len() > 3 || part.len() > 2 {
            return Err(fault());
        }
        let hundredths: u32 = format!("{part:0<2}").parse().map_err(|_| fault())?;
        let whole: u32 = whole.parse().map_err(|_| fault())?;
        let verify = Self { segments_of_10000: whole * 100 + hundredths };
        if verify.is_valid() && verify != Self::NONE { Ok(verify) } else { Err(fault()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;

    #[test]
    fn a_part_is_written_as_it_is_read() {
        for text in ["none", "segment:5%", "segment:100%", "segment:0.25%", "segment:12.5%"] {
            assert_eq!(text.parse::<Verify>().unwrap().to_string(), text);
        }
        for text in ["segment:0%", "segment:101%", "segment:5", "5%", "segment:.5%", "segment:-1%"]
        {
            assert_eq!(text.parse::<Verify>(), Err(VerifyError(text.into())), "{text}");
        }
    }

    #[test]
    fn the_choice_is_the_same_each_time_and_takes_about_the_part_that_was_asked_for() {
        let five: Verify = "segment:5%".parse().unwrap();
        let chosen = |verify: Verify| {
            (0..10_000)
                .filter(|step| {
                    verify.chooses(JobId(7).into(), Digest::of(b"key"), Some(*step), step + 1)
                })
                .count()
        };
        assert_eq!(chosen(five), chosen(five));
        assert!((400..600).contains(&chosen(five)), "{}", chosen(five));
        assert_eq!(chosen(Verify::NONE), 0);
        assert_eq!(chosen("segment:100%".parse().unwrap()), 10_000);
        // One key at another job is another draw: repeated jobs do not repeat the same segments.
        let first =
            |job| (0..).find(|step| five.chooses(JobId(job).into(), Digest::of(b"k"), None, *step));
        assert_ne!(first(1), first(2));
    }
}
