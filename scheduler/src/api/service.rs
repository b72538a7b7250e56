//! The public service: each call goes to the module named for what it does.

use super::{
    config,
    context::Context,
    error,
    follow::{self, Answers},
    identity::Identity,
    membership, query, registry_calls, reserving, rights, submit,
};
use proto::v1::{self, assay_server::Assay};
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// The service of one server.
#[derive(Clone)]
pub struct PublicService(pub Arc<Context>);

impl PublicService {
    /// The reply to a change, with the leader's address when that is another server.
    fn change<T>(&self, reply: T) -> Response<T> {
        let mut response = Response::new(reply);
        let node = &self.0.node;
        if !node.leads()
            && let Some(leader) = node.leader_address()
            && let Ok(address) = leader.parse()
        {
            response.metadata_mut().insert(proto::LEADER_HEADER, address);
        }
        response
    }
}

#[tonic::async_trait]
impl Assay for PublicService {
    async fn submit(
        &self,
        request: Request<v1::SubmitRequest>,
    ) -> Result<Response<v1::SubmitReply>, Status> {
        submit::submit(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn cancel(
        &self,
        request: Request<v1::CancelRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        submit::cancel(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        submit::drain(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn confirm_dead(
        &self,
        request: Request<v1::ConfirmDeadRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        submit::confirm_dead(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn accept_gpu(
        &self,
        request: Request<v1::AcceptGpuRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        submit::accept_gpu(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn hold(
        &self,
        request: Request<v1::HoldRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        config::hold(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn set_priority(
        &self,
        request: Request<v1::SetPriorityRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        config::set_priority(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn apply_config(
        &self,
        request: Request<v1::ApplyConfigRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        config::apply(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn registry(
        &self,
        request: Request<v1::RegistryRequest>,
    ) -> Result<Response<v1::RegistryReply>, Status> {
        registry_calls::change(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn reserve(
        &self,
        request: Request<v1::ReserveRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        reserving::change(&self.0, request).await.map(|reply| self.change(reply))
    }

    async fn query(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<v1::Document>, Status> {
        query::query(&self.0, request).await.map(Response::new)
    }

    type WatchStream = Answers<v1::Document>;

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        follow::watch(self.0.clone(), request).await.map(Response::new)
    }

    type ChangesStream = Answers<v1::Document>;

    async fn changes(
        &self,
        request: Request<v1::QueryRequest>,
    ) -> Result<Response<Self::ChangesStream>, Status> {
        follow::changes(self.0.clone(), request).await.map(Response::new)
    }

    type LogsStream = Answers<v1::LogChunk>;

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        follow::logs(self.0.clone(), request).await.map(Response::new)
    }

    async fn membership(
        &self,
        request: Request<v1::MembershipRequest>,
    ) -> Result<Response<v1::DoneReply>, Status> {
        let who = Identity::of(&request)?;
        // What another server hands on, it has looked at.
        if !matches!(who, Identity::Server(_)) {
            rights::admin(&self.0, &who.clone().user()?)?;
        }
        let Some(change) = request.into_inner().change else {
            return Err(error::status("invalid", "no change is named", "set `change`", false));
        };
        membership::change(&self.0, &who, change).await.map(Response::new)
    }
}
