//! A reader of I-JSON (RFC 7493) that says why and where it refuses a document.

use super::{DEPTH_MAX, DOCUMENT_MAX, screen::screen};
use serde::{
    Deserialize,
    de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Why a document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonReason {
    /// Larger than any document of ours.
    #[error("document of {size} bytes, {DOCUMENT_MAX} are the most; send it as a file by digest")]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// Arrays and objects too far within each other.
    #[error("nested more than {DEPTH_MAX} deep; flatten it")]
    TooDeep,
    /// Bytes that are not UTF-8.
    #[error("not UTF-8; encode it as UTF-8")]
    NotUtf8,
    /// An integer that some readers would round.
    #[error("integer {number} is beyond 2^53 - 1, some readers round it; send it as a string")]
    Integer {
        /// As it stands there.
        number: String,
    },
    /// A number that becomes infinite.
    #[error("number {number} is not finite; send a smaller one, or a string")]
    NotFinite {
        /// As it stands there.
        number: String,
    },
    /// Half of a pair.
    #[error("\\u{unit} is a lone surrogate, which is no character; write the whole pair")]
    LoneSurrogate {
        /// Its four digits.
        unit: String,
    },
    /// A key that stands twice, of which readers keep one or the other.
    #[error("key `{key}` stands twice in one object; leave one out")]
    DuplicateKey {
        /// Which.
        key: String,
    },
    /// Not JSON.
    #[error("not JSON: {why}")]
    Syntax {
        /// What is wrong.
        why: String,
    },
}

impl JsonReason {
    /// One stable word for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::TooDeep => "too_deep",
            Self::NotUtf8 => "not_utf8",
            Self::Integer { .. } => "integer_beyond_2_53",
            Self::NotFinite { .. } => "not_finite",
            Self::LoneSurrogate { .. } => "lone_surrogate",
            Self::DuplicateKey { .. } => "duplicate_key",
            Self::Syntax { .. } => "not_json",
        }
    }
}

/// A document that is not I-JSON, and the place at which it is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} column {column}: {reason}")]
pub struct JsonFault {
    /// Why.
    pub reason: JsonReason,
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
}

impl JsonFault {
    /// A fault at an offset of a text.
    pub(super) fn at(text: &[u8], offset: usize, reason: JsonReason) -> Self {
        let before = &text[..offset];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        Self { reason, line, column: offset - start + 1 }
    }
}

/// Reads I-JSON.
///
/// # Errors
/// When the text is not JSON, too large or too deep, a key stands twice, a string holds a lone
/// surrogate, or a number is not finite or an integer beyond 2^53 - 1.
pub fn parse(text: &str) -> Result<Value, JsonFault> {
    screen(text.as_bytes())?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let read = Strict::deserialize(&mut reader).and_then(|read| reader.end().map(|()| read));
    read.map(|Strict(value)| value).map_err(|fault| {
        let (line, column) = (fault.line(), fault.column().max(1));
        let text = fault.to_string();
        let why = text.rsplit_once(" at line ").map_or(text.as_str(), |(why, _)| why);
        let reason = match why.strip_prefix(TWICE) {
            Some(key) => JsonReason::DuplicateKey { key: key.to_owned() },
            None => JsonReason::Syntax { why: why.to_owned() },
        };
        JsonFault { reason, line, column }
    })
}

/// Reads I-JSON from bytes.
///
/// # Errors
/// As [`parse`], and when they are not UTF-8.
pub fn parse_bytes(bytes: &[u8]) -> Result<Value, JsonFault> {
    let text = std::str::from_utf8(bytes)
        .map_err(|fault| JsonFault::at(bytes, fault.valid_up_to(), JsonReason::NotUtf8))?;
    parse(text)
}

/// Marks our own message among those of the parser.
const TWICE: &str = "key twice: ";

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: de::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        StrictSeed.deserialize(input).map(Strict)
    }
}

struct StrictSeed;

impl<'de> DeserializeSeed<'de> for StrictSeed {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, input: D) -> Result<Value, D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StrictSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element_seed(StrictSeed)? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut all = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if all.contains_key(&key) {
                return Err(de::Error::custom(format!("{TWICE}{key}")));
            }
            let value = members.next_value_seed(StrictSeed)?;
            all.insert(key, value);
        }
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (&'static str, usize, usize) {
        let fault = parse(text).unwrap_err();
        (fault.reason.word(), fault.line, fault.column)
    }

    #[test]
    fn what_readers_disagree_on_is_refused_with_its_place() {
        let cases = [
            ("{\"a\":1,\n \"a\":2}", ("duplicate_key", 2, 4)),
            ("[1,\n 9007199254740993]", ("integer_beyond_2_53", 2, 2)),
            ("9007199254740992", ("integer_beyond_2_53", 1, 1)),
            ("-9007199254740992", ("integer_beyond_2_53", 1, 1)),
            ("123456789012345678901234567890", ("integer_beyond_2_53", 1, 1)),
            ("[1e400]", ("not_finite", 1, 2)),
            ("[-1E+999]", ("not_finite", 1, 2)),
            ("[\"x\\ud800\"]", ("lone_surrogate", 1, 4)),
            ("[\"\\uD800\\u0041\"]", ("lone_surrogate", 1, 3)),
            ("{\"\\udc00\":1}", ("lone_surrogate", 1, 3)),
            ("[1,]", ("not_json", 1, 4)),
            ("[NaN]", ("not_finite", 1, 2)),
            ("[-Infinity]", ("not_finite", 1, 3)),
            ("Nan", ("not_json", 1, 1)),
            ("{\"a\":1} x", ("not_json", 1, 9)),
            ("", ("not_json", 1, 1)),
        ];
        for (text, wanted) in cases {
            assert_eq!(refused(text), wanted, "{text}");
        }
    }

    #[test]
    fn what_only_looks_alike_is_taken() {
        for text in [
            "9007199254740991",
            "-9007199254740991",
            "1e21",
            "[\"\\ud83d\\ude00\"]",
            "[\"\\\\ud800\", \"9007199254740993\"]",
            "{\"a\":{\"a\":1}}",
        ] {
            assert_eq!(parse(text).err(), None, "{text}");
        }
    }

    #[test]
    fn gigantic_and_deep_documents_are_refused_before_they_are_read() {
        let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&deep(DEPTH_MAX)).is_ok());
        assert_eq!(refused(&deep(DEPTH_MAX + 1)), ("too_deep", 1, DEPTH_MAX + 1));
        assert_eq!(refused(&"[".repeat(1_000_000)).0, "too_deep");
        let brackets = format!("\"{}\"", "[".repeat(1_000));
        assert!(parse(&brackets).is_ok(), "brackets in a string are no depth");
        assert_eq!(refused(&" ".repeat(DOCUMENT_MAX + 1)).0, "too_large");
        let fault = parse_bytes(b"[\"\xff\"]").unwrap_err();
        assert_eq!((fault.reason.word(), fault.column), ("not_utf8", 3));
    }
}
