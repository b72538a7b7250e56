//! Who signs for a cluster, with real processes: key stores that are slow, down or wrong, rotation
//! and revocation.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod emulator;
mod fault_proxy;
mod hsm;
mod kms;
mod platform;
mod rotation;

use crate::harness::{self, User};
use serde_json::Value;

/// The state of a job, by name.
fn state(user: &User, name: &str) -> String {
    user.states().get(name).cloned().unwrap_or_default()
}

/// Submits a job that writes one small file, and does not wait.
fn submit(user: &User, name: &str) {
    let script = format!("echo {name} > \"$ASSAY_OUTPUT_DIR/answer\"");
    user.ok(&["submit", "--name", name, "--cpus", "0.5", "--", "sh", "-c", &script]);
}

/// Waits until jobs are in a state.
fn until(user: &User, names: &[&str], wanted: &str) {
    user.until(&format!("{names:?} are {wanted}"), |user| {
        names.iter().all(|name| state(user, name) == wanted).then_some(())
    });
}

/// Ids of the model keys, in order of their introduction.
fn model_keys(user: &User) -> Vec<String> {
    let document = user.until("keys are listed", |user| user.json(&["key", "list"]));
    let keys = document["keys"].as_array().unwrap().iter();
    let models = keys.filter(|key| key["purpose"] == "model");
    models.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The key that an artifact was sealed with.
fn signer(user: &User, artifact: &str) -> String {
    let shown = user.json(&["artifact", "show", artifact]).unwrap();
    find(&shown, "signer").unwrap()
}

fn find(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(map) => match map.get(name) {
            Some(Value::String(text)) => Some(text.clone()),
            _ => map.values().find_map(|inner| find(inner, name)),
        },
        Value::Array(all) => all.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}

/// Events of the audit chain of this kind.
fn events(user: &User, kind: &str) -> Vec<Value> {
    let page = user.json(&["audit", "list", "--limit", "1000"]).unwrap();
    let payload = |event: &Value| -> Value {
        serde_json::from_str(event["payload"].as_str().unwrap()).unwrap()
    };
    let all = page["events"].as_array().unwrap().iter().map(payload);
    all.filter(|event| event["eventType"] == kind).collect()
}
