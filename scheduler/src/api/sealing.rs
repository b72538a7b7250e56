//! The signing proxy: signs what an open seal ticket names, once enough servers hold the bytes.

use super::{blobs::BlobService, context::Context, error, seal_waits::Delay};
use crate::state::command::Command;
use domain::{
    Digest, LeaseId, ReplicaId, artifact::SealTicket, job::EndCause, limit, signing::KeysView,
    tree::Tree,
};
use proto::{
    transfer,
    v1::{PullRequest, blobs_client::BlobsClient},
};
use registry::seal::{bundle, dsse, node, statement, trust};
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

/// Why a ticket's seal is not complete.
enum Stop {
    /// What it consists of.
    Fault(SealFault),
    /// A key.
    Key(Delay),
}

impl<T: Into<SealFault>> From<T> for Stop {
    fn from(fault: T) -> Self {
        Self::Fault(fault.into())
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
pub async fn seal(context: &Context, lease: LeaseId) -> Result<Option<Command>, Delay> {
    let found = context.node.read_local(move |cluster, rows| {
        let view = cluster.view();
        let ticket = view.ticket(lease)?.clone();
        let name = view.job_name(ticket.element.job)?;
        let node = view.node_name(ticket.node)?;
        Some(Open { ticket, name, node, keys: view.keys(rows) })
    });
    let Some(open) = found.await.map_err(|fault| Delay::servers(fault.to_string()))? else {
        return Ok(None);
    };
    match complete(context, &open).await {
        Ok(command) => Ok(Some(command)),
        Err(Stop::Key(delay)) => Err(delay),
        Err(Stop::Fault(SealFault::Later(status))) => Err(Delay::servers(status.message())),
        Err(Stop::Fault(SealFault::Never(cause))) => {
            tracing::warn!(%lease, %cause, "seal ticket given up");
            Ok(Some(Command::AbandonSeal { ticket: lease, cause }))
        }
    }
}

/// A ticket with what its seal is checked against.
struct Open {
    ticket: SealTicket,
    /// The job's name.
    name: String,
    /// The name of the node that opened it.
    node: String,
    /// The keys, with the model key that seals now.
    keys: KeysView,
}

async fn complete(context: &Context, open: &Open) -> Result<Command, Stop> {
    let Open { ticket, name, .. } = open;
    let mut peers = peers(context);
    let output = &ticket.output;
    fetch(context, &mut peers, &[output.tree, output.statement, output.provenance, output.log])
        .await?;
    let tree = Tree::decode(&read(&context.blobs, output.tree).await?)
        .map_err(|fault| damaged(fault.to_string()))?;
    if tree.root() != output.root {
        return Err(damaged(format!("root is {}, declared {}", tree.root(), output.root)).into());
    }
    if let Some(file) = tree.files.iter().find(|file| statement::is_left_out(&file.path)) {
        let why = format!("`{}` is no part of a model: verifiers skip it", file.path);
        return Err(damaged(why).into());
    }
    let mut needed: Vec<Digest> = tree.files.iter().map(|file| file.digest).collect();
    needed.extend([output.tree, output.statement, output.provenance, output.log]);
    needed.extend(ticket.logs.iter().map(|it| it.log));
    needed.sort_unstable();
    needed.dedup();
    fetch(context, &mut peers, &needed).await?;

    let model_payload = read(&context.blobs, output.statement).await?;
    if model_payload != statement::model_statement(name, &tree) {
        return Err(damaged("model statement does not describe the declared files".into()).into());
    }
    let provenance_payload = read(&context.blobs, output.provenance).await?;
    statement::check_provenance(&provenance_payload, ticket).map_err(damaged)?;
    check_node(&provenance_payload, &open.node, &context.authority).map_err(damaged)?;
    let provenance_payload =
        statement::with_logs(provenance_payload, &ticket.logs).map_err(damaged)?;

    // The bytes are safe on enough servers before a key is asked for anything.
    let holders = spread(context, peers, &needed).await?;
    let Signed { signer, signature, envelope } =
        sign(context, &open.keys, &model_payload, &provenance_payload).await?;
    let (signature_digest, envelope_digest) = (Digest::of(&signature), Digest::of(&envelope));
    let own = vec![(signature_digest, signature.clone()), (envelope_digest, envelope.clone())];
    context.blobs.put_small(own).await?;
    let copies = hand_out(context, &holders, &[signature, envelope]).await?;
    Ok(Command::CompleteSeal {
        ticket: ticket.lease,
        signature: signature_digest,
        provenance: envelope_digest,
        signer,
        copies,
    })
}

/// Whether the node that opened the ticket says the same under its own key.
fn check_node(payload: &[u8], name: &str, authority: &str) -> Result<(), String> {
    let value = serde_json::from_slice(payload).map_err(|fault| fault.to_string())?;
    let named = node::named(&value)?;
    if named != name {
        return Err(format!("the provenance is of node `{named}`, the ticket of `{name}`"));
    }
    node::check(&value, &trust::pem_blocks(authority)).map(|_| ())
}

/// What the model key made of both statements.
struct Signed {
    signer: Digest,
    signature: Vec<u8>,
    envelope: Vec<u8>,
}

async fn sign(
    context: &Context,
    keys: &KeysView,
    model_payload: &[u8],
    provenance_payload: &[u8],
) -> Result<Signed, Stop> {
    let kid = keys.active.as_deref().ok_or_else(|| Stop::Key(Delay::no_key(keys)))?;
    let signer: Digest = kid.parse().map_err(|_| damaged(format!("`{kid}` is no key's id")))?;
    let keyring = &context.keyring;
    let later = |fault| Stop::Key(Delay::sign(&fault, keyring.custody_of(&fault.key)));
    let signed = keyring.sign_model(kid, dsse::pae(model_payload)).await.map_err(later)?;
    let signature = bundle::model_bundle_of(model_payload, &signed, kid);
    let signed = keyring.sign_model(kid, dsse::pae(provenance_payload)).await.map_err(later)?;
    Ok(Signed { signer, signature, envelope: dsse::envelope(provenance_payload, &signed) })
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

async fn read(blobs: &BlobService, digest: Digest) -> Result<Vec<u8>, SealFault> {
    let bytes = blobs.bytes(digest, DOCUMENT_MAX).await;
    bytes.map_err(SealFault::Later)
}

/// A small blob, from here or from any server that has it; nothing is stored.
pub(super) async fn document(
    context: &Context,
    peers: &[Peer],
    digest: Digest,
) -> Result<Vec<u8>, SealFault> {
    if context.blobs.store().has(&digest) {
        return read(&context.blobs, digest).await;
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

/// Makes sure that enough servers hold everything; returns which do, in order.
pub(super) async fn copy_out(
    context: &Context,
    peers: Vec<Peer>,
    needed: &[Digest],
) -> Result<Vec<ReplicaId>, SealFault> {
    let holders = spread(context, peers, needed).await?;
    let mut copies: Vec<_> = holders.peers.iter().map(|peer| peer.id).collect();
    copies.push(context.me);
    copies.sort_unstable();
    Ok(copies)
}

/// Servers beside this one that hold all that is needed.
struct Holders {
    peers: Vec<Peer>,
    /// How many have to hold it, this one among them.
    wanted: usize,
}

/// Has enough other servers hold all that is needed.
async fn spread(
    context: &Context,
    mut peers: Vec<Peer>,
    needed: &[Digest],
) -> Result<Holders, SealFault> {
    let wanted = limit::BLOB_COPIES.min(peers.len() + 1);
    let mut holders = Vec::new();
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
        if holders.len() + 1 >= wanted {
            break;
        }
        match pull(&peer, own.as_deref().unwrap_or_default()).await {
            Ok(()) => holders.push(peer),
            Err(fault) => tracing::warn!(peer = %peer.id, %fault, "copy not stored"),
        }
    }
    enough(holders.len() + 1, wanted)?;
    Ok(Holders { peers: holders, wanted })
}

/// Has them hold these small blobs too; returns who holds everything, in order.
async fn hand_out(
    context: &Context,
    holders: &Holders,
    small: &[Vec<u8>],
) -> Result<Vec<ReplicaId>, SealFault> {
    let mut copies = vec![context.me];
    for peer in &holders.peers {
        match give(peer, small).await {
            Ok(()) => copies.push(peer.id),
            Err(fault) => tracing::warn!(peer = %peer.id, %fault, "copy not stored"),
        }
    }
    enough(copies.len(), holders.wanted)?;
    copies.sort_unstable();
    Ok(copies)
}

fn enough(have: usize, wanted: usize) -> Result<(), SealFault> {
    if have >= wanted {
        return Ok(());
    }
    let why = format!("{have} of {wanted} servers hold the result");
    Err(SealFault::Later(error::status("unavailable", why, "bring servers up", true)))
}

async fn pull(peer: &Peer, from: &str) -> Result<(), Status> {
    for batch in peer.lacks.chunks(PULL_BATCH) {
        let digests = batch.iter().map(|digest| digest.0.to_vec().into()).collect();
        let request = PullRequest { digests, from: from.to_owned() };
        BlobsClient::new(peer.channel.clone()).pull(request).await?;
    }
    Ok(())
}

async fn give(peer: &Peer, small: &[Vec<u8>]) -> Result<(), Status> {
    let sources = small.iter().map(|bytes| transfer::Source::bytes(bytes.clone())).collect();
    transfer::put_all(&peer.channel, sources)
        .await
        .map_err(|fault| error::status("unavailable", fault.to_string(), "try again", true))
}
