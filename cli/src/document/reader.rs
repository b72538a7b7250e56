//! Reads a document's values into types, keeping every fault.

use super::node::{Entry, Node, Value};
use crate::quantity::QuantityError;
use std::{fmt, str::FromStr};

/// Something wrong in a document, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FieldFault {
    /// The line, from 1.
    pub line: Option<usize>,
    /// The key, with the tables it stands in: `resources.gpus`.
    pub field: String,
    /// What is wrong.
    pub fault: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        write!(f, "{}: {}", self.field, self.fault)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub struct Reader {
    /// In the order found.
    pub faults: Vec<FieldFault>,
}

/// A key's value with its full name.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// The key with its tables.
    pub name: &'a str,
    /// Its value.
    pub node: &'a Node,
}

impl Reader {
    /// Notes a fault.
    pub fn fault(&mut self, line: Option<usize>, field: &str, fault: String, remedy: &str) {
        self.faults.push(FieldFault { line, field: field.into(), fault, remedy: remedy.into() });
    }

    fn wrong(&mut self, field: Field<'_>, remedy: &str) {
        let fault = match &field.node.value {
            Value::Text(text) => format!("is \"{text}\""),
            Value::Number(text) => format!("is {text}"),
            Value::Bool(value) => format!("is {value}"),
            other => format!("is {}", other.kind()),
        };
        self.fault(field.node.line, field.name, fault, remedy);
    }

    /// The entries of a table.
    pub fn table<'a>(&mut self, field: Field<'a>) -> &'a [Entry] {
        if let Value::Table(entries) = &field.node.value {
            return entries;
        }
        self.wrong(field, "write a table of keys and values");
        &[]
    }

    /// Refuses a key that is none of `known`, naming the nearest.
    pub fn unknown(&mut self, entry: &Entry, prefix: &str, known: &[&str]) {
        let remedy = match nearest(&entry.key, known) {
            Some(near) => format!("did you mean `{prefix}{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        let name = format!("{prefix}{}", entry.key);
        self.fault(entry.line, &name, "is not a known key".into(), &remedy);
    }

    /// A text.
    pub fn text(&mut self, field: Field<'_>) -> Option<String> {
        if let Value::Text(text) = &field.node.value {
            return Some(text.clone());
        }
        self.wrong(field, "write a text in quotes");
        None
    }

    /// A text, a number or a boolean, as text.
    pub fn scalar(&mut self, field: Field<'_>) -> Option<String> {
        match &field.node.value {
            Value::Text(text) | Value::Number(text) => Some(text.clone()),
            Value::Bool(value) => Some(value.to_string()),
            Value::List(_) | Value::Table(_) | Value::Other(_) => {
                self.wrong(field, "write a text, a number, true or false");
                None
            }
        }
    }

    /// A whole number within the type's range.
    pub fn whole<T: FromStr>(&mut self, field: Field<'_>, remedy: &str) -> Option<T> {
        let parsed = match &field.node.value {
            Value::Number(text) => text.parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.wrong(field, remedy);
        }
        parsed
    }

    /// A text or a number in the form of a type.
    pub fn parsed<T: FromStr>(&mut self, field: Field<'_>, remedy: &str) -> Option<T> {
        let parsed = match &field.node.value {
            Value::Text(text) | Value::Number(text) => text.parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.wrong(field, remedy);
        }
        parsed
    }

    /// A text or a number that `parse` reads.
    pub fn quantity<T>(
        &mut self,
        field: Field<'_>,
        parse: fn(&str) -> Result<T, QuantityError>,
        remedy: &str,
    ) -> Option<T> {
        let parsed = match &field.node.value {
            Value::Text(text) | Value::Number(text) => parse(text).ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.wrong(field, remedy);
        }
        parsed
    }

    /// One of a few words.
    pub fn word<T: Copy>(&mut self, field: Field<'_>, words: &[(&str, T)]) -> Option<T> {
        let found = match &field.node.value {
            Value::Text(text) => words.iter().find(|(word, _)| word == text).map(|(_, v)| *v),
            _ => None,
        };
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.wrong(field, &format!("use {}", all.join(" or ")));
        }
        found
    }

    /// What must be there.
    pub fn wanted<T>(&mut self, field: &str, value: Option<T>) -> Option<T> {
        if value.is_none() && !self.faults.iter().any(|fault| fault.field == field) {
            self.fault(None, field, "is missing".into(), "add it");
        }
        value
    }

    /// A list of texts.
    pub fn texts(&mut self, field: Field<'_>) -> Option<Vec<String>> {
        let Value::List(items) = &field.node.value else {
            self.wrong(field, "write a list of texts, or one text for `sh -c`");
            return None;
        };
        let texts = items.iter().map(|node| self.text(Field { name: field.name, node }));
        texts.collect::<Vec<_>>().into_iter().collect()
    }
}

/// The known name that `name` most looks like, if any does.
#[must_use]
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let score = |other: &&&str| (strsim::jaro_winkler(name, other) * 1_000.0) as u32;
    known.iter().max_by_key(score).filter(|best| score(best) >= 750).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_only_when_it_is_near() {
        let known = ["gpus", "gpu_model", "cpus", "memory"];
        for (typed, near) in [
            ("gpu", Some("gpus")),
            ("gpumodel", Some("gpu_model")),
            ("mem", Some("memory")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed, &known), near, "{typed}");
        }
    }
}
