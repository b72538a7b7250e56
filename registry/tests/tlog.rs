//! The transparency log beside Go's `golang.org/x/mod/sumdb`, and its figures.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    Digest, Millis,
    audit::{AuditEvent, EventSignature},
    scratch::Scratch,
};
use ed25519_dalek::{Signer, SigningKey};
use registry::{
    ledger::{Ledger, prove, view},
    seal::{
        audit::ChainCheck,
        tlog::{
            Checkpoint, Frontier, NoteKey, Proof, SignedNote, Tree, consistency_proof,
            inclusion_proof, leaf_hash, verify_inclusion,
        },
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

const SIZE: u64 = 70;

/// Where Debian's `golang-golang-x-mod-dev` puts Go's own checker.
const GO_PATH: &str = "/usr/share/gocode";

fn key() -> (SigningKey, NoteKey) {
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = NoteKey::new("assay.test/audit", key.verifying_key()).unwrap();
    (key, public)
}

fn head(size: u64, root: Digest) -> SignedNote {
    let (key, public) = key();
    let text = Checkpoint { origin: public.name().to_owned(), size, root }.text();
    let signature = key.sign(text.as_bytes()).to_bytes();
    SignedNote::new(text, &public, &signature)
}

fn texts(hashes: Vec<Digest>) -> Vec<String> {
    hashes.into_iter().map(|hash| STANDARD.encode(hash.0)).collect()
}

/// Every head, and every proof of every size.
fn everything() -> Value {
    let entries: Vec<String> = (0..SIZE).map(|n| format!("{{\"sequence\":{}}}", n + 1)).collect();
    let mut tree = Tree::default();
    let mut heads = Vec::new();
    let mut keep = |tree: &Tree| {
        let root = tree.frontier().root();
        let note = head(tree.frontier().size(), root).to_string();
        heads.push(json!({ "note": note, "root": STANDARD.encode(root.0) }));
    };
    keep(&tree);
    for entry in &entries {
        tree.push(leaf_hash(entry.as_bytes()));
        keep(&tree);
    }
    let (mut inclusion, mut consistency) = (Vec::new(), Vec::new());
    for size in 1..=SIZE {
        for index in 0..size {
            let proof = texts(inclusion_proof(&tree, index, size).unwrap());
            inclusion.push(json!({ "index": index, "size": size, "proof": proof }));
        }
        for old in 1..=size {
            let proof = texts(consistency_proof(&tree, old, size).unwrap());
            consistency.push(json!({ "old": old, "new": size, "proof": proof }));
        }
    }
    json!({
        "key": key().1.to_string(), "entries": entries, "heads": heads,
        "inclusion": inclusion, "consistency": consistency,
    })
}

#[test]
fn every_head_and_every_proof_satisfies_the_checker_of_the_go_project() {
    assert!(
        Path::new(GO_PATH).join("src/golang.org/x/mod/sumdb/tlog").exists(),
        "`scripts/setup test` installs golang-go and golang-golang-x-mod-dev, which this needs"
    );
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tlog/check.go");
    let cache = tempfile::tempdir().unwrap();
    let mut child = Command::new("go")
        .args(["run", program])
        .envs([("GO111MODULE", "off"), ("GOPATH", GO_PATH)])
        .env("GOCACHE", cache.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(everything().to_string().as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"all hold\n");
}

/// `cargo test --release -p registry --test tlog -- --ignored --nocapture`
#[test]
#[ignore = "measures time: only a release build says anything"]
fn a_million_events_are_hashed_in_seconds_and_proved_in_milliseconds() {
    const EVENTS: u64 = 1_000_000;
    let filler = "x".repeat(300);
    let entry = |n: u64| format!("{{\"eventType\":\"{filler}\",\"sequence\":{n}}}");
    let started = Instant::now();
    let mut frontier = Frontier::default();
    (0..EVENTS).for_each(|n| frontier.push(leaf_hash(entry(n).as_bytes()), |_| {}));
    println!("root over 1,000,000 events: {:.3} s", started.elapsed().as_secs_f64());

    let mut tree = Tree::default();
    (0..EVENTS).for_each(|n| tree.push(leaf_hash(entry(n).as_bytes())));
    let checkpoint = head(EVENTS, tree.frontier().root());
    let (mut slowest, mut total) = (0.0_f64, 0.0);
    for n in 0..1_000 {
        let index = n * 997;
        let started = Instant::now();
        let hashes = inclusion_proof(&tree, index, EVENTS).unwrap();
        let proof = Proof { index, hashes, checkpoint: checkpoint.clone() }.to_string();
        Proof::parse(&proof).unwrap().verify(entry(index).as_bytes(), &key().1).unwrap();
        let ms = started.elapsed().as_secs_f64() * 1e3;
        (slowest, total) = (slowest.max(ms), total + ms);
    }
    println!(
        "a proof made, written, read and verified: {:.3} ms, {slowest:.3} at most",
        total / 1e3
    );
    assert!(slowest < 5.0);
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A ledger with this many events, and its rows.
fn ledger(events: u64) -> (Ledger, Rows) {
    let (mut rows, mut ledger) = (Rows::new(), Ledger::default());
    let body = json!({ "members": [{ "job": "j17", "user": "ada", "queue": "default" }] });
    let body = body.as_object().unwrap();
    for first in (0..events).step_by(1_000) {
        let mut scratch = Scratch::new(&rows);
        for _ in first..events.min(first + 1_000) {
            ledger.record(&mut scratch, Millis(9), "job.submitted", "user:ada", body.clone());
        }
        let (changes, _) = scratch.finish(Default::default());
        for change in changes {
            rows.insert(change.key, change.value.unwrap());
        }
    }
    (ledger, rows)
}

/// `cargo test --release -p registry --test tlog -- --ignored --nocapture`
#[test]
#[ignore = "measures time: only a release build says anything"]
fn an_event_among_a_million_is_proved_from_rows_in_milliseconds() {
    const EVENTS: u64 = 1_000_000;
    let started = Instant::now();
    let (ledger, rows) = ledger(EVENTS);
    println!("1,000,000 events recorded: {:.3} s", started.elapsed().as_secs_f64());
    let mut times = Vec::new();
    for n in 0..1_000 {
        let started = Instant::now();
        let found = prove(&ledger, &rows, 1 + n * 997).unwrap().unwrap();
        times.push(started.elapsed().as_secs_f64() * 1e3);
        let leaf = leaf_hash(found.event.payload.as_bytes());
        verify_inclusion(&found.hashes, leaf, n * 997, found.size, found.root).unwrap();
    }
    times.sort_by(f64::total_cmp);
    println!("a proof from rows: p50 {:.3} ms, p99 {:.3} ms", times[500], times[990]);
    assert!(times[990] < 5.0);
}

/// `cargo test --release -p registry --test tlog -- --ignored --nocapture`
#[test]
#[ignore = "measures time: only a release build says anything"]
fn signed_events_are_verified_by_the_ten_thousand_a_second() {
    const EVENTS: u64 = 100_000;
    let (_, rows) = ledger(EVENTS);
    let (key, _) = key();
    let pem = ed25519_dalek::pkcs8::EncodePublicKey::to_public_key_pem(
        &key.verifying_key(),
        Default::default(),
    )
    .unwrap();
    let sign = |event: AuditEvent| {
        let bytes = key.sign(&event.hash.0).to_bytes().to_vec();
        AuditEvent { signature: Some(EventSignature { signer: "k".into(), bytes }), ..event }
    };
    let events = view::events(&rows, 1, EVENTS as usize);
    let events: Vec<_> = events.into_iter().map(sign).collect();
    let started = Instant::now();
    let mut check = ChainCheck::new(&[("k".to_owned(), pem)].into()).unwrap();
    events.iter().for_each(|event| check.take(event).unwrap());
    assert_eq!(check.finish(Some(EVENTS)).unwrap().signed, EVENTS);
    let seconds = started.elapsed().as_secs_f64();
    println!("100,000 signed events verified: {seconds:.3} s, a million {:.1} s", seconds * 10.0);
}
