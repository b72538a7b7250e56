//! What a node tells of its machine is shown, and what changes of it is of record once.

use super::{
    command::{Command, Refusal, Reply},
    dataset_test::raise,
    key,
    script::{Script, machine},
};
use domain::{
    Bytes, MegaBits, NodeId,
    hardware::{Disk, Hardware, HostHardware, Network},
    limit,
};
use registry::ledger::view as ledger;
use serde_json::{Value, json};

fn disk(name: &str) -> Disk {
    Disk { name: name.into(), size: Bytes(1 << 40), rotates: false }
}

fn told(disks: &[&str], rate: Option<u64>) -> Hardware {
    let networks = vec![Network { name: "eth0".into(), rate: rate.map(MegaBits) }];
    let disks = disks.iter().map(|name| disk(name)).collect();
    let host = HostHardware { disks, networks, ..HostHardware::default() };
    Hardware { host, ..Hardware::default() }
}

fn tell(script: &mut Script, node: u32, hardware: Hardware) -> Reply {
    let hardware = Box::new(hardware);
    script.send(None, Command::Hardware { node: NodeId(node), hardware })
}

fn shown(script: &Script, name: &str) -> Vec<Option<Hardware>> {
    let found = script.view().nodes_named_in_full(&script.rows, name);
    found.into_iter().map(|node| node.hardware).collect()
}

fn events(script: &Script) -> Vec<Value> {
    let all = ledger::events(&script.rows, 1, 1_000);
    let of = all.iter().filter(|event| event.payload.contains("node.changed"));
    of.map(|event| serde_json::from_str(&event.payload).unwrap()).collect()
}

#[test]
fn what_changes_of_a_machine_is_of_record_once() {
    let mut script = Script::new();
    script.register(machine("a", 0, ""));
    raise(&mut script);
    for (disks, rate, changes) in [
        (&["nvme0n1", "sda"][..], Some(400_000), 0),
        (&["nvme0n1", "sda"][..], Some(400_000), 0),
        (&["nvme0n1"][..], Some(400_000), 1),
        (&["nvme0n1"][..], None, 2),
    ] {
        let reply = tell(&mut script, 1, told(disks, rate));
        assert!(matches!(reply, Reply::Done { .. }), "{reply:?}");
        assert_eq!(shown(&script, "a"), [Some(told(disks, rate))]);
        assert_eq!(events(&script).len(), changes);
    }
    let last = &events(&script)[1]["members"][0];
    let expected =
        json!([{ "after": "eth0 down", "before": "eth0 400000 Mbit/s", "what": "networks" }]);
    assert_eq!(last["changed"], expected);
    // By number as well; in the list of all it is left out.
    assert_eq!(shown(&script, "n1").len(), 1);
    assert!(script.view().nodes(&script.rows).iter().all(|node| node.hardware.is_none()));
}

#[test]
fn a_boot_is_in_the_registration_alone() {
    let mut script = Script::new();
    script.register(machine("a", 0, ""));
    raise(&mut script);
    let mut hardware = told(&["sda"], None);
    tell(&mut script, 1, hardware.clone());
    hardware.host.boot_id = "after".into();
    tell(&mut script, 1, hardware.clone());
    assert_eq!(shown(&script, "a"), [Some(hardware)]);
    assert_eq!(events(&script), [] as [Value; 0]);
}

#[test]
fn nobodys_machine_an_endless_one_and_one_before_its_version_change_nothing() {
    let mut script = Script::new();
    script.register(machine("a", 0, ""));
    let early = tell(&mut script, 1, told(&["sda"], None));
    assert!(matches!(early, Reply::Refused(Refusal::NotYet { .. })), "{early:?}");
    raise(&mut script);
    let absent = tell(&mut script, 7, told(&["sda"], None));
    assert!(matches!(absent, Reply::Refused(Refusal::NotFound { .. })), "{absent:?}");
    let name = "d".repeat(limit::HARDWARE_MAX);
    let endless = tell(&mut script, 1, told(&[&name], None));
    let Reply::Refused(refusal @ Refusal::Limit { .. }) = endless else { panic!("{endless:?}") };
    assert!(refusal.to_string().contains("the description of node n1"), "{refusal}");
    assert!(!script.rows.contains_key(&key::hardware(NodeId(1))));
}
