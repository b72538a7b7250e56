//! Container images on this node: found, fetched and mounted by podman, so that neither layers nor
//! registries are ours to read.
//! Source: ADR-0032.

mod cdi;
mod error;
mod podman;

#[cfg(test)]
mod tests;

pub use cdi::{Cdi, CdiError, DeviceNode, Edits, FOLDERS as CDI_FOLDERS, Hook, MountPoint};
pub use error::ImageError;

use domain::image::ImageRef;
use podman::{Inspected, Podman};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Longest time of a pull. Source: 30 GiB at 20 MB/s.
const PULL: Duration = Duration::from_secs(1_800);
/// Longest time of everything else that podman is asked.
const ASK: Duration = Duration::from_secs(60);

/// What an agent is told of containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Containers {
    /// The program; by default the first `podman` on the PATH.
    pub podman: Option<PathBuf>,
    /// A folder for images of our own; podman's own store by default.
    pub images: Option<PathBuf>,
    /// A folder of archives, each named by the digest of its image: `HEX.tar`.
    pub archives: Option<PathBuf>,
    /// Folders with descriptions of devices; those of the standard by default.
    pub cdi: Option<Vec<PathBuf>>,
}

/// An image as it is laid out for tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaidImage {
    /// What was asked for.
    pub name: ImageRef,
    /// SHA-256 of its configuration, as podman keeps it.
    pub id: String,
    /// Where its root is mounted.
    pub root: PathBuf,
    /// The variables that it sets.
    pub env: BTreeMap<String, String>,
    /// The version of podman.
    pub podman: String,
}

/// This node's images.
#[derive(Debug)]
pub struct Images {
    podman: Podman,
    archives: Option<PathBuf>,
    laid: Mutex<BTreeMap<ImageRef, LaidImage>>,
    /// One fetch at a time: each uses the network and the disk to the full.
    fetching: tokio::sync::Mutex<()>,
}

impl Images {
    /// Those that `settings` describe; none where podman does not answer, with what is lacking.
    ///
    /// # Errors
    /// What this node lacks, and what to do.
    pub async fn open(settings: &Containers) -> Result<Self, String> {
        let podman = Podman::find(settings).await?;
        Ok(Self {
            podman,
            archives: settings.archives.clone(),
            laid: Mutex::default(),
            fetching: tokio::sync::Mutex::default(),
        })
    }

    /// The version of podman.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.podman.version
    }

    /// Lays an image out: finds it here or fetches it, checks its digest, and mounts it to read.
    /// It stays mounted for later jobs.
    ///
    /// # Errors
    /// When it cannot be had, is another one, or there is no room.
    pub async fn lay_out(&self, image: &ImageRef) -> Result<LaidImage, ImageError> {
        if let Some(known) = self.known(image) {
            return Ok(known);
        }
        let found = match self.find(image).await? {
            Some(found) => found,
            None => self.fetch(image).await?,
        };
        let root = PathBuf::from(self.podman.mount(image, &found.id).await?);
        if !is_mounted(&root) {
            return Err(ImageError::Mount { image: image.clone(), root });
        }
        let podman = self.podman.version.clone();
        let laid = LaidImage { name: image.clone(), id: found.id, root, env: found.env, podman };
        let mut all = self.laid.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(image.clone(), laid.clone());
        Ok(laid)
    }

    /// One that was laid out before, unless somebody has unmounted it since.
    #[must_use]
    pub fn known(&self, image: &ImageRef) -> Option<LaidImage> {
        let all = self.laid.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(image).filter(|laid| is_mounted(&laid.root)).cloned()
    }

    async fn find(&self, image: &ImageRef) -> Result<Option<Inspected>, ImageError> {
        match self.podman.inspect(image, &image.to_string()).await? {
            Some(found) if found.is(image) => Ok(Some(found)),
            // Under another name, or none: what was loaded from an archive.
            _ => match self.podman.id_of(image).await? {
                None => Ok(None),
                Some(id) => {
                    let found = self.podman.inspect(image, &id).await?;
                    Ok(found.filter(|found| found.is(image)))
                }
            },
        }
    }

    async fn fetch(&self, image: &ImageRef) -> Result<Inspected, ImageError> {
        let _alone = self.fetching.lock().await;
        if let Some(found) = self.find(image).await? {
            return Ok(found);
        }
        let archive = self.archives.as_ref();
        let archive = archive.map(|dir| dir.join(format!("{}.tar", image.digest())));
        match archive.filter(|path| path.is_file()) {
            Some(path) => self.podman.load(image, &path).await?,
            None if image.is_local() => return Err(ImageError::NotHere { image: image.clone() }),
            None => self.podman.pull(image).await?,
        }
        let found = self.find(image).await?;
        found.ok_or_else(|| ImageError::Other { image: image.clone() })
    }
}

/// A root without anything in it is a mount that is gone.
pub fn is_mounted(root: &Path) -> bool {
    root.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}
