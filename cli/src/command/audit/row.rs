//! An event as a line of an export, written and read again.

use crate::fault::Fault;
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    Digest,
    audit::{AuditEvent, EventSignature},
};
use rayon::prelude::*;
use registry::{
    ledger::{parse_rfc3339, rfc3339},
    seal::canonical,
};
use serde_json::{Value, json};
use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

/// Lines that are read together.
const AT_ONCE: usize = 4_096;

/// An event as verifiers of the platform's chain read it.
///
/// Source: platform contract §2.3: `created_at` strictly increases, hex is lower-case.
#[must_use]
pub fn write(event: &AuditEvent) -> Value {
    let payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let signature = event.signature.as_ref();
    json!({
        "id": event.seq,
        "event_type": payload["eventType"],
        "payload": payload,
        "prev_hash": event.prev,
        "hash": event.hash,
        "signature": signature.map(|signature| STANDARD.encode(&signature.bytes)),
        "signer_id": signature.map(|signature| &signature.signer),
        "created_at": rfc3339(event.ts_us),
        "schema": "audit_event/v1",
    })
}

/// Reads a line again. What it says beside the payload must be what the payload says.
///
/// # Errors
/// The first field that is missing or says something else.
pub fn read(line: &str) -> Result<AuditEvent, String> {
    let row = canonical::parse(line).map_err(|fault| fault.to_string())?;
    let text = |field: &str| row.get(field).and_then(Value::as_str);
    let digest = |field: &str| {
        let text = text(field).ok_or_else(|| format!("`{field}` is missing"))?;
        text.parse::<Digest>().map_err(|fault| format!("`{field}`: {fault}"))
    };
    let payload = row.get("payload").ok_or("`payload` is missing")?;
    if row["event_type"] != payload["eventType"] {
        return Err("`event_type` is not that of the payload".into());
    }
    let time = text("created_at").and_then(parse_rfc3339);
    let signature = match (text("signature"), text("signer_id")) {
        (None, None) => None,
        (Some(bytes), Some(signer)) => {
            let bytes = STANDARD.decode(bytes).map_err(|fault| format!("`signature`: {fault}"))?;
            Some(EventSignature { signer: signer.to_owned(), bytes })
        }
        (None, Some(_)) | (Some(_), None) => {
            return Err("`signature` and `signer_id` stand only together".into());
        }
    };
    Ok(AuditEvent {
        seq: row.get("id").and_then(Value::as_u64).ok_or("`id` is missing")?,
        payload: canonical::to_string(payload).map_err(|fault| fault.to_string())?,
        prev: match row.get("prev_hash") {
            Some(Value::Null) => None,
            _ => Some(digest("prev_hash")?),
        },
        hash: digest("hash")?,
        ts_us: time.ok_or("`created_at` is missing or no time in UTC with microseconds")?,
        signature,
    })
}

/// Goes over the events of an export.
///
/// # Errors
/// When the file cannot be read, a line is no event, or `take` refuses one.
pub fn each(
    path: &Path,
    mut take: impl FnMut(&AuditEvent) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let file = File::open(path).map_err(|fault| Fault::file(path, &fault))?;
    let mut lines = BufReader::new(file).lines().enumerate();
    loop {
        let some: Vec<_> = lines.by_ref().take(AT_ONCE).collect();
        if some.is_empty() {
            return Ok(());
        }
        let read = |(at, line): (usize, std::io::Result<String>)| {
            let line = line.map_err(|fault| Fault::file(path, &fault))?;
            read(&line).map_err(|why| {
                Fault::mismatch("audit_chain", format!("{}:{}: {why}", path.display(), at + 1))
            })
        };
        // On all cores: reading a line takes longer than all that is checked of its event.
        let events: Vec<_> = some.into_par_iter().map(read).collect();
        events.into_iter().try_for_each(|event| take(&event?))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn an_exported_event_keeps_its_form_and_reads_back() {
        let events = sample::audit().events;
        let rows: Vec<_> = events.iter().map(write).collect();
        insta::assert_json_snapshot!("audit_event.json", rows);
        for (event, row) in events.iter().zip(rows) {
            assert_eq!(read(&row.to_string()).as_ref(), Ok(event));
        }
    }

    #[test]
    fn what_stands_beside_the_payload_must_be_what_the_payload_says() {
        let row = write(&sample::audit().events[0]);
        let edits = [
            ("event_type", json!("job.cancelled"), "`event_type` is not that of the payload"),
            ("hash", Value::Null, "`hash` is missing"),
            ("signer_id", Value::Null, "`signature` and `signer_id` stand only together"),
            ("created_at", json!("today"), "`created_at` is missing"),
        ];
        for (field, value, wanted) in edits {
            let mut edited = row.clone();
            edited[field] = value;
            let fault = read(&edited.to_string()).unwrap_err();
            assert!(fault.starts_with(wanted), "{field}: {fault}");
        }
    }
}
