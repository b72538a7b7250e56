//! Internet addresses.

use super::{report::Kind, scan::Seen};
use std::net::Ipv6Addr;

/// Characters of an IPv6 address at most.
const V6_MAX: usize = 39;

/// Looks at the digit at `at`.
pub(super) fn v4(text: &[u8], at: usize) -> Option<Seen> {
    let joined = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if at > 0 && joined(text[at - 1]) {
        return None;
    }
    let mut to = at;
    for group in 0..4 {
        if group > 0 {
            if text.get(to) != Some(&b'.') {
                return None;
            }
            to += 1;
        }
        let digits = text[to..].iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        let value = text[to..to + digits].iter().fold(0, |sum, d| sum * 10 + u32::from(d - b'0'));
        let padded = digits > 1 && text[to] == b'0';
        if !(1..=3).contains(&digits) || value > 255 || padded {
            return None;
        }
        to += digits;
    }
    let after = text.get(to).copied().unwrap_or(b' ');
    // A full stop may end the sentence, a further group makes it a version.
    let goes_on = after == b'.' && text.get(to + 1).is_some_and(u8::is_ascii_digit);
    let ends = !goes_on && (after == b'.' || !joined(after));
    ends.then_some(Seen { kind: Kind::IpAddress, from: at, to })
}

/// Length of the characters of an IPv6 address that a text begins with.
fn token(text: &[u8]) -> usize {
    let is_part = |byte: &&u8| byte.is_ascii_hexdigit() || **byte == b':';
    text.iter().take_while(is_part).count()
}

/// Looks at the first colon of a word, at `at`.
pub(super) fn v6(text: &[u8], at: usize) -> Option<Seen> {
    let before = text[..at].iter().rev().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let from = at - before;
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"_:.".contains(byte);
    // A later colon of a word is none of its own, and costs no look at all of it.
    if from > 0 && is_word(&text[from - 1]) {
        return None;
    }
    let to = at + token(&text[at..]);
    let joined = text.get(to).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let word = &text[from..to];
    let colons = word.iter().filter(|byte| **byte == b':').count();
    // Shorter ones are scopes of programs: `a::b`.
    if joined || word.len() > V6_MAX || colons < 3 {
        return None;
    }
    let address: Ipv6Addr = std::str::from_utf8(word).ok()?.parse().ok()?;
    (!address.is_unspecified()).then_some(Seen { kind: Kind::IpAddress, from, to })
}
