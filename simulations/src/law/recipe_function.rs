//! `recipe_function`: one build key has one root, since no fault here changes a result's bits.

use super::{Broken, leader};
use crate::world::World;
use domain::{ArtifactId, port::RowRead, view::ArtifactView};
use scheduler::state::view::View;

/// Looks at an artifact whose row an entry has changed.
pub fn look(view: &View<'_>, rows: &impl RowRead, id: ArtifactId) -> Result<(), Broken> {
    view.artifact(rows, id).map_or(Ok(()), |artifact| judge(&artifact))
}

fn judge(artifact: &ArtifactView) -> Result<(), Broken> {
    artifact.differs_from.first().map_or(Ok(()), |other| {
        let id = artifact.artifact.id;
        Err(Broken::new(format!("recipe_function: {id} and {other} of one build key differ")))
    })
}

/// Looks at every artifact.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    view.artifacts(rows, ArtifactId(0), 100_000).iter().try_for_each(judge)
}
