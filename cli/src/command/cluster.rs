//! The servers.

use super::{Context, change::done, live};
use crate::{args::operator::Cluster, exit::Exit, fault::Fault, render};
use domain::view::ClusterView;
use proto::v1::{AddServer, ClusterQuery, membership_request::Change, query_request::What};

/// `assay cluster`.
///
/// # Errors
/// When the change is refused, or nobody answers.
pub async fn run(context: &Context, args: Cluster) -> Result<Exit, Fault> {
    let (change, said) = match args {
        Cluster::Status(live) => {
            // Finds the leader, who is asked then.
            status(context).await?;
            return live::show(context, live, What::Cluster(ClusterQuery {}), |answer| {
                let view: ClusterView = answer.value;
                context.output.show("cluster", &view, |style| render::cluster::text(style, &view))
            })
            .await;
        }
        Cluster::Add { id, address } => {
            let said =
                format!("{id} may join from {address}; start it: assay server --config FILE");
            (Change::Add(AddServer { id: id.0, address }), said)
        }
        Cluster::Remove { id, force } => {
            let change = if force { Change::RemoveAnyway } else { Change::Remove };
            (change(id.0), format!("{id} has left for good"))
        }
        Cluster::Transfer { to } => (Change::TransferTo(to.0), format!("{to} leads")),
    };
    // The leader makes the change, and records the user who asked for it.
    status(context).await?;
    let at = context.client.membership(change).await?;
    done(context, at, &said)
}

/// The cluster as its leader sees it, who alone knows how far the others are; without one, as the
/// server that answers sees it.
///
/// # Errors
/// When nobody answers.
pub async fn status(context: &Context) -> Result<ClusterView, Fault> {
    let view = look(context).await?;
    let leader = view.replicas.iter().find(|replica| Some(replica.id) == view.leader);
    match leader {
        Some(leader) if leader.id != view.answered_by => {
            context.client.prefer(&leader.address);
            look(context).await
        }
        _ => Ok(view),
    }
}

async fn look(context: &Context) -> Result<ClusterView, Fault> {
    Ok(context.client.query(What::Cluster(ClusterQuery {})).await?.value)
}
