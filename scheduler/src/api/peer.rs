//! What servers say to each other.

use super::{context::Context, error, forward, identity::Identity, seal_waits};
use crate::consensus::snapshot::{Incoming, SnapshotError};
use domain::ReplicaId;
use proto::v1::{
    Ack, ForwardReply, ForwardRequest, Frame, SealsReply, SealsRequest, SnapshotAck, SnapshotChunk,
    peer_server::Peer,
};
use std::sync::Arc;
use tonic::{Request, Response, Status, Streaming};

const CHECK: &str = "check ids, addresses and the cluster's name in the configuration";

/// The service of one server.
#[derive(Clone)]
pub struct PeerService(pub Arc<Context>);

impl PeerService {
    /// Refuses what is not meant for this server, or not said by who it claims.
    fn check(&self, who: ReplicaId, from: u64, to: u64, cluster: &str) -> Result<(), Status> {
        let me = &self.0;
        let fault = if from != who.0 {
            format!("message of r{from} came from {who}")
        } else if to != me.me.0 {
            format!("message for r{to} came to {}", me.me)
        } else if cluster != me.cluster {
            format!("message of cluster `{cluster}` came to `{}`", me.cluster)
        } else {
            return Ok(());
        };
        Err(error::status("refused", fault, CHECK, false))
    }

    fn same_cluster(&self, asked: &str) -> Result<(), Status> {
        let mine = &self.0.cluster;
        if asked == mine {
            return Ok(());
        }
        let fault = format!("request of cluster `{asked}` came to `{mine}`");
        Err(error::status("refused", fault, CHECK, false))
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn link(&self, request: Request<Streaming<Frame>>) -> Result<Response<Ack>, Status> {
        let who = Identity::of(&request)?.server()?;
        let mut frames = request.into_inner();
        while let Some(frame) = frames.message().await? {
            self.check(who, frame.from, frame.to, &frame.cluster)?;
            self.0.node.deliver(who, frame.messages);
        }
        Ok(Response::new(Ack {}))
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<SnapshotAck>, Status> {
        let who = Identity::of(&request)?.server()?;
        let mut chunks = request.into_inner();
        let failed = |fault: SnapshotError| {
            error::status("unavailable", fault.to_string(), "send it again", true)
        };
        let mut incoming = Incoming::begin(self.0.node.store().clone()).map_err(failed)?;
        let mut taken = 0;
        while let Some(chunk) = chunks.message().await? {
            self.check(who, chunk.from, chunk.to, &chunk.cluster)?;
            taken += 1;
            let task = tokio::task::spawn_blocking(move || {
                let last = incoming.take(chunk);
                (incoming, last)
            });
            let broken = |_| error::status("internal", "receiver failed", "send again", true);
            let (back, last) = task.await.map_err(broken)?;
            incoming = back;
            if last.map_err(failed)? {
                break;
            }
        }
        let cut = || error::status("unavailable", "the stream was cut", "send it again", true);
        let (message, received) = incoming.finish().ok_or_else(cut)?;
        if !self.0.node.install(who, message, received).await {
            return Err(failed(SnapshotError::Unwanted));
        }
        Ok(Response::new(SnapshotAck { next: taken }))
    }

    async fn forward(
        &self,
        request: Request<ForwardRequest>,
    ) -> Result<Response<ForwardReply>, Status> {
        Identity::of(&request)?.server()?;
        let request = request.into_inner();
        self.same_cluster(&request.cluster)?;
        let replies = forward::answer(&self.0.node, &request.requests).await;
        Ok(Response::new(ForwardReply { replies: replies.into() }))
    }

    async fn seals(&self, request: Request<SealsRequest>) -> Result<Response<SealsReply>, Status> {
        Identity::of(&request)?.server()?;
        let request = request.into_inner();
        self.same_cluster(&request.cluster)?;
        let waits = seal_waits::answer(&self.0, &request.tickets)?;
        Ok(Response::new(SealsReply { waits }))
    }
}
