//! International bank account numbers (ISO 13616), with the check of ISO 7064, MOD 97-10.

use super::{report::Kind, scan::Seen};

/// Characters by country, from the registry of SWIFT.
#[rustfmt::skip]
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16),
    (b"BG", 22), (b"BH", 22), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28),
    (b"CZ", 24), (b"DE", 22), (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24),
    (b"FI", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18),
    (b"GR", 27), (b"GT", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23),
    (b"IS", 26), (b"IT", 27), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32),
    (b"LI", 21), (b"LT", 20), (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24),
    (b"ME", 22), (b"MK", 19), (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NL", 18), (b"NO", 15),
    (b"PK", 24), (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22),
    (b"SA", 24), (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27),
    (b"ST", 25), (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22),
    (b"VG", 24), (b"XK", 20),
];

/// Looks at the digit at `at`, which may be the first check digit.
pub(super) fn at(text: &[u8], at: usize) -> Option<Seen> {
    let from = at.checked_sub(2)?;
    let country: &[u8; 2] = text[from..at].try_into().ok()?;
    if from > 0 && text[from - 1].is_ascii_alphanumeric() {
        return None;
    }
    let (_, length) = LENGTHS.iter().find(|(code, _)| *code == country)?;
    let mut number = Vec::with_capacity(*length);
    let mut to = from;
    while number.len() < *length {
        // Printed in groups of four.
        let gap = !number.is_empty() && number.len().is_multiple_of(4);
        if gap && text.get(to) == Some(&b' ') {
            to += 1;
        }
        let byte = *text.get(to)?;
        if !byte.is_ascii_digit() && !byte.is_ascii_uppercase() {
            return None;
        }
        number.push(byte);
        to += 1;
    }
    let ends = !text.get(to).is_some_and(u8::is_ascii_alphanumeric);
    (ends && remainder(&number) == 1).then_some(Seen { kind: Kind::Iban, from, to })
}

/// Country and check digits go last, letters count from 10.
fn remainder(number: &[u8]) -> u32 {
    number[4..].iter().chain(&number[..4]).fold(0, |sum, byte| match byte {
        b'0'..=b'9' => (sum * 10 + u32::from(byte - b'0')) % 97,
        _ => (sum * 100 + u32::from(byte - b'A') + 10) % 97,
    })
}
