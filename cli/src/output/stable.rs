//! The documents that programs read: a schema's name, UTC times, units in the names.

use crate::quantity;
use domain::Millis;
use serde::Serialize;
use serde_json::{Map, Value};

/// Fields that hold a time, in ms since the Unix epoch.
const TIMES: [&str; 22] = [
    "back",
    "drained_at",
    "due",
    "ended",
    "ends",
    "expires",
    "first_at",
    "from_time",
    "granted",
    "last_try",
    "next_try",
    "opened",
    "p50",
    "p90",
    "registered",
    "renewed",
    "requested",
    "sealed",
    "since",
    "starts",
    "submitted",
    "told",
];

/// Fields that hold an amount, and the name that carries its unit.
const AMOUNTS: [(&str, &str); 15] = [
    ("budget_period", "budget_period_ms"),
    ("cpu", "cpu_millis"),
    ("cpu_used", "cpu_used_millis"),
    ("disk", "disk_bytes"),
    ("estimate", "estimate_ms"),
    ("gpu_memory", "gpu_memory_bytes"),
    ("held_cpu", "held_cpu_millis"),
    ("held_memory", "held_memory_bytes"),
    ("max_age", "max_age_ms"),
    ("memory", "memory_bytes"),
    ("memory_used", "memory_used_bytes"),
    ("min_run", "min_run_ms"),
    ("size", "size_bytes"),
    ("time_limit", "time_limit_ms"),
    ("warn", "warn_ms"),
];

/// A value as the document `schema`: `job` becomes `job/v1`.
///
/// A value that is no object stands under `items`.
#[must_use]
pub fn document<T: Serialize>(schema: &str, value: &T) -> Value {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let mut document = match stable(value) {
        Value::Object(map) => map,
        other => Map::from_iter([("items".to_owned(), other)]),
    };
    document.insert("schema".into(), Value::String(format!("{schema}/v1")));
    Value::Object(document)
}

fn stable(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(stable).collect()),
        Value::Object(map) => Value::Object(map.into_iter().map(field).collect()),
        other => other,
    }
}

/// Numbers under the listed names are rewritten; a user's own names hold texts or objects.
fn field((name, value): (String, Value)) -> (String, Value) {
    if let Some(number) = value.as_u64() {
        if TIMES.contains(&name.as_str()) {
            return (name, Value::String(quantity::show_time(Millis(number))));
        }
        if name == "ts_us" {
            return ("ts".into(), Value::String(quantity::show_time_us(number)));
        }
        if let Some((_, unit)) = AMOUNTS.iter().find(|(plain, _)| *plain == name) {
            return ((*unit).to_owned(), value);
        }
    }
    if name == "attempt"
        && let Some(number) = value.as_str().and_then(|text| text.strip_prefix('#')?.parse().ok())
    {
        return (name, Value::Number(u32::into(number)));
    }
    // Counts by the words of kinds of failure, one of which is that of a time.
    if name == "max" {
        return (name, value);
    }
    if name == "bytes" && value.is_array() {
        return (name, hex_of(&value));
    }
    (name, stable(value))
}

/// A list of byte values as hex digits.
fn hex_of(value: &Value) -> Value {
    let byte = |v: &Value| v.as_u64().and_then(|n| u8::try_from(n).ok());
    let bytes: Option<Vec<u8>> =
        value.as_array().and_then(|items| items.iter().map(byte).collect());
    bytes.map_or_else(|| value.clone(), |bytes| Value::String(hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_utc_and_amounts_carry_their_unit() {
        let value = json!({
            "submitted": 1000, "ended": null, "ts_us": 1_000_001, "attempt": "#3",
            "spec": {
                "memory": 5, "time_limit": null, "env": {"size": "big"},
                "retry": {"max": {"time_limit": 2}},
            },
        });
        assert_eq!(
            document("job", &value),
            json!({
                "schema": "job/v1",
                "submitted": "1970-01-01T00:00:01.000Z",
                "ended": null,
                "ts": "1970-01-01T00:00:01.000001Z",
                "attempt": 3,
                "spec": {
                    "memory_bytes": 5, "time_limit": null, "env": {"size": "big"},
                    "retry": {"max": {"time_limit": 2}},
                },
            })
        );
    }
}
