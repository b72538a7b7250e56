//! Proofs of audit events, under a head of the log that is signed when it is asked for.

use super::{
    context::Context,
    error,
    query::{absent, json, unreadable},
};
use domain::{LogIndex, view::AuditProofView};
use proto::v1;
use registry::seal::tlog::{Checkpoint, NoteKey, Proof, SignedNote, origin};
use tonic::Status;

/// That this server's key for events counts no more, or not yet.
pub(super) fn unvouched() -> Status {
    let why = "no model key vouches for this server's key for events yet";
    error::status("unavailable", why, "`assay key list` shows the keys; try again", true)
}

/// Proves one event.
///
/// The head is of committed state, so every server signs the same one at the same log index.
///
/// # Errors
/// When there is no such event, this server cannot answer now, or the key cannot be used.
pub async fn of(context: &Context, event: u64, stale: bool) -> Result<v1::Document, Status> {
    let signer = context.keyring.event();
    let kid = signer.as_ref().map(|key| key.kid().to_owned()).unwrap_or_default();
    let answer = move |cluster: &crate::state::Cluster, rows: &crate::consensus::shell::Rows| {
        let view = cluster.view();
        let delegation = view.keys(rows).of(&kid).and_then(|key| key.delegation.clone());
        (view.audit_proof(rows, event), delegation, view.applied())
    };
    let read =
        if stale { context.node.read_local(answer).await } else { context.node.read(answer).await };
    let (found, delegation, LogIndex(log_index)) = read.map_err(|fault| unreadable(&fault))?;
    let internal = |why: String| error::status("internal", why, "report this", false);
    let found = found.map_err(|fault| internal(fault.to_string()))?;
    let found = found.ok_or_else(|| absent(&format!("event {event}"), "audit list"))?;
    // What is not there needs no key to be told so.
    let signer = signer.ok_or_else(unvouched)?;
    let key = NoteKey::of_pem(&origin(&context.cluster), signer.public_pem())
        .map_err(|fault| internal(fault.to_string()))?;
    let head = Checkpoint { origin: key.name().to_owned(), size: found.size, root: found.root };
    let text = head.text();
    let signature = signer.sign_checkpoint(&text);
    let proof = Proof {
        index: found.event.seq - 1,
        hashes: found.hashes,
        checkpoint: SignedNote::new(text, &key, &signature),
    };
    let document = AuditProofView {
        event: found.event,
        log_key: key.to_string(),
        proof: proof.to_string(),
        root: found.root,
        tree_size: found.size,
        delegation: delegation.unwrap_or_default(),
    };
    Ok(v1::Document { json: json(&document)?.into(), log_index })
}
