//! Data sets on their way into the registry: their files are looked through for personal data by
//! the server that is asked, so that nobody vouches for their own.

use super::{context::Context, error};
use domain::{
    Digest,
    dataset::{DatasetFacts, PiiScan},
    limit,
    tree::{Tree, TreeFile},
};
use proto::v1;
use registry::{
    blob::local::BlobStore,
    ledger::RegistryCommand,
    pii::{Report, scan_all},
};
use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;
use tonic::Status;

/// Time that a call waits for a scan before its caller is told to ask again.
const WAIT: Duration = Duration::from_millis(limit::CALL_TIMEOUT.0 / 4);
/// Scans that one server remembers, and that may be under way.
const SCANS: (usize, usize) = (64, 2);
/// The longest stored tree.
const TREE_MAX: usize = 256 << 20;

type Outcome = Option<Result<Arc<Found>, String>>;

/// What a server knows of a tree once it has looked through it.
struct Found {
    tree: Tree,
    scan: PiiScan,
}

#[derive(Clone)]
struct Scan {
    outcome: watch::Receiver<Outcome>,
    done: Arc<AtomicU64>,
    number: u64,
}

impl Scan {
    fn ended(&self) -> bool {
        self.outcome.borrow().is_some()
    }
}

/// Scans of one server, by the tree's digest. Clones share them.
#[derive(Clone, Default)]
pub struct Scans(Arc<Mutex<BTreeMap<Digest, Scan>>>);

impl Scans {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Scan>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The scan of a tree, begun if it is new and there is room for it.
    fn of(&self, store: &BlobStore, digest: Digest) -> Option<Scan> {
        let mut scans = self.lock();
        if let Some(scan) = scans.get(&digest) {
            return Some(scan.clone());
        }
        if scans.values().filter(|scan| !scan.ended()).count() >= SCANS.1 {
            return None;
        }
        let number = scans.values().map(|scan| scan.number).max().unwrap_or_default() + 1;
        if scans.len() >= SCANS.0 {
            let oldest = scans.iter().filter(|(_, scan)| scan.ended());
            let oldest = oldest.min_by_key(|(_, scan)| scan.number).map(|(digest, _)| *digest);
            scans.remove(&oldest?);
        }
        let (told, outcome) = watch::channel(None);
        let done = Arc::new(AtomicU64::new(0));
        let (store, count) = (store.clone(), Arc::clone(&done));
        tokio::task::spawn_blocking(move || {
            let found = look_through(&store, digest, &count);
            told.send_replace(Some(found.map(Arc::new)));
        });
        let scan = Scan { outcome, done, number };
        scans.insert(digest, scan.clone());
        Some(scan)
    }

    /// What the scan of a tree found.
    async fn wait(&self, store: &BlobStore, digest: Digest) -> Result<Arc<Found>, Status> {
        let busy = || error::status("busy", "this server scans other data sets", "wait", true);
        let mut scan = self.of(store, digest).ok_or_else(busy)?;
        let ended = tokio::time::timeout(WAIT, scan.outcome.wait_for(Option::is_some)).await;
        let outcome = match ended {
            Ok(Ok(outcome)) => outcome.clone(),
            // A scan that panicked leaves nothing.
            Ok(Err(_)) => Some(Err("the scan broke off".to_owned())),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(found)) => Ok(found),
            Some(Err(why)) => {
                // The next call begins anew: what was missing may be there then.
                self.lock().remove(&digest);
                Err(error::status("unavailable", why, "upload the files again", true))
            }
            None => {
                let done = scan.done.load(Ordering::Relaxed);
                let why = format!("scanning: {done} bytes looked through so far");
                Err(error::status("busy", why, "make the same request again", true))
            }
        }
    }
}

fn look_through(store: &BlobStore, digest: Digest, done: &AtomicU64) -> Result<Found, String> {
    let missing = |fault: &dyn fmt::Display| format!("this server lacks a part of it: {fault}");
    let bytes = store.read_bytes(&digest, TREE_MAX).map_err(|fault| missing(&fault))?;
    let tree = Tree::decode(&bytes).map_err(|fault| fault.to_string())?;
    let mut scan = PiiScan::default();
    for file in &tree.files {
        let report = scan_file(store, file, done).map_err(|fault| missing(&fault))?;
        scan.detector = report.detector.to_owned();
        scan.detector_version = report.detector_version;
        scan.scanned.0 += report.scanned_bytes;
        for (kind, count) in &report.counts {
            *scan.counts.entry(kind.word().to_owned()).or_default() += count;
        }
        if report.total() > 0 && scan.files.len() < limit::PII_FILES_MAX {
            scan.files.insert(file.path.clone(), report.total());
        }
    }
    Ok(Found { tree, scan })
}

fn scan_file(store: &BlobStore, file: &TreeFile, done: &AtomicU64) -> io::Result<Report> {
    let source = store.read(&file.digest).map_err(io::Error::other)?;
    scan_all(source, |read| {
        done.fetch_add(read as u64, Ordering::Relaxed);
    })
}

fn invalid(fault: impl fmt::Display) -> Status {
    error::status("invalid", fault.to_string(), "correct the request", false)
}

/// A licence that has a name: SPDX's, or one of the owner's own.
pub fn check_licence(id: &str) -> Result<(), Status> {
    if spdx::license_id(id).is_some() || id.starts_with("LicenseRef-") {
        return Ok(());
    }
    let near =
        spdx::imprecise_license_id(id).map(|(found, _)| format!("; did you mean {}?", found.name));
    let near = near.unwrap_or_default();
    Err(invalid(format!(
        "`{}` is no SPDX licence identifier{near}; `LicenseRef-NAME` names one of your own",
        id.chars().take(limit::FAMILY_NAME_MAX).collect::<String>()
    )))
}

/// Whether a path names a file of the tree, or a folder with some within.
fn is_within(tree: &Tree, path: &str) -> bool {
    let folder = format!("{}/", path.trim_end_matches('/'));
    tree.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
}

/// Looks through the files and makes the command that registers them.
///
/// # Errors
/// When the request is malformed, the scan is still under way, or this server lacks a file.
pub async fn register(
    context: &Context,
    user: &str,
    asked: v1::RegisterDataset,
) -> Result<RegistryCommand, Status> {
    check_licence(&asked.licence)?;
    let tree = asked.tree.as_ref().try_into().map(Digest);
    let tree = tree.map_err(|_| invalid("the tree's digest has not 32 bytes"))?;
    let found = context.scans.wait(context.blobs.store(), tree).await?;
    for (name, slice) in &asked.slices {
        if let Some(path) = slice.paths.iter().find(|path| !is_within(&found.tree, path)) {
            return Err(invalid(format!("slice `{name}`: the data set has no `{path}`")));
        }
    }
    let slices = asked.slices.into_iter().map(|(name, slice)| (name, slice.paths)).collect();
    let owner = if asked.owner.is_empty() { user.to_owned() } else { asked.owner };
    let facts = DatasetFacts {
        tree,
        root: found.tree.root(),
        files: found.tree.files.len() as u64,
        size: found.tree.size(),
        source: asked.source,
        transformations: asked.transformations,
        licence: asked.licence,
        owner,
        slices,
        pii_declared: asked.pii,
        scan: found.scan.clone(),
    };
    Ok(RegistryCommand::RegisterDataset { name: asked.name, facts })
}
