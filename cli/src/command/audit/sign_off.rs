//! `assay audit sign-off` and `sign-offs`: who vouches for which document.

use super::{Context, each};
use crate::{exit::Exit, fault::Fault, output::table::table, quantity::show_time_us};
use domain::{Digest, audit::AuditEvent};
use proto::v1::{self, registry_request::Change};
use registry::{files::walk::hash_reader, ledger::sign_off::KIND, seal::sign_off, sign::approver};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{collections::BTreeMap, fs::File, path::Path};

const HEADING: [&str; 7] = ["EVENT", "TIME", "DOCUMENT", "SHA-256", "BY", "SIGNATURE", "REASON"];

/// What an event says of a sign-off.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Said {
    approver_id: String,
    approver_key: String,
    document: String,
    reason: String,
    sha256: Digest,
    signature: String,
}

/// One sign-off as it is shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Line {
    event: u64,
    ts_us: u64,
    document: String,
    sha256: Digest,
    approver: String,
    reason: String,
    /// Whether the approver's key of that time made the signature.
    holds: bool,
}

fn digest(file: &Path) -> Result<Digest, Fault> {
    let failed = |fault: std::io::Error| Fault::file(file, &fault);
    let mut opened = File::open(file).map_err(failed)?;
    hash_reader(&mut opened).map(|(digest, _)| digest).map_err(failed)
}

/// Vouches for a document.
///
/// # Errors
/// When the caller is no approver, the key is not the registered one, or nobody answers.
pub async fn sign(
    context: &Context,
    file: &Path,
    key: &Path,
    reason: String,
    name: Option<String>,
) -> Result<Exit, Fault> {
    let own = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let document = name.or(own).unwrap_or_default();
    let sha256 = digest(file)?;
    let signed = sign_off::document(&document, sha256, &reason);
    let signature = approver::sign_document(key, signed.as_bytes()).map_err(|fault| {
        Fault::usage("key", fault.to_string()).hint("make one: assay approver new-key FILE")
    })?;
    let asked = v1::SignOff {
        document: document.clone(),
        sha256: sha256.0.to_vec().into(),
        reason,
        signature: signature.to_vec().into(),
    };
    let changed = context.client.registry(Change::SignOff(asked)).await?;
    let said = format!("{document} ({sha256}) is signed off by you");
    super::super::change::done(context, changed.at, &said)
}

/// Lists sign-offs: all, or those of a document as it is now.
///
/// # Errors
/// When the document cannot be read, a signature does not hold, or nobody answers.
pub async fn list(context: &Context, file: Option<&Path>) -> Result<Exit, Fault> {
    let wanted = file.map(digest).transpose()?;
    let (mut lines, mut keys) = (Vec::new(), Keys::new());
    each(context, |event| {
        let found = read(event, &mut keys);
        lines.extend(found.filter(|it| wanted.is_none_or(|wanted| it.sha256 == wanted)));
        Ok(())
    })
    .await?;
    let document = serde_json::json!({ "sha256": wanted, "sign_offs": lines });
    context.output.show("sign_offs", &document, |style| {
        let rows: Vec<_> = lines.iter().map(cells).collect();
        match rows.is_empty() {
            true => format!(
                "nobody has signed off {}; `assay audit sign-off FILE` does\n",
                file.map_or("any document".into(), |file| format!("{} as it is", file.display()))
            ),
            false => table(style, &HEADING, &rows),
        }
    })?;
    match lines.iter().find(|line| !line.holds) {
        None => Ok(Exit::Ok),
        Some(line) => {
            let (event, approver) = (line.event, &line.approver);
            let why = format!(
                "the signature in event {event} is not that of the key that `{approver}` had then"
            );
            Err(Fault::mismatch("signature", why).hint("assay audit verify"))
        }
    }
}

/// Approvers with their keys, as of the events that were read.
type Keys = BTreeMap<String, String>;

/// The sign-off that an event tells, if it tells one. `keys` follows who is an approver.
fn read(event: &AuditEvent, keys: &mut Keys) -> Option<Line> {
    let payload: Value = serde_json::from_str(&event.payload).ok()?;
    let text = |name: &str| payload[name].as_str().unwrap_or_default().to_owned();
    match payload["eventType"].as_str()? {
        "approver.added" => {
            keys.insert(text("approver"), text("key"));
            None
        }
        "approver.removed" => {
            keys.remove(&text("approver"));
            None
        }
        KIND => Some(line(event, serde_json::from_value(payload).ok()?, keys)),
        _ => None,
    }
}

fn line(event: &AuditEvent, said: Said, keys: &Keys) -> Line {
    let (mut key, mut signature) = ([0; 32], [0; 64]);
    let read = hex::decode_to_slice(&said.approver_key, &mut key).is_ok()
        && hex::decode_to_slice(&said.signature, &mut signature).is_ok();
    let holds = read
        && keys.get(&said.approver_id) == Some(&said.approver_key)
        && sign_off::verify(&said.document, said.sha256, &said.reason, &key, &signature);
    Line {
        event: event.seq,
        ts_us: event.ts_us,
        document: said.document,
        sha256: said.sha256,
        approver: said.approver_id,
        reason: said.reason,
        holds,
    }
}

fn cells(line: &Line) -> Vec<String> {
    vec![
        line.event.to_string(),
        show_time_us(line.ts_us),
        line.document.clone(),
        line.sha256.short(),
        line.approver.clone(),
        if line.holds { "holds" } else { "DOES NOT HOLD" }.to_owned(),
        line.reason.clone(),
    ]
}
