//! Keeps enough copies of every result: looks where its blobs are, and copies what is short.

use super::{
    context::Context,
    sealing::{self, Peer, SealFault},
};
use crate::{
    leader::copying::{Holding, Verdict, verdict},
    state::command::Command,
};
use domain::{ArtifactId, Digest, ReplicaId, artifact::Artifact, limit, tree::Tree};
use proto::transfer;
use std::collections::BTreeMap;

/// A result with the code and data sets that it was made from.
struct Kept {
    artifact: Artifact,
    sources: Vec<Digest>,
    /// Whether its files went: what says what it was is kept, and no file.
    collected: bool,
}

/// Looks at the results of one page, mends and proposes. Gives the last one that was looked at,
/// none at the end, and whether anything was mended.
///
/// What cannot be mended now is looked at again in the next round.
pub async fn check(context: &Context, after: ArtifactId) -> (Option<ArtifactId>, bool) {
    let page = context.node.read_local(move |cluster, rows| {
        let view = cluster.view();
        let page = view.artifacts(rows, after, limit::COPY_CHECK_PAGE).into_iter();
        let kept = page.map(|found| {
            let job = view.job_rows(rows, found.artifact.ticket.element.job);
            let collected = found.collected.is_some();
            let sources = job.filter(|_| !collected).map(|(job, _)| {
                let captured = job.spec.code.iter().chain(job.spec.datasets.values());
                captured.map(|captured| captured.tree).collect()
            });
            Kept { artifact: found.artifact, sources: sources.unwrap_or_default(), collected }
        });
        kept.collect::<Vec<_>>()
    });
    let Ok(page) = page.await else { return (None, false) };
    let mut mended = false;
    for kept in &page {
        let id = kept.artifact.id;
        let command = match mend(context, kept).await {
            Ok(None) => continue,
            Ok(Some(copies)) => Command::RecordCopies { artifact: id, copies },
            Err(SealFault::Later(status)) => {
                tracing::info!(artifact = %id, why = status.message(), "copies not checked");
                continue;
            }
            Err(SealFault::Never(cause)) => {
                tracing::error!(artifact = %id, %cause, "result cannot be copied");
                continue;
            }
        };
        match context.node.propose(context.own(command)).await {
            Ok(_) => {
                mended = true;
                tracing::info!(artifact = %id, "copies of a result mended");
            }
            Err(fault) => tracing::debug!(artifact = %id, error = %fault, "copies not recorded"),
        }
    }
    let last = page.last().filter(|_| page.len() == limit::COPY_CHECK_PAGE);
    (last.map(|kept| kept.artifact.id), mended)
}

/// Who holds a result from now on; none when nothing has changed.
async fn mend(context: &Context, kept: &Kept) -> Result<Option<Vec<ReplicaId>>, SealFault> {
    let mut peers = sealing::peers(context);
    let needed = needed(context, &peers, kept).await?;
    let holding = holding(context, &mut peers, &needed).await;
    match verdict(&kept.artifact.copies, &holding) {
        Verdict::Fine => Ok(None),
        Verdict::Record(copies) => Ok(Some(copies)),
        Verdict::Copy => {
            sealing::fetch(context, &mut peers, &needed).await?;
            let mut copies = sealing::copy_out(context, peers, &needed).await?;
            let whole = holding.iter().filter(|(_, holding)| **holding == Holding::Whole);
            copies.extend(whole.map(|(id, _)| *id));
            copies.sort_unstable();
            copies.dedup();
            Ok(Some(copies))
        }
    }
}

/// Everything that a result consists of and was made from.
async fn needed(context: &Context, peers: &[Peer], kept: &Kept) -> Result<Vec<Digest>, SealFault> {
    let Artifact { ticket, signature, provenance, .. } = &kept.artifact;
    let output = &ticket.output;
    if kept.collected {
        return Ok(documents(&kept.artifact));
    }
    let mut needed = vec![output.statement, output.provenance, output.log, *signature, *provenance];
    needed.extend(ticket.logs.iter().map(|log| log.log));
    for tree in kept.sources.iter().chain([&output.tree]) {
        let stored = sealing::document(context, peers, *tree).await?;
        let files = Tree::decode(&stored).map_err(|fault| sealing::damaged(fault.to_string()))?;
        needed.push(*tree);
        needed.extend(files.files.iter().map(|file| file.digest));
    }
    needed.sort_unstable();
    needed.dedup();
    Ok(needed)
}

/// What is kept of a result whose files went.
fn documents(artifact: &Artifact) -> Vec<Digest> {
    let Artifact { ticket, signature, provenance, .. } = artifact;
    let output = &ticket.output;
    let own = [output.tree, output.statement, output.provenance, output.log];
    let logs = ticket.logs.iter().map(|log| log.log);
    let all: std::collections::BTreeSet<Digest> =
        own.into_iter().chain([*signature, *provenance]).chain(logs).collect();
    all.into_iter().collect()
}

async fn holding(
    context: &Context,
    peers: &mut [Peer],
    needed: &[Digest],
) -> BTreeMap<ReplicaId, Holding> {
    let of = |lacks: bool| if lacks { Holding::Lacks } else { Holding::Whole };
    let store = context.blobs.store();
    let mut holding = BTreeMap::from([(context.me, of(!needed.iter().all(|it| store.has(it))))]);
    for peer in peers {
        let said = match transfer::missing(&peer.channel, needed).await {
            Ok(lacks) => of(!lacks.is_empty()),
            Err(_) => Holding::Silent,
        };
        holding.insert(peer.id, said);
    }
    holding
}
