//! A first pass over a text, for what a parser loses: how long an integer was, and where.

use super::{
    DEPTH_MAX, DOCUMENT_MAX, INTEGER_MAX,
    read::{JsonFault, JsonReason},
};

/// What some writers put in place of numbers that are not finite.
const WORDS: [&str; 2] = ["NaN", "Infinity"];

/// Looks at brackets, numbers and escapes. What is no JSON at all is left to the parser.
pub(super) fn screen(text: &[u8]) -> Result<(), JsonFault> {
    let fault = |offset, reason| Err(JsonFault::at(text, offset, reason));
    if text.len() > DOCUMENT_MAX {
        return fault(0, JsonReason::TooLarge { size: text.len() });
    }
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return fault(at, JsonReason::TooDeep);
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                at = string_end(text, at + 1)?;
                continue;
            }
            b'-' | b'0'..=b'9' => {
                let end = number_end(text, at);
                if let Some(reason) = number(&text[at..end]) {
                    return fault(at, reason);
                }
                at = end;
                continue;
            }
            b'N' | b'I' => {
                let rest = &text[at..];
                if let Some(word) = WORDS.iter().find(|word| rest.starts_with(word.as_bytes())) {
                    let number = (*word).to_owned();
                    return fault(at, JsonReason::NotFinite { number });
                }
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

fn number_end(text: &[u8], start: usize) -> usize {
    let part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    text[start..].iter().position(|byte| !part(byte)).map_or(text.len(), |length| start + length)
}

fn number(token: &[u8]) -> Option<JsonReason> {
    let number = String::from_utf8_lossy(token).into_owned();
    let digits = number.strip_prefix('-').unwrap_or(&number);
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for 64 bits are beyond the bound as well.
        let fits = digits.is_empty() || digits.parse().is_ok_and(|value: u64| value <= INTEGER_MAX);
        return (!fits).then_some(JsonReason::Integer { number });
    }
    let infinite = number.parse().is_ok_and(|value: f64| value.is_infinite());
    infinite.then_some(JsonReason::NotFinite { number })
}

/// The offset past the closing quote.
fn string_end(text: &[u8], start: usize) -> Result<usize, JsonFault> {
    let mut at = start;
    while let Some(byte) = text.get(at) {
        match (byte, text.get(at + 1)) {
            (b'"', _) => return Ok(at + 1),
            (b'\\', Some(b'u')) => match (unit(text, at), unit(text, at + 6)) {
                (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 12,
                (Some(unit @ 0xd800..=0xdfff), _) => {
                    let reason = JsonReason::LoneSurrogate { unit: format!("{unit:04x}") };
                    return Err(JsonFault::at(text, at, reason));
                }
                (Some(_) | None, _) => at += 2,
            },
            (b'\\', _) => at += 2,
            _ => at += 1,
        }
    }
    Ok(text.len())
}

/// The code unit of an escape `\uXXXX`.
fn unit(text: &[u8], at: usize) -> Option<u16> {
    let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
