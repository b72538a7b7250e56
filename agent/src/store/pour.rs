//! Uploads a folder as chunks: what places lack, while it is hot, and what is still lacking after.
//!
//! A cut link or a server that is lost costs no more than the batches that were under way: what a
//! place has stored it never asks for again. No more than a few batches are ever in memory; while
//! they wait for the wire, hashing waits for them. The tasks that wrote the folder wait for nobody.

use super::{
    chunks::{ChunkPlace, Chunks, PlaceFault},
    meter::Meter,
    scan::{self, Source},
};
use crate::driver::prepare::blocking;
use bytes::Bytes;
use domain::{
    chunks::{ChunkManifest, Pin},
    job::EndCause,
    limit,
};
use registry::blob::chunks::{Effort, Piece};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

/// Blocks of chunks that wait for a batch.
const BLOCKS_AHEAD: usize = 2;
/// Batches that are under way to one place at the same time: one is fsynced, one sent, one packed.
const BATCHES: usize = 3;
/// How often a place may say that it lacks chunks that were just sent, before another is taken.
const ROUNDS_MAX: usize = 4;
/// A batch that took longer than this to send leaves time to pack the next one better.
const SLOW: Duration = Duration::from_millis(500);
/// First and longest wait after no place has answered.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Uploads of this node at the same time; more wait, so that memory is bounded however many leases
/// save at once.
static UPLOADS: Semaphore = Semaphore::const_new(4);

/// Hashes and uploads the folder; returns when as many places keep it as have to.
///
/// # Errors
/// When the folder cannot be read, or changed meanwhile.
pub async fn pour(
    folder: PathBuf,
    by: Pin,
    chunks: &impl Chunks,
) -> Result<(ChunkManifest, Bytes), EndCause> {
    // It is never closed.
    let _turn = UPLOADS.acquire().await;
    let places = chunks.places();
    let first = &places[..places.len().min(chunks.copies())];
    let (hot, mut blocks) = mpsc::channel(BLOCKS_AHEAD);
    let below = folder.clone();
    let meter = Meter::current();
    let read = meter.clone();
    let scanning = blocking(move || scan::scan(&below, &hot, &read));
    let sending = Sending { effort: Arc::default(), meter };
    let (manifest, ()) = tokio::join!(scanning, send_hot(first, &mut blocks, &sending));
    let manifest = manifest?;
    let list = Bytes::from(manifest.encode());
    let sources: Arc<[Source]> = scan::sources(&manifest, &folder)?.into();
    let mut kept = 0;
    let mut left = places;
    let mut backoff = BACKOFF.0;
    loop {
        let mut silent = Vec::new();
        for place in left {
            if kept >= chunks.copies() {
                return Ok((manifest, list));
            }
            match settle(&place, by, &list, &sources, &sending).await? {
                Ok(()) => kept += 1,
                Err(fault) => {
                    tracing::debug!(%fault, "checkpoint not kept there");
                    silent.push(place);
                }
            }
        }
        if kept >= chunks.copies() {
            return Ok((manifest, list));
        }
        left = silent;
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF.1);
    }
}

/// What all batches of an upload share.
#[derive(Clone)]
struct Sending {
    effort: Arc<Mutex<Effort>>,
    meter: Meter,
}

/// Sends chunks as they come to the places that are asked first. One that fails is left alone.
async fn send_hot<P: ChunkPlace>(
    places: &[P],
    blocks: &mut mpsc::Receiver<Vec<Piece>>,
    sending: &Sending,
) {
    let mut well: Vec<bool> = vec![true; places.len()];
    // Tasks of their own: they go on while the next chunks are waited for.
    let mut under_way = JoinSet::new();
    let mut batch: Vec<Piece> = Vec::new();
    // What a folder holds twice is under way once: a place lacks it until its batch has come.
    let mut known = BTreeSet::new();
    loop {
        let more = blocks.recv().await;
        let ended = more.is_none();
        batch.extend(more.unwrap_or_default().into_iter().filter(|it| known.insert(it.name())));
        let size: u64 = batch.iter().map(|piece| u64::from(piece.len())).sum();
        if size >= limit::CHUNK_BATCH.0 || (ended && !batch.is_empty()) {
            let pieces: Arc<[Piece]> = std::mem::take(&mut batch).into();
            for (at, place) in places.iter().enumerate().filter(|(at, _)| well[*at]) {
                let (place, sending) = (place.clone(), sending.clone());
                let pieces = Arc::clone(&pieces);
                under_way.spawn(async move { (at, send(&place, pieces, &sending).await) });
            }
        }
        let most = if ended { 0 } else { BATCHES * places.len() - places.len() };
        while under_way.len() > most {
            if let Some(Ok((at, Err(fault)))) = under_way.join_next().await {
                tracing::debug!(%fault, "chunks not sent");
                well[at] = false;
            }
        }
        if ended {
            return;
        }
    }
}

/// Sends what a place lacks of these.
async fn send<P: ChunkPlace>(
    place: &P,
    pieces: Arc<[Piece]>,
    sending: &Sending,
) -> Result<(), PlaceFault> {
    let names: Vec<_> = pieces.iter().map(Piece::name).collect();
    let lacking = place.lacking(&names).await?;
    let lacks = pieces.iter().zip(lacking).filter(|(_, lacks)| *lacks);
    let lacks: Vec<Piece> = lacks.map(|(piece, _)| piece.clone()).collect();
    if lacks.is_empty() {
        return Ok(());
    }
    let packed = pack(lacks, sending).await?;
    let start = Instant::now();
    let size = packed.iter().map(|piece| u64::from(piece.len())).sum();
    place.put(packed).await?;
    sending.meter.add(size);
    let mut effort = sending.effort.lock().unwrap_or_else(PoisonError::into_inner);
    if start.elapsed() > SLOW {
        effort.waited()
    } else {
        effort.hurried()
    }
    Ok(())
}

async fn pack(pieces: Vec<Piece>, sending: &Sending) -> Result<Vec<Piece>, PlaceFault> {
    let effort = Arc::clone(&sending.effort);
    let packed = tokio::task::spawn_blocking(move || {
        // A copy, so that streams to two places do not wait for each other.
        let mut own = effort.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let packed = pieces.into_iter().map(|piece| piece.packed(&mut own)).collect();
        *effort.lock().unwrap_or_else(PoisonError::into_inner) = own;
        packed
    });
    packed.await.map_err(|why| PlaceFault::Silent(why.to_string()))
}

/// Has a place keep the list, and sends it what it still lacks. The outer error ends the upload.
async fn settle<P: ChunkPlace>(
    place: &P,
    by: Pin,
    list: &Bytes,
    sources: &Arc<[Source]>,
    sending: &Sending,
) -> Result<Result<(), PlaceFault>, EndCause> {
    for _ in 0..ROUNDS_MAX {
        match place.keep(by, list.clone()).await {
            Ok(0) => return Ok(Ok(())),
            Ok(_) => {}
            Err(fault) => return Ok(Err(fault)),
        }
        let lacks = match lacks(place, sources).await {
            Ok(lacks) => lacks,
            Err(fault) => return Ok(Err(fault)),
        };
        for batch in batches(sources, &lacks) {
            let pieces = blocking(move || batch.iter().map(Source::read).collect()).await;
            let pieces: Vec<Piece> = pieces?;
            if let Err(fault) = send(place, pieces.into(), sending).await {
                return Ok(Err(fault));
            }
        }
    }
    Ok(Err(PlaceFault::Refused("it goes on to lack chunks that were sent".into())))
}

/// Which of the chunks a place lacks, by their place among all.
async fn lacks<P: ChunkPlace>(
    place: &P,
    sources: &[Source],
) -> Result<BTreeSet<usize>, PlaceFault> {
    let mut lacks = BTreeSet::new();
    for (at, part) in
        (0..).step_by(limit::CHUNK_NAMES_MAX).zip(sources.chunks(limit::CHUNK_NAMES_MAX))
    {
        let names: Vec<_> = part.iter().map(|source| source.chunk.name).collect();
        let said = place.lacking(&names).await?;
        lacks.extend(said.iter().enumerate().filter(|(_, lacks)| **lacks).map(|(of, _)| at + of));
    }
    Ok(lacks)
}

/// What is to be sent, in parts that fit into memory.
fn batches(sources: &[Source], which: &BTreeSet<usize>) -> Vec<Vec<Source>> {
    let mut batches: Vec<Vec<Source>> = Vec::new();
    let mut size = u64::MAX;
    for source in which.iter().filter_map(|at| sources.get(*at)) {
        size = size.saturating_add(u64::from(source.chunk.len));
        if size > limit::CHUNK_BATCH.0 {
            batches.push(Vec::new());
            size = u64::from(source.chunk.len);
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(source.clone());
        }
    }
    batches
}

#[cfg(test)]
mod tests;
