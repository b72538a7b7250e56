//! Evaluations on their way into the registry: what was sealed is read by the server that is asked.

use super::{
    context::Context,
    error,
    query::absent,
    sealing::{self, Peer, SealFault},
};
use crate::state::command::Refusal;
use domain::{
    ArtifactId, Digest,
    artifact::Artifact,
    evaluation::METRICS_FILE,
    limit,
    model::ModelRef,
    refusal::RegistryRefusal,
    tree::{Tree, TreeFile},
};
use proto::v1;
use registry::ledger::{RegistryCommand, evaluation::too_many, model, view};
use tonic::Status;

/// Bytes of a file in a stored list at least: its digest and the names of what is said of it.
const LINE_MIN: u64 = 100;

fn invalid(fault: impl std::fmt::Display) -> Status {
    error::status("invalid", fault.to_string(), "correct the request", false)
}

fn refused(refusal: RegistryRefusal) -> Status {
    error::refused(&Refusal::Registry(refusal))
}

/// Reads the metrics of a sealed output, and makes the command that records them.
///
/// Nothing of it is believed: where the log is applied, all is hashed again.
///
/// # Errors
/// When there is no such version or artifact, it holds no metrics, or no server that answers has
/// them.
pub async fn read(
    context: &Context,
    asked: v1::RecordEvaluation,
) -> Result<RegistryCommand, Status> {
    let id: ArtifactId = asked.artifact.parse().map_err(invalid)?;
    let (model, sealed) = named(context, asked.model, id).await?;
    let output = &sealed.ticket.output;
    if output.files.saturating_mul(LINE_MIN) > limit::EVALUATION_TREE_MAX.0 {
        return Err(refused(too_many(id, output.files.saturating_mul(LINE_MIN) as usize)));
    }
    let peers = sealing::peers(context);
    let listing = document(context, &peers, output.tree).await?;
    if listing.len() as u64 > limit::EVALUATION_TREE_MAX.0 {
        return Err(refused(too_many(id, listing.len())));
    }
    let file = metrics_in(id, &listing).map_err(refused)?;
    let metrics = document(context, &peers, file.digest).await?;
    Ok(RegistryCommand::RecordEvaluation { model, artifact: id, listing, metrics })
}

/// The version and the artifact.
async fn named(
    context: &Context,
    word: String,
    id: ArtifactId,
) -> Result<(ModelRef, Artifact), Status> {
    let asked = word.clone();
    let look = context.node.read(move |_, rows| {
        let artifact = view::artifact(rows, id).map(|found| found.artifact);
        (model::resolve(rows, &asked), artifact)
    });
    let (model, sealed) = look.await.map_err(|fault| super::query::unreadable(&fault))?;
    let model = model.ok_or_else(|| absent(&format!("model `{word}`"), "model list"))?;
    let sealed = sealed.ok_or_else(|| absent(&format!("sealed artifact {id}"), "artifacts"))?;
    Ok((model, sealed))
}

/// The file with the metrics, if the output has one that can be read at all.
fn metrics_in(artifact: ArtifactId, listing: &[u8]) -> Result<TreeFile, RegistryRefusal> {
    let none = |why: String| RegistryRefusal::NoMetrics { artifact, why };
    let tree = Tree::decode(listing).map_err(|fault| none(fault.to_string()))?;
    let file = tree.files.into_iter().find(|file| file.path == METRICS_FILE);
    let file = file.ok_or_else(|| none("there is no such file".into()))?;
    match file.size.0 > limit::METRICS_FILE_MAX.0 {
        false => Ok(file),
        true => {
            let most = limit::METRICS_FILE_MAX.0;
            Err(none(format!("{} bytes, {most} are the most", file.size.0)))
        }
    }
}

async fn document(context: &Context, peers: &[Peer], digest: Digest) -> Result<Vec<u8>, Status> {
    sealing::document(context, peers, digest).await.map_err(|fault| match fault {
        SealFault::Later(status) => status,
        SealFault::Never(cause) => error::status("mismatch", cause.to_string(), "", false),
    })
}
