//! The audit chain: listed, exported, and checked from its first event.

use super::{Context, artifact};
use crate::{args::operator::Audit, exit::Exit, fault::Fault, quantity::show_time_us, render};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{Digest, audit::AuditEvent, limit, view::AuditPage};
use proto::v1::{AuditQuery, query_request::What};
use registry::seal::audit::ChainCheck;
use serde::Serialize;
use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::Path,
};

/// What a check of the whole chain found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Events that were checked, from the first on.
    pub events: u64,
    /// Hash of the newest.
    pub head_hash: Option<Digest>,
    /// Newest event with a signature.
    pub signed: u64,
    /// Whose signatures they are.
    pub signer: String,
}

/// `assay audit`.
///
/// # Errors
/// When the chain does not hold, or nobody answers.
pub async fn run(context: &Context, args: Audit) -> Result<Exit, Fault> {
    match args {
        Audit::List { from, limit } => {
            let page = page(context, from, limit).await?;
            context.output.show("audit", &page, |style| render::audit::list(style, &page))?;
        }
        Audit::Verify => {
            let found = verify(context).await?;
            context.output.show("audit_verification", &found, |style| {
                let text = format!(
                    "chain holds from event 1 to its head {}; signed by {} up to event {}\n",
                    found.events, found.signer, found.signed
                );
                style.good(&text)
            })?;
        }
        Audit::Export { file } => {
            let events = export(context, &file).await?;
            let document = serde_json::json!({ "file": file, "events": events });
            context.output.show("audit_export", &document, |_| {
                format!("{events} events written to {}\n", file.display())
            })?;
        }
    }
    Ok(Exit::Ok)
}

async fn page(context: &Context, from: u64, limit: u32) -> Result<AuditPage, Fault> {
    let what = What::Audit(AuditQuery { from, limit });
    Ok(context.client.query(what).await?.value)
}

/// Goes over the chain from its first event to the head that it has now. Returns the head.
async fn each(
    context: &Context,
    mut take: impl FnMut(&AuditEvent) -> Result<(), Fault>,
) -> Result<(u64, Option<Digest>), Fault> {
    let mut next = 1;
    loop {
        let page = page(context, next, limit::PAGE_MAX as u32).await?;
        page.events.iter().try_for_each(&mut take)?;
        match page.events.last() {
            Some(last) if last.seq < page.head => next = last.seq + 1,
            _ => return Ok((page.head, page.head_hash)),
        }
    }
}

/// Checks the whole chain.
///
/// # Errors
/// The first thing that is wrong with it.
pub async fn verify(context: &Context) -> Result<Verified, Fault> {
    let keys = artifact::keys(&context.client).await?;
    let known = [(keys.event_signer.clone(), keys.event_public_pem)].into();
    let mut check =
        ChainCheck::new(&known).map_err(|fault| Fault::internal("public_key", fault))?;
    let broken = |fault: &dyn std::fmt::Display| {
        Fault::mismatch("audit_chain", fault.to_string())
            .hint("keep a copy of the evidence: assay audit export FILE")
    };
    let (head, head_hash) =
        each(context, |event| check.next(event).map_err(|fault| broken(&fault))).await?;
    let checked = check.finish(Some(head)).map_err(|fault| broken(&fault))?;
    if checked.hash != head_hash {
        return Err(broken(&"the chain's last event is not the head that the server names"));
    }
    Ok(Verified {
        events: checked.seq,
        head_hash: checked.hash,
        signed: checked.signed,
        signer: keys.event_signer,
    })
}

/// Writes every event, one JSON object a line.
async fn export(context: &Context, file: &Path) -> Result<u64, Fault> {
    let failed = |fault: std::io::Error| Fault::file(file, &fault);
    let opened = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    let mut out = BufWriter::new(opened);
    let mut events = 0;
    each(context, |event| {
        events += 1;
        writeln!(out, "{}", row(event)).map_err(|fault| Fault::file(file, &fault))
    })
    .await?;
    out.flush().map_err(|fault| Fault::file(file, &fault))?;
    Ok(events)
}

/// An event as verifiers of the platform's chain read it.
///
/// Source: platform contract §2.3: `created_at` strictly increases, hex is lower-case.
fn row(event: &AuditEvent) -> serde_json::Value {
    let payload: serde_json::Value = serde_json::from_str(&event.payload).unwrap_or_default();
    let signature = event.signature.as_ref();
    serde_json::json!({
        "id": event.seq,
        "event_type": payload["eventType"],
        "payload": payload,
        "prev_hash": event.prev,
        "hash": event.hash,
        "signature": signature.map(|signature| STANDARD.encode(&signature.bytes)),
        "signer_id": signature.map(|signature| &signature.signer),
        "created_at": show_time_us(event.ts_us),
        "schema": "audit_event/v1",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample;

    #[test]
    fn an_exported_event_keeps_its_form() {
        let rows: Vec<_> = sample::audit().events.iter().map(row).collect();
        insta::assert_json_snapshot!("audit_event.json", rows);
    }
}
