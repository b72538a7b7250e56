//! `recipe_function`: one build key has one root, since no fault here changes a result's bits.

use super::{Broken, leader};
use crate::world::World;
use domain::ArtifactId;

/// Looks at every artifact.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    for artifact in view.artifacts(rows, ArtifactId(0), 100_000) {
        if let Some(other) = artifact.differs_from.first() {
            return Err(Broken::new(format!(
                "recipe_function: {} and {other} of one build key differ",
                artifact.artifact.id
            )));
        }
    }
    Ok(())
}
