//! Canonical JSON (RFC 8785), and a reader that refuses what it does not cover.

mod read;
mod screen;

pub use read::{JsonFault, JsonReason, parse, parse_bytes};

use serde_json::{Number, Value};

/// The largest integer that every JSON reader keeps.
const INTEGER_MAX: u64 = (1 << 53) - 1;
/// Bytes of a document at most.
pub const DOCUMENT_MAX: usize = 16 << 20;
/// Arrays and objects within each other at most.
pub const DEPTH_MAX: usize = 100;

/// A value that has no canonical form on which all readers agree.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// An integer beyond 2^53, which some readers would round.
    #[error("number {0} is beyond 2^53 - 1; send it as a string")]
    Integer(String),
}

/// The canonical text of a value.
///
/// # Errors
/// When it holds an integer beyond 2^53 - 1.
pub fn to_string(value: &Value) -> Result<String, CanonicalError> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(number) => number_to(number, out)?,
        Value::String(text) => text_to(text, out),
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                text_to(key, out);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

fn text_to(text: &str, out: &mut String) {
    // serde_json escapes exactly what RFC 8785 escapes, in the same form.
    out.push_str(&serde_json::to_string(text).expect("a string is always JSON"));
}

fn number_to(number: &Number, out: &mut String) -> Result<(), CanonicalError> {
    let too_large = || CanonicalError::Integer(number.to_string());
    if let Some(whole) = number.as_i64() {
        if whole.unsigned_abs() > INTEGER_MAX {
            return Err(too_large());
        }
        out.push_str(&whole.to_string());
    } else if number.as_u64().is_some() {
        return Err(too_large());
    } else {
        let float = number.as_f64().filter(|float| float.is_finite());
        out.push_str(&ecmascript(float.ok_or_else(too_large)?));
    }
    Ok(())
}

/// A number as ECMAScript prints it (ECMA-262, Number::toString), of Rust's shortest digits.
fn ecmascript(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let shortest = format!("{:e}", value.abs());
    let (mantissa, exponent) = shortest.split_once('e').expect("`{:e}` prints an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` prints a whole exponent");
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    let (count, point) = (digits.len() as i32, exponent + 1);
    let sign = if value < 0.0 { "-" } else { "" };
    let body = if (count..=21).contains(&point) {
        format!("{digits}{}", "0".repeat((point - count) as usize))
    } else if (1..=21).contains(&point) {
        format!("{}.{}", &digits[..point as usize], &digits[point as usize..])
    } else if (-5..=0).contains(&point) {
        format!("0.{}{digits}", "0".repeat(-point as usize))
    } else {
        let sign = if point > 0 { '+' } else { '-' };
        let power = (point - 1).abs();
        match count {
            1 => format!("{digits}e{sign}{power}"),
            _ => format!("{}.{}e{sign}{power}", &digits[..1], &digits[1..]),
        }
    };
    format!("{sign}{body}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn canonical(text: &str) -> Result<String, JsonFault> {
        Ok(to_string(&parse(text)?).expect("what was parsed has a canonical form"))
    }

    #[test]
    fn numbers_are_printed_as_ecmascript_prints_them() {
        let cases = [
            ("1.0", "1"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1E2", "100"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("1e-7", "1e-7"),
            ("1e-6", "0.000001"),
            ("123456.789125", "123456.789125"),
            ("-1.5e-9", "-1.5e-9"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ];
        for (text, wanted) in cases {
            assert_eq!(canonical(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn keys_stand_in_order_of_utf_16() {
        let text = "{\"\u{e000}\":1,\"\u{1f600}\":2,\"10\":3,\"9\":4}";
        let wanted = "{\"10\":3,\"9\":4,\"\u{1f600}\":2,\"\u{e000}\":1}";
        assert_eq!(canonical(text).as_deref(), Ok(wanted));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>()
                .prop_filter("finite", |f| f.is_finite() && f.abs() < 9e15)
                .prop_map(Value::from),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 32, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map(".*", inner, 0..8)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_canonical_text_is_its_own_canonical_form(value in any_json()) {
            let once = to_string(&value).unwrap();
            prop_assert_eq!(canonical(&once).unwrap(), once);
        }
    }
}
