//! The servers.

use super::{Context, change::done};
use crate::{args::operator::Cluster, exit::Exit, fault::Fault, render};
use domain::view::ClusterView;
use proto::v1::{AddServer, ClusterQuery, membership_request::Change, query_request::What};

/// `assay cluster`.
///
/// # Errors
/// When the change is refused, or nobody answers.
pub async fn run(context: &Context, args: Cluster) -> Result<Exit, Fault> {
    let (change, said) = match args {
        Cluster::Status => {
            let view = status(context).await?;
            context.output.show("cluster", &view, |style| render::cluster::text(style, &view))?;
            return Ok(Exit::Ok);
        }
        Cluster::Add { id, address } => {
            let said = format!("{id} at {address} joins; start it with `join = true`");
            (Change::Add(AddServer { id: id.0, address }), said)
        }
        Cluster::Remove { id } => (Change::Remove(id.0), format!("{id} has left for good")),
        Cluster::Transfer { to } => (Change::TransferTo(to.0), format!("{to} leads")),
    };
    let at = context.client.membership(change).await?;
    done(context, at, &said)
}

/// The cluster as one server sees it.
///
/// # Errors
/// When nobody answers.
pub async fn status(context: &Context) -> Result<ClusterView, Fault> {
    Ok(context.client.query(What::Cluster(ClusterQuery {})).await?.value)
}
