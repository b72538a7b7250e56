//! The provenance statement: what was asked, what it ran on, what it was made of.
//!
//! Source: SLSA provenance v1 in an in-toto statement v1.

use super::{canonical, recipe, tensors};
use domain::{
    Digest, Millis,
    artifact::{NodeLog, SealTicket},
    checkpoint::Checkpoint,
    contract,
    framework::Framework,
    image::ImageRef,
    isolation::InForce,
    job::{Captured, JobSpec},
    lease::{Lease, Member, TaskPlace},
    node::Inventory,
    observed::RankFacts,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

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
    /// The nodes as they were, in the order of the lease's members: ascending by first rank.
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
    /// How far the lead's tasks were kept apart.
    pub in_force: InForce,
    /// Digests of the tensors of safetensors files, by path.
    pub tensors: BTreeMap<String, Digest>,
    /// What was in force in the lead's ranks: read from their processes, and what their framework
    /// said of itself.
    pub ranks: Vec<RankFacts>,
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
    let environment: Map<String, Value> = contract::recorded(told.spec.framework)
        .into_iter()
        .map(|(name, value)| (name, value.into()))
        .collect();
    let members = told.lease.members.iter().zip(&told.inventories);
    let nodes: Vec<Value> = members.map(|(member, has)| node(member, has)).collect();
    json!({
        "buildKey": told.build_key.to_string(),
        "contract": contract::digest(told.spec.framework).to_string(),
        "environment": environment,
        "framework": told.spec.framework.map(Framework::word),
        "hardwareClass": told.hardware_class,
        "inForce": in_force(&told.ranks),
        "isolation": isolation(&told.in_force),
        "nodes": nodes,
        "queue": told.spec.queue,
        "recipe": told.recipe.to_string(),
        "user": told.spec.user,
    })
}

/// What was in force in the lead's ranks; those in which it was the same stand together.
fn in_force(all: &[RankFacts]) -> Value {
    let mut groups: Vec<(Vec<u32>, &RankFacts)> = Vec::new();
    for facts in all {
        let same = |(_, other): &&mut (Vec<u32>, &RankFacts)| {
            other.observed == facts.observed && other.answers == facts.answers
        };
        match groups.iter_mut().find(same) {
            Some((ranks, _)) => ranks.push(facts.rank),
            None => groups.push((vec![facts.rank], facts)),
        }
    }
    let group = |(ranks, facts): (Vec<u32>, &RankFacts)| {
        let (framework, process) = (&facts.answers, &facts.observed);
        json!({ "framework": framework, "process": process, "ranks": ranks })
    };
    groups.into_iter().map(group).collect()
}

/// What held, from the node that led the gang.
fn isolation(in_force: &InForce) -> Value {
    match &in_force.sandbox {
        None => json!({ "kind": in_force.isolation }),
        Some(facts) => json!({ "kind": in_force.isolation, "sandbox": facts }),
    }
}

/// A member of the gang: the machine, and which of its GPUs each rank had.
fn node(member: &Member, has: &Inventory) -> Value {
    let gpus = |task: &TaskPlace| -> Vec<Value> {
        let used = has.gpus.iter().filter(|gpu| task.gpus.contains(&gpu.index));
        used.map(|gpu| json!({ "model": gpu.model, "uuid": gpu.uuid })).collect()
    };
    let ranks: Vec<Value> =
        member.tasks.iter().map(|task| json!({ "gpus": gpus(task), "rank": task.rank })).collect();
    json!({
        "agentVersion": has.agent_version,
        "cpuLevel": has.cpu_level,
        "cpuModel": has.cpu_model,
        "cudaVersion": has.cuda_version,
        "driverVersion": has.driver_version,
        "kernel": has.kernel,
        "name": has.name,
        "ranks": ranks,
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
    code.chain(sets).chain(spec.image.iter().map(image)).collect()
}

/// An image by the digest of its manifest, as registries and their tools name it.
fn image(image: &ImageRef) -> Value {
    json!({
        "digest": { "sha256": image.digest().to_string() },
        "name": "image",
        "uri": format!("docker://{image}"),
    })
}

/// The log of the lead's ranks. Those of the other nodes are added from the ticket.
fn lead_log(told: &Provenance) -> Value {
    let lead = told.lease.members.first();
    let ranks = lead.iter().flat_map(|it| &it.tasks).map(|task| task.rank);
    log(&ranks.collect::<Vec<_>>(), told.log)
}

fn log(ranks: &[u32], digest: Digest) -> Value {
    json!({
        "annotations": { "ranks": ranks },
        "digest": { "sha256": digest.to_string() },
        "name": "log",
    })
}

/// The statement with the logs of the gang's other nodes, in order of rank, each as its node
/// reported it: the lead does not know them when it describes the output.
///
/// # Errors
/// When it is no provenance statement.
pub fn with_logs(payload: Vec<u8>, logs: &[NodeLog]) -> Result<Vec<u8>, String> {
    if logs.is_empty() {
        return Ok(payload);
    }
    let text = std::str::from_utf8(&payload).map_err(|fault| fault.to_string())?;
    let mut value = canonical::parse(text).map_err(|fault| fault.to_string())?;
    let byproducts = value.pointer_mut("/predicate/runDetails/byproducts");
    let byproducts = byproducts.and_then(Value::as_array_mut).ok_or("it has no byproducts")?;
    byproducts.extend(logs.iter().map(|it| log(&it.ranks, it.log)));
    let text = canonical::to_string(&value).map_err(|fault| fault.to_string())?;
    Ok(text.into_bytes())
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
    byproducts.push(lead_log(told));
    byproducts.push(json!({ "annotations": { "last": told.metrics }, "name": "metrics" }));
    byproducts.extend(told.tensors.iter().map(|(path, digest)| {
        let digest = json!({ "sha256": digest.to_string() });
        json!({ "digest": digest, "name": tensors::byproduct(path) })
    }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use domain::{
        AttemptNo, Bytes, CpuMillis, JobId, LeaseId, NodeId,
        job::{OnDisconnect, Outputs, Restart},
        lease::Phase,
        resource::{Gpu, TaskResources},
    };

    fn spec() -> JobSpec {
        JobSpec {
            name: "gang".into(),
            user: "ada".into(),
            queue: "default".into(),
            priority: 0,
            tasks: 3,
            resources: TaskResources::default(),
            command: vec!["train".into()],
            env: BTreeMap::new(),
            code: None,
            datasets: BTreeMap::new(),
            hyperparameters: BTreeMap::new(),
            seed: 1,
            outputs: Outputs::Required,
            time_limit: None,
            retries: 0,
            on_disconnect: OnDisconnect::Stop,
            restart: Restart::Lease,
            array: None,
            reproduces: None,
            after: Vec::new(),
            retry: Default::default(),
            confinement: domain::isolation::Confinement::default(),
            checkpoint: domain::checkpoint::CheckpointRule::default(),
            framework: None,
            image: None,
            interrupt: domain::interrupt::Interrupt::default(),
            verify: None,
            check: None,
            reservation: None,
            retain: None,
            topology: Default::default(),
            registered: Default::default(),
            hardware_class: None,
            estimate: None,
        }
    }

    fn machine(name: &str) -> Inventory {
        let gpu = |index: u32| Gpu {
            index,
            uuid: format!("GPU-{name}-{index}"),
            model: "H100".into(),
            memory: Bytes(80 << 30),
            compute_capability: "9.0".into(),
        };
        Inventory {
            name: name.into(),
            boot_id: "boot".into(),
            cpu: CpuMillis(1_000),
            memory: Bytes(1),
            gpus: (0..4).map(gpu).collect(),
            driver_version: format!("550.{name}"),
            cuda_version: "12.4".into(),
            cpu_model: "cpu".into(),
            cpu_level: "x86-64-v3".into(),
            kernel: "6.1".into(),
            agent_version: "0.1.0".into(),
            isolation: domain::isolation::NodeIsolation::default(),
            topology: domain::topology::NodeTopology::default(),
        }
    }

    #[test]
    fn every_node_of_a_gang_is_listed_by_rank_with_its_driver_and_the_gpus_that_each_rank_had() {
        let task = |rank, gpus: &[u32]| TaskPlace { rank, gpus: gpus.to_vec() };
        let members = vec![
            Member { node: NodeId(7), tasks: vec![task(0, &[2]), task(1, &[0, 3])] },
            Member { node: NodeId(3), tasks: vec![task(2, &[1])] },
        ];
        let told = Provenance {
            name: "gang".into(),
            root: Digest::of(b"root"),
            spec: spec(),
            recipe: Digest::of(b"recipe"),
            build_key: Digest::of(b"build"),
            hardware_class: "class".into(),
            inventories: vec![machine("b"), machine("a")],
            lease: Lease {
                id: LeaseId { index: 9, ordinal: 0 },
                element: JobId(1).into(),
                attempt: AttemptNo(1),
                granted: Millis(0),
                members,
                phase: Phase::Started { done: Default::default() },
                resume_from: None,
                build_key: Digest::of(b"build"),
                isolation: domain::isolation::Isolation::None,
                notice: None,
            },
            cluster: "c".into(),
            started: Millis(0),
            finished: Millis(1),
            checkpoints: Vec::new(),
            log: Digest::of(b"log"),
            metrics: String::new(),
            in_force: InForce::default(),
            tensors: BTreeMap::new(),
            ranks: [0, 1].map(|rank| RankFacts { rank, ..RankFacts::default() }).into(),
        };
        let payload: Value = serde_json::from_slice(&provenance(&told)).unwrap();
        let nodes = &payload["predicate"]["buildDefinition"]["internalParameters"]["nodes"];
        let gpu = |uuid: &str| json!({ "model": "H100", "uuid": uuid });
        assert_eq!(nodes.as_array().map(Vec::len), Some(2));
        assert_eq!((&nodes[0]["name"], &nodes[1]["name"]), (&json!("b"), &json!("a")));
        assert_eq!(nodes[1]["driverVersion"], "550.a");
        let first = [gpu("GPU-b-0"), gpu("GPU-b-3")];
        assert_eq!(
            nodes[0]["ranks"],
            json!([{ "gpus": [gpu("GPU-b-2")], "rank": 0 }, { "gpus": first, "rank": 1 }])
        );
        assert_eq!(nodes[1]["ranks"], json!([{ "gpus": [gpu("GPU-a-1")], "rank": 2 }]));
        let log = &payload["predicate"]["runDetails"]["byproducts"][0];
        assert_eq!((&log["name"], &log["annotations"]["ranks"]), (&json!("log"), &json!([0, 1])));

        let other = NodeLog { node: NodeId(3), ranks: vec![2], log: Digest::of(b"rank 2") };
        let whole = with_logs(provenance(&told), &[other]).unwrap();
        let whole: Value = serde_json::from_slice(&whole).unwrap();
        let log = whole["predicate"]["runDetails"]["byproducts"].as_array().unwrap().last();
        let digest = Digest::of(b"rank 2").to_string();
        assert_eq!(
            log,
            Some(&json!({
                "annotations": { "ranks": [2] }, "digest": { "sha256": digest }, "name": "log",
            }))
        );
    }

    #[test]
    fn ranks_in_which_the_same_was_in_force_stand_together() {
        let said = |threads: &str| Some([("threads".to_owned(), threads.to_owned())].into());
        let of = |rank, threads| RankFacts { rank, observed: None, answers: said(threads) };
        let group = |threads: &str, ranks: &[u32]| json!({ "framework": { "threads": threads }, "process": null, "ranks": ranks });
        let told = in_force(&[of(0, "1"), of(1, "2"), of(2, "1")]);
        assert_eq!(told, json!([group("1", &[0, 2]), group("2", &[1])]));
    }
}
