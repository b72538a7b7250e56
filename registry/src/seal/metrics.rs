//! The file in which an evaluation leaves its metrics.
//!
//! One flat object of names and decimal numbers: I-JSON, with the numbers also as texts. It is read
//! wherever the log is applied, so no number becomes a float on the way, as it would in any
//! reader of JSON values.

use domain::{Decimal, limit, model::check_family};
use std::collections::BTreeMap;

/// The largest integer that every reader of JSON keeps.
const INTEGER_MAX: i128 = (1 << 53) - 1;
/// Parts of one in the number that a [`Decimal`] holds.
const ONE: i128 = 1_000_000_000;

/// Why a file holds no metrics.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricsFault {
    /// Larger than any such file.
    #[error("{0} bytes, {max} are the most", max = limit::METRICS_FILE_MAX.0)]
    TooLarge(usize),
    /// Not one flat object.
    #[error("byte {at}: {wanted} is missing; write one flat object: {{\"accuracy\": 0.913}}")]
    Form {
        /// Where, from 0.
        at: usize,
        /// What should stand there.
        wanted: &'static str,
    },
    /// A name that stands twice: readers keep one or the other.
    #[error("metric `{0}` stands twice")]
    Twice(String),
    /// A metric that cannot be kept.
    #[error("metric `{name}`: {why}")]
    Metric {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing was measured, or more than a version can have.
    #[error("{0} metrics; 1 to {max} are needed", max = limit::METRICS_MAX)]
    Count(usize),
}

/// Reads the metrics of a file.
///
/// # Errors
/// When it is too large, no flat object of names and decimal numbers, names one twice, or has a
/// number that is not finite, an integer beyond 2^53 - 1, or has more than nine places.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Decimal>, MetricsFault> {
    if bytes.len() as u64 > limit::METRICS_FILE_MAX.0 {
        return Err(MetricsFault::TooLarge(bytes.len()));
    }
    let mut reader = Reader { bytes, at: 0 };
    let mut metrics = BTreeMap::new();
    reader.take(b'{', "`{`")?;
    let mut more = reader.peek() != Some(b'}');
    while more {
        let name = reader.text("a name in quotes")?;
        check_family(&name).map_err(|fault| of(&name, fault))?;
        reader.take(b':', "`:`")?;
        let value = reader.value(&name)?;
        if metrics.insert(name.clone(), value).is_some() {
            return Err(MetricsFault::Twice(name));
        }
        more = reader.peek() == Some(b',');
        if more {
            reader.take(b',', "`,`")?;
        }
    }
    reader.take(b'}', "`}`")?;
    match (reader.peek(), metrics.len()) {
        (Some(_), _) => Err(reader.lacks("the end")),
        (None, 1..=limit::METRICS_MAX) => Ok(metrics),
        (None, count) => Err(MetricsFault::Count(count)),
    }
}

fn of(name: &str, why: impl ToString) -> MetricsFault {
    let name = name.chars().take(limit::FAMILY_NAME_MAX).collect();
    MetricsFault::Metric { name, why: why.to_string() }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn lacks(&self, wanted: &'static str) -> MetricsFault {
        MetricsFault::Form { at: self.at, wanted }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8, wanted: &'static str) -> Result<(), MetricsFault> {
        if self.peek() != Some(byte) {
            return Err(self.lacks(wanted));
        }
        self.at += 1;
        Ok(())
    }

    /// A text of printable ASCII: neither a name nor a number needs more, or an escape.
    fn text(&mut self, wanted: &'static str) -> Result<String, MetricsFault> {
        self.take(b'"', wanted)?;
        let rest = &self.bytes[self.at..];
        let plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
        let length = rest.iter().take_while(|byte| plain(byte)).count();
        let text = rest[..length].iter().map(|byte| char::from(*byte)).collect();
        self.at += length;
        // Right behind it: white space would be a part of the text.
        if self.bytes.get(self.at) != Some(&b'"') {
            return Err(self.lacks("a plain text that ends with a quote"));
        }
        self.at += 1;
        Ok(text)
    }

    fn value(&mut self, name: &str) -> Result<Decimal, MetricsFault> {
        if self.peek() == Some(b'"') {
            return self.text("a number")?.parse().map_err(|fault| of(name, fault));
        }
        let rest = &self.bytes[self.at..];
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
        let length = rest.iter().take_while(|byte| !ends(byte)).count();
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        let value: Decimal = text.parse().map_err(|fault| of(name, fault))?;
        let digits = text.strip_prefix('-').unwrap_or(&text);
        if digits.len() > 1 && digits.starts_with('0') && !digits.starts_with("0.") {
            return Err(of(name, format!("`{text}` begins with a zero, which is no JSON")));
        }
        if (value.0 / ONE).abs() > INTEGER_MAX {
            let why = format!("`{text}` is beyond 2^53 - 1, some readers round it; write a text");
            return Err(of(name, why));
        }
        self.at += length;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &str) -> Result<String, String> {
        let metrics = read(text.as_bytes()).map_err(|fault| fault.to_string())?;
        let pairs: Vec<_> = metrics.iter().map(|(name, it)| format!("{name}={it}")).collect();
        Ok(pairs.join(" "))
    }

    #[test]
    fn numbers_keep_every_digit_of_the_file() {
        let cases = [
            (r#"{"accuracy":0.913}"#, "accuracy=0.913"),
            ("\n { \"loss\" : \"0.10\" ,\t\"accuracy\" : 1.0 } \r\n", "accuracy=1 loss=0.1"),
            (r#"{"n":9007199254740991,"m":-0.5}"#, "m=-0.5 n=9007199254740991"),
            (r#"{"exact":"123456789012345678.123456789"}"#, "exact=123456789012345678.123456789"),
        ];
        for (text, wanted) in cases {
            assert_eq!(shown(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_readers_could_take_in_two_ways_is_refused() {
        let large = format!("{{{}\"a\":1}}", " ".repeat(limit::METRICS_FILE_MAX.0 as usize));
        let many: Vec<_> = (0..=limit::METRICS_MAX).map(|it| format!("\"m{it}\":1")).collect();
        let many = format!("{{{}}}", many.join(","));
        let cases = [
            ("", "`{` is missing"),
            ("[]", "`{` is missing"),
            ("{}", "0 metrics"),
            (r#"{"a":1"#, "`}` is missing"),
            (r#"{"a":1,}"#, "a name in quotes is missing"),
            (r#"{"a":1}{"#, "the end is missing"),
            (r#"{"a":1,"a":2}"#, "`a` stands twice"),
            (r#"{"\u0061":1}"#, "a plain text"),
            ("{\"a\n\":1}", "a plain text"),
            (r#"{"a":NaN}"#, "`NaN` is no decimal number"),
            (r#"{"a":Infinity}"#, "no decimal number"),
            (r#"{"a":1e-3}"#, "no decimal number"),
            (r#"{"a":0.1234567891}"#, "no decimal number"),
            (r#"{"a":9007199254740993}"#, "2^53"),
            (r#"{"a":9007199254740992.5}"#, "2^53"),
            (r#"{"a":007}"#, "zero"),
            (r#"{"a":-01}"#, "zero"),
            (r#"{"a":{"b":1}}"#, "no decimal number"),
            (r#"{"a":null}"#, "no decimal number"),
            (r#"{"A b":1}"#, "cannot be a name"),
            (&large, "are the most"),
            (&many, "1 to 64 are needed"),
        ];
        for (text, wanted) in cases {
            let why = shown(text).expect_err(text);
            assert!(why.contains(wanted), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_json(text in r#"[{}":, a-c0-9.\-e]{0,24}"#) {
            if let Ok(metrics) = read(text.as_bytes()) {
                let value = crate::seal::canonical::parse(&text).expect("it is I-JSON");
                prop_assert_eq!(value.as_object().map(serde_json::Map::len), Some(metrics.len()));
            }
        }
    }
}
