//! What is told of results that wait for their seals.

use super::*;
use domain::{
    signing::{KeyRevocation, SigningKey},
    view::ReasonView,
};
use expect_test::{Expect, expect};

const NOW: Millis = Millis(100_000);

fn lease(index: u64) -> LeaseId {
    LeaseId { index, ordinal: 0 }
}

fn ticket(index: u64) -> (ElementId, LeaseId) {
    (JobId(index).into(), lease(index))
}

fn key(name: &str, from: Option<u64>) -> SigningKey {
    SigningKey {
        kid: domain::Digest::of(name.as_bytes()).to_string(),
        purpose: KeyPurpose::Model,
        public_pem: String::new(),
        custody: Custody::Kms,
        introduced: Millis(0),
        from: from.map(Millis),
        until: None,
        revoked: None,
        delegation: None,
    }
}

fn keys(keys: Vec<SigningKey>) -> KeysView {
    let active = keys.iter().find(|key| key.check(NOW).is_ok()).map(|key| key.kid.clone());
    KeysView { active, authority: String::new(), keys, now: NOW }
}

fn fault(name: &str, why: SignFault) -> SignError {
    SignError { key: name.into(), why }
}

/// Fails one ticket so and so, and tells of it.
fn told(delay: Delay, keys: &KeysView) -> Vec<ReasonView> {
    let waits = SealWaits::default();
    waits.failed(lease(7), delay.clone(), Millis(75_000));
    waits.failed(lease(7), delay, Millis(97_000));
    waits.due(lease(7), Millis(102_000));
    seal_reasons::of(&waits.of(&[ticket(7)], ReplicaId(2), NOW), keys)
}

fn check(delays: Vec<Delay>, keys: &KeysView, expected: Expect) {
    let mut out = String::new();
    for reason in delays.into_iter().flat_map(|delay| told(delay, keys)) {
        out.push_str(&format!("{}: {}\n  -> {}\n", reason.kind, reason.detail, reason.remedy));
    }
    expected.assert_eq(&out);
}

#[test]
fn each_fault_names_its_key_and_what_to_do() {
    let of = |name, custody, why| Delay::sign(&fault(name, why), Some(custody));
    check(
        vec![
            of("kms:alias/m", Custody::Kms, SignFault::Unreachable("connection refused".into())),
            of("kms:alias/m", Custody::Kms, SignFault::TimedOut(5_000)),
            of("kms:alias/m", Custody::Kms, SignFault::Throttled("ThrottlingException".into())),
            of("kms:alias/m", Custody::Kms, SignFault::Refused("DisabledException".into())),
            of("pkcs11:assay/m1", Custody::Pkcs11, SignFault::Refused("PIN is incorrect".into())),
            of("proxy:s1", Custody::Proxy, SignFault::Unreachable("502 Bad Gateway".into())),
            of("/etc/assay/m.pem", Custody::Local, SignFault::Wrong("not a key".into())),
            Delay::servers("1 of 2 servers hold the result"),
        ],
        &keys(vec![key("now", Some(0))]),
        expect![[r#"
            key: AWS KMS key `alias/m` is out of reach: connection refused; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> check the way from the servers to KMS (`region`, `endpoint`, network) and AWS's state; it is sealed by itself then
            key: AWS KMS key `alias/m` is too slow: no answer within 5000 ms; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> check the way from the servers to KMS (`region`, `endpoint`, network) and AWS's state; it is sealed by itself then
            key: AWS KMS key `alias/m` is throttled: ThrottlingException; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> have the account's request quota of KMS raised, or wait; it is sealed by itself then
            key: AWS KMS key `alias/m` is refused: DisabledException; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> enable the key, or give the servers the rights kms:Sign and kms:GetPublicKey on it; it is sealed by itself then
            key: PKCS#11 key `assay/m1` is refused: PIN is incorrect; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> correct the PIN or the key's attributes, then restart that server; it is sealed by itself then
            key: key `s1` of the platform's signing proxy is out of reach: 502 Bad Gateway; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> check that the signing proxy runs, and the way to its `url`; it is sealed by itself then
            key: local key `/etc/assay/m.pem` is not what it should be: not a key; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> correct `[signer]` in that server's configuration; it is sealed by itself then
            servers: 1 of 2 servers hold the result; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
              -> bring servers up: `assay cluster status`; it is sealed by itself then
        "#]],
    );
}

#[test]
fn a_key_that_stands_by_is_offered_and_a_revoked_one_is_named() {
    let mut revoked = key("lost", Some(0));
    revoked.revoked = Some(KeyRevocation {
        since: Millis(1),
        at: Millis(1),
        by: "ada".into(),
        reason: "laptop stolen".into(),
    });
    let down = SignFault::Unreachable("connection refused".into());
    let standby = keys(vec![key("now", Some(0)), key("next", None)]);
    let gone = keys(vec![revoked.clone(), key("next", None)]);
    let alone = keys(vec![revoked]);
    check(
        vec![Delay::sign(&fault("kms:m", down), Some(Custody::Kms))],
        &standby,
        expect![[r#"
        key: AWS KMS key `m` is out of reach: connection refused; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
          -> check the way from the servers to KMS (`region`, `endpoint`, network) and AWS's state; or seal with one that stands by: `assay key rotate c6c1c9a9c854`; it is sealed by itself then
    "#]],
    );
    check(
        vec![Delay::no_key(&gone)],
        &gone,
        expect![[r#"
        key: AWS KMS key `76f75e6129fe` counts no more: ada revoked it (laptop stolen), and no other was put into use; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
          -> put another key into use: `assay key rotate c6c1c9a9c854`; it is sealed by itself then
    "#]],
    );
    check(
        vec![Delay::no_key(&alone), Delay::no_key(&keys(vec![]))],
        &alone,
        expect![[r#"
        key: AWS KMS key `76f75e6129fe` counts no more: ada revoked it (laptop stolen), and no other was put into use; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
          -> put another key into use: add one to the servers' `[signer]`, then `assay key rotate KEY`; it is sealed by itself then
        key: no key seals: no server has shown yet that it can sign with a key; 2 tries by server r2 in 25 s, the last 3 s ago, the next in 2 s
          -> check `[signer]` in the servers' configuration; their logs say `signing keys are not in order` and why; it is sealed by itself then
    "#]],
    );
}

#[test]
fn results_that_wait_for_one_key_are_one_reason() {
    let waits = SealWaits::default();
    let throttled = || fault("kms:m", SignFault::Throttled("slow down".into()));
    for index in 1..=3 {
        waits.failed(lease(index), Delay::sign(&throttled(), Some(Custody::Kms)), NOW);
    }
    waits.failed(lease(4), Delay::servers("1 of 2 servers hold the result"), NOW);
    let all: Vec<_> = (1..=5).map(ticket).collect();
    let of = |waits: &SealWaits| waits.of(&all, ReplicaId(1), NOW);
    let reasons = seal_reasons::of(&of(&waits), &keys(vec![key("now", Some(0))]));
    assert_eq!(reasons.iter().map(|it| it.kind.as_str()).collect::<Vec<_>>(), ["key", "servers"]);
    assert!(reasons[0].detail.starts_with("3 results: AWS KMS key `m` is throttled"));
    waits.over(lease(1));
    assert_eq!(of(&waits).len(), 3);
    waits.clear();
    assert_eq!(of(&waits), []);
}

#[test]
fn no_more_is_remembered_than_there_is_room_for() {
    let waits = SealWaits::default();
    for index in 0..=HELD_MAX as u64 {
        waits.failed(lease(index), Delay::servers("down"), NOW);
    }
    assert_eq!(waits.held().len(), HELD_MAX);
    assert_eq!(shortened(&"x\n y".repeat(1_000)).len(), SAID_MAX);
}
