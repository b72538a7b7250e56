//! Copies of backups in a bucket: put there, and fetched from there.

use crate::{
    args::Global,
    client::backup::fault,
    exit::Exit,
    fault::Fault,
    quantity::show_size,
    s3::{Bucket, Lock, LockMode, Place, Until},
};
use domain::{Bytes, Digest, LogIndex, Millis, chunks::Chunk};
use futures::{StreamExt, TryStreamExt, stream};
use registry::backup::{Folder, Manifest};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

/// Objects that are on their way together.
const AT_ONCE: usize = 8;

/// How long what is written is locked, and how hard.
#[derive(Clone, Copy, Debug)]
pub struct Locks {
    /// How long, if at all.
    pub time: Option<Millis>,
    /// Who may end it early.
    pub mode: LockMode,
}

impl Locks {
    /// The lock that begins now.
    fn begin(self) -> Option<Lock> {
        let until = Until::At(Until::after(Duration::from_millis(self.time?.0)));
        Some(Lock { mode: self.mode, until })
    }
}

/// What was copied.
#[derive(Debug, Serialize)]
pub struct Copied {
    /// Where in which bucket.
    bucket: String,
    dir: String,
    log_index: LogIndex,
    /// Objects of the backup.
    objects: u64,
    /// Of them those that were not there.
    copied: u64,
    copied_bytes: Bytes,
    /// Until when none of them can be deleted.
    locked_until: Option<String>,
}

/// A file of a backup, by its name in the folder and in the bucket.
#[derive(Clone, Debug)]
struct Item {
    name: String,
    /// Its SHA-256, where it is known.
    known: Option<Digest>,
    /// Whether its name tells its bytes: what is there under it is it.
    named_by_bytes: bool,
    /// The chunk that it is, if it is one.
    chunk: Option<Chunk>,
}

impl Item {
    fn part(part: &registry::backup::Part) -> Self {
        Self {
            name: part.file.clone(),
            known: Some(part.sha256),
            named_by_bytes: false,
            chunk: None,
        }
    }
}

/// A path within the folder, as objects are named.
fn name_in(folder: &Folder, path: &Path) -> String {
    path.strip_prefix(folder.path()).unwrap_or(path).display().to_string()
}

fn blob(folder: &Folder, digest: &Digest) -> Item {
    let name = name_in(folder, &folder.blob(digest));
    Item { name, known: Some(*digest), named_by_bytes: true, chunk: None }
}

fn chunk(folder: &Folder, chunk: &Chunk) -> Item {
    let name = name_in(folder, &folder.chunk(chunk.name));
    Item { name, known: None, named_by_bytes: true, chunk: Some(*chunk) }
}

fn manifest_name(at: LogIndex) -> String {
    format!("backups/{:020}.json", at.0)
}

/// Chunks of a backup's checkpoints, each once. Their lists are in the folder.
fn chunks(folder: &Folder, manifest: &Manifest) -> Result<Vec<Item>, Fault> {
    let mut all = BTreeMap::new();
    for saved in folder.checkpoints(manifest).map_err(|why| fault(&why))? {
        let (_, found) = folder.chunks_of(&saved.list).map_err(|why| fault(&why))?;
        all.extend(found.iter().map(|it| (it.name, chunk(folder, it))));
    }
    Ok(all.into_values().collect())
}

/// `assay backup push`: what the bucket lacks of a backup; its manifest last.
///
/// # Errors
/// When the folder is damaged, or the bucket refuses.
pub async fn push(
    global: &Global,
    (dir, place): (&Path, Place),
    at: Option<LogIndex>,
    locks: Locks,
) -> Result<Exit, Fault> {
    let folder = Folder::at(dir);
    let manifest = folder.manifest(at).map_err(|why| fault(&why))?;
    let lock = locks.begin();
    let bucket = Bucket::open(place.clone(), lock.clone())?;
    let mut items = vec![
        Item::part(&manifest.rows),
        Item::part(&manifest.blobs.list),
        Item::part(&manifest.checkpoints.list),
    ];
    let blobs = folder.blobs(&manifest).map_err(|why| fault(&why))?;
    items.extend(blobs.iter().map(|digest| blob(&folder, digest)));
    items.extend(chunks(&folder, &manifest)?);
    let there = bucket.list("").await?;
    let put = |item: Item| {
        let (bucket, there, folder) = (&bucket, &there, &folder);
        async move { put(bucket, folder, there, item).await }
    };
    let sizes: Vec<Option<u64>> =
        stream::iter(items).map(put).buffer_unordered(AT_ONCE).try_collect().await?;
    // All that it names is there before it is.
    let name = manifest_name(manifest.log_index);
    bucket.put(&name, &folder.path().join(&name), None).await?;
    let copied = Copied {
        bucket: place.to_string(),
        dir: dir.display().to_string(),
        log_index: manifest.log_index,
        objects: sizes.len() as u64 + 1,
        copied: sizes.iter().flatten().count() as u64 + 1,
        copied_bytes: Bytes(sizes.iter().flatten().sum()),
        locked_until: lock.map(|lock| lock.until.text()),
    };
    show(global, "backup_push", &copied, &format!("assay backup pull {place} DIR"))
}

/// Puts a file unless it is there. Gives its size if it was put.
async fn put(
    bucket: &Bucket,
    folder: &Folder,
    there: &BTreeMap<String, u64>,
    item: Item,
) -> Result<Option<u64>, Fault> {
    let path = folder.file(&item.name).map_err(|why| fault(&why))?;
    let size = std::fs::metadata(&path).map_err(|why| Fault::file(&path, &why))?.len();
    if item.named_by_bytes && there.get(&item.name) == Some(&size) {
        bucket.renew_lock(&item.name).await?;
        return Ok(None);
    }
    bucket.put(&item.name, &path, item.known).await.map(Some)
}

/// `assay backup pull`: what the folder lacks of a backup; its manifest last.
///
/// # Errors
/// When the bucket holds no such backup or a damaged one, or the disk refuses.
pub async fn pull(
    global: &Global,
    (place, dir): (Place, &Path),
    at: Option<LogIndex>,
) -> Result<Exit, Fault> {
    let bucket = Bucket::open(place.clone(), None)?;
    let folder = Folder::at(dir);
    folder.make().map_err(|why| fault(&why))?;
    let (at, manifest) = described(&bucket, &place, dir, at).await?;
    let get = |item: Item| {
        let (bucket, folder) = (&bucket, &folder);
        async move { get(bucket, folder, item).await }
    };
    let run = |items: Vec<Item>| {
        stream::iter(items).map(get).buffer_unordered(AT_ONCE).try_collect::<Vec<Option<u64>>>()
    };
    let lists = [&manifest.rows, &manifest.blobs.list, &manifest.checkpoints.list];
    let mut sizes = run(lists.into_iter().map(Item::part).collect()).await?;
    let blobs = folder.blobs(&manifest).map_err(|why| fault(&why))?;
    sizes.extend(run(blobs.iter().map(|digest| blob(&folder, digest)).collect()).await?);
    sizes.extend(run(chunks(&folder, &manifest)?).await?);
    super::checkpoints::check(&folder, &manifest).map_err(|why| fault(&why))?;
    folder.finish(&manifest).map_err(|why| fault(&why))?;
    let copied = Copied {
        bucket: place.to_string(),
        dir: dir.display().to_string(),
        log_index: at,
        objects: sizes.len() as u64 + 1,
        copied: sizes.iter().flatten().count() as u64 + 1,
        copied_bytes: Bytes(sizes.iter().flatten().sum()),
        locked_until: None,
    };
    show(global, "backup_pull", &copied, &format!("assay backup verify {}", dir.display()))
}

/// The manifest of a backup in a bucket: of this log entry, or the newest.
async fn described(
    bucket: &Bucket,
    place: &Place,
    dir: &Path,
    at: Option<LogIndex>,
) -> Result<(LogIndex, Manifest), Fault> {
    let found = bucket.list("backups").await?;
    let index = |name: &String| {
        name.strip_prefix("backups/")?.strip_suffix(".json")?.parse().ok().map(LogIndex)
    };
    let known: BTreeSet<LogIndex> = found.keys().filter_map(index).collect();
    let at = at.or(known.last().copied()).filter(|at| known.contains(at)).ok_or_else(|| {
        let all: Vec<_> = known.iter().map(|it| it.0.to_string()).collect();
        let all = if all.is_empty() { "none".to_owned() } else { all.join(", ") };
        Fault::not_found(format!("no such backup in {place}; there are: {all}"))
            .hint(format!("assay backup push DIR {place}"))
    })?;
    let path = dir.join("manifest.fetched");
    bucket.get(&manifest_name(at), &path, None).await?;
    let bytes = std::fs::read(&path).map_err(|why| Fault::file(&path, &why))?;
    std::fs::remove_file(&path).map_err(|why| Fault::file(&path, &why))?;
    let damaged = |why: String| {
        Fault::mismatch("damaged_backup", format!("{place}/{}: {why}", manifest_name(at)))
    };
    let manifest: Manifest =
        serde_json::from_slice(&bytes).map_err(|why| damaged(why.to_string()))?;
    match manifest.schema == Manifest::SCHEMA && manifest.log_index == at {
        true => Ok((at, manifest)),
        false => Err(damaged("is not the backup that its name says".into())),
    }
}

/// Fetches a file unless the folder has it whole. Gives its size if it was fetched.
async fn get(bucket: &Bucket, folder: &Folder, item: Item) -> Result<Option<u64>, Fault> {
    let path = folder.file(&item.name).map_err(|why| fault(&why))?;
    let whole = match item.known {
        Some(sha256) if path.exists() => {
            let part = registry::backup::Part { file: item.name.clone(), sha256, size: 0 };
            folder.check(&part).is_ok()
        }
        Some(_) => false,
        None => item.chunk.is_some_and(|chunk| folder.read_chunk(&chunk).is_ok()),
    };
    if whole {
        return Ok(None);
    }
    bucket.get(&item.name, &path, item.known).await.map(Some)
}

fn show(global: &Global, schema: &str, copied: &Copied, next: &str) -> Result<Exit, Fault> {
    super::super::output(global).show(schema, copied, |_| {
        let locked = copied.locked_until.as_ref();
        let locked = locked.map_or_else(String::new, |until| format!(", locked until {until}"));
        format!(
            "backup at log entry {}: {} objects, {} of them copied ({}){locked}\nnext: {next}\n",
            copied.log_index.0,
            copied.objects,
            copied.copied,
            show_size(copied.copied_bytes)
        )
    })?;
    Ok(Exit::Ok)
}
