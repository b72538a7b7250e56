//! The step that makes an artifact.

use super::{Ledger, key, view};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    ArtifactId, Digest, Millis, ReplicaId,
    artifact::{Artifact, SealTicket},
    checkpoint::Checkpoint,
    job::JobSpec,
    port::RowRead,
    scratch::Scratch,
};
use serde_json::{Map, Value, json};

/// What an artifact is made of.
pub struct SealInput<'a> {
    /// The ticket that is completed.
    pub ticket: SealTicket,
    /// The job.
    pub spec: &'a JobSpec,
    /// Digest of `model.sig`.
    pub signature: Digest,
    /// Digest of `provenance.dsse.json`.
    pub provenance: Digest,
    /// SHA-256 of the public key's PEM.
    pub signer: Digest,
    /// Servers that hold every byte.
    pub copies: Vec<ReplicaId>,
    /// Committed checkpoints, ascending by step.
    pub checkpoints: Vec<Checkpoint>,
    /// The log's clock.
    pub now: Millis,
    /// Who completes it.
    pub actor: &'a str,
}

/// An artifact as its row has it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct ArtifactRow {
    pub artifact: Artifact,
    pub name: String,
}

impl Ledger {
    /// Makes the artifact, its lineage and its event, in one step.
    ///
    /// Where an earlier artifact of the same build key has another root, the divergence is an
    /// event of its own (law 13).
    pub fn seal<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        input: SealInput<'_>,
    ) -> Artifact {
        let id = ArtifactId(self.artifacts + 1);
        self.artifacts = id.0;
        let ticket = &input.ticket;
        let other = view::builds(rows, ticket.build_key)
            .into_iter()
            .find(|(_, root)| *root != ticket.output.root);
        let audit_seq = self.record(
            rows,
            input.now,
            "registry.artifact.registered",
            input.actor,
            registered(id, &input),
        );
        if let Some((earlier, root)) = other {
            let body = object(json!({
                "artifactId": id.to_string(),
                "artifactRoot": ticket.output.root.to_string(),
                "buildKey": ticket.build_key.to_string(),
                "otherArtifactId": earlier.to_string(),
                "otherRoot": root.to_string(),
            }));
            let kind = "registry.divergence.recorded";
            self.record(rows, input.now, kind, input.actor, body);
        }
        for source in sources(input.spec) {
            rows.put(key::lineage(source, id), &());
        }
        rows.put(key::of_element(ticket.element), &id);
        rows.put(key::of_build(ticket.build_key, id), &ticket.output.root);
        rows.put_new(key::of_tree(ticket.output.tree, id), &());
        rows.put_new(key::of_recipe(ticket.recipe, id), &());
        let artifact = Artifact {
            id,
            ticket: input.ticket,
            signature: input.signature,
            provenance: input.provenance,
            signer: input.signer,
            copies: input.copies,
            sealed: input.now,
            checkpoints: input.checkpoints,
            audit_seq,
        };
        let row = ArtifactRow { artifact, name: input.spec.name.clone() };
        rows.put(key::artifact(id), &row);
        self.keep(rows);
        row.artifact
    }

    /// Records which servers hold an artifact now; false when there is none of this id.
    pub fn record_copies<R: RowRead>(
        &mut self,
        rows: &mut Scratch<'_, R>,
        id: ArtifactId,
        copies: Vec<ReplicaId>,
        now: Millis,
        actor: &str,
    ) -> bool {
        let key = key::artifact(id);
        let Some(mut row) = rows.read::<ArtifactRow>(&key) else { return false };
        if row.artifact.copies == copies {
            return true;
        }
        let body = object(json!({
            "artifactId": id.to_string(),
            "artifactRoot": row.artifact.ticket.output.root.to_string(),
            "copies": names(&copies),
            "copiesBefore": names(&row.artifact.copies),
        }));
        self.record(rows, now, "registry.artifact.copied", actor, body);
        row.artifact.copies = copies;
        rows.put(key, &row);
        self.keep(rows);
        true
    }
}

fn names(copies: &[ReplicaId]) -> Vec<String> {
    copies.iter().map(ToString::to_string).collect()
}

fn sources(spec: &JobSpec) -> impl Iterator<Item = Digest> {
    spec.code.iter().chain(spec.datasets.values()).map(|captured| captured.tree)
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    }
}

fn registered(id: ArtifactId, input: &SealInput<'_>) -> Map<String, Value> {
    let ticket = &input.ticket;
    let datasets: Map<String, Value> = input
        .spec
        .datasets
        .iter()
        .map(|(name, set)| (name.clone(), set.tree.to_string().into()))
        .collect();
    object(json!({
        "artifactId": id.to_string(),
        "artifactRoot": ticket.output.root.to_string(),
        "buildKey": ticket.build_key.to_string(),
        "copies": names(&input.copies),
        "datasets": datasets,
        "element": ticket.element.to_string(),
        "lease": ticket.lease.to_string(),
        "manifestSignature": input.signature.to_string(),
        "provenance": input.provenance.to_string(),
        "recipe": ticket.recipe.to_string(),
        "signer": input.signer.to_string(),
    }))
}
