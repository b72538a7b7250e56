//! Rotation and revocation, with keys in files; what verifiers say of old results.

use super::{
    events,
    harness::{
        User,
        cluster::{Cluster, SERVERS},
    },
    model_keys, signer, submit, until,
};
use serde_json::Value;
use std::fs;

fn checks(user: &User, words: &[&str]) -> Vec<(String, bool, String)> {
    let report = user.json(words).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap().iter();
    checks
        .map(|check| (text(&check["name"]), check["ok"].as_bool().unwrap(), text(&check["detail"])))
        .collect()
}

fn failed(user: &User, words: &[&str]) -> Vec<(String, String)> {
    let all = checks(user, words).into_iter().filter(|(_, ok, _)| !ok);
    all.map(|(name, _, detail)| (name, detail)).collect()
}

#[test]
fn an_old_result_is_verified_by_the_key_that_counted_when_it_was_sealed() {
    let mut cluster = Cluster::start();
    let user = User { profile: cluster.user.profile.clone() };
    let user = &user;
    let folder = cluster.dir().to_owned();
    let path = |name: &str| folder.join(name).display().to_string();
    let (old_export, new_export, keys) = (path("old"), path("new"), path("keys.json"));
    user.run_job("old");
    user.ok(&["artifact", "export", "a1", &old_export]);
    let first = signer(user, "a1");

    // A new key is made, laid beside the first, known after a rolling restart, and used when an
    // admin says so: not before.
    user.ok(&["key", "new", &path("keys/model-2.key.pem")]);
    for name in SERVERS {
        cluster.stop(name);
        cluster.run(name);
        user.ready(2);
    }
    user.until("the new key stands by", |user| (model_keys(user).len() == 2).then_some(()));
    user.run_job("between");
    assert_eq!(signer(user, "a2"), first);
    let second = model_keys(user).into_iter().find(|kid| *kid != first).unwrap();
    user.fails(4, &["key", "rotate", "ffffffffff"]);
    user.ok(&["key", "rotate", &second[..10], "--overlap", "1h"]);
    user.run_job("new");
    assert_eq!(signer(user, "a3"), second);
    user.ok(&["artifact", "export", "a3", &new_export]);
    user.ok(&["key", "export", &keys]);
    for artifact in ["a1", "a2", "a3"] {
        user.ok(&["verify", artifact]);
    }
    for dir in [&old_export, &new_export] {
        user.ok(&["verify", "--offline", dir, "--keys", &keys]);
    }
    // The bare key of a result is no word on another.
    let bare = format!("{new_export}/model.pub.pem");
    let found = failed(user, &["verify", "--offline", &old_export, "--keys", &bare]);
    assert_eq!(found[0].0, "trusted key");

    // The chain is checked with bare model keys as well: they vouch for those that signed it.
    user.ok(&["audit", "verify", "--keys", &keys]);
    let found = user.fails(7, &["audit", "verify", "--keys", &bare]);
    assert!(found.contains("no public key of signer"), "{found}");

    // What the first key signed before it was revoked still counts; from then on, nothing does.
    let sealed = events(user, "registry.artifact.registered")[1]["ts"].as_str().unwrap().to_owned();
    let reason = ["--reason", "its file was copied"];
    user.ok(&[&["key", "revoke", &first, "--since", &sealed], &reason[..]].concat());
    user.ok(&["verify", "a1"]);
    let found = failed(user, &["verify", "a2"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].0 == "time of key" && found[0].1.contains("its file was copied"), "{found:?}");
    user.fails(7, &["verify", "a2"]);
    user.fails(3, &["model", "register", "digits", "--artifact", "a2"]);
    user.ok(&["model", "register", "digits", "--artifact", "a1"]);
    // Offline too, with the keys as they are now; the exports bring the time of their seal.
    fs::remove_file(&keys).unwrap();
    user.ok(&["key", "export", &keys]);
    user.ok(&["verify", "--offline", &old_export, "--keys", &keys]);
    user.fails(3, &[&["key", "revoke", &first], &reason[..]].concat());

    // With the key that seals revoked, jobs wait; another one puts that right.
    user.ok(&[&["key", "revoke", &second], &reason[..]].concat());
    submit(user, "late");
    until(user, &["late"], "sealing");
    assert!(user.ok(&["key", "list"]).contains("revoked"));
    let why = user.until("`why` names the revoked key", |user| {
        let text = user.ok(&["why", "name=late"]);
        text.contains("counts no more").then_some(text)
    });
    assert!(why.contains(&second[..12]) && why.contains("its file was copied"), "{why}");
    assert!(why.contains("assay key rotate"), "{why}");
    user.fails(3, &["key", "rotate", &first]);
    user.ok(&["key", "new", &path("keys/model-3.key.pem")]);
    for name in SERVERS {
        cluster.stop(name);
        cluster.run(name);
        user.ready(2);
    }
    user.until("the third key stands by", |user| (model_keys(user).len() == 3).then_some(()));
    let third = model_keys(user).into_iter().find(|kid| ![&first, &second].contains(&kid)).unwrap();
    user.ok(&["key", "rotate", &third]);
    until(user, &["late"], "completed");
    assert_eq!(signer(user, "a4"), third);
    user.ok(&["audit", "verify"]);
    let kinds = ["key.introduced", "key.delegated", "key.rotated", "key.revoked"];
    assert_eq!(kinds.map(|kind| !events(user, kind).is_empty()), [true; 4]);
}

#[test]
fn a_server_that_requires_a_key_store_refuses_keys_in_files() {
    let mut cluster = Cluster::set_up();
    cluster.set_env("REQUIRE_KMS", "true");
    let ended = cluster.run_to_end("server-1");
    assert!(!ended.status.success());
    let said = crate::harness::said(&ended);
    assert!(said.contains("REQUIRE_KMS") && said.contains("kms, pkcs11 or proxy"), "{said}");
}
