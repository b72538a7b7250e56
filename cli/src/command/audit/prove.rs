//! `assay audit prove`: that an event is in the log, for those who have no access to it.

use super::{
    Context,
    tree::open,
    verify::{Trusted, broken},
};
use crate::{args::operator::AuditProve, fault::Fault};
use domain::{Digest, view::AuditProofView};
use proto::v1::{AuditProofQuery, query_request::What};
use registry::seal::tlog::{Checkpoint, Proof};
use serde::Serialize;
use std::{fs::OpenOptions, io::Write, path::Path};

/// A proof that was checked.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Proved {
    /// The event's number.
    event: u64,
    /// Its canonical payload: the entry that is proved.
    payload: String,
    /// The log's public key.
    log_key: String,
    /// The proof.
    proof: String,
    /// Root over all events.
    root: Digest,
    /// Events under it.
    tree_size: u64,
}

/// Runs the command.
///
/// # Errors
/// When there is no such event, its proof does not hold, or the file cannot be made.
pub async fn run(context: &Context, args: &AuditProve) -> Result<(), Fault> {
    // Before the keys: a cluster that has just begun proves nothing until it has a key that counts.
    let view = ask(context, args.event).await?;
    let trusted = match &args.keys {
        Some(file) => Trusted::rooted(file, context).await?,
        None => Trusted::of_server(context).await?,
    };
    check(&view, args.event, &trusted)?;
    if let Some(path) = &args.out {
        save(path, &view.proof).map_err(|fault| Fault::file(path, &fault))?;
    }
    let found = Proved {
        event: view.event.seq,
        payload: view.event.payload,
        log_key: view.log_key,
        proof: view.proof,
        root: view.root,
        tree_size: view.tree_size,
    };
    context.output.show("audit_proof", &found, |_| text(&found, args.out.as_deref()))
}

/// Asks for a proof and checks it.
///
/// # Errors
/// When there is no such event, or its proof does not hold under the trusted key.
pub async fn proved(
    context: &Context,
    event: u64,
    trusted: &Trusted,
) -> Result<(AuditProofView, Checkpoint), Fault> {
    let view = ask(context, event).await?;
    let head = check(&view, event, trusted)?;
    Ok((view, head))
}

async fn ask(context: &Context, event: u64) -> Result<AuditProofView, Fault> {
    let what = What::AuditProof(AuditProofQuery { event });
    Ok(context.client.query(what).await?.value)
}

fn check(view: &AuditProofView, event: u64, trusted: &Trusted) -> Result<Checkpoint, Fault> {
    let proof = Proof::parse(&view.proof).map_err(|fault| broken(&fault))?;
    let (_, key) = open(&proof, trusted)?;
    if proof.index + 1 != event || view.event.seq != event {
        return Err(broken(&format!("the proof is of event {}, not of {event}", proof.index + 1)));
    }
    if view.log_key != key.to_string() {
        return Err(broken(
            &"the server names another key of the log than the one that is trusted",
        ));
    }
    proof.verify(view.event.payload.as_bytes(), &key).map_err(|fault| broken(&fault))
}

fn save(path: &Path, proof: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(proof.as_bytes())?;
    file.sync_all()
}

fn text(found: &Proved, out: Option<&Path>) -> String {
    match out {
        None => found.proof.clone(),
        Some(path) => format!(
            "event {} is in the log of {} events, root {}\nproof written to {}\nlog key {}\n\
             next: assay audit verify --offline EXPORT --keys SIGNERS --proof {}\n",
            found.event,
            found.tree_size,
            found.root,
            path.display(),
            found.log_key,
            path.display()
        ),
    }
}
