//! Servers that come and go, on an admin's word.

use super::{context::Context, error};
use crate::consensus::{MemberChange, membership::ChangeError};
use domain::{LogIndex, ReplicaId};
use proto::v1::{self, assay_client::AssayClient, membership_request::Change};
use tonic::Status;

/// Changes the members, through whichever server leads.
///
/// # Errors
/// When the change is refused, or there is no leader.
pub async fn change(
    context: &Context,
    user: &str,
    change: Change,
) -> Result<v1::DoneReply, Status> {
    if !context.node.leads() {
        return forward(context, change).await;
    }
    tracing::info!(user, ?change, "membership change asked for");
    let change = match change {
        Change::TransferTo(to) => {
            context.node.transfer(ReplicaId(to)).await;
            return Ok(v1::DoneReply { log_index: context.node.status().commit.0 });
        }
        Change::Add(server) => {
            MemberChange::AddLearner { id: ReplicaId(server.id), address: server.address }
        }
        Change::Remove(id) => MemberChange::Remove { id: ReplicaId(id) },
    };
    match context.node.change(change).await {
        Ok(LogIndex(log_index)) => Ok(v1::DoneReply { log_index }),
        Err(fault) => {
            let unknown = matches!(fault, ChangeError::Unknown);
            let code = if unknown { "unavailable" } else { "refused" };
            let hint = "`assay cluster status` shows the servers";
            Err(error::status(code, fault.to_string(), hint, unknown))
        }
    }
}

async fn forward(context: &Context, change: Change) -> Result<v1::DoneReply, Status> {
    let none = || {
        let hint = "`assay cluster status` shows the servers";
        error::status("unavailable", "no leader is known", hint, true)
    };
    let leader = context.node.leader_address().ok_or_else(none)?;
    let channel = context.channels.to(&leader).map_err(|_| none())?;
    let request = v1::MembershipRequest { change: Some(change) };
    let reply = AssayClient::new(channel).membership(request).await?;
    Ok(reply.into_inner())
}
