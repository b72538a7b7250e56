//! The provenance statement: what was asked, what it ran on, what it was made of.
//!
//! Source: SLSA provenance v1 in an in-toto statement v1.

use super::{canonical, recipe};
use domain::{
    Digest, Millis,
    artifact::SealTicket,
    checkpoint::Checkpoint,
    contract,
    job::{Captured, JobSpec},
    lease::Lease,
    node::Inventory,
};
use serde_json::{Map, Value, json};

const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What kind of build this is: a document in the repository.
const BUILD_TYPE: &str = "https://assay.dev/build/job/v1";
const BUILDER: &str = "https://assay.dev/builder/v1";

/// All that the statement tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The model's name.
    pub name: String,
    /// Root digest over its files.
    pub root: Digest,
    /// What was submitted.
    pub spec: JobSpec,
    /// Recipe of the element.
    pub recipe: Digest,
    /// Build key of the attempt.
    pub build_key: Digest,
    /// Hardware class of the node.
    pub hardware_class: String,
    /// The nodes as they were.
    pub inventories: Vec<Inventory>,
    /// The lease under which it ended.
    pub lease: Lease,
    /// Identity of the cluster.
    pub cluster: String,
    /// When the attempt started its tasks, by the node's clock.
    pub started: Millis,
    /// When they had ended.
    pub finished: Millis,
    /// Committed checkpoints over all attempts.
    pub checkpoints: Vec<Checkpoint>,
    /// Digest of the attempt's log.
    pub log: Digest,
    /// The last line of metrics.
    pub metrics: String,
}

/// The payload of `provenance.dsse.json`.
#[must_use]
pub fn provenance(told: &Provenance) -> Vec<u8> {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "name": told.name,
                    "recipe": recipe::recipe_value(&told.spec, told.lease.element.index),
                },
                "internalParameters": internal(told),
                "resolvedDependencies": dependencies(&told.spec),
            },
            "runDetails": run(told),
        },
        "predicateType": PREDICATE,
        "subject": [{ "digest": { "sha256": told.root.to_string() }, "name": told.name }],
    });
    canonical::to_string(&statement)
        .expect("a statement holds strings and integers below 2^53 only")
        .into_bytes()
}

fn internal(told: &Provenance) -> Value {
    let environment: Map<String, Value> =
        contract::recorded().into_iter().map(|(name, value)| (name, value.into())).collect();
    let nodes: Vec<Value> = told
        .inventories
        .iter()
        .map(|node| {
            let gpus: Vec<Value> = node
                .gpus
                .iter()
                .map(|gpu| json!({ "model": gpu.model, "uuid": gpu.uuid }))
                .collect();
            json!({
                "cpuLevel": node.cpu_level,
                "cpuModel": node.cpu_model,
                "cudaVersion": node.cuda_version,
                "driverVersion": node.driver_version,
                "gpus": gpus,
                "kernel": node.kernel,
                "name": node.name,
            })
        })
        .collect();
    json!({
        "buildKey": told.build_key.to_string(),
        "contract": contract::digest().to_string(),
        "environment": environment,
        "hardwareClass": told.hardware_class,
        "nodes": nodes,
        "queue": told.spec.queue,
        "recipe": told.recipe.to_string(),
        "user": told.spec.user,
    })
}

fn dependency(name: &str, captured: &Captured) -> Value {
    json!({
        "annotations": { "files": captured.files, "origin": captured.origin },
        "digest": { "sha256": captured.tree.to_string() },
        "name": name,
        "uri": format!("assay-tree:{}", captured.tree),
    })
}

fn dependencies(spec: &JobSpec) -> Vec<Value> {
    let code = spec.code.iter().map(|code| dependency("code", code));
    let sets = spec.datasets.iter().map(|(name, set)| dependency(&format!("dataset:{name}"), set));
    code.chain(sets).collect()
}

fn run(told: &Provenance) -> Value {
    let time = |millis: Millis| crate::ledger::rfc3339(millis.0.saturating_mul(1_000));
    let checkpoints: Vec<Value> = told
        .checkpoints
        .iter()
        .map(|checkpoint| {
            json!({
                "digest": { "sha256": checkpoint.root.to_string() },
                "name": format!("checkpoint:step-{}", checkpoint.step),
            })
        })
        .collect();
    let agent = told.inventories.first().map_or("", |node| node.agent_version.as_str());
    let mut byproducts = checkpoints;
    byproducts.push(json!({ "digest": { "sha256": told.log.to_string() }, "name": "log" }));
    byproducts.push(json!({ "annotations": { "last": told.metrics }, "name": "metrics" }));
    json!({
        "builder": {
            "id": BUILDER,
            "version": { "assay-agent": agent, "cluster": told.cluster },
        },
        "byproducts": byproducts,
        "metadata": {
            "finishedOn": time(told.finished),
            "invocationId": format!(
                "{}/{}/{}/{}", told.cluster, told.lease.element, told.lease.attempt.0, told.lease.id
            ),
            "startedOn": time(told.started),
        },
    })
}

/// Whether a provenance statement tells of an open ticket: what the signing proxy signs.
///
/// # Errors
/// The first thing that differs, with both values.
pub fn check_provenance(payload: &[u8], ticket: &SealTicket) -> Result<(), String> {
    let text = std::str::from_utf8(payload).map_err(|_| "provenance is not UTF-8".to_owned())?;
    let value = canonical::parse(text).map_err(|fault| format!("provenance: {fault}"))?;
    let differs = |what: &str, pointer: &str, wanted: String| {
        let found = value.pointer(pointer).and_then(Value::as_str).unwrap_or("nothing");
        let same = found == wanted;
        if same { Ok(()) } else { Err(format!("{what} is `{found}`, the ticket says `{wanted}`")) }
    };
    let internal = "/predicate/buildDefinition/internalParameters";
    differs("predicate type", "/predicateType", PREDICATE.into())?;
    differs("subject", "/subject/0/digest/sha256", ticket.output.root.to_string())?;
    differs("recipe", &format!("{internal}/recipe"), ticket.recipe.to_string())?;
    differs("build key", &format!("{internal}/buildKey"), ticket.build_key.to_string())?;
    let told = value.pointer("/predicate/buildDefinition/externalParameters/recipe");
    let told = told.ok_or("provenance tells no recipe")?;
    let json = canonical::to_string(told).map_err(|fault| fault.to_string())?;
    let computed = Digest::of(json.as_bytes());
    if computed != ticket.recipe {
        return Err(format!(
            "its parameters give recipe {computed}, the ticket says {}",
            ticket.recipe
        ));
    }
    let run = value.pointer("/predicate/runDetails/metadata/invocationId").and_then(Value::as_str);
    let wanted = format!("/{}/{}/{}", ticket.element, ticket.attempt.0, ticket.lease);
    match run {
        Some(run) if run.ends_with(&wanted) => Ok(()),
        other => Err(format!("invocation is {other:?}, the ticket says `…{wanted}`")),
    }
}
