//! The job file: every key it may hold.

use super::{
    draft::{DataSource, Draft, array},
    interrupt::read_preemptible,
    keeping, place, retain, topology, verify, waits,
};
use crate::{
    document::{
        node::{Entry, Node, Value},
        reader::{Field, Reader},
    },
    quantity,
};
use domain::{
    Digest, Millis,
    after::When,
    framework::Framework,
    image::{ImageError, ImageRef},
    isolation::{Isolation, Network},
    job::{Array, OnDisconnect, Outputs, Restart},
    queue::Priority,
};
use std::{collections::BTreeMap, path::Path};

/// The keys of a job file.
pub const KEYS: [&str; 35] = [
    "after",
    "after_any",
    "after_failed",
    "array",
    "checkpoint",
    "code",
    "command",
    "datasets",
    "env",
    "estimate",
    "framework",
    "hardware_class",
    "hyperparameters",
    "image",
    "isolation",
    "min_run_time",
    "name",
    "network",
    "on_disconnect",
    "outputs",
    "preemptible",
    "priority",
    "queue",
    "reservation",
    "resources",
    "restart",
    "retain",
    "retries",
    "retry",
    "seed",
    "tasks",
    "time_limit",
    "topology",
    "verify",
    "warn_before",
];
pub(super) const RESOURCES: [&str; 6] =
    ["cpus", "disk", "gpu_memory", "gpu_model", "gpus", "memory"];
pub(super) const ARRAY: [&str; 2] = ["at_once_max", "count"];
pub(super) const DATASET: [&str; 3] = ["path", "sha256", "dataset"];

/// The words of `outputs`.
pub const OUTPUTS: [(&str, Outputs); 2] =
    [("required", Outputs::Required), ("none", Outputs::None)];
/// The words of `isolation`.
pub const ISOLATION: [(&str, Isolation); 3] = Isolation::ALL;
/// The words of `network`.
pub const NETWORK: [(&str, Network); 2] = [("none", Network::None), ("host", Network::Host)];
/// The words of `restart`.
pub const RESTART: [(&str, Restart); 2] =
    [("lease", Restart::Lease), ("confirmed", Restart::Confirmed)];
/// The words of `on_disconnect`.
pub const ON_DISCONNECT: [(&str, OnDisconnect); 2] =
    [("stop", OnDisconnect::Stop), ("continue", OnDisconnect::Continue)];

/// Reads a whole document. Paths are taken relative to `base`.
pub fn read(reader: &mut Reader, document: &Node, base: &Path) -> Draft {
    let mut draft = Draft::default();
    let root = Field { name: "job", node: document };
    for entry in reader.table(root) {
        let field = Field { name: &entry.key, node: &entry.node };
        match entry.key.as_str() {
            "after" => waits::read_after(reader, field, When::Completed, &mut draft),
            "after_any" => waits::read_after(reader, field, When::Ended, &mut draft),
            "after_failed" => waits::read_after(reader, field, When::Failed, &mut draft),
            "array" => draft.array = read_array(reader, field),
            "checkpoint" => draft.checkpoint = keeping::read(reader, field),
            "code" => draft.code = reader.text(field).map(|path| base.join(path)),
            "command" => draft.command = read_command(reader, field),
            "datasets" => draft.datasets = read_datasets(reader, field, base),
            "env" => draft.env = read_map(reader, field),
            "estimate" => draft.estimate = read_time(reader, field, "2h"),
            "framework" => draft.framework = reader.word(field, &Framework::WORDS),
            "hardware_class" => draft.hardware_class = reader.text(field),
            "hyperparameters" => draft.hyperparameters = read_map(reader, field),
            "image" => draft.image = read_image(reader, field),
            "isolation" => draft.isolation = reader.word(field, &ISOLATION),
            "min_run_time" => draft.min_run = read_time(reader, field, "10m"),
            "name" => draft.name = reader.text(field),
            "network" => draft.network = reader.word(field, &NETWORK),
            "on_disconnect" => draft.on_disconnect = reader.word(field, &ON_DISCONNECT),
            "outputs" => draft.outputs = reader.word(field, &OUTPUTS),
            "preemptible" => draft.preemptible = read_preemptible(reader, field),
            "priority" => draft.priority = read_priority(reader, field),
            "queue" => draft.queue = reader.text(field),
            "reservation" => draft.reservation = reader.text(field),
            "resources" => read_resources(reader, field, &mut draft),
            "restart" => draft.restart = reader.word(field, &RESTART),
            "retain" => draft.retain = retain::read(reader, field),
            "retries" => draft.retries = reader.whole(field, "give a whole number from 0"),
            "retry" => draft.retry = waits::read_retry(reader, field),
            "seed" => draft.seed = reader.whole(field, "give a whole number from 0"),
            "tasks" => draft.tasks = reader.whole(field, "give a whole number from 1"),
            "time_limit" => draft.time_limit = read_time(reader, field, "2h30m"),
            "topology" => draft.topology = topology::read(reader, field),
            "warn_before" => draft.warn = read_time(reader, field, "2m"),
            "verify" => draft.verify = verify::read(reader, field),
            "user" => reader.fault(
                entry.line,
                "user",
                "is not for the file to say".into(),
                "remove it; the certificate of the profile names the user",
            ),
            _ => place::unknown(reader, entry, "", &KEYS),
        }
    }
    draft
}

fn read_priority(reader: &mut Reader, field: Field<'_>) -> Option<Priority> {
    let remedy = "give a whole number, or the name of a class such as \"urgent\"";
    match &field.node.value {
        // `inf` is a number to TOML, and no class.
        Value::Number(_) => reader.whole(field, remedy).map(Priority::Number),
        _ => reader.parsed(field, remedy),
    }
}

/// Reads a duration such as the example.
fn read_time(reader: &mut Reader, field: Field<'_>, example: &str) -> Option<Millis> {
    let remedy = format!("give a duration such as \"{example}\"");
    reader.quantity(field, quantity::duration, &remedy)
}

fn read_command(reader: &mut Reader, field: Field<'_>) -> Option<Vec<String>> {
    match &field.node.value {
        Value::Text(script) => Some(vec!["sh".into(), "-c".into(), script.clone()]),
        _ => reader.texts(field),
    }
}

fn read_resources(reader: &mut Reader, field: Field<'_>, draft: &mut Draft) {
    for entry in reader.table(field) {
        let name = format!("resources.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "gpus" => {
                let remedy = "give a whole number from 0, or a part of one GPU such as 0.25";
                draft.gpus = reader.quantity(field, quantity::gpus, remedy);
            }
            "gpu_model" => draft.gpu_model = reader.text(field),
            "gpu_memory" => {
                let remedy = "give a size such as \"40GiB\"";
                draft.gpu_memory = reader.quantity(field, quantity::size, remedy);
            }
            "cpus" => {
                let remedy = "give a number of cores such as 1.5";
                draft.cpu = reader.quantity(field, quantity::cpus, remedy);
            }
            "disk" => {
                let remedy = "give a size such as \"10GiB\"";
                draft.disk = reader.quantity(field, quantity::size, remedy);
            }
            "memory" => {
                let remedy = "give a size such as \"512MiB\"";
                draft.memory = reader.quantity(field, quantity::size, remedy);
            }
            _ => place::unknown(reader, entry, "resources", &RESOURCES),
        }
    }
}

fn read_array(reader: &mut Reader, field: Field<'_>) -> Option<Array> {
    match &field.node.value {
        Value::Table(entries) => {
            let mut read = Array { count: 0, at_once_max: 0 };
            for entry in entries {
                let name = format!("array.{}", entry.key);
                let field = Field { name: &name, node: &entry.node };
                match entry.key.as_str() {
                    "count" => read.count = reader.whole(field, "give a whole number from 1")?,
                    "at_once_max" => {
                        read.at_once_max = reader.whole(field, "give a whole number from 1")?;
                    }
                    _ => place::unknown(reader, entry, "array", &ARRAY),
                }
            }
            Some(read)
        }
        Value::Text(text) | Value::Number(text) => match array(text) {
            Ok(array) => Some(array),
            Err(fault) => {
                reader.fault(field.node.line, field.name, fault, "");
                None
            }
        },
        _ => {
            reader.scalar(field);
            None
        }
    }
}

fn read_image(reader: &mut Reader, field: Field<'_>) -> Option<ImageRef> {
    match reader.text(field)?.parse() {
        Ok(image) => Some(image),
        Err(fault) => {
            let fault: ImageError = fault;
            reader.fault(field.node.line, field.name, fault.to_string(), "");
            None
        }
    }
}

fn read_map(reader: &mut Reader, field: Field<'_>) -> BTreeMap<String, String> {
    let read = |entry: &Entry, reader: &mut Reader| {
        let name = format!("{}.{}", field.name, entry.key);
        let value = reader.scalar(Field { name: &name, node: &entry.node })?;
        Some((entry.key.clone(), value))
    };
    reader.table(field).iter().filter_map(|entry| read(entry, reader)).collect()
}

fn read_datasets(
    reader: &mut Reader,
    field: Field<'_>,
    base: &Path,
) -> BTreeMap<String, DataSource> {
    let mut sets = BTreeMap::new();
    for entry in reader.table(field) {
        let name = format!("datasets.{}", entry.key);
        let field = Field { name: &name, node: &entry.node };
        if let Some(source) = read_dataset(reader, field, base) {
            sets.insert(entry.key.clone(), source);
        }
    }
    sets
}

fn read_dataset(reader: &mut Reader, field: Field<'_>, base: &Path) -> Option<DataSource> {
    let Value::Table(entries) = &field.node.value else {
        return reader.text(field).map(|text| DataSource::of_text(&text, base));
    };
    let (mut path, mut sha256, mut dataset) = (None, None, None);
    for entry in entries {
        let name = format!("{}.{}", field.name, entry.key);
        let inner = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "path" => path = reader.text(inner),
            "dataset" => dataset = reader.text(inner),
            "sha256" => match reader.text(inner)?.parse::<Digest>() {
                Ok(digest) => sha256 = Some(digest),
                Err(fault) => reader.fault(inner.node.line, &name, fault.to_string(), ""),
            },
            _ => place::unknown(reader, entry, field.name, &DATASET),
        }
    }
    let line = field.node.line;
    if let Some(dataset) = dataset {
        if path.is_some() || sha256.is_some() {
            let why = "names a registered version, and files beside it".into();
            let remedy = "leave `path` and `sha256` out: a version never changes";
            reader.fault(line, field.name, why, remedy);
        }
        return Some(DataSource::Registered(dataset));
    }
    if path.is_none() {
        let remedy = "add `path = \"...\"`, or `dataset = \"NAME@VERSION\"`";
        reader.fault(line, field.name, "names no path".into(), remedy);
    }
    Some(DataSource::Files { path: base.join(path?), sha256 })
}
