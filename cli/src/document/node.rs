//! A document with the line of every value, whichever language it was written in.

use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its line, from 1, where the language tells it.
    pub line: Option<usize>,
    /// What it is.
    pub value: Value,
}

/// What stands at a key.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and their values.
    Table(Vec<Entry>),
    /// Something that no job file uses, by its name.
    Other(&'static str),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its line.
    pub line: Option<usize>,
    /// Its value.
    pub node: Node,
}

impl Value {
    /// The kind's name, for messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(name) => name,
        }
    }
}

/// A text that is no document of its language: the line, and what is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The line, from 1.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: String,
}

/// Reads TOML.
///
/// # Errors
/// Every place that is not TOML.
pub fn from_toml(text: &str) -> Result<Node, Vec<Malformed>> {
    let (table, faults) = DeTable::parse_recoverable(text);
    if faults.is_empty() {
        return Ok(Node { line: Some(1), value: toml_table(text, table.get_ref()) });
    }
    let malformed = |fault: &toml::de::Error| Malformed {
        line: fault.span().map(|span| line_of(text, span.start)),
        fault: fault.message().replace('\n', ", "),
    };
    Err(faults.iter().map(malformed).collect())
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

fn toml_table(text: &str, table: &DeTable<'_>) -> Value {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let key: &toml::Spanned<std::borrow::Cow<'_, str>> = key;
        Entry {
            key: key.get_ref().to_string(),
            line: Some(line_of(text, key.span().start)),
            node: toml_node(text, value),
        }
    };
    Value::Table(table.iter().map(entry).collect())
}

fn toml_node(text: &str, value: &toml::Spanned<DeValue<'_>>) -> Node {
    let line = Some(line_of(text, value.span().start));
    let value = match value.get_ref() {
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Integer(value) => Value::Number(value.to_string()),
        DeValue::Float(value) => Value::Number(value.as_str().to_owned()),
        DeValue::String(value) => Value::Text(value.to_string()),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| toml_node(text, item)).collect())
        }
        DeValue::Table(table) => toml_table(text, table),
        DeValue::Datetime(_) => Value::Other("a date"),
    };
    Node { line, value }
}

/// Reads JSON.
///
/// # Errors
/// The first place that is not JSON.
pub fn from_json(text: &str) -> Result<Node, Vec<Malformed>> {
    serde_json::from_str::<serde_json::Value>(text)
        .map(json_node)
        .map_err(|fault| vec![Malformed { line: Some(fault.line()), fault: fault.to_string() }])
}

fn json_node(value: serde_json::Value) -> Node {
    use serde_json::Value as Json;
    let entry = |(key, value)| Entry { key, line: None, node: json_node(value) };
    let value = match value {
        Json::Null => Value::Other("null"),
        Json::Bool(value) => Value::Bool(value),
        Json::Number(value) => Value::Number(value.to_string()),
        Json::String(value) => Value::Text(value),
        Json::Array(items) => Value::List(items.into_iter().map(json_node).collect()),
        Json::Object(table) => Value::Table(table.into_iter().map(entry).collect()),
    };
    Node { line: None, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let node = from_toml("name = \"a\"\n\n[env]\nA = \"b\"\n").unwrap();
        let Value::Table(entries) = node.value else { panic!("a document is a table") };
        let lines: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.line)).collect();
        assert_eq!(lines, [("env", Some(3)), ("name", Some(1))]);
    }

    #[test]
    fn what_is_not_toml_is_named_by_line() {
        let faults = from_toml("name = \"a\"\nseed = = 3\n").unwrap_err();
        assert_eq!(faults[0].line, Some(2));
    }

    #[test]
    fn json_and_toml_read_alike() {
        let json = from_json(r#"{"lr": 0.10, "on": true, "list": ["a"]}"#).unwrap();
        let toml = from_toml("list = [\"a\"]\nlr = 0.1\non = true\n").unwrap();
        fn strip(mut node: Node) -> Node {
            node.line = None;
            match &mut node.value {
                Value::List(items) => items.iter_mut().for_each(|i| *i = strip(i.clone())),
                Value::Table(entries) => entries.iter_mut().for_each(|entry| {
                    entry.line = None;
                    entry.node = strip(entry.node.clone());
                }),
                _ => {}
            }
            node
        }
        assert_eq!(strip(json), strip(toml));
    }
}
