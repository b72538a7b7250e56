//! What the record says of an output, in the registry's forms.

use super::seal::{Sealing, last_metrics};
use crate::driver::answers;
use domain::{
    Digest,
    isolation::{InForce, Isolation},
    job::EndCause,
    observed::RankFacts,
    tree::Tree,
};
use registry::{
    files::{
        Begun,
        walk::{self, WalkError},
    },
    seal::{
        node, recipe,
        statement::{self, Provenance},
    },
};
use std::{collections::BTreeMap, path::Path};

/// The folder's tree, hashed on all cores, from where the files were begun.
pub(super) fn hash(folder: &Path, begun: &BTreeMap<u64, Begun>) -> Result<Tree, EndCause> {
    walk::hash_tree_on(folder, begun).map_err(|fault| walk_cause(folder, fault))
}

/// Why a folder could not be walked, as the cause of an attempt's end.
pub(super) fn walk_cause(folder: &Path, fault: WalkError) -> EndCause {
    match fault {
        WalkError::Changed { path } => {
            let path = path.strip_prefix(folder).unwrap_or(&path);
            EndCause::OutputChanged { path: path.display().to_string() }
        }
        other => EndCause::Seal { detail: other.to_string() },
    }
}

/// What of an output is part of the model.
pub(super) fn model_part(mut tree: Tree) -> Tree {
    tree.files.retain(|file| !statement::is_left_out(&file.path));
    tree
}

/// The payload of the model's signature.
pub(super) fn model(sealing: &Sealing, tree: &Tree) -> Vec<u8> {
    statement::model_statement(&sealing.wanted.spec.name, tree)
}

/// The payload of the signed provenance.
///
/// # Errors
/// When it is not on record what held for tasks that ran within walls, or the node cannot sign.
pub(super) fn provenance(
    sealing: &Sealing,
    tree: &Tree,
    mut tensors: BTreeMap<String, Digest>,
    log: Digest,
) -> Result<Vec<u8>, EndCause> {
    let in_force = in_force(sealing)?;
    tensors.retain(|path, _| tree.files.iter().any(|file| file.path == *path));
    let ranks = answered(sealing)?;
    let wanted = &sealing.wanted;
    let inventories = match wanted.inventories.as_slice() {
        [] => vec![sealing.inventory.clone()],
        gang => gang.to_vec(),
    };
    let payload = statement::provenance(&Provenance {
        name: wanted.spec.name.clone(),
        root: tree.root(),
        spec: wanted.spec.clone(),
        recipe: recipe::recipe_of_element(&wanted.spec, wanted.lease.element.index),
        build_key: wanted.lease.build_key,
        hardware_class: sealing.inventory.hardware_class(),
        inventories,
        lease: wanted.lease.clone(),
        cluster: wanted.cluster.clone(),
        started: sealing.started,
        finished: sealing.ended,
        checkpoints: wanted.checkpoints.clone(),
        log,
        metrics: last_metrics(sealing),
        in_force,
        tensors,
        ranks,
    });
    match &sealing.node_key {
        None => Ok(payload),
        Some(key) => node::add(&payload, key).map_err(|detail| EndCause::Seal { detail }),
    }
}

/// What was in force in this node's ranks: read from their processes, and said by their framework.
fn answered(sealing: &Sealing) -> Result<Vec<RankFacts>, EndCause> {
    let framework = sealing.wanted.spec.framework;
    let mut ranks = sealing.facts.clone();
    for facts in &mut ranks {
        facts.answers = answers::checked(framework, &sealing.dirs, facts.rank)?;
    }
    Ok(ranks)
}

/// What held for the tasks, as the supervisor wrote it down.
fn in_force(sealing: &Sealing) -> Result<InForce, EndCause> {
    let isolation = sealing.wanted.confinement().on(sealing.inventory.isolation.default);
    if isolation == Isolation::None {
        return Ok(InForce::default());
    }
    let failed = |why: String| {
        let detail = format!("it is not on record what held for its tasks: {why}");
        EndCause::Seal { detail }
    };
    let facts = std::fs::read(sealing.dirs.facts()).map_err(|why| failed(why.to_string()))?;
    let facts = serde_json::from_slice(&facts).map_err(|why| failed(why.to_string()))?;
    Ok(InForce { isolation, sandbox: Some(facts) })
}
