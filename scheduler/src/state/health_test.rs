//! GPUs that are held back, from their node's word to the operator's.

use super::{
    Cluster,
    command::{Command, Effect, Refusal, Reply},
    script::{Script, machine},
};
use domain::{
    LogIndex, Millis, NodeId,
    health::{HeldGpu, HeldState},
    limit,
};

/// GPU `index` of machine `a`, held back.
pub fn held(index: u32, state: HeldState, since: u64) -> HeldGpu {
    let offers = machine("a", index + 1, "H100").gpus.pop();
    HeldGpu {
        index,
        uuid: format!("GPU-a-{index}"),
        offers: offers.into_iter().collect(),
        state,
        symptom: "Xid 79: the GPU fell off the bus".into(),
        advice: "boot".into(),
        since: Millis(since),
        refused: LogIndex(0),
    }
}

fn tell(script: &mut Script, node: NodeId, gpus: Vec<HeldGpu>) -> Reply {
    script.send(None, Command::Health { node, gpus })
}

fn accept(script: &mut Script, node: &str, gpu: &str) -> Reply {
    script.send(None, Command::AcceptGpu { node: node.into(), gpu: gpu.into() })
}

fn kinds(script: &Script) -> Vec<String> {
    let page = script.view().audit(&script.rows, 1, 100);
    let kind = |text: &str| -> String {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value["eventType"].as_str().unwrap().to_owned()
    };
    page.events.iter().map(|event| kind(&event.payload)).collect()
}

#[test]
fn an_acceptance_reaches_the_node_until_it_is_obeyed_refused_or_void() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    tell(&mut script, node, vec![held(1, HeldState::Quarantined, 5)]);
    script.effects.clear();
    accept(&mut script, "a", "1");
    assert!(script.effects.contains(&Effect::Wanted { node }));
    let at = script.at;
    accept(&mut script, "a", "GPU-a-1");
    let words = script.view().acceptances(node);
    assert_eq!((words.len(), words[0].at, words[0].since), (1, at, Millis(5)), "said once");

    tell(&mut script, node, vec![held(1, HeldState::Quarantined, 5)]);
    assert_eq!(script.view().acceptances(node), words, "a word that crossed it changes nothing");
    let refused = HeldGpu { refused: at, ..held(1, HeldState::Quarantined, 5) };
    tell(&mut script, node, vec![refused]);
    assert_eq!(script.view().acceptances(node), []);

    accept(&mut script, "a", "1");
    assert_eq!(script.view().acceptances(node).len(), 1);
    tell(&mut script, node, vec![held(1, HeldState::Quarantined, 6)]);
    assert_eq!(script.view().acceptances(node), [], "it has had a symptom since");

    accept(&mut script, "a", "1");
    tell(&mut script, node, vec![]);
    assert_eq!(script.view().health(node).unwrap().gpus, []);
    assert_eq!(
        kinds(&script),
        [
            "node.registered",
            "gpu.held_back",
            "gpu.accepted",
            "gpu.accepted",
            "gpu.accepted",
            "gpu.released"
        ]
    );
}

#[test]
fn only_a_gpu_in_quarantine_is_accepted() {
    let mut script = Script::new();
    let node = script.register(machine("a", 1, "H100"));
    tell(&mut script, node, vec![held(1, HeldState::Draining, 5)]);
    let state = |reply| match reply {
        Reply::Refused(Refusal::WrongState { state, .. }) => state,
        other => panic!("{other:?}"),
    };
    assert_eq!(state(accept(&mut script, "a", "0")), "serving");
    assert!(state(accept(&mut script, "a", "1")).starts_with("draining"));
    for (node, gpu) in [("a", "7"), ("b", "0")] {
        let reply = accept(&mut script, node, gpu);
        assert!(matches!(reply, Reply::Refused(Refusal::NotFound { .. })), "{reply:?}");
    }
}

#[test]
fn what_is_held_back_is_known_after_a_restart_and_bounded() {
    let mut script = Script::new();
    let node = script.register(machine("a", 0, "H100"));
    tell(&mut script, node, vec![held(0, HeldState::Quarantined, 5)]);
    accept(&mut script, "a", "0");
    assert_eq!(Cluster::load(&script.rows), script.cluster);
    let before = script.view().health(node).cloned();
    let long = "x".repeat(limit::HELD_TEXT_MAX + 1);
    let bad = [
        vec![HeldGpu { symptom: long, ..held(0, HeldState::Quarantined, 5) }],
        vec![held(0, HeldState::Quarantined, 5); 2],
        (0..=limit::NODE_GPUS_MAX as u32).map(|i| held(i, HeldState::Draining, 5)).collect(),
    ];
    for gpus in bad {
        assert!(matches!(tell(&mut script, node, gpus), Reply::Refused(_)));
    }
    assert_eq!(script.view().health(node).cloned(), before);
    let unknown = tell(&mut script, NodeId(9), vec![]);
    assert!(matches!(unknown, Reply::Refused(Refusal::NotFound { .. })));
}
