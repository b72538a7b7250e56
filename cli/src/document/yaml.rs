//! YAML 1.2, as far as a job file needs it.
//!
//! Anchors, aliases, tags and further documents are refused: none of them says anything that a
//! job needs, and a file without them reads the same everywhere. Plain words are texts, unless
//! they are `true`, `false`, `null` or a decimal number: `no` and `on` are texts.

use super::node::{Entry, Malformed, Node, Value};
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::borrow::Cow;

/// Levels of lists and tables in one file.
const DEPTH_MAX: usize = 32;

type Step<'a> = Result<(Event<'a>, usize), Malformed>;

/// Reads YAML.
///
/// # Errors
/// The first place that is not YAML, or is more than a job file may use.
pub fn from_yaml(text: &str) -> Result<Node, Vec<Malformed>> {
    let mut events = Parser::new_from_str(text).map(|step| match step {
        Ok((event, Span { start, .. })) => Ok((event, start.line())),
        Err(fault) => Err(at(fault.marker().line(), fault.info())),
    });
    document(&mut events).map_err(|fault| vec![fault])
}

fn at(line: usize, fault: impl Into<String>) -> Malformed {
    Malformed { line: Some(line), fault: fault.into() }
}

fn document<'a>(events: &mut impl Iterator<Item = Step<'a>>) -> Result<Node, Malformed> {
    let mut found = None;
    while let Some(step) = events.next() {
        match step? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd, _) => {}
            (Event::StreamEnd | Event::Nothing, _) => break,
            (_, line) if found.is_some() => {
                return Err(at(line, "holds a second document; write one job a file"));
            }
            (event, line) => found = Some(node(events, event, line, 0)?),
        }
    }
    Ok(found.unwrap_or(Node { line: Some(1), value: Value::Table(Vec::new()) }))
}

fn node<'a>(
    events: &mut impl Iterator<Item = Step<'a>>,
    event: Event<'a>,
    line: usize,
    depth: usize,
) -> Result<Node, Malformed> {
    if depth > DEPTH_MAX {
        return Err(at(line, format!("is nested deeper than {DEPTH_MAX} levels")));
    }
    let value = match event {
        Event::Scalar(_, _, 1.., _)
        | Event::SequenceStart(1.., _)
        | Event::MappingStart(1.., _) => {
            return Err(at(line, "sets an anchor; write the value where it is needed"));
        }
        Event::Scalar(_, _, _, Some(_))
        | Event::SequenceStart(_, Some(_))
        | Event::MappingStart(_, Some(_)) => {
            return Err(at(line, "has a tag; write the value without it"));
        }
        Event::Alias(_) => return Err(at(line, "is an alias; write the value itself")),
        Event::Scalar(text, style, ..) => scalar(text, style),
        Event::SequenceStart(..) => list(events, depth)?,
        Event::MappingStart(..) => table(events, depth)?,
        Event::Nothing
        | Event::StreamStart
        | Event::StreamEnd
        | Event::DocumentStart(_)
        | Event::DocumentEnd
        | Event::SequenceEnd
        | Event::MappingEnd => return Err(at(line, "ends before its value")),
    };
    Ok(Node { line: Some(line), value })
}

fn list<'a>(events: &mut impl Iterator<Item = Step<'a>>, depth: usize) -> Result<Value, Malformed> {
    let mut items = Vec::new();
    while let Some(step) = events.next() {
        match step? {
            (Event::SequenceEnd, _) => break,
            (event, line) => items.push(node(events, event, line, depth + 1)?),
        }
    }
    Ok(Value::List(items))
}

fn table<'a>(
    events: &mut impl Iterator<Item = Step<'a>>,
    depth: usize,
) -> Result<Value, Malformed> {
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(step) = events.next() {
        let (key, line) = match step? {
            (Event::MappingEnd, _) => break,
            (Event::Scalar(key, _, 0, None), line) => (key.into_owned(), line),
            (_, line) => return Err(at(line, "has a key that is no plain text")),
        };
        if entries.iter().any(|entry| entry.key == key) {
            return Err(at(line, format!("key `{key}` stands twice")));
        }
        let Some(step) = events.next() else { break };
        let (event, at_line) = step?;
        let node = node(events, event, at_line, depth + 1)?;
        entries.push(Entry { key, line: Some(line), node });
    }
    // As the readers of the other languages give them.
    entries.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Value::Table(entries))
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.into_owned());
    }
    match &*text {
        "" | "~" | "null" => Value::Other("null"),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number if is_number(number) => Value::Number(text.into_owned()),
        _ => Value::Text(text.into_owned()),
    }
}

/// Whether it is a number in JSON's form, and so the same in every language that we read.
fn is_number(text: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::{super::node::from_toml, *};

    #[test]
    fn yaml_and_toml_read_alike_down_to_the_line() {
        let yaml = "name: train\ncommand: [\"./train\", -v]\nseed: 7\nresources:\n  gpus: 2\n  memory: 32GiB\n";
        let toml = "name = \"train\"\ncommand = [\"./train\", \"-v\"]\nseed = 7\n[resources]\ngpus = 2\nmemory = \"32GiB\"\n";
        let (yaml, toml) = (from_yaml(yaml).unwrap(), from_toml(toml).unwrap());
        let Value::Table(yaml) = yaml.value else { panic!("a document is a table") };
        let Value::Table(toml) = toml.value else { panic!("a document is a table") };
        let keys = |table: &[Entry]| -> Vec<_> {
            table.iter().map(|entry| (entry.key.clone(), entry.line)).collect()
        };
        assert_eq!(keys(&yaml), keys(&toml));
        assert_eq!(yaml[0].node.value, toml[0].node.value, "command");
        assert_eq!(yaml[3].node.value, toml[3].node.value, "seed");
    }

    #[test]
    fn words_are_texts_and_only_true_false_null_and_numbers_are_not() {
        let value = |text: &str| {
            let node = from_yaml(&format!("key: {text}\n")).unwrap();
            let Value::Table(entries) = node.value else { panic!("a document is a table") };
            entries[0].node.value.clone()
        };
        for word in ["no", "on", "NO", "yes", "2026-01-31", "1.2.3", "0x10", "012", "1_000"] {
            assert_eq!(value(word), Value::Text(word.into()), "{word}");
        }
        assert_eq!(value("\"7\""), Value::Text("7".into()));
        assert_eq!(value("0.10"), Value::Number("0.10".into()));
        assert_eq!(value("true"), Value::Bool(true));
        assert_eq!(value(""), Value::Other("null"));
        assert_eq!(value("|\n  a\n  b"), Value::Text("a\nb\n".into()));
    }

    #[test]
    fn what_a_job_file_may_not_use_is_named_by_line() {
        let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
        for (text, line, word) in [
            ("a: &x 1\nb: 2\n", 1, "anchor"),
            ("a: 1\nb: !!str 2\n", 2, "tag"),
            ("a: 1\na: 2\n", 2, "twice"),
            ("a: 1\n---\nb: 2\n", 3, "second document"),
            ("a: 1\n? [b]\n: 2\n", 2, "no plain text"),
            (&deep, 1, "deeper"),
            ("a: [1\nb: 2\n", 2, ""),
        ] {
            let faults = from_yaml(text).unwrap_err();
            assert!(faults[0].fault.contains(word), "{text}: {faults:?}");
            assert_eq!(faults[0].line, Some(line), "{text}: {faults:?}");
        }
    }
}
