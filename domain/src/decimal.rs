//! Decimal numbers that are equal on every machine: metrics, and what gates ask of them.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, str::FromStr};

/// Places after the point.
const PLACES: usize = 9;
/// Parts of one: 10^9.
const ONE: u128 = 1_000_000_000;
/// Digits before the point at most.
const DIGITS_MAX: usize = 18;

/// A decimal number with up to nine places after the point. Printed without trailing zeros.
///
/// Replicated state holds no floats (rulings, 11). Unit of the inner number: 10^-9.
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize,
)]
pub struct Decimal(pub i128);

/// A text that is no such number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no decimal number; write up to 18 digits, and up to 9 after a point: 0.913")]
pub struct DecimalError(pub String);

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let fault = || DecimalError(text.chars().take(40).collect());
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |text: &str, most: usize| {
            !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !plain(whole, DIGITS_MAX) || !plain(part, PLACES) {
            return Err(fault());
        }
        let whole: i128 = whole.parse().map_err(|_| fault())?;
        let part: i128 = format!("{part:0<PLACES$}").parse().map_err(|_| fault())?;
        let size = whole * ONE as i128 + part;
        Ok(Self(if negative { -size } else { size }))
    }
}

impl Decimal {
    /// Reads a number as programs print it: also with an exponent, `2.13e-5`.
    ///
    /// # Errors
    /// When it is none, or does not stand within the places that there are.
    pub fn of_number(text: &str) -> Result<Self, DecimalError> {
        let Some((number, exponent)) = text.split_once(['e', 'E']) else { return text.parse() };
        let fault = || DecimalError(text.chars().take(40).collect());
        let most = i64::from(u8::MAX);
        let exponent: i64 = exponent.parse().map_err(|_| fault())?;
        if exponent.abs() > most || text.len() > most as usize {
            return Err(fault());
        }
        let (sign, digits) = number.strip_prefix('-').map_or(("", number), |rest| ("-", rest));
        let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
        let all = format!("{whole}{part}");
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain(&all) || whole.is_empty() {
            return Err(fault());
        }
        // Where the point stands among the digits; before them or behind them there are zeros.
        let point = whole.len() as i64 + exponent;
        let before = "0".repeat(usize::try_from(1 - point).unwrap_or_default());
        let behind = usize::try_from(point - all.len() as i64).unwrap_or_default();
        let all = format!("{before}{all}{}", "0".repeat(behind));
        let (whole, part) = all.split_at(usize::try_from(point.max(1)).unwrap_or_default());
        let whole = whole.trim_start_matches('0');
        let part = part.trim_end_matches('0');
        let digit = |text: &'_ str| if text.is_empty() { "0".to_owned() } else { text.to_owned() };
        format!("{sign}{}.{}", digit(whole), digit(part)).parse().map_err(|_| fault())
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let size = self.0.unsigned_abs();
        let part = format!("{:0PLACES$}", size % ONE);
        match part.trim_end_matches('0') {
            "" => write!(f, "{sign}{}", size / ONE),
            part => write!(f, "{sign}{}.{part}", size / ONE),
        }
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As a text: the platform's peers disagree on how a number is printed (platform contract, 1.2).
impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = <String as Deserialize>::deserialize(input)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_has_one_form_and_keeps_its_order() {
        let cases = [("0.90", "0.9"), ("-0", "0"), ("7", "7"), ("-1.5", "-1.5"), ("007", "7")];
        for (text, shown) in cases {
            assert_eq!(text.parse::<Decimal>().unwrap().to_string(), shown, "{text}");
        }
        let of = |text: &str| text.parse::<Decimal>().unwrap();
        assert!(of("-2") < of("-1.999999999") && of("0.1") < of("0.11"));
        // More than 2^53 is kept exactly, where floats would round.
        assert_eq!(of("9007199254740993").to_string(), "9007199254740993");
    }

    #[test]
    fn what_is_no_plain_number_is_refused() {
        let bad =
            ["", "-", ".", "1.", ".5", "1e3", "NaN", "inf", "+1", "0x1", "1 ", "--1", "1.2.3"];
        let long = ["1234567890123456789", "0.1234567891"];
        for text in bad.iter().chain(&long) {
            assert!(text.parse::<Decimal>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_exponent_moves_the_point() {
        for (text, number) in [
            ("2e-6", Some("0.000002")),
            ("2.13e-5", Some("0.0000213")),
            ("-1.5E+3", Some("-1500")),
            ("0.5", Some("0.5")),
            ("1e0", Some("1")),
            ("12.50e-1", Some("1.25")),
            ("1000e-3", Some("1")),
            ("0e9", Some("0")),
            ("1e17", Some("100000000000000000")),
            ("1e-9", Some("0.000000001")),
            ("1e-10", None),
            ("1e18", None),
            ("1e999", None),
            ("e5", None),
            ("1e", None),
            (".5e1", None),
            ("1e1e1", None),
            ("1.2.3e1", None),
        ] {
            let found = Decimal::of_number(text).ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), number, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_reads_back(units in -10i128.pow(26)..10i128.pow(26)) {
            let number = Decimal(units);
            prop_assert_eq!(number.to_string().parse(), Ok(number));
        }
    }
}
