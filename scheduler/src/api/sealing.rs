//! The signing proxy: signs what an open seal ticket names, once enough servers hold the bytes.

use super::{blobs::BlobService, context::Context, error};
use crate::state::command::Command;
use domain::{Digest, LeaseId, ReplicaId, artifact::SealTicket, job::EndCause, limit, tree::Tree};
use proto::{
    transfer,
    v1::{PullRequest, blobs_client::BlobsClient},
};
use registry::seal::{bundle, dsse, statement};
use std::collections::BTreeMap;
use tonic::{Status, transport::Channel};

/// Largest tree, statement or provenance that is read into memory.
const DOCUMENT_MAX: usize = 64 << 20;
/// Digests in one request to copy.
const PULL_BATCH: usize = 1_024;

/// Why a ticket is not sealed now.
#[derive(Debug)]
pub enum SealFault {
    /// It can never be: to be recorded.
    Never(EndCause),
    /// Not now: to be tried again.
    Later(Status),
}

impl From<Status> for SealFault {
    fn from(status: Status) -> Self {
        Self::Later(status)
    }
}

/// What can never be sealed or copied.
pub(super) fn damaged(detail: String) -> SealFault {
    SealFault::Never(EndCause::Seal { detail })
}

/// Another server with its connection.
pub(super) struct Peer {
    pub id: ReplicaId,
    pub channel: Channel,
    lacks: Vec<Digest>,
}

/// Checks, copies and signs one ticket. Returns the command that completes it, or the one that
/// gives it up for good; none when the ticket is no longer open.
///
/// # Errors
/// When it has to be tried again later.
pub async fn seal(context: &Context, lease: LeaseId) -> Result<Option<Command>, Status> {
    let found = context.node.read_local(move |cluster, _| {
        let view = cluster.view();
        let ticket = view.ticket(lease)?.clone();
        let name = view.job_name(ticket.element.job)?;
        Some((ticket, name))
    });
    let Some((ticket, name)) = found.await.map_err(|fault| super::query::unreadable(&fault))?
    else {
        return Ok(None);
    };
    match complete(context, &ticket, &name).await {
        Ok(command) => Ok(Some(command)),
        Err(SealFault::Later(status)) => Err(status),
        Err(SealFault::Never(cause)) => {
            tracing::warn!(%lease, %cause, "seal ticket given up");
            Ok(Some(Command::AbandonSeal { ticket: lease, cause }))
        }
    }
}

async fn complete(
    context: &Context,
    ticket: &SealTicket,
    name: &str,
) -> Result<Command, SealFault> {
    let mut peers = peers(context);
    let output = &ticket.output;
    fetch(context, &mut peers, &[output.tree, output.statement, output.provenance, output.log])
        .await?;
    let tree = Tree::decode(&read(&context.blobs, output.tree)?)
        .map_err(|fault| damaged(fault.to_string()))?;
    if tree.root() != output.root {
        return Err(damaged(format!("root is {}, declared {}", tree.root(), output.root)));
    }
    if let Some(file) = tree.files.iter().find(|file| statement::is_left_out(&file.path)) {
        return Err(damaged(format!("`{}` is no part of a model: verifiers skip it", file.path)));
    }
    let mut needed: Vec<Digest> = tree.files.iter().map(|file| file.digest).collect();
    needed.extend([output.tree, output.statement, output.provenance, output.log]);
    needed.extend(ticket.logs.iter().map(|it| it.log));
    needed.sort_unstable();
    needed.dedup();
    fetch(context, &mut peers, &needed).await?;

    let model_payload = read(&context.blobs, output.statement)?;
    if model_payload != statement::model_statement(name, &tree) {
        return Err(damaged("model statement does not describe the declared files".into()));
    }
    let provenance_payload = read(&context.blobs, output.provenance)?;
    statement::check_provenance(&provenance_payload, ticket).map_err(damaged)?;
    let provenance_payload =
        statement::with_logs(provenance_payload, &ticket.logs).map_err(damaged)?;

    let later = |fault: domain::port::SignError| {
        error::status("unavailable", fault.to_string(), "check the signing key", true)
    };
    let public = context.signer.model_public_pem();
    let signed = context.signer.sign_model(&dsse::pae(&model_payload)).map_err(later)?;
    let signature = bundle::model_bundle(&model_payload, &signed, &public);
    let signed = context.signer.sign_model(&dsse::pae(&provenance_payload)).map_err(later)?;
    let envelope = dsse::envelope(&provenance_payload, &signed);
    let (signature_digest, envelope_digest) = (Digest::of(&signature), Digest::of(&envelope));
    let own = vec![(signature_digest, signature.clone()), (envelope_digest, envelope.clone())];
    context.blobs.put_small(own).await?;

    let copies = copy_out(context, peers, &needed, vec![signature, envelope]).await?;
    Ok(Command::CompleteSeal {
        ticket: ticket.lease,
        signature: signature_digest,
        provenance: envelope_digest,
        signer: Digest::of(public.as_bytes()),
        copies,
    })
}

/// All members but this one.
pub(super) fn peers(context: &Context) -> Vec<Peer> {
    let status = context.node.status();
    let others = status.members.iter().filter(|(id, _)| **id != context.me);
    others
        .filter_map(|(id, member)| {
            let channel = context.channels.to(&member.address).ok()?;
            Some(Peer { id: *id, channel, lacks: Vec::new() })
        })
        .collect()
}

fn read(blobs: &BlobService, digest: Digest) -> Result<Vec<u8>, SealFault> {
    blobs.store().read_bytes(&digest, DOCUMENT_MAX).map_err(|fault| {
        SealFault::Later(error::status("mismatch", fault.to_string(), "see the message", true))
    })
}

/// A small blob, from here or from any server that has it; nothing is stored.
pub(super) async fn document(
    context: &Context,
    peers: &[Peer],
    digest: Digest,
) -> Result<Vec<u8>, SealFault> {
    if context.blobs.store().has(&digest) {
        return read(&context.blobs, digest);
    }
    for peer in peers {
        if let Ok(bytes) = transfer::get_bytes(&peer.channel, digest, DOCUMENT_MAX).await {
            return Ok(bytes);
        }
    }
    let why = format!("blob {digest} is on no server that answers");
    Err(SealFault::Later(error::status("unavailable", why, "bring servers up", true)))
}

/// Brings blobs here that are not, from any server that has them.
pub(super) async fn fetch(
    context: &Context,
    peers: &mut [Peer],
    digests: &[Digest],
) -> Result<(), SealFault> {
    let store = context.blobs.store();
    let mut missing: Vec<_> = digests.iter().filter(|d| !store.has(d)).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let status = context.node.status();
    let mut all_answered = true;
    for peer in peers.iter() {
        let Ok(lacks) = transfer::missing(&peer.channel, &missing).await else {
            all_answered = false;
            continue;
        };
        let Some(member) = status.members.get(&peer.id) else { continue };
        for digest in missing.iter().filter(|digest| !lacks.contains(digest)) {
            context.blobs.copy(*digest, &member.address).await?;
        }
        missing = lacks;
    }
    match missing.first() {
        None => Ok(()),
        Some(_) if all_answered => Err(SealFault::Never(EndCause::BlobsLost)),
        Some(digest) => {
            let why = format!("blob {digest} is on no server that answers");
            Err(SealFault::Later(error::status("unavailable", why, "bring servers up", true)))
        }
    }
}

/// Makes sure that enough servers hold everything; returns which do, this one first.
pub(super) async fn copy_out(
    context: &Context,
    mut peers: Vec<Peer>,
    needed: &[Digest],
    small: Vec<Vec<u8>>,
) -> Result<Vec<ReplicaId>, SealFault> {
    let wanted = limit::BLOB_COPIES.min(peers.len() + 1);
    let mut copies = vec![context.me];
    let mut lacking = BTreeMap::new();
    for peer in &mut peers {
        if let Ok(lacks) = transfer::missing(&peer.channel, needed).await {
            peer.lacks = lacks;
            lacking.insert(peer.id, peer.lacks.len());
        }
    }
    peers.retain(|peer| lacking.contains_key(&peer.id));
    peers.sort_by_key(|peer| (peer.lacks.len(), peer.id));
    let own = context.node.status().members.get(&context.me).map(|me| me.address.clone());
    for peer in peers {
        if copies.len() >= wanted {
            break;
        }
        let from = own.clone().unwrap_or_default();
        match give(&peer, &from, &small).await {
            Ok(()) => copies.push(peer.id),
            Err(fault) => tracing::warn!(peer = %peer.id, %fault, "copy not stored"),
        }
    }
    if copies.len() < wanted {
        let why = format!("{} of {wanted} servers hold the result", copies.len());
        return Err(SealFault::Later(error::status("unavailable", why, "bring servers up", true)));
    }
    copies.sort_unstable();
    Ok(copies)
}

async fn give(peer: &Peer, from: &str, small: &[Vec<u8>]) -> Result<(), Status> {
    for batch in peer.lacks.chunks(PULL_BATCH) {
        let digests = batch.iter().map(|digest| digest.0.to_vec().into()).collect();
        let request = PullRequest { digests, from: from.to_owned() };
        BlobsClient::new(peer.channel.clone()).pull(request).await?;
    }
    let sources = small.iter().map(|bytes| transfer::Source::bytes(bytes.clone())).collect();
    transfer::put_all(&peer.channel, sources)
        .await
        .map_err(|fault| error::status("unavailable", fault.to_string(), "try again", true))
}
