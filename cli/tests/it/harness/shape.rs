//! Documents without their values: what programs have come to rely on.

use super::User;
use serde_json::{Value, json};

/// A document without its values: each is the name of its kind. The schema stays.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("string"),
        Value::Array(all) => all.first().map_or(json!([]), |first| json!([shape(first)])),
        Value::Object(all) => {
            let kept = |(key, value): (&String, &Value)| {
                let kind = if key == "schema" { value.clone() } else { shape(value) };
                (key.clone(), kind)
            };
            Value::Object(all.iter().map(kept).collect())
        }
    }
}

/// As text.
pub fn lines(document: &Value) -> String {
    serde_json::to_string_pretty(&shape(document)).unwrap() + "\n"
}

/// The shape of what a command answers with.
pub fn document(user: &User, words: &[&str]) -> String {
    let text = user.ok(&[&["--json"], words].concat());
    lines(&serde_json::from_str(&text).unwrap())
}
