//! Samples in a file: a JSON array of numbers or of strings, or an object of such arrays.

use crate::fault::{Fault, Kind};
use registry::drift::{Categorical, Numeric, Window, WindowFault};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, fs, path::Path};

/// Bytes of a file at most: a thousand features of ten thousand samples take a fifth of it.
const FILE_MAX: u64 = 1 << 30;

/// Samples of one feature.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// Numbers.
    Numbers(Vec<f64>),
    /// Names.
    Names(Vec<String>),
}

impl Samples {
    /// Sorted or counted for scores.
    ///
    /// # Errors
    /// When they are no window.
    pub fn window(self) -> Result<Window, WindowFault> {
        match self {
            Self::Numbers(numbers) => Numeric::of(&numbers).map(Window::Numeric),
            Self::Names(names) => Categorical::of(&names).map(Window::Categorical),
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Sampled {
    /// An array.
    One(Samples),
    /// Arrays by feature.
    Many(BTreeMap<String, Samples>),
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn load(path: &Path) -> Result<Sampled, Fault> {
    load_as(path)
}

/// Reads a file of this form.
///
/// # Errors
/// When it cannot be read, or holds something else.
pub fn load_as<T: DeserializeOwned>(path: &Path) -> Result<T, Fault> {
    let failed = |fault: std::io::Error| Fault::file(path, &fault);
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > FILE_MAX {
        let why = format!("{}: {size} bytes, {FILE_MAX} are the most", path.display());
        return Err(Fault::new(Kind::Refused, "too_large", why).hint("send fewer samples"));
    }
    let text = fs::read(path).map_err(failed)?;
    serde_json::from_slice(&text).map_err(|fault| {
        let detail = format!("{}: {fault}", path.display());
        let refused = |reason| Fault::new(Kind::Refused, reason, detail.clone());
        match fault.classify() {
            serde_json::error::Category::Data => refused("not_samples"),
            _ if is_not_finite(&text, &fault) => {
                return refused("not_finite").hint("leave out what is not a finite number");
            }
            _ => Fault::usage("not_json", detail),
        }
        .hint("an array of numbers or of strings, or an object of such arrays by feature")
    })
}

/// Whether the parser stopped at one of the words that Python and others write in place of
/// numbers that are not finite.
fn is_not_finite(text: &[u8], fault: &serde_json::Error) -> bool {
    let line = text.split(|byte| *byte == b'\n').nth(fault.line().saturating_sub(1));
    let rest = line.and_then(|line| line.get(fault.column().saturating_sub(1)..));
    rest.is_some_and(|rest| rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"))
}

#[cfg(test)]
fn read(text: &[u8]) -> Result<Sampled, serde_json::Error> {
    serde_json::from_slice(text)
}

impl<'de> Deserialize<'de> for Sampled {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Sampled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of samples, or an object of such arrays")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Sampled, A::Error> {
                samples(items).map(Sampled::One)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Sampled, A::Error> {
                let mut all = BTreeMap::new();
                while let Some((name, samples)) = items.next_entry::<String, Samples>()? {
                    if all.insert(name.clone(), samples).is_some() {
                        return Err(de::Error::custom(format!("feature `{name}` stands twice")));
                    }
                }
                Ok(Sampled::Many(all))
            }
        }
        input.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Array;
        impl<'de> Visitor<'de> for Array {
            type Value = Samples;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of numbers or of strings")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Samples, A::Error> {
                samples(items)
            }
        }
        input.deserialize_seq(Array)
    }
}

/// One sample.
enum Sample {
    Number(f64),
    Name(String),
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct One;
        impl Visitor<'_> for One {
            type Value = Sample;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number or a string")
            }

            fn visit_f64<E>(self, value: f64) -> Result<Sample, E> {
                Ok(Sample::Number(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Sample, E> {
                Ok(Sample::Number(value as f64))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Sample, E> {
                Ok(Sample::Number(value as f64))
            }

            fn visit_str<E>(self, value: &str) -> Result<Sample, E> {
                Ok(Sample::Name(value.to_owned()))
            }
        }
        input.deserialize_any(One)
    }
}

/// Samples of one feature, all of one kind.
///
/// # Errors
/// When they are neither numbers nor names.
pub fn samples<'de, A: SeqAccess<'de>>(mut items: A) -> Result<Samples, A::Error> {
    let (mut numbers, mut names) = (Vec::new(), Vec::new());
    while let Some(item) = items.next_element::<Sample>()? {
        match item {
            Sample::Number(number) => numbers.push(number),
            Sample::Name(name) => names.push(name),
        }
        if !numbers.is_empty() && !names.is_empty() {
            return Err(de::Error::custom("numbers and strings in one array"));
        }
    }
    Ok(if names.is_empty() { Samples::Numbers(numbers) } else { Samples::Names(names) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_objects_of_arrays_are_read() {
        let numbers = Samples::Numbers(vec![1.0, -2.5, 3e2]);
        assert_eq!(read(b"[1, -2.5, 3e2]").unwrap(), Sampled::One(numbers.clone()));
        let names = Samples::Names(vec!["a".into(), "b".into()]);
        let many = Sampled::Many([("x".into(), numbers), ("y".into(), names)].into());
        assert_eq!(read(br#"{"x": [1, -2.5, 3e2], "y": ["a", "b"]}"#).unwrap(), many);
    }

    #[test]
    fn what_is_not_finite_is_refused_as_such() {
        for text in ["[NaN]", "[1,\n  NaN]", "[-Infinity]", "{\"a\": [Infinity]}"] {
            let fault = read(text.as_bytes()).unwrap_err();
            assert!(is_not_finite(text.as_bytes(), &fault), "{text}: {fault}");
        }
        let fault = read(b"[nothing]").unwrap_err();
        assert!(!is_not_finite(b"[nothing]", &fault));
    }

    #[test]
    fn everything_else_is_refused_with_its_place() {
        let cases = [
            ("[1, NaN]", "expected value at line 1 column 5"),
            ("[1,\n null]", "invalid type: null, expected a finite number or a string"),
            ("[1, \"a\"]", "numbers and strings in one array"),
            ("{\"a\": [1], \"a\": [2]}", "feature `a` stands twice"),
            ("[[1]]", "invalid type: sequence"),
            ("7", "an array of samples, or an object of such arrays"),
            ("[1e999]", "number out of range"),
        ];
        for (text, wanted) in cases {
            let fault = read(text.as_bytes()).unwrap_err().to_string();
            assert!(fault.contains(wanted), "{text}: {fault}");
        }
    }
}
