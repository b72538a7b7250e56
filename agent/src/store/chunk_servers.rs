//! The servers as places that keep chunks.

use super::{
    chunks::{ChunkPlace, Chunks, PlaceFault},
    servers::{Servers, is_verdict},
};
use bytes::Bytes;
use domain::{
    Digest,
    chunks::{Chunk, ChunkName, Pin},
    limit,
};
use proto::{chunks as wire, transfer::TransferError, v1::ChunkPiece};
use registry::blob::chunks::{Form, Piece};
use tokio::sync::mpsc;
use tonic::transport::Channel;

/// One server.
#[derive(Clone)]
pub struct ServerPlace(Channel);

fn fault(fault: &TransferError) -> PlaceFault {
    let why = fault.to_string();
    if is_verdict(fault) { PlaceFault::Refused(why) } else { PlaceFault::Silent(why) }
}

fn to_wire(piece: &Piece) -> ChunkPiece {
    ChunkPiece {
        name: piece.name().0.to_vec().into(),
        len: piece.len(),
        packed: piece.form() == Form::Zstd,
        data: piece.data().clone(),
    }
}

/// The piece that was asked for, checked where it may take its time.
async fn checked(wanted: Chunk, came: ChunkPiece) -> Result<Piece, PlaceFault> {
    let form = if came.packed { Form::Zstd } else { Form::Raw };
    let check = move || Piece::checked(wanted.name, wanted.len, form, came.data);
    let done = tokio::task::spawn_blocking(check).await;
    let done = done.map_err(|why| PlaceFault::Silent(why.to_string()))?;
    done.map_err(|why| PlaceFault::Refused(why.to_string()))
}

impl ChunkPlace for ServerPlace {
    async fn lacking(&self, names: &[ChunkName]) -> Result<Vec<bool>, PlaceFault> {
        wire::lacking(&self.0, names).await.map_err(|why| fault(&why))
    }

    async fn put(&self, pieces: Vec<Piece>) -> Result<(), PlaceFault> {
        let pieces = pieces.iter().map(to_wire).collect();
        wire::put(&self.0, pieces).await.map_err(|why| fault(&why))
    }

    async fn keep(&self, by: Pin, list: Bytes) -> Result<u64, PlaceFault> {
        wire::keep(&self.0, by, &list).await.map_err(|why| fault(&why))
    }

    async fn list(&self, list: Digest) -> Result<Vec<u8>, PlaceFault> {
        wire::list(&self.0, list).await.map_err(|why| fault(&why))
    }

    async fn fetch(&self, wanted: Vec<Chunk>, out: mpsc::Sender<Piece>) -> Result<(), PlaceFault> {
        let cut = |why: tonic::Status| fault(&why.into());
        for part in wanted.chunks(limit::CHUNK_NAMES_MAX) {
            let mut pieces = wire::fetch(&self.0, part).await.map_err(|why| fault(&why))?;
            for chunk in part {
                let came = pieces.message().await.map_err(cut)?;
                let came = came.ok_or_else(|| PlaceFault::Silent("it ended early".into()))?;
                if out.send(checked(*chunk, came).await?).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Chunks for Servers {
    type Place = ServerPlace;

    fn places(&self) -> Vec<ServerPlace> {
        self.channels().into_iter().map(ServerPlace).collect()
    }

    fn copies(&self) -> usize {
        limit::BLOB_COPIES.min(self.channels().len())
    }
}
