//! The audit chain: listed, exported, and checked from its first event.

mod head;
mod prove;
mod row;
mod sign_off;
mod signers;
mod tree;
pub mod verify;

#[cfg(test)]
mod tamper_test;

use super::{Context, artifact, live};
use crate::{
    args::{Global, operator::Audit},
    exit::Exit,
    fault::Fault,
    render,
};
use domain::{Digest, audit::AuditEvent, limit, view::AuditPage};
use proto::v1::{AuditQuery, query_request::What};
use signers::Signers;
use std::{
    fs::OpenOptions,
    io::{BufWriter, Write},
    path::Path,
};

/// `assay audit`.
///
/// # Errors
/// When the chain does not hold, or nobody answers.
pub async fn run(global: &Global, args: Audit) -> Result<Exit, Fault> {
    match args {
        Audit::List { from, limit, live } => {
            let context = Context::new(global)?;
            let what = What::Audit(AuditQuery { from, limit });
            return live::show(&context, live, what, |answer| {
                let page: AuditPage = answer.value;
                context.output.show("audit", &page, |style| render::audit::list(style, &page))
            })
            .await;
        }
        Audit::Verify(args) => {
            verify::run(|| Context::new(global), &super::output(global), &args).await?;
        }
        Audit::SignOff { file, key, reason, name } => {
            return sign_off::sign(&Context::new(global)?, &file, &key, reason, name).await;
        }
        Audit::SignOffs { file } => {
            return sign_off::list(&Context::new(global)?, file.as_deref()).await;
        }
        Audit::Prove(args) => prove::run(&Context::new(global)?, &args).await?,
        Audit::Export { file, signers } => {
            let context = Context::new(global)?;
            if let Some(path) = &signers {
                let keys = artifact::keys(&context.client).await?;
                Signers::of(artifact::event_keys(&keys)).save(path)?;
            }
            let events = export(&context, &file).await?;
            let document =
                serde_json::json!({ "file": file, "events": events, "signers": signers });
            context
                .output
                .show("audit_export", &document, |_| exported(events, &file, signers.as_deref()))?;
        }
    }
    Ok(Exit::Ok)
}

fn exported(events: u64, file: &Path, signers: Option<&Path>) -> String {
    let file = file.display();
    let next = match signers {
        Some(keys) => format!("assay audit verify --offline {file} --keys {}", keys.display()),
        None => "the public keys beside it: assay audit export FILE --signers SIGNERS".to_owned(),
    };
    format!("{events} events written to {file}\nnext: {next}\n")
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

/// Writes every event, one JSON object a line.
async fn export(context: &Context, file: &Path) -> Result<u64, Fault> {
    let failed = |fault: std::io::Error| Fault::file(file, &fault);
    let opened = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
    let mut out = BufWriter::new(opened);
    let mut events = 0;
    each(context, |event| {
        events += 1;
        writeln!(out, "{}", row::write(event)).map_err(|fault| Fault::file(file, &fault))
    })
    .await?;
    out.flush().map_err(|fault| Fault::file(file, &fault))?;
    Ok(events)
}
