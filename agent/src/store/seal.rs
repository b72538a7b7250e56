//! From files to their record: hashes, describes and uploads checkpoints and outputs.

use super::{
    Blob, Blobs, StoreError,
    ahead::{self, Ahead},
    chunks::Chunks,
    describe,
    pour::pour,
};
use crate::driver::{dirs::LeaseDirs, prepare::blocking};
use domain::{
    Digest, LeaseId, Millis, NodeId,
    artifact::OutputDigests,
    checkpoint::Checkpoint,
    chunks::Pin,
    job::{EndCause, Outputs},
    lease::Lease,
    link::WantedLease,
    node::Inventory,
    observed::RankFacts,
    tree::Tree,
};
use registry::{
    files::{Begun, tensors},
    seal::node::NodeKey,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Files up to this length are read into memory, and so checked once more as they leave.
const SMALL_MAX: u64 = 64 << 10;
/// Longest log that enters the record; the rest stays with the servers that streamed it.
const LOG_MAX: u64 = 64 << 20;

/// What an output's record says beside its files.
pub struct Sealing {
    /// The lease, with the checkpoints committed under the job.
    pub wanted: WantedLease,
    /// Its folders.
    pub dirs: LeaseDirs,
    /// This node.
    pub inventory: Inventory,
    /// When the first task was started, by the wall clock.
    pub started: Millis,
    /// When the last one ended.
    pub ended: Millis,
    /// What this node signs its own word with; none only where the servers ask for no certificate.
    pub node_key: Option<Arc<NodeKey>>,
    /// What was read from the processes of this node's ranks.
    pub facts: Vec<RankFacts>,
    /// What of its files was hashed while they were written.
    pub ahead: Arc<Ahead>,
}

/// Hashes and uploads the checkpoint in `folder`.
///
/// # Errors
/// When it changed meanwhile, or cannot be read.
pub async fn checkpoint(
    lease: LeaseId,
    step: u64,
    folder: PathBuf,
    chunks: &impl Chunks,
) -> Result<Checkpoint, EndCause> {
    let below = folder.clone();
    let before = blocking(move || Stamp::of(below)).await?;
    let (manifest, list) = pour(folder, Pin { lease, step }, chunks).await?;
    blocking(move || before.check()).await?;
    let tree = manifest.tree();
    Ok(Checkpoint { step, root: tree.root(), tree: Digest::of(&list), size: tree.size(), lease })
}

/// Hashes, describes and uploads an attempt's output.
///
/// # Errors
/// When there is none and there should be one, it changed meanwhile, or cannot be read.
pub async fn output(sealing: Sealing, blobs: &impl Blobs) -> Result<OutputDigests, EndCause> {
    let sealing = Arc::new(sealing);
    let (first, anew) = (Arc::clone(&sealing), Arc::clone(&sealing));
    let (described, guessed) = blocking(move || {
        let begun = first.ahead.end();
        Ok::<_, EndCause>((describe_output(&first, &begun)?, !begun.is_empty()))
    })
    .await?;
    let (digests, uploads, before) = described;
    match upload(uploads, before, blobs).await {
        Err(EndCause::Seal { detail }) if guessed => {
            // A file that was written over where that could not be seen.
            tracing::info!(%detail, "output is read again from its first byte");
            let described = blocking(move || describe_output(&anew, &BTreeMap::new())).await?;
            let (digests, uploads, before) = described;
            upload(uploads, before, blobs).await?;
            Ok(digests)
        }
        uploaded => uploaded.map(|()| digests),
    }
}

/// Merges and uploads what the ranks of `node` printed, where another node leads.
///
/// # Errors
/// When it cannot be read, or no server takes it.
pub async fn log(
    lease: Lease,
    node: NodeId,
    dirs: LeaseDirs,
    blobs: &impl Blobs,
) -> Result<Digest, EndCause> {
    let merged = blocking(move || {
        merged_log(&dirs, &ranks(&lease, node)).map_err(|why| seal_cause(&dirs.logs(), &why))
    });
    let log = Blob::bytes(merged.await?);
    let digest = log.digest();
    let stored = blobs.put(vec![log]).await;
    stored.map_err(|fault| EndCause::Seal { detail: fault.to_string() })?;
    Ok(digest)
}

fn describe_output(
    sealing: &Sealing,
    begun: &BTreeMap<u64, Begun>,
) -> Result<(OutputDigests, Vec<Blob>, Stamp), EndCause> {
    let out = sealing.dirs.out();
    let tensors = tensors::mark_all(&out, sealing.wanted.lease.build_key)
        .map_err(|why| seal_cause(&out, &why))?;
    let (tree, mut uploads, before) = gather(out, begun, describe::model_part)?;
    if tree.files.is_empty() && sealing.wanted.spec.outputs == Outputs::Required {
        return Err(EndCause::NoOutput);
    }
    let ranks = lead_ranks(sealing);
    let log =
        merged_log(&sealing.dirs, &ranks).map_err(|why| seal_cause(&sealing.dirs.logs(), &why))?;
    let log = Blob::bytes(log);
    let statement = Blob::bytes(describe::model(sealing, &tree));
    let provenance = Blob::bytes(describe::provenance(sealing, &tree, tensors, log.digest())?);
    let digests = OutputDigests {
        root: tree.root(),
        tree: tree.digest(),
        statement: statement.digest(),
        provenance: provenance.digest(),
        log: log.digest(),
        files: tree.files.len() as u64,
        size: tree.size(),
    };
    uploads.extend([log, statement, provenance]);
    Ok((digests, uploads, before))
}

/// What counts of the folder's tree, everything of it that is to be uploaded, and how it looked
/// before.
fn gather(
    folder: PathBuf,
    begun: &BTreeMap<u64, Begun>,
    counts: fn(Tree) -> Tree,
) -> Result<(Tree, Vec<Blob>, Stamp), EndCause> {
    let before = Stamp::of(folder)?;
    let tree = counts(describe::hash(&before.folder, begun)?);
    let mut uploads = vec![Blob::bytes(tree.encode())];
    for file in &tree.files {
        let path = before.folder.join(&file.path);
        if file.size.0 > SMALL_MAX {
            let sure = begun.is_empty() || file.size.0 < ahead::LEAST;
            uploads.push(Blob::File { digest: file.digest, size: file.size.0, path, sure });
            continue;
        }
        let bytes = fs::read(&path).map_err(|why| seal_cause(&path, &why))?;
        let blob = Blob::bytes(bytes);
        if blob.digest() != file.digest {
            return Err(EndCause::OutputChanged { path: file.path.clone() });
        }
        uploads.push(blob);
    }
    Ok((tree, uploads, before))
}

/// Uploads, and checks that nothing was written meanwhile.
async fn upload(uploads: Vec<Blob>, before: Stamp, blobs: &impl Blobs) -> Result<(), EndCause> {
    match blobs.put(uploads).await {
        Ok(()) => {}
        Err(StoreError::Local(why)) => return Err(seal_cause(&before.folder, &why)),
        Err(StoreError::Changed(why)) => {
            // The files say which one it was; if none does, the bytes were damaged on the way.
            blocking(move || before.check()).await?;
            return Err(EndCause::Seal { detail: why });
        }
        Err(fault) => return Err(EndCause::Seal { detail: fault.to_string() }),
    }
    blocking(move || before.check()).await
}

/// How every file of a folder looks without reading it.
struct Stamp {
    folder: PathBuf,
    files: Vec<(PathBuf, Look)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(folder: PathBuf) -> Result<Self, EndCause> {
        let files = Self::looks(&folder)?;
        Ok(Self { folder, files })
    }

    fn looks(folder: &Path) -> Result<Vec<(PathBuf, Look)>, EndCause> {
        let mut files = Vec::new();
        for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
            let failed = |fault: walkdir::Error| EndCause::Seal { detail: fault.to_string() };
            let entry = entry.map_err(failed)?;
            let meta = entry.metadata().map_err(failed)?;
            if !meta.is_dir() {
                let modified = (meta.mtime(), meta.mtime_nsec());
                let changed = (meta.ctime(), meta.ctime_nsec());
                let look = Look { inode: meta.ino(), size: meta.len(), modified, changed };
                files.push((entry.into_path(), look));
            }
        }
        Ok(files)
    }

    /// Names the first file that no longer looks the same, came or went.
    fn check(&self) -> Result<(), EndCause> {
        let now = Self::looks(&self.folder)?;
        let differs = self.files.iter().zip(&now).find(|(before, now)| before != now);
        let longer = || self.files.get(now.len()).or_else(|| now.get(self.files.len()));
        match differs.map(|(before, _)| before).or_else(longer) {
            None => Ok(()),
            Some((path, _)) => {
                let path = path.strip_prefix(&self.folder).unwrap_or(path);
                Err(EndCause::OutputChanged { path: path.display().to_string() })
            }
        }
    }
}

/// What a node's ranks printed: one rank's as it is, several with the rank before each line.
fn merged_log(dirs: &LeaseDirs, ranks: &[u32]) -> io::Result<Vec<u8>> {
    let mut merged = Vec::new();
    for rank in ranks {
        let bytes = read_up_to(&dirs.log(*rank), LOG_MAX)?;
        if ranks.len() == 1 {
            return Ok(bytes);
        }
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            merged.extend_from_slice(format!("rank {rank}| ").as_bytes());
            merged.extend_from_slice(line);
            if !line.ends_with(b"\n") {
                merged.push(b'\n');
            }
        }
    }
    Ok(merged)
}

/// The newest line of the first rank's metrics.
pub(super) fn last_metrics(sealing: &Sealing) -> String {
    let first = lead_ranks(sealing).first().copied().unwrap_or(0);
    let bytes = read_up_to(&sealing.dirs.metrics(first), LOG_MAX).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned()
}

fn lead_ranks(sealing: &Sealing) -> Vec<u32> {
    let lease = &sealing.wanted.lease;
    ranks(lease, lease.lead())
}

fn ranks(lease: &Lease, node: NodeId) -> Vec<u32> {
    let mine = lease.member(node);
    mine.into_iter().flat_map(|member| &member.tasks).map(|task| task.rank).collect()
}

fn read_up_to(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match fs::File::open(path) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        file => {
            file?.take(max).read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes)
}

fn seal_cause(path: &Path, why: &io::Error) -> EndCause {
    EndCause::Seal { detail: format!("`{}`: {why}", path.display()) }
}
