//! Each way of changing an exported chain is found, and has exit code 7.

use super::{
    row,
    signers::Signers,
    verify::{Verified, offline},
};
use crate::{args::operator::AuditVerify, exit::Exit, fault::Fault};
use domain::{
    Millis,
    audit::{AuditEvent, EventSignature},
    scratch::Scratch,
    signing::Custody,
};
use registry::{
    ledger::Ledger,
    seal::tlog::{
        Checkpoint, NoteKey, Proof, SignedNote, Tree, inclusion_proof, leaf_hash, origin,
    },
    sign::event::EventKey,
};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A folder with keys, and the chain that they signed.
struct Desk {
    dir: tempfile::TempDir,
    signer: EventKey,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let signer = EventKey::generate(Custody::Local).unwrap();
        let desk = Self { dir, signer };
        let (kid, pem) = (desk.signer.kid().to_owned(), desk.signer.public_pem().to_owned());
        Signers::of([(kid, pem)].into()).save(&desk.path("signers.json")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Events that `actor` caused, all but the newest signed.
    fn chain(&self, count: usize, actor: &str) -> Vec<AuditEvent> {
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        for _ in 0..count {
            ledger.record(&mut rows, Millis(9_000), "job.submitted", actor, Default::default());
        }
        let mut events = registry::ledger::view::events(&rows, 1, count);
        for event in &mut events[..count - 1] {
            let bytes = self.signer.sign_event(&event.hash).to_vec();
            event.signature = Some(EventSignature { signer: self.signer.kid().to_owned(), bytes });
        }
        events
    }

    /// Verifies lines, with the head that was kept before if `anchored`.
    fn verify(&self, lines: &[String], anchored: bool) -> Result<Verified, Fault> {
        let file = self.path("chain.jsonl");
        fs::write(&file, lines.join("\n")).unwrap();
        let head_file = anchored.then(|| self.path("head.json"));
        let args = AuditVerify { head_file, ..AuditVerify::default() };
        offline(&file, &self.path("signers.json"), &args)
    }

    /// Verifies lines with the proof of one event among all of `events`, as a server gives it.
    fn verify_proof(
        &self,
        lines: &[String],
        events: &[AuditEvent],
        index: u64,
    ) -> Result<Verified, Fault> {
        let mut tree = Tree::default();
        events.iter().for_each(|event| tree.push(leaf_hash(event.payload.as_bytes())));
        let key = NoteKey::of_pem(&origin("test"), self.signer.public_pem()).unwrap();
        let (size, root) = (tree.frontier().size(), tree.frontier().root());
        let text = Checkpoint { origin: key.name().to_owned(), size, root }.text();
        let signature = self.signer.sign_checkpoint(&text);
        let proof = Proof {
            index,
            hashes: inclusion_proof(&tree, index, size).unwrap(),
            checkpoint: SignedNote::new(text, &key, &signature),
        };
        let (file, path) = (self.path("chain.jsonl"), self.path("event.tlog-proof"));
        fs::write(&file, lines.join("\n")).unwrap();
        fs::write(&path, proof.to_string()).unwrap();
        let args = AuditVerify { proof: Some(path), ..AuditVerify::default() };
        offline(&file, &self.path("signers.json"), &args)
    }
}

fn lines(events: &[AuditEvent]) -> Vec<String> {
    events.iter().map(|event| row::write(event).to_string()).collect()
}

fn head(path: &Path) -> serde_json::Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn a_chain_that_grows_moves_the_kept_head_on() {
    let desk = Desk::new();
    let found = desk.verify(&lines(&desk.chain(5, "user:ada")), true).unwrap();
    assert_eq!((found.events, found.signed, found.extends), (5, 4, None));
    let found = desk.verify(&lines(&desk.chain(8, "user:ada")), true).unwrap();
    assert_eq!((found.events, found.signed, found.extends), (8, 7, Some(5)));
    assert_eq!(head(&desk.path("head.json"))["events"], 8);
}

type Edit = fn(&mut Vec<String>);

fn replace(line: &mut String, from: &str, to: &str) {
    assert!(line.contains(from), "{line}");
    *line = line.replace(from, to);
}

fn set(line: &mut String, field: &str, value: serde_json::Value) {
    let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
    row[field] = value;
    *line = row.to_string();
}

#[test]
fn each_change_of_an_exported_chain_is_found_without_any_anchor() {
    let edits: [(&str, Edit); 9] = [
        ("head cut off", |lines| drop(lines.remove(0))),
        ("event taken out", |lines| drop(lines.remove(2))),
        ("order", |lines| lines.swap(1, 2)),
        ("payload", |lines| replace(&mut lines[1], "user:ada", "user:eve")),
        ("event type", |lines| set(&mut lines[1], "event_type", json!("job.cancelled"))),
        ("time", |lines| {
            let later = json!("1970-01-01T00:00:09.000009Z");
            set(&mut lines[3], "created_at", later);
        }),
        ("hash taken away", |lines| set(&mut lines[1], "hash", json!(null))),
        ("signature taken away", |lines| {
            set(&mut lines[1], "signature", json!(null));
            set(&mut lines[1], "signer_id", json!(null));
        }),
        ("not an event", |lines| lines[4].push('}')),
    ];
    let desk = Desk::new();
    let untouched = lines(&desk.chain(5, "user:ada"));
    assert!(desk.verify(&untouched, false).is_ok());
    for (what, edit) in edits {
        let mut edited = untouched.clone();
        edit(&mut edited);
        let fault = desk.verify(&edited, false).unwrap_err();
        assert_eq!(fault.exit(), Exit::Mismatch, "{what}: {fault}");
    }
}

#[test]
fn what_the_chain_itself_cannot_show_is_found_with_the_kept_head() {
    let desk = Desk::new();
    let kept = lines(&desk.chain(5, "user:ada"));
    let fork = lines(&desk.chain(9, "user:eve"));
    assert!(desk.verify(&fork, false).is_ok(), "in itself the fork holds");
    desk.verify(&kept, true).unwrap();
    let before = head(&desk.path("head.json"));

    let fault = desk.verify(&kept[..4], true).unwrap_err();
    assert_eq!(fault.exit(), Exit::Mismatch);
    assert_eq!(fault.detail, "the chain was cut: it ends at event 4, but event 5 is known");
    let fault = desk.verify(&[], true).unwrap_err();
    assert_eq!(fault.exit(), Exit::Mismatch, "all of it was cut: {fault}");
    let fault = desk.verify(&fork, true).unwrap_err();
    assert_eq!(fault.exit(), Exit::Mismatch);
    assert!(fault.detail.starts_with("event 5 is "), "{fault}");
    assert_eq!(head(&desk.path("head.json")), before, "a chain that fails moves nothing");
}

#[test]
fn a_chain_signed_anew_with_another_key_is_refused_by_the_kept_head() {
    let desk = Desk::new();
    desk.verify(&lines(&desk.chain(5, "user:ada")), true).unwrap();
    let other = Desk::new();
    fs::copy(desk.path("head.json"), other.path("head.json")).unwrap();
    let fault = other.verify(&lines(&other.chain(6, "user:ada")), true).unwrap_err();
    assert_eq!(fault.exit(), Exit::Mismatch);
    assert!(fault.detail.contains("none of those that are trusted now"), "{fault}");
}

#[test]
fn a_proof_holds_for_the_events_that_it_was_made_of_and_no_others() {
    let desk = Desk::new();
    let events = desk.chain(9, "user:ada");
    let found = desk.verify_proof(&lines(&events), &events[..7], 4).unwrap();
    assert_eq!((found.events, found.logged), (9, Some(7)), "events may follow its head");

    let cut = desk.verify_proof(&lines(&events[..6]), &events[..7], 4).unwrap_err();
    assert_eq!((cut.exit(), cut.reason.as_str()), (Exit::Mismatch, "audit_chain"));
    assert!(cut.detail.contains("the events end at 6, the signed head has 7"), "{}", cut.detail);
    let other = desk.verify_proof(&lines(&desk.chain(9, "user:eve")), &events, 4).unwrap_err();
    assert!(other.detail.contains("the signed head says"), "{}", other.detail);

    let stranger = Desk::new();
    let key = desk.path("signers.json");
    fs::copy(stranger.path("signers.json"), &key).unwrap();
    let unsigned: Vec<_> =
        events.iter().cloned().map(|e| AuditEvent { signature: None, ..e }).collect();
    let fault = desk.verify_proof(&lines(&unsigned), &events, 4).unwrap_err();
    assert!(fault.detail.contains("no signature by"), "{}", fault.detail);
}
