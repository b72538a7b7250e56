//! Decisions that a server makes again: its answer, part after part.

use super::{Client, nobody, of_status};
use crate::fault::{Fault, Kind};
use domain::replay::ReplayPart;
use proto::v1::{Document, ReplayRequest, replays_client::ReplaysClient};
use tonic::{Streaming, transport::Channel};

/// The reason of a server's fault that says that another was asked for.
const ELSEWHERE: &str = "elsewhere";

/// What a server says, from its first part on.
pub struct Replayed {
    address: String,
    first: Option<Document>,
    parts: Streaming<Document>,
}

impl Replayed {
    /// The next part; none after the last.
    ///
    /// # Errors
    /// When the server cannot go on, or ends in the middle.
    pub async fn next(&mut self) -> Result<Option<ReplayPart>, Fault> {
        let document = match self.first.take() {
            Some(first) => Some(first),
            None => {
                self.parts.message().await.map_err(|status| of_status(&status, &self.address))?
            }
        };
        let Some(document) = document else { return Ok(None) };
        serde_json::from_slice(&document.json).map(Some).map_err(|why| {
            Fault::internal("document", format!("server {}: {why}", self.address))
                .hint("use the `assay` of this cluster's release")
        })
    }
}

impl Client {
    /// Has decisions made again, by the first server that does.
    ///
    /// # Errors
    /// When it is refused, or no server answers.
    pub async fn replay(&self, asked: ReplayRequest) -> Result<Replayed, Fault> {
        let mut last = None;
        for (address, channel) in self.channels() {
            match ask(address, channel, asked).await {
                // What the server that was asked for has said tells more than that others are not it.
                Err(fault) if fault.reason == ELSEWHERE => last = last.or(Some(fault)),
                Err(fault) if fault.code == Kind::Unavailable => last = Some(fault),
                other => return other,
            }
        }
        Err(last.unwrap_or_else(nobody))
    }
}

async fn ask(address: &str, channel: &Channel, asked: ReplayRequest) -> Result<Replayed, Fault> {
    let wire = |status| of_status(&status, address);
    let mut client = ReplaysClient::new(channel.clone())
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let mut parts = client.replay(asked).await.map_err(wire)?.into_inner();
    // What it cannot do it says here at the latest.
    let first = parts.message().await.map_err(wire)?;
    Ok(Replayed { address: address.to_owned(), first, parts })
}
