//! What the event of a node that registers anew says.

use super::{
    dataset_test::raise,
    script::{Script, machine},
};
use domain::node::Inventory;
use registry::ledger::view as ledger;
use serde_json::{Value, json};

/// What the newest event says has changed.
fn changed(script: &Script) -> Value {
    let events = ledger::events(&script.rows, 1, 1_000);
    let event: Value = serde_json::from_str(&events.last().unwrap().payload).unwrap();
    find(&event).cloned().unwrap_or_default()
}

fn find(value: &Value) -> Option<&Value> {
    match value {
        Value::Object(map) => map.get("changed").or_else(|| map.values().find_map(find)),
        Value::Array(all) => all.iter().find_map(find),
        _ => None,
    }
}

#[test]
fn the_event_of_a_node_that_registers_anew_says_what_has_changed() {
    let mut script = Script::new();
    let first = machine("a", 3, "NVIDIA H100");
    script.register(first.clone());
    let updated = Inventory { driver_version: "560.2".into(), ..first.clone() };
    script.register(updated.clone());
    assert_eq!(changed(&script), Value::Null, "a cluster of the version before says nothing");
    raise(&mut script);
    script.register(first.clone());
    let driver = json!([{ "what": "driver", "before": "560.2", "after": "550.1" }]);
    assert_eq!(changed(&script), driver);

    let mut lost = Inventory { kernel: "6.2".into(), ..first.clone() };
    lost.gpus.remove(1);
    script.register(lost.clone());
    let gone = json!([
        { "what": "kernel", "before": "6.1", "after": "6.2" },
        { "what": "gpu", "before": "1 GPU-a-1: NVIDIA H100, 85899345920 B, 9.0", "after": "" },
    ]);
    assert_eq!(changed(&script), gone);

    let events = ledger::events(&script.rows, 1, 1_000).len();
    script.register(lost);
    assert_eq!(ledger::events(&script.rows, 1, 1_000).len(), events, "nothing is new");
}
