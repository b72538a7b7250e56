//! Addresses of e-mail, in the form that people use (RFC 5321 without quoting).

use super::{report::Kind, scan::Seen};

/// Bytes of a local part at most (RFC 5321, section 4.5.3.1.1).
pub(super) const LOCAL_MAX: usize = 64;
/// Bytes of a domain at most.
pub(super) const DOMAIN_MAX: usize = 255;
/// Bytes of a label at most (RFC 1035).
const LABEL_MAX: usize = 63;

/// Looks at the `@` at `at`.
pub(super) fn at(text: &[u8], at: usize) -> Option<Seen> {
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte);
    let local = text[..at].iter().rev().take_while(|byte| is_local(**byte)).count();
    let mut from = at - local;
    while text[from] == b'.' {
        from += 1;
    }
    if from == at || at - from > LOCAL_MAX || text[at - 1] == b'.' {
        return None;
    }
    let to = at + 1 + domain(&text[at + 1..])?;
    Some(Seen { kind: Kind::Email, from, to })
}

/// Length of the longest domain with a top level of letters that a text begins with.
fn domain(text: &[u8]) -> Option<usize> {
    let mut end = None;
    let (mut start, mut labels) = (0, 0);
    loop {
        let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
        let length = text[start..].iter().take_while(is_part).count();
        let label = &text[start..start + length];
        let hyphen = label.first() == Some(&b'-') || label.last() == Some(&b'-');
        if length == 0 || length > LABEL_MAX || hyphen || start + length > DOMAIN_MAX {
            return end;
        }
        labels += 1;
        if labels > 1 && length > 1 && label.iter().all(u8::is_ascii_alphabetic) {
            end = Some(start + length);
        }
        if text.get(start + length) != Some(&b'.') {
            return end;
        }
        start += length + 1;
    }
}
