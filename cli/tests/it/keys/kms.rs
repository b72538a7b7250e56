//! AWS KMS: an emulator behind a proxy that makes it fail.

use super::{
    emulator::Emulator,
    events,
    fault_proxy::{FaultProxy, Mood},
    harness::{cluster::Cluster, until as until_found},
    model_keys, signer, state, submit, until,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use registry::seal::keys;

/// A cluster that signs with keys of a KMS behind `proxy`, and with no others.
fn cluster(proxy: &FaultProxy, keys: &[&str]) -> Cluster {
    let mut cluster = Cluster::set_up();
    let names: Vec<_> = keys.iter().map(|key| format!("\"{key}\"")).collect();
    let table = format!(
        "kind = \"kms\"\nkeys = [{}]\nregion = \"us-east-1\"\nendpoint = \"http://{}\"\n\
         rotate_events = \"3s\"\n",
        names.join(", "),
        proxy.address
    );
    cluster.sign_with(&table);
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("REQUIRE_KMS", "true"),
    ] {
        cluster.set_env(name, value);
    }
    cluster.start_all();
    cluster
}

#[test]
fn a_kms_that_is_down_busy_or_slow_delays_seals_and_nothing_is_lost_or_signed_twice() {
    let emulator = Emulator::start();
    let proxy = FaultProxy::start(emulator.address());
    let mut cluster = cluster(&proxy, &[&emulator.key()]);
    let user = crate::harness::User { profile: cluster.user.profile.clone() };
    let user = &user;
    user.run_job("before");
    user.ok(&["verify", "a1"]);

    // Its GPUs and processors are free again while a job waits for its signature.
    proxy.set(Mood::Down);
    for name in ["one", "two"] {
        submit(user, name);
    }
    until(user, &["one", "two"], "sealing");
    let leader = format!("server-{}", &user.leader()[1..]);
    cluster.kill(&leader);
    cluster.run(&leader);
    user.ready(2);
    the_key_fault_is_named(user, "down", "is out of reach");
    proxy.set(Mood::Throttling);
    the_key_fault_is_named(user, "throttled", "is throttled: ThrottlingException");
    until_found("calls were throttled", || (proxy.met("throttling") > 3).then_some(()));
    submit(user, "three");
    until(user, &["three"], "sealing");
    proxy.set(Mood::Slow);
    until_found("calls were slow", || (proxy.met("slow") > 0).then_some(()));
    assert_eq!(["one", "two", "three"].map(|name| state(user, name)), ["sealing"; 3]);
    assert_eq!(user.json(&["artifacts"]).unwrap()["artifacts"].as_array().unwrap().len(), 1);

    proxy.set(Mood::Awake);
    until(user, &["one", "two", "three"], "completed");
    assert_eq!(
        user.json(&["why", "name=two"]).unwrap().get("seals"),
        None,
        "nothing is waited for"
    );
    for artifact in ["a1", "a2", "a3", "a4"] {
        user.ok(&["verify", artifact]);
    }
    user.ok(&["audit", "verify"]);
    // Each server has shown once that it can sign with the key; everything else was signed once.
    let mut signed = proxy.signed();
    let shown = keys::introduction(&model_keys(user)[0]);
    signed.remove(&STANDARD.encode(domain::Digest::of(&shown).0));
    let twice: Vec<_> = signed.iter().filter(|(_, times)| **times > 1).collect();
    assert_eq!(twice, [], "each digest was signed once");
    // A model's statement and its provenance, for four results, are among them.
    assert!(signed.len() >= 8, "{signed:?}");
    assert_eq!(events(user, "registry.artifact.registered").len(), 4);
}

/// Waits until `assay why` names the key and this fault, and looks at what it says: to whichever
/// server is asked.
fn the_key_fault_is_named(user: &crate::harness::User, fault: &str, words: &str) {
    let why = user.until(&format!("`why` says that the key is {fault}"), |user| {
        let why = user.json(&["why", "name=two"])?;
        (why["seals"][0]["fault"] == fault).then_some(why)
    });
    let (wait, reason) = (&why["seals"][0], &why["reasons"][0]);
    assert_eq!((&why["state"], &reason["kind"]), (&"sealing".into(), &"key".into()), "{why}");
    assert!(wait["signer"].as_str().unwrap().starts_with("kms:"), "{why}");
    assert_eq!(wait["custody"], "kms");
    // Times are texts that sort as the times do.
    let time = |name: &str| wait[name].as_str().unwrap();
    assert!(wait["tries"].as_u64().unwrap() > 0 && time("since") <= time("last_try"), "{why}");
    assert!(time("last_try") <= time("told"), "{why}");
    let text = user.ok(&["why", "name=two"]);
    assert!(text.contains("holds no GPU") && text.contains("AWS KMS key `"), "{text}");
    assert!(text.contains(words) && text.contains("by server r"), "{text}");
    assert!(text.contains("it is sealed by itself then"), "{text}");
    assert!(text.len() < 1_000, "it reads well: {text}");
}

#[test]
fn keys_of_a_kms_are_rotated_and_a_disabled_one_is_named() {
    let emulator = Emulator::start();
    let proxy = FaultProxy::start(emulator.address());
    let (first, second) = (emulator.key(), emulator.key());
    let cluster = cluster(&proxy, &[&first, &second]);
    let user = &cluster.user;
    user.until("both keys are known", |user| (model_keys(user).len() == 2).then_some(()));
    let view = user.json(&["key", "list"]).unwrap();
    let before = view["active"].as_str().unwrap().to_owned();
    let next = model_keys(user).into_iter().find(|kid| *kid != before).unwrap();
    user.run_job("old");
    user.ok(&["key", "rotate", &next[..12], "--overlap", "1h"]);
    user.run_job("new");
    assert_eq!((signer(user, "a1"), signer(user, "a2")), (before, next.clone()));
    for artifact in ["a1", "a2"] {
        user.ok(&["verify", artifact]);
    }

    // Keys for events are replaced by themselves, each with the word of the key that seals.
    let start = events(user, "key.delegated").len();
    user.until("each server has another key for events", |user| {
        (events(user, "key.delegated").len() >= start + 3).then_some(())
    });
    let delegated = events(user, "key.delegated");
    assert!(delegated.iter().any(|event| event["by"] == next.as_str()), "{delegated:?}");
    user.ok(&["audit", "verify"]);

    let disabled = user.json(&["key", "list"]).unwrap()["active"].as_str().unwrap().to_owned();
    assert_eq!(disabled, next);
    for key in [&first, &second] {
        emulator.call("DisableKey", &serde_json::json!({ "KeyId": key }));
    }
    submit(user, "late");
    until(user, &["late"], "sealing");
    until_found("a server names the disabled key", || {
        crate::harness::cluster::SERVERS
            .iter()
            .any(|name| cluster.log(name).contains("DisabledException"))
            .then_some(())
    });
    let why = user.until("`why` says that the key is refused", |user| {
        let why = user.json(&["why", "name=late"])?;
        (why["seals"][0]["fault"] == "refused").then_some(why)
    });
    let reason = &why["reasons"][0];
    assert!(reason["detail"].as_str().unwrap().contains("DisabledException"), "{why}");
    assert!(reason["remedy"].as_str().unwrap().contains("enable the key"), "{why}");
    for key in [&first, &second] {
        emulator.call("EnableKey", &serde_json::json!({ "KeyId": key }));
    }
    until(user, &["late"], "completed");
    user.ok(&["verify", "a3"]);
    assert!(!cluster.log("server-1").contains("test/"), "no credentials in a log");
}
