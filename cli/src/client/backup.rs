//! What a backup is read from: rows from one server, names of blobs from each.

use super::{Client, nobody, of_status};
use crate::fault::{Fault, Kind};
use domain::{
    Digest, LeaseId, LogIndex,
    chunks::{Chunk, Pin},
    limit,
};
use proto::{
    chunks,
    v1::{HeldRequest, RowsMark, RowsRequest, backups_client::BackupsClient},
};
use registry::{
    backup::{BackupFault, Folder, Part, SavedCheckpoint},
    blob::chunks::{Form, Piece},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};
use tonic::transport::Channel;

/// Rows that were saved.
pub struct SavedRows {
    /// What they are.
    pub mark: RowsMark,
    /// Where they are.
    pub part: Part,
}

/// Which blobs there are.
#[derive(Default)]
pub struct HeldBlobs {
    /// Those that some server holds.
    pub all: BTreeSet<Digest>,
    /// Servers that did not say.
    pub silent: Vec<String>,
}

/// The fault of a command that met this one.
#[must_use]
pub fn fault(fault: &BackupFault) -> Fault {
    let text = fault.to_string();
    match fault {
        BackupFault::Io { .. } => Fault::usage("backup", text),
        BackupFault::None(_) | BackupFault::NoSuch { .. } => {
            Fault::new(Kind::NotFound, "no_backup", text)
        }
        BackupFault::Damaged { .. } | BackupFault::Form { .. } => {
            Fault::mismatch("damaged_backup", text)
        }
    }
}

fn client(channel: &Channel) -> BackupsClient<Channel> {
    BackupsClient::new(channel.clone())
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX)
}

impl Client {
    /// Saves the rows, from the first server that gives them whole.
    ///
    /// # Errors
    /// When no server does, or the disk refuses.
    pub async fn save_rows(&self, folder: &Folder) -> Result<SavedRows, Fault> {
        let mut last = None;
        for (address, channel) in self.channels() {
            match save_rows(address, channel, folder).await {
                Err(fault) if fault.code == Kind::Unavailable => last = Some(fault),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(nobody))
    }

    /// Asks every server which checkpoints it keeps; one that does not answer is passed over.
    pub async fn held_checkpoints(&self) -> Vec<SavedCheckpoint> {
        let mut held = BTreeMap::new();
        for (_, channel) in self.channels() {
            // What it alone keeps is missing, as its blobs are, and is told of with them.
            if let Ok(kept) = kept_by(channel).await {
                held.extend(kept.into_iter().map(|saved| (saved.list, saved)));
            }
        }
        held.into_values().collect()
    }

    /// Fetches the list of a checkpoint's chunks; none when no server keeps it any more.
    pub async fn chunk_list(&self, list: Digest) -> Option<Vec<u8>> {
        for (_, channel) in self.channels() {
            if let Ok(bytes) = chunks::list(channel, list).await {
                return Some(bytes);
            }
        }
        None
    }

    /// Fetches chunks into the folder, from the first server that has them all.
    ///
    /// # Errors
    /// When no server has, or the disk refuses.
    pub async fn save_chunks(&self, folder: &Folder, wanted: &[Chunk]) -> Result<(), Fault> {
        let mut last = None;
        for (address, channel) in self.channels() {
            match save_chunks(address, channel, folder, wanted).await {
                Err(fault) if fault.code != Kind::Usage => last = Some(fault),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(nobody))
    }

    /// Asks every server which blobs it holds.
    pub async fn held_blobs(&self) -> HeldBlobs {
        let mut held = HeldBlobs::default();
        for (address, channel) in self.channels() {
            match held_by(channel).await {
                Ok(digests) => held.all.extend(digests),
                Err(_) => held.silent.push(address.to_owned()),
            }
        }
        held
    }
}

async fn save_rows(address: &str, channel: &Channel, folder: &Folder) -> Result<SavedRows, Fault> {
    let wire = |status| of_status(&status, address);
    let mut parts = client(channel).rows(RowsRequest {}).await.map_err(wire)?.into_inner();
    let cut = || {
        let detail = format!("server {address} ended in the middle of the rows");
        Fault::new(Kind::Unavailable, "cut_off", detail).hint("take the backup again")
    };
    let first = parts.message().await.map_err(wire)?.ok_or_else(cut)?;
    let mark = first.mark.clone().ok_or_else(cut)?;
    let local = |why: BackupFault| fault(&why);
    let mut out = folder.write_rows(LogIndex(mark.log_index)).map_err(local)?;
    let mut part = first;
    loop {
        out.page(&part.zstd).map_err(local)?;
        if part.last {
            break;
        }
        part = parts.message().await.map_err(wire)?.ok_or_else(cut)?;
    }
    Ok(SavedRows { mark, part: out.finish().map_err(local)? })
}

async fn held_by(channel: &Channel) -> Result<BTreeSet<Digest>, tonic::Status> {
    let mut held = BTreeSet::new();
    let mut after = Vec::new();
    loop {
        let request = HeldRequest { after: after.into() };
        let page = client(channel).held(request).await?.into_inner().digests;
        let Some(last) = page.last() else { return Ok(held) };
        after = last.to_vec();
        for bytes in &page {
            let digest = proto::convert::digest("digests", bytes);
            held.insert(digest.map_err(|why| tonic::Status::internal(why.to_string()))?);
        }
    }
}

async fn kept_by(channel: &Channel) -> Result<Vec<SavedCheckpoint>, tonic::Status> {
    let mut kept = Vec::new();
    let mut after = Vec::new();
    loop {
        let request = HeldRequest { after: after.into() };
        let page = client(channel).checkpoints(request).await?.into_inner().checkpoints;
        let Some(last) = page.last() else { return Ok(kept) };
        after = last.list.to_vec();
        for held in &page {
            let list = proto::convert::digest("list", &held.list);
            let list = list.map_err(|why| tonic::Status::internal(why.to_string()))?;
            let lease = LeaseId { index: held.lease_index, ordinal: held.lease_ordinal };
            kept.push(SavedCheckpoint { list, by: Pin { lease, step: held.step } });
        }
    }
}

async fn save_chunks(
    address: &str,
    channel: &Channel,
    folder: &Folder,
    wanted: &[Chunk],
) -> Result<(), Fault> {
    let wire = |status| of_status(&status, address);
    for batch in wanted.chunks(limit::CHUNK_NAMES_MAX) {
        let begun = chunks::fetch(channel, batch).await;
        let mut pieces = begun.map_err(|why| super::blobs::of_transfer(&why, address))?;
        for chunk in batch {
            let piece = pieces.message().await.map_err(wire)?.ok_or_else(|| {
                let detail = format!("server {address} ended before chunk {}", chunk.name);
                Fault::new(Kind::Unavailable, "cut_off", detail).hint("take the backup again")
            })?;
            let form = if piece.packed { Form::Zstd } else { Form::Raw };
            let piece = Piece::checked(chunk.name, chunk.len, form, piece.data);
            let bytes = piece.and_then(|piece| piece.unpacked());
            let bytes = bytes.map_err(|why| Fault::mismatch("damaged_chunk", why.to_string()))?;
            let path = folder.chunk(chunk.name);
            let (dir, part) = (path.parent().unwrap_or(folder.path()), path.with_extension("part"));
            let write = || {
                fs::create_dir_all(dir)?;
                fs::write(&part, &bytes)?;
                fs::rename(&part, &path)
            };
            write().map_err(|why| Fault::file(&path, &why))?;
        }
    }
    Ok(())
}
