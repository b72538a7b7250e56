//! `assay backup`: the whole cluster in a folder, with nothing in it twice.

mod bucket;
mod checkpoints;

use super::Context;
use crate::{
    args::{Global, backup::Backup},
    client::backup::{HeldBlobs, fault},
    exit::Exit,
    fault::Fault,
    output::Style,
    quantity::{show_size, show_time},
};
use bucket::Locks;
use domain::{Bytes, Digest, LogIndex, Millis};
use proto::convert;
use registry::backup::{BackupFault, Blobs, Folder, Manifest};
use serde::Serialize;
use std::{collections::BTreeSet, fs, path::Path};

/// What was saved.
#[derive(Debug, Serialize)]
struct Taken {
    dir: String,
    log_index: LogIndex,
    state: Option<Digest>,
    rows_bytes: Bytes,
    blobs: u64,
    blobs_bytes: Bytes,
    /// Of them those that the folder lacked.
    fetched: u64,
    fetched_bytes: Bytes,
    checkpoints: u64,
    chunks_fetched_bytes: Bytes,
    /// Servers that did not answer: what only they hold is missing.
    silent: Vec<String>,
}

impl Taken {
    fn text(&self, style: Style) -> String {
        let mut text = format!(
            "backup at log entry {}: {} blobs of {}, {} of them new; {} checkpoints; rows {}\n",
            self.log_index.0,
            self.blobs,
            show_size(self.blobs_bytes),
            self.fetched,
            self.checkpoints,
            show_size(self.rows_bytes),
        );
        if !self.silent.is_empty() {
            let silent = self.silent.join(", ");
            text +=
                &style.bad(&format!("no answer from {silent}: what only they hold is missing\n"));
        }
        text + &format!("next: assay backup verify {}\n", self.dir)
    }
}

/// What was read again.
#[derive(Debug, Serialize)]
struct Checked {
    log_index: LogIndex,
    blobs: u64,
    checkpoints: u64,
    read_bytes: Bytes,
}

/// Runs the command.
///
/// # Errors
/// When the cluster does not answer, the disk refuses, or a backup is damaged.
pub async fn run(global: &Global, what: Backup) -> Result<Exit, Fault> {
    match what {
        Backup::Take { dir } => take(&Context::new(global)?, &dir).await,
        Backup::Push(args) => {
            let locks = Locks { time: args.lock, mode: args.lock_mode };
            bucket::push(global, (&args.dir, args.bucket), args.at.map(LogIndex), locks).await
        }
        Backup::Pull { bucket, dir, at } => {
            bucket::pull(global, (bucket, &dir), at.map(LogIndex)).await
        }
        Backup::List { dir } => list(global, &dir),
        Backup::Verify { dir, at } => verify(global, &dir, at.map(LogIndex)),
    }
}

async fn take(context: &Context, dir: &Path) -> Result<Exit, Fault> {
    let dir = std::path::absolute(dir).map_err(|why| Fault::file(dir, &why))?;
    let folder = Folder::at(&dir);
    folder.make().map_err(|why| fault(&why))?;
    let trusted = trusted(&folder)?;
    // Before the blobs: each that the rows name was on two servers before they named it.
    let rows = context.client.save_rows(&folder).await?;
    let at = LogIndex(rows.mark.log_index);
    let checkpoints = checkpoints::take(context, &folder, at).await?;
    let HeldBlobs { mut all, silent } = context.client.held_blobs().await;
    let mut found = Found::default();
    for digest in &all {
        found.take(context, &folder, digest, trusted.contains(digest)).await?;
    }
    for digest in &checkpoints.lists {
        found.size += folder.check_blob(digest).map_err(|why| fault(&why))?;
    }
    all.extend(&checkpoints.lists);
    let blobs: Vec<Digest> = all.into_iter().collect();
    let list = folder.write_list(at, &blobs).map_err(|why| fault(&why))?;
    let manifest = Manifest {
        schema: Manifest::SCHEMA.into(),
        cluster: rows.mark.cluster,
        log_index: at,
        log_term: rows.mark.log_term,
        state: convert::digest("state", &rows.mark.state).ok(),
        time: Millis(rows.mark.time_ms),
        rows: rows.part,
        blobs: Blobs { count: blobs.len() as u64, size: found.size, list },
        checkpoints: checkpoints.saved,
        silent,
    };
    folder.finish(&manifest).map_err(|why| fault(&why))?;
    let taken = Taken {
        dir: dir.display().to_string(),
        log_index: at,
        state: manifest.state,
        rows_bytes: Bytes(manifest.rows.size),
        blobs: manifest.blobs.count,
        blobs_bytes: Bytes(found.size),
        fetched: found.fetched,
        fetched_bytes: Bytes(found.fetched_size),
        checkpoints: manifest.checkpoints.count,
        chunks_fetched_bytes: Bytes(checkpoints.fetched),
        silent: manifest.silent,
    };
    context.output.show("backup", &taken, |style| taken.text(style))?;
    Ok(Exit::Ok)
}

/// Blobs of finished backups: they were on the disk before those were.
fn trusted(folder: &Folder) -> Result<BTreeSet<Digest>, Fault> {
    let mut trusted = BTreeSet::new();
    for at in folder.known().map_err(|why| fault(&why))? {
        let manifest = folder.manifest(Some(at)).map_err(|why| fault(&why))?;
        trusted.extend(folder.blobs(&manifest).map_err(|why| fault(&why))?);
    }
    Ok(trusted)
}

/// What of the blobs was there, and what came.
#[derive(Default)]
struct Found {
    size: u64,
    fetched: u64,
    fetched_size: u64,
}

impl Found {
    async fn take(
        &mut self,
        context: &Context,
        folder: &Folder,
        digest: &Digest,
        trusted: bool,
    ) -> Result<(), Fault> {
        let path = folder.blob(digest);
        if let Ok(meta) = fs::metadata(&path)
            && (trusted || folder.check_blob(digest).is_ok())
        {
            self.size += meta.len();
            return Ok(());
        }
        let parent = path.parent().unwrap_or(folder.path());
        fs::create_dir_all(parent).map_err(|why| Fault::file(parent, &why))?;
        let part = path.with_extension("part");
        context.client.blob_to_file(*digest, &part).await?;
        fs::rename(&part, &path).map_err(|why| Fault::file(&path, &why))?;
        let size = fs::metadata(&path).map_err(|why| Fault::file(&path, &why))?.len();
        self.size += size;
        self.fetched += 1;
        self.fetched_size += size;
        Ok(())
    }
}

fn list(global: &Global, dir: &Path) -> Result<Exit, Fault> {
    let folder = Folder::at(dir);
    let known = folder.known().map_err(|why| fault(&why))?;
    let read = |at: &LogIndex| folder.manifest(Some(*at)).map_err(|why| fault(&why));
    let backups: Vec<Manifest> = known.iter().map(read).collect::<Result<_, _>>()?;
    let document = serde_json::json!({ "backups": backups });
    super::output(global).show("backups", &document, |_| {
        let line = |it: &Manifest| {
            format!(
                "{:>12}  {}  {}  {} blobs of {}\n",
                it.log_index.0,
                show_time(it.time),
                it.cluster,
                it.blobs.count,
                show_size(Bytes(it.blobs.size)),
            )
        };
        match backups.is_empty() {
            true => format!("no backup\nnext: assay backup take {}\n", dir.display()),
            false => backups.iter().map(line).collect(),
        }
    })?;
    Ok(Exit::Ok)
}

fn verify(global: &Global, dir: &Path, at: Option<LogIndex>) -> Result<Exit, Fault> {
    let folder = Folder::at(dir);
    let check = || {
        let manifest = folder.manifest(at)?;
        let mut read = folder.check(&manifest.rows)?;
        let blobs = folder.blobs(&manifest)?;
        for digest in &blobs {
            read += folder.check_blob(digest)?;
        }
        read += checkpoints::check(&folder, &manifest)?;
        let read_bytes = Bytes(read + manifest.blobs.list.size);
        let (blobs, checkpoints) = (blobs.len() as u64, manifest.checkpoints.count);
        Ok(Checked { log_index: manifest.log_index, blobs, checkpoints, read_bytes })
    };
    let checked = check().map_err(|why: BackupFault| fault(&why))?;
    super::output(global).show("backup_check", &checked, |style| {
        let Checked { log_index, blobs, checkpoints, read_bytes } = &checked;
        style.good(&format!(
            "backup at log entry {} is whole: rows, {blobs} blobs, {checkpoints} checkpoints; {} \
             read\n",
            log_index.0,
            show_size(*read_bytes)
        )) + &format!("next: assay restore {} --config SERVER.toml\n", dir.display())
    })?;
    Ok(Exit::Ok)
}
