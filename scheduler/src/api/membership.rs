//! Servers that come and go, on an admin's word.

use super::{context::Context, error, identity::Identity};
use crate::consensus::{MemberChange, membership::ChangeError};
use domain::{ArtifactId, LogIndex, ReplicaId, limit};
use proto::v1::{self, assay_client::AssayClient, membership_request::Change};
use std::{collections::BTreeSet, time::Duration};
use tonic::Status;

/// Longest wait for a successor to lead.
const SUCCESSION: Duration = Duration::from_millis(4 * limit::ELECTION_MAX.0);

/// Changes the members, through whichever server leads.
///
/// # Errors
/// When the change is refused, or there is no leader.
pub async fn change(
    context: &Context,
    who: &Identity,
    change: Change,
) -> Result<v1::DoneReply, Status> {
    if !context.node.leads() {
        tracing::info!(?who, ?change, "membership change handed on to the leader");
        return match who {
            Identity::Server(_) => {
                Err(error::status("unavailable", "the lead has changed", "try again", true))
            }
            Identity::User(_) | Identity::Node(_) => forward(context, change).await,
        };
    }
    tracing::info!(?who, ?change, "membership change asked for");
    let change = match change {
        Change::TransferTo(to) => return transfer(context, ReplicaId(to)).await,
        Change::Add(server) => {
            check_address(&server.address)?;
            MemberChange::AddLearner { id: ReplicaId(server.id), address: server.address }
        }
        Change::Remove(id) => {
            keeps_nothing_alone(context, ReplicaId(id)).await?;
            MemberChange::Remove { id: ReplicaId(id) }
        }
        Change::RemoveAnyway(id) => MemberChange::Remove { id: ReplicaId(id) },
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
            let code = match fault {
                ChangeError::Unknown => "unavailable",
                ChangeError::NoSuch { .. } => "not_found",
                _ => "refused",
            };
            let hint = "`assay cluster status` shows the servers";
            Err(error::status(code, fault.to_string(), hint, unknown))
        }
    }
}

/// Whether a server is the last member among those that hold something.
fn is_alone(id: ReplicaId, others: &BTreeSet<ReplicaId>, copies: &[ReplicaId]) -> bool {
    copies.contains(&id) && !copies.iter().any(|copy| others.contains(copy))
}

/// Refuses the loss of a server that alone holds a result, as the records have it.
async fn keeps_nothing_alone(context: &Context, id: ReplicaId) -> Result<(), Status> {
    let others = context.node.status().members.into_keys().filter(|other| *other != id);
    let others: BTreeSet<ReplicaId> = others.collect();
    let (mut alone, mut after) = (Vec::new(), ArtifactId(0));
    loop {
        let page = context.node.read_local(move |cluster, rows| {
            let page = cluster.view().artifacts(rows, after, limit::PAGE_MAX);
            page.into_iter().map(|it| (it.artifact.id, it.artifact.copies)).collect::<Vec<_>>()
        });
        let page = page
            .await
            .map_err(|fault| error::status("unavailable", fault.to_string(), "try again", true))?;
        let Some((last, _)) = page.last() else { break };
        after = *last;
        let only = page.iter().filter(|(_, copies)| is_alone(id, &others, copies));
        alone.extend(only.map(|(artifact, _)| *artifact));
    }
    let Some(first) = alone.first() else { return Ok(()) };
    let more = match alone.len() {
        1 => String::new(),
        count => format!(" and {} more", count - 1),
    };
    let why = format!("{id} is the only server that holds {first}{more}: they would be lost");
    let hint = "wait until they are copied (`assay artifacts` shows who holds what), or lose \
                them: `assay cluster remove --force`";
    Err(error::status("refused", why, hint, false))
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
        let kind = if status.members.contains_key(&to) { "refused" } else { "not_found" };
        return Err(error::status(kind, why, "name one of them", false));
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
    fn only_the_last_member_that_holds_a_result_is_alone_with_it() {
        let others = [2, 3].map(ReplicaId).into();
        for (copies, alone) in [
            (vec![1], true),
            // The other one has left the cluster.
            (vec![1, 9], true),
            (vec![1, 2], false),
            (vec![2, 3], false),
            (vec![], false),
        ] {
            let copies: Vec<_> = copies.into_iter().map(ReplicaId).collect();
            assert_eq!(is_alone(ReplicaId(1), &others, &copies), alone, "{copies:?}");
        }
    }

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
