//! Lays out what an attempt needs: folders, code, data sets, the checkpoint to resume from.

use super::{
    dirs::LeaseDirs,
    pool::FolderPool,
    tasks::{Order, lay_out},
};
use crate::store::{Blobs, Cache, CacheError, Stores, chunks::Chunks, is_full, restore::restore};
use domain::{Digest, job::EndCause, link::WantedLease};
use std::{io, path::PathBuf, sync::Arc};
use tokio::sync::mpsc;

/// What this node keeps for its leases.
pub struct Store<'a> {
    /// Folders that were used before.
    pub pool: &'a Arc<FolderPool>,
    /// Verified blobs.
    pub cache: &'a Arc<Cache>,
    /// Who lays container images out; none where it runs no containers.
    pub images: Option<&'a mpsc::Sender<Order>>,
}

/// Makes the lease's folders and fills them from verified blobs.
///
/// # Errors
/// Says what could not be laid out, and why.
pub async fn prepare(
    wanted: &WantedLease,
    dirs: &LeaseDirs,
    store: &Store<'_>,
    blobs: &impl Stores,
) -> Result<(), EndCause> {
    let Store { pool, cache, images } = store;
    pool.room().await;
    let (folders, pool) = (dirs.clone(), Arc::clone(pool));
    blocking(move || pool.take(&folders).map_err(|why| io_cause("folders of the attempt", &why)))
        .await?;
    let spec = &wanted.spec;
    if let Some(image) = &spec.image {
        let images = images.ok_or_else(|| EndCause::Sandbox {
            detail: "this node runs no containers; `assay node show` says what it lacks".into(),
        })?;
        let laid = lay_out(images, image).await?;
        let laid = serde_json::to_vec(&laid).expect("an image is JSON");
        std::fs::write(dirs.image(), laid).map_err(|why| io_cause("the image's record", &why))?;
    }
    if let Some(code) = &spec.code {
        fill(cache, blobs, code.tree, "code", dirs.code()).await?;
    }
    for (name, captured) in &spec.datasets {
        let what = format!("data set `{name}`");
        fill(cache, blobs, captured.tree, &what, dirs.data().join(name)).await?;
    }
    if let Some(checkpoint) = &wanted.lease.resume_from {
        let what = format!("checkpoint of step {}", checkpoint.step);
        let folder = dirs.checkpoint(checkpoint.step);
        resume(cache, blobs, checkpoint.tree, &what, folder).await?;
    }
    Ok(())
}

/// Lays out a checkpoint. When the disk is full, what earlier jobs left in the cache gives way.
async fn resume(
    cache: &Arc<Cache>,
    chunks: &impl Chunks,
    list: Digest,
    what: &str,
    folder: PathBuf,
) -> Result<(), EndCause> {
    let mut restored = restore(chunks, list, what, &folder).await;
    if restored.as_ref().is_err_and(CacheError::is_full) {
        tracing::warn!("disk full, the cache of blobs gives way");
        cache.give_way(folder.clone()).await;
        restored = restore(chunks, list, what, &folder).await;
    }
    restored.map(drop).map_err(|fault| laid_out(&fault))
}

async fn fill(
    cache: &Arc<Cache>,
    blobs: &impl Blobs,
    tree: Digest,
    what: &str,
    folder: PathBuf,
) -> Result<(), EndCause> {
    cache.fill(blobs, tree, what, &folder).await.map_err(|fault| laid_out(&fault))
}

fn laid_out(fault: &CacheError) -> EndCause {
    let detail = fault.to_string();
    match fault.is_full() {
        true => EndCause::DiskFull { detail },
        false => EndCause::Prepare { detail },
    }
}

/// Runs file work where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EndCause> + Send + 'static,
) -> Result<T, EndCause> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(fault) => Err(EndCause::Prepare { detail: format!("agent fault: {fault}") }),
    }
}

/// A disk's fault as the cause of an attempt's end.
pub(crate) fn io_cause(what: &str, why: &io::Error) -> EndCause {
    let detail = format!("{what}: {why}");
    if is_full(why) { EndCause::DiskFull { detail } } else { EndCause::Prepare { detail } }
}
