//! The audit chain: a million events verified, inclusion proofs, and an append with its checkpoint.

use crate::{
    assay::{self, Assay},
    noop,
    registry_figures::quantile,
    registry_rows::{BATCH, Rows},
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use domain::{
    Millis, audit::EventSignature, model::ModelView, signing::Custody, view::AuditProofView,
};
use proto::v1::{self, query_request, registry_query, registry_request::Change};
use registry::{
    ledger::{Ledger, prove, rfc3339, view},
    seal::tlog::{leaf_hash, verify_inclusion},
    sign::event::EventKey,
};
use serde_json::{Map, Value, json};
use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Events between two proofs that are measured: a prime, so that they lie all over.
const STRIDE: u64 = 997;
/// Events that are read at once.
const PAGE: usize = 1_000;

/// The body of an event like those of real jobs, of about 300 bytes.
fn body(seq: u64) -> Map<String, Value> {
    let recipe = domain::Digest::of(&seq.to_be_bytes()).to_string();
    let body = json!({
        "job": format!("j{seq}"), "name": "train", "queue": "default", "recipe": recipe, "tasks": 1,
    });
    match body {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

/// Chains and signs so many events, as the ledger and the leader's signer do.
fn chain(rows: &Rows, key: &EventKey, events: u64) -> Result<Ledger> {
    let mut ledger = Ledger::default();
    let mut first = 1;
    while first <= events {
        let count = BATCH.min(events - first + 1);
        rows.change(&mut ledger, |ledger, rows| {
            for seq in first..first + count {
                ledger.record(rows, Millis(seq), "job.submitted", "user:ada", body(seq));
            }
            let found = view::events(rows, first, PAGE);
            let sign = |event: &domain::audit::AuditEvent| EventSignature {
                signer: key.kid().to_owned(),
                bytes: key.sign_event(&event.hash).to_vec(),
            };
            ledger.sign(rows, first, found.iter().map(sign).collect())
        })??;
        first += count;
    }
    rows.settle()?;
    Ok(ledger)
}

/// Writes all events as `assay audit export` does.
fn export(rows: &Rows, events: u64, file: &Path) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    let mut next = 1;
    while next <= events {
        for event in view::events(rows, next, PAGE) {
            let payload: Value = serde_json::from_str(&event.payload)?;
            let signature = event.signature.as_ref();
            let row = json!({
                "id": event.seq,
                "event_type": payload["eventType"],
                "payload": payload,
                "prev_hash": event.prev,
                "hash": event.hash,
                "signature": signature.map(|it| STANDARD.encode(&it.bytes)),
                "signer_id": signature.map(|it| &it.signer),
                "created_at": rfc3339(event.ts_us),
                "schema": "audit_event/v1",
            });
            writeln!(out, "{row}")?;
            next = event.seq + 1;
        }
    }
    out.flush()?;
    Ok(())
}

/// What `assay audit verify` takes for an export, as a user runs it.
fn verify(file: &Path, keys: &Path, events: u64) -> Result<Duration> {
    let program: PathBuf = assay::program()?;
    let mut command = Command::new(program);
    command.args(["--json", "audit", "verify", "--offline"]).arg(file).arg("--keys").arg(keys);
    let start = Instant::now();
    let output = command.output()?;
    let time = start.elapsed();
    if !output.status.success() {
        bail!("the chain does not hold: {}", String::from_utf8_lossy(&output.stderr));
    }
    let found: Value = serde_json::from_slice(&output.stdout)?;
    let (checked, signed) = (found["events"].as_u64(), found["signed"].as_u64());
    ensure!(checked == Some(events) && signed == Some(events), "not all was checked: {found}");
    Ok(time)
}

/// Verifies that many events, and proves some of them.
///
/// # Errors
/// When the rows cannot be kept, or something does not hold.
pub fn chain_and_proofs(dir: &Path, events: u64) -> Result<()> {
    let start = Instant::now();
    let key = EventKey::generate(Custody::Local)?;
    let rows = Rows::create(&dir.join("audit"))?;
    let ledger = chain(&rows, &key, events)?;
    let (file, keys) = (dir.join("audit.jsonl"), dir.join("signers.json"));
    export(&rows, events, &file)?;
    let signer = json!({
        "signer_kid": key.kid(), "algorithm": "ed25519", "public_key_pem": key.public_pem(),
    });
    std::fs::write(&keys, json!({ "signers": [signer] }).to_string())?;
    let size = file.metadata()?.len();
    println!("{events} events chained, signed and exported in {:.1?}", start.elapsed());

    let time = verify(&file, &keys, events)?;
    let most = Quantity::Time(Duration::from_secs(20));
    Figure::new(format!("{events} audit events verified"), Quantity::Time(time))
        .target(Target::AtMost(most, most))
        .note(format!(
            "`assay audit verify --offline`, {:.0} bytes an event: hashes, form, order, signatures",
            size as f64 / events as f64
        ))
        .print();
    std::fs::remove_file(&file)?;

    let mut times = Vec::new();
    for seq in (1..=events).step_by(STRIDE as usize) {
        let start = Instant::now();
        let found = prove(&ledger, &rows, seq)?.context("there is such an event")?;
        times.push(start.elapsed());
        let leaf = leaf_hash(found.event.payload.as_bytes());
        verify_inclusion(&found.hashes, leaf, seq - 1, found.size, found.root)?;
        ensure!(found.size == events, "the proof is of {} events", found.size);
    }
    let worst = quantile(&mut times, 1.0);
    let most = Quantity::ms(5.0);
    Figure::new(format!("inclusion proof among {events}, worst"), Quantity::Time(worst))
        .target(Target::AtMost(most, most))
        .note(format!(
            "{} proofs, each verified; median {:.2?}",
            times.len(),
            quantile(&mut times, 0.5)
        ))
        .print();
    Ok(())
}

/// Tries, and pause between them, until a new cluster signs checkpoints.
const VOUCHED_TRIES: u64 = 50;
const VOUCHED_PAUSE: Duration = Duration::from_millis(200);

/// From the send of a change of record until a checkpoint that covers its event is answered.
async fn append(assay: &Assay, client: &mut assay::Changer, turn: u64) -> Result<Duration> {
    let family = format!("f{turn}");
    let register = v1::RegisterModel {
        family: family.clone(),
        artifact: "a1".into(),
        ..v1::RegisterModel::default()
    };
    let change = Some(Change::Register(register));
    let start = Instant::now();
    client.registry(v1::RegistryRequest { key: assay::key().into(), change }).await?;
    let what = Some(registry_query::What::Model(family));
    let what = query_request::What::Registry(v1::RegistryQuery { what });
    let model: ModelView = assay.query(0, what).await?;
    let event = model.version.audit_seq;
    let what = query_request::What::AuditProof(v1::AuditProofQuery { event });
    let proof: AuditProofView = assay.query(0, what).await?;
    let time = start.elapsed();
    ensure!(proof.tree_size >= event, "the checkpoint covers {} events", proof.tree_size);
    Ok(time)
}

/// Measures appends with their checkpoints on a cluster of three replicas.
///
/// # Errors
/// When the cluster does not come up, or does not answer.
pub async fn appends(dir: &Path, count: u64) -> Result<()> {
    report::section("An event appended on three replicas, until a signed checkpoint covers it");
    let assay = Assay::start(dir).await?;
    noop::one(&assay).await?;
    let mut client = assay.changer(0)?;
    // The first finds the leader and connects; on a new cluster no key vouches for the servers'
    // own yet.
    let mut first = 0;
    while let Err(why) = append(&assay, &mut client, count + 1 + first).await {
        ensure!(first < VOUCHED_TRIES, "no checkpoint is signed: {why}");
        first += 1;
        tokio::time::sleep(VOUCHED_PAUSE).await;
    }
    let mut times = Vec::new();
    for turn in 1..=count {
        times.push(append(&assay, &mut client, turn).await?);
    }
    let p99 = quantile(&mut times, 0.99);
    let most = Quantity::ms(50.0);
    Figure::new("append with its checkpoint, p99", Quantity::Time(p99))
        .target(Target::AtMost(most, most))
        .note(format!(
            "{count} versions registered, each until the proof of its event under a signed head is \
             here (three calls, two of them on new connections); median {:.2?}",
            quantile(&mut times, 0.5)
        ))
        .print();
    Ok(())
}
