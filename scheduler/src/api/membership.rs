//! Servers that come and go, on an admin's word.

use super::{context::Context, error};
use crate::consensus::{MemberChange, membership::ChangeError};
use domain::{LogIndex, ReplicaId, limit};
use proto::v1::{self, assay_client::AssayClient, membership_request::Change};
use std::time::Duration;
use tonic::Status;

/// Longest wait for a successor to lead.
const SUCCESSION: Duration = Duration::from_millis(4 * limit::ELECTION_MAX.0);

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
        Change::TransferTo(to) => return transfer(context, ReplicaId(to)).await,
        Change::Add(server) => {
            check_address(&server.address)?;
            MemberChange::AddLearner { id: ReplicaId(server.id), address: server.address }
        }
        Change::Remove(id) => MemberChange::Remove { id: ReplicaId(id) },
    };
    let leaving = match &change {
        MemberChange::Remove { id } => Some(*id),
        MemberChange::AddLearner { .. } | MemberChange::Promote { .. } => None,
    };
    match context.node.change(change).await {
        Ok(LogIndex(log_index)) => {
            if let Some(id) = leaving {
                left(context, id).await?;
            }
            Ok(v1::DoneReply { log_index })
        }
        Err(fault) => {
            let unknown = matches!(fault, ChangeError::Unknown);
            let code = if unknown { "unavailable" } else { "refused" };
            let hint = "`assay cluster status` shows the servers";
            Err(error::status(code, fault.to_string(), hint, unknown))
        }
    }
}

/// Waits until a server that is removed has left: before that, old and new members decide jointly.
async fn left(context: &Context, id: ReplicaId) -> Result<(), Status> {
    let mut changes = context.node.status_changes();
    let gone = changes.wait_for(|status| !status.members.contains_key(&id));
    if matches!(tokio::time::timeout(SUCCESSION, gone).await, Ok(Ok(_))) {
        return Ok(());
    }
    let why = format!("{id} is leaving, but has not left yet");
    Err(error::status("unavailable", why, "`assay cluster status` shows when it has", false))
}

/// Gives the leadership to a server, and says so only once it leads.
async fn transfer(context: &Context, to: ReplicaId) -> Result<v1::DoneReply, Status> {
    let status = context.node.status();
    let voters = status.members.iter().filter(|(_, member)| member.may_lead());
    let voters: Vec<_> = voters.map(|(id, _)| *id).collect();
    if !voters.contains(&to) {
        let known: Vec<_> = voters.iter().map(ToString::to_string).collect();
        let why = format!("{to} cannot lead: those with a vote are {}", known.join(", "));
        return Err(error::status("refused", why, "name one of them", false));
    }
    context.node.transfer(to).await;
    let mut changes = context.node.status_changes();
    let leads = changes.wait_for(|status| status.leader == Some(to));
    let led = matches!(tokio::time::timeout(SUCCESSION, leads).await, Ok(Ok(_)));
    if led {
        return Ok(v1::DoneReply { log_index: context.node.status().commit.0 });
    }
    let leader = context.node.status().leader;
    let leader = leader.map_or("nobody".to_owned(), |leader| leader.to_string());
    let why = format!("{to} did not take the lead in time, {leader} leads; is it up?");
    Err(error::status("unavailable", why, "`assay cluster status` shows the servers", false))
}

/// Refuses an address at which no server can be reached.
fn check_address(address: &str) -> Result<(), Status> {
    let parts = address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let port = parts.and_then(|(_, port)| port.parse::<u16>().ok());
    match port {
        Some(1..) => Ok(()),
        Some(0) | None => {
            let why = format!("`{address}` is no address of a server");
            Err(error::status("invalid", why, "give host:port, such as 10.0.0.4:7601", false))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_is_none_is_refused_before_it_is_in_the_log() {
        for good in ["10.0.0.4:7601", "assay-4.example:1", "[::1]:7601"] {
            check_address(good).unwrap();
        }
        for bad in ["", "host", ":7601", "host:", "host:0", "host:70000", "host:port"] {
            assert!(check_address(bad).is_err(), "{bad}");
        }
    }
}
