//! `artifact_immutable`: an artifact once seen never changes or vanishes, on any replica.
//!
//! Only who holds its copies may change.

use super::Broken;
use crate::server::Server;
use domain::{ArtifactId, Digest, ReplicaId, artifact::Artifact};
use std::collections::BTreeMap;

/// Artifacts read at once.
const PAGE: usize = 64;

/// Every artifact as it was first seen, and how far each server was looked at.
#[derive(Default)]
pub struct ArtifactImmutable {
    first: BTreeMap<ArtifactId, Digest>,
    looked: BTreeMap<ReplicaId, (u64, u64)>,
}

impl ArtifactImmutable {
    /// Looks at what is new on a server, and at one old artifact in turn.
    pub fn check(&mut self, server: &Server) -> Result<(), Broken> {
        let Some(replica) = &server.replica else { return Ok(()) };
        let (machine, rows) = replica.view();
        let view = machine.0.view();
        let (mut known, mut turn) = self.looked.get(&server.id).copied().unwrap_or_default();
        for found in view.artifacts(rows, ArtifactId(known), PAGE) {
            known = found.artifact.id.0;
            self.compare(server.id, &found.artifact)?;
        }
        if known > 0 {
            turn = turn % known + 1;
            let old = view.artifact(rows, ArtifactId(turn)).map(|found| found.artifact);
            self.recall(server.id, ArtifactId(turn), old.as_ref())?;
        }
        self.looked.insert(server.id, (known, turn));
        Ok(())
    }

    /// A server has started again, or was given a snapshot: all of it is looked at anew.
    pub fn forget(&mut self, id: ReplicaId) {
        self.looked.remove(&id);
    }

    /// Looks at every artifact that ever was.
    pub fn check_all(&self, server: &Server) -> Result<(), Broken> {
        let Some(replica) = &server.replica else { return Ok(()) };
        let (machine, rows) = replica.view();
        let view = machine.0.view();
        self.first.keys().try_for_each(|id| {
            let found = view.artifact(rows, *id).map(|found| found.artifact);
            self.recall(server.id, *id, found.as_ref())
        })
    }

    fn compare(&mut self, id: ReplicaId, artifact: &Artifact) -> Result<(), Broken> {
        self.first.entry(artifact.id).or_insert_with(|| digest(artifact));
        self.recall(id, artifact.id, Some(artifact))
    }

    fn recall(
        &self,
        id: ReplicaId,
        artifact: ArtifactId,
        found: Option<&Artifact>,
    ) -> Result<(), Broken> {
        let Some(first) = self.first.get(&artifact) else { return Ok(()) };
        let what = match found {
            Some(found) if digest(found) == *first => return Ok(()),
            Some(_) => "has changed",
            None => "has vanished",
        };
        Err(Broken::new(format!("artifact_immutable: {artifact} {what} on {id}")))
    }
}

fn digest(artifact: &Artifact) -> Digest {
    Digest::of_value(&Artifact { copies: Vec::new(), ..artifact.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vanished_artifact_breaks_it() {
        let mut law = ArtifactImmutable::default();
        assert!(law.recall(ReplicaId(1), ArtifactId(1), None).is_ok(), "it never was");
        law.first.insert(ArtifactId(1), Digest::of(b"as it was"));
        assert!(law.recall(ReplicaId(1), ArtifactId(1), None).is_err());
    }
}
