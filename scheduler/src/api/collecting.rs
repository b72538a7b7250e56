//! Deletes the files of collected results from this server's disk, as far as nothing names them.
//!
//! Every server does, on its own, from its own rows: first the files count as not there, so that
//! whoever needs them sends them again; some time after, those go that still nothing names. What
//! cannot be looked at keeps everything. Source: ADR-0054.

use super::{
    context::{Context, wall_clock},
    query::unreadable,
    sealing::{self, SealFault},
};
use crate::{consensus::shell::Rows, state::view::Place};
use domain::{Digest, Millis, artifact::Artifact, tree::Tree};
use proto::transfer;
use registry::ledger::retain;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::Status;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// Collected results that are carried out together.
const TOGETHER: usize = 256;
/// Files of collected results in memory after which no further result is looked at.
const FILES: usize = 1_000_000;
/// Rows that are looked through together.
const ROWS: usize = 1_024;
/// Longest time for which this process waits, whatever is configured, for what began before it
/// heard of a collection: far longer than it takes from "is it here?" to the row that names it.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// Time after which the rest of a backup is read by nobody any more.
const BACKUP: Duration = Duration::from_secs(3_600);

/// Files of one collected result.
struct Doom {
    /// The event.
    seq: u64,
    /// When they were collected, by the log's clock.
    since: Millis,
    /// When this process heard of it.
    heard: Instant,
    files: BTreeSet<Digest>,
}

/// Looks until the replica ends.
pub async fn run(context: Arc<Context>, after: Duration) {
    let mut pending: BTreeMap<u64, Doom> = BTreeMap::new();
    loop {
        if let Err(fault) = hear(&context, &mut pending).await {
            tracing::warn!(why = fault.message(), "collected files not looked at");
        } else if let Err(fault) = carry_out(&context, &mut pending, after).await {
            tracing::warn!(why = fault.message(), "collected files not deleted");
        }
        tokio::time::sleep(PAUSE.min(after.max(Duration::from_millis(100)))).await;
    }
}

fn status(fault: SealFault) -> Status {
    match fault {
        SealFault::Later(status) => status,
        SealFault::Never(cause) => Status::unavailable(cause.to_string()),
    }
}

fn disk(why: &registry::blob::local::BlobError) -> Status {
    Status::unavailable(why.to_string())
}

/// Hears of results that were collected since, and lets their files count as not there.
async fn hear(context: &Context, pending: &mut BTreeMap<u64, Doom>) -> Result<(), Status> {
    let store = context.blobs.store();
    let done = store.collected().map_err(|why| disk(&why))?;
    let after = pending.keys().next_back().copied().unwrap_or(done);
    let room = TOGETHER.saturating_sub(pending.len());
    if room == 0 {
        return Ok(());
    }
    let read = context.node.read_local(move |_, rows| {
        let found = retain::collected_after(rows, after, room).into_iter();
        let since = |id| retain::collected(rows, id).map_or(Millis(0), |word| word.since);
        found.map(|(seq, it)| (seq, since(it.id), it)).collect::<Vec<_>>()
    });
    let found = read.await.map_err(|fault| unreadable(&fault))?;
    if found.is_empty() {
        return Ok(());
    }
    let mut heard = Vec::new();
    let mut count: usize = pending.values().map(|doom| doom.files.len()).sum();
    for (seq, since, artifact) in found {
        if count > FILES {
            break;
        }
        let files = files_of(context, &artifact).await?;
        count += files.len();
        heard.push(Doom { seq, since, heard: Instant::now(), files });
    }
    let all: BTreeSet<Digest> = heard.iter().flat_map(|doom| doom.files.clone()).collect();
    let named = named(context, &all).await?;
    store.doom(all.difference(&named).copied());
    pending.extend(heard.into_iter().map(|doom| (doom.seq, doom)));
    Ok(())
}

async fn files_of(context: &Context, artifact: &Artifact) -> Result<BTreeSet<Digest>, Status> {
    let tree = tree(context, artifact.ticket.output.tree).await?;
    Ok(tree.files.into_iter().map(|file| file.digest).collect())
}

async fn tree(context: &Context, digest: Digest) -> Result<Tree, Status> {
    let peers = sealing::peers(context);
    let stored = sealing::document(context, &peers, digest).await.map_err(status)?;
    Tree::decode(&stored).map_err(|fault| Status::unavailable(fault.to_string()))
}

/// The files of a tree that a job names. One that was never sent has none.
async fn tree_of_job(context: &Context, digest: Digest) -> Result<Tree, Status> {
    let found = tree(context, digest).await;
    if found.is_err() && is_nowhere(context, &sealing::peers(context), digest).await {
        return Ok(Tree::default());
    }
    found
}

async fn is_nowhere(context: &Context, peers: &[sealing::Peer], digest: Digest) -> bool {
    let all = context.node.status().members.len();
    if context.blobs.store().is_here(&digest) || peers.len() + 1 < all {
        return false;
    }
    for peer in peers {
        match transfer::missing(&peer.channel, &[digest]).await {
            Ok(missing) if missing.contains(&digest) => {}
            Ok(_) | Err(_) => return false,
        }
    }
    true
}

/// Deletes what is due. What something names by now stays, and counts as there again.
async fn carry_out(
    context: &Context,
    pending: &mut BTreeMap<u64, Doom>,
    after: Duration,
) -> Result<(), Status> {
    let wait = Millis(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    let ripe = |doom: &&Doom| {
        doom.heard.elapsed() >= after.min(PATIENCE) && doom.since.plus(wait) <= wall_clock()
    };
    // In order: the mark says how far all was carried out.
    let due: Vec<&Doom> = pending.values().take_while(ripe).collect();
    let Some(last) = due.last().map(|doom| doom.seq) else { return Ok(()) };
    if context.backups.read_within(BACKUP.min(after)) {
        return Ok(());
    }
    let store = context.blobs.store().clone();
    let all: BTreeSet<Digest> = due.iter().flat_map(|doom| doom.files.clone()).collect();
    let doomed: BTreeSet<Digest> = all.into_iter().filter(|it| store.is_doomed(it)).collect();
    let named = named(context, &doomed).await?;
    store.spare(named.iter().copied());
    let going: Vec<Digest> = doomed.difference(&named).copied().collect();
    let done = tokio::task::spawn_blocking(move || {
        let gone = store.delete_doomed(&going)?;
        store.set_collected(last)?;
        Ok(gone)
    });
    let done = done.await.map_err(|why| Status::internal(why.to_string()))?;
    let (blobs, bytes) = done.map_err(|why| disk(&why))?;
    pending.retain(|seq, _| *seq > last);
    tracing::info!(blobs, bytes, event = last, "files of collected results deleted");
    Ok(())
}

/// Which of these files something names: a tree of what is kept, or any row.
async fn named(context: &Context, files: &BTreeSet<Digest>) -> Result<BTreeSet<Digest>, Status> {
    let mut found = BTreeSet::new();
    if files.is_empty() {
        return Ok(found);
    }
    // All that was acknowledged before now is in the rows that are looked through.
    let caught_up = context.node.read(|cluster, _| cluster.view().applied()).await;
    caught_up.map_err(|fault| unreadable(&fault))?;
    let mut seen = BTreeSet::new();
    let mut at = Some(Place::Artifacts(domain::ArtifactId(0)));
    while let Some(place) = at {
        let of_jobs = matches!(place, Place::Jobs(_));
        let read =
            context.node.read_local(move |cluster, rows| cluster.view().named_trees(rows, place));
        let (trees, next) = read.await.map_err(|fault| unreadable(&fault))?;
        for digest in trees {
            if seen.insert(digest) {
                let tree = match of_jobs {
                    true => tree_of_job(context, digest).await?,
                    false => tree(context, digest).await?,
                };
                let here = tree.files.into_iter().map(|file| file.digest);
                found.extend(here.filter(|file| files.contains(file)));
                found.extend(files.get(&digest));
            }
        }
        at = next;
    }
    named_in_rows(context, files, &mut found).await?;
    Ok(found)
}

/// Which of these files a row names as it is: a log, a manifest, whatever it may be for.
async fn named_in_rows(
    context: &Context,
    files: &BTreeSet<Digest>,
    found: &mut BTreeSet<Digest>,
) -> Result<(), Status> {
    let wanted = Arc::new(Wanted::of(files));
    let mut from = Some(Vec::new());
    while let Some(first) = from {
        let wanted = Arc::clone(&wanted);
        let read = context.node.read_local(move |_, rows| look(rows, &first, &wanted));
        let (here, next) = read.await.map_err(|fault| unreadable(&fault))?;
        found.extend(here);
        from = next;
    }
    Ok(())
}

/// One page of all rows: what it names, and where the next page begins.
fn look(rows: &Rows, from: &[u8], wanted: &Wanted) -> (BTreeSet<Digest>, Option<Vec<u8>>) {
    use domain::port::RowRead;
    let page = rows.range(from, &[0xff; 64], ROWS);
    let next = page.last().filter(|_| page.len() == ROWS);
    let next = next.map(|(key, _)| [&key[..], &[0]].concat());
    let mut found = BTreeSet::new();
    for (key, value) in &page {
        wanted.within(key, &mut found);
        wanted.within(value, &mut found);
    }
    (found, next)
}

/// Digests that are looked for in bytes of any form.
struct Wanted {
    digests: BTreeSet<Digest>,
    /// Whether one begins with these two bytes.
    begins: Vec<bool>,
}

impl Wanted {
    fn of(digests: &BTreeSet<Digest>) -> Self {
        let mut begins = vec![false; 1 << 16];
        for digest in digests {
            begins[place(&digest.0)] = true;
        }
        Self { digests: digests.clone(), begins }
    }

    fn within(&self, bytes: &[u8], found: &mut BTreeSet<Digest>) {
        for window in bytes.windows(32) {
            if self.begins[place(window)]
                && let Ok(digest) = window.try_into().map(Digest)
                && self.digests.contains(&digest)
            {
                found.insert(digest);
            }
        }
    }
}

fn place(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[0], bytes[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_found_wherever_it_stands_in_a_row() {
        let (wanted, other) = (Digest::of(b"wanted"), Digest::of(b"other"));
        let look = Wanted::of(&[wanted].into());
        for before in 0..40 {
            let mut row = vec![0x5a; before];
            row.extend(wanted.0);
            row.extend(other.0);
            let mut found = BTreeSet::new();
            look.within(&row, &mut found);
            assert_eq!(found, [wanted].into(), "after {before} bytes");
            let mut cut = BTreeSet::new();
            look.within(&row[..before + 31], &mut cut);
            assert_eq!(cut, BTreeSet::new());
        }
    }
}
