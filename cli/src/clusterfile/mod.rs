//! The configuration of a cluster as a file: its queues, and how GPUs come out of quarantine.

use crate::{
    capture::{Capture, Known},
    document::{
        self,
        node::Node,
        reader::{Field, Reader},
    },
    fault::Fault,
    jobfile::{self, form::ISOLATION, retain, verify},
    quantity,
};
use domain::{
    check::AcceptanceConfig,
    queue::{ClusterConfig, Order, PriorityClasses, QueueSpec},
};
use std::path::{Path, PathBuf};

/// The keys of the file.
const KEYS: [&str; 4] = ["acceptance", "half_life", "priority_classes", "queues"];
/// The keys of how GPUs come out of quarantine.
const ACCEPTANCE: [&str; 2] = ["job", "references"];
/// The keys of one queue.
const QUEUE: [&str; 13] = [
    "borrow_gpus_max",
    "budget_gpu_hours",
    "budget_period",
    "guaranteed_gpus",
    "isolation",
    "order",
    "parent",
    "priority_max",
    "retain",
    "user_gpus_max",
    "user_running_max",
    "verify",
    "weight",
];

/// Reads the file, and checks every rule that needs no cluster.
///
/// # Errors
/// All that is wrong with it.
pub fn load(path: &Path) -> Result<Loaded, Fault> {
    let read = |reader: &mut Reader, node: &Node, base: &Path| Some(read(reader, node, base));
    let (config, job) = document::load(path, "configuration of a cluster", read)?;
    let mut config = config.whole();
    let classes = Some(config.priority_classes.clone());
    let known = Known { classes, ..Known::default() };
    let burn_in = job.as_deref().map(|path| capture(path, &known)).transpose()?;
    config.acceptance.job = burn_in.as_ref().map(|burn_in| Box::new(burn_in.spec.clone()));
    config.check().map_err(|fault| {
        Fault::usage("config", format!("{}: {fault}", path.display()))
            .hint("correct the file; `assay queue list` shows what is in force")
    })?;
    Ok(Loaded { config, burn_in })
}

/// A configuration with what the cluster needs beside it.
pub struct Loaded {
    /// The configuration.
    pub config: ClusterConfig,
    /// The burn-in with its code and data, where the file names one.
    pub burn_in: Option<Capture>,
}

/// Captures the burn-in that a file describes.
fn capture(path: &Path, known: &Known) -> Result<Capture, Fault> {
    Capture::with(&jobfile::check(jobfile::load(path)?, Some(path))?, None, known)
}

fn read(reader: &mut Reader, document: &Node, base: &Path) -> (ClusterConfig, Option<PathBuf>) {
    let (mut config, mut job) = (ClusterConfig::default(), None);
    for entry in reader.table(Field { name: "configuration", node: document }) {
        let field = Field { name: &entry.key, node: &entry.node };
        match entry.key.as_str() {
            "acceptance" => job = read_acceptance(reader, field, base, &mut config.acceptance),
            "half_life" => {
                let remedy = "give a duration such as \"7d\", or \"0s\" for none";
                let time = reader.quantity(field, quantity::duration, remedy);
                config.half_life = time.unwrap_or(config.half_life);
            }
            "priority_classes" => {
                for entry in reader.table(field) {
                    let name = format!("priority_classes.{}", entry.key);
                    let field = Field { name: &name, node: &entry.node };
                    let number = reader.whole(field, "give a whole number");
                    let PriorityClasses(all) = &mut config.priority_classes;
                    all.extend(number.map(|number| (entry.key.clone(), number)));
                }
            }
            "queues" => {
                for entry in reader.table(field) {
                    let name = format!("queues.{}", entry.key);
                    let field = Field { name: &name, node: &entry.node };
                    let (queue, order) = read_queue(reader, field);
                    config.orders.set(&entry.key, order);
                    config.queues.insert(entry.key.clone(), queue);
                }
            }
            _ => reader.unknown(entry, "", &KEYS),
        }
    }
    (config, job)
}

/// Reads how GPUs come out of quarantine; gives the file of the burn-in.
fn read_acceptance(
    reader: &mut Reader,
    field: Field<'_>,
    base: &Path,
    config: &mut AcceptanceConfig,
) -> Option<PathBuf> {
    let mut job = None;
    for entry in reader.table(field) {
        let name = format!("{}.{}", field.name, entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "job" => job = reader.text(field).map(|path| base.join(path)),
            "references" => {
                for entry in reader.table(field) {
                    let name = format!("{}.{}", field.name, entry.key);
                    let field = Field { name: &name, node: &entry.node };
                    match reader.text(field).map(|text| text.parse()) {
                        Some(Ok(digest)) => {
                            config.references.insert(entry.key.clone(), digest);
                        }
                        Some(Err(_)) => reader.fault(
                            entry.line,
                            &name,
                            "is no digest".into(),
                            "give 64 hexadecimal digits",
                        ),
                        None => {}
                    }
                }
            }
            _ => reader.unknown(entry, "acceptance.", &ACCEPTANCE),
        }
    }
    job
}

fn read_queue(reader: &mut Reader, field: Field<'_>) -> (QueueSpec, Order) {
    let (mut queue, mut order) = (QueueSpec::default(), Order::default());
    let whole = "give a whole number from 0";
    for entry in reader.table(field) {
        let name = format!("{}.{}", field.name, entry.key);
        let field = Field { name: &name, node: &entry.node };
        match entry.key.as_str() {
            "borrow_gpus_max" => queue.borrow_gpus_max = reader.whole(field, whole),
            "budget_gpu_hours" => queue.budget_gpu_hours = reader.whole(field, whole),
            "budget_period" => {
                let remedy = "give a duration such as \"30d\"";
                queue.budget_period = reader.quantity(field, quantity::duration, remedy);
            }
            "guaranteed_gpus" => {
                queue.guaranteed_gpus = reader.whole(field, whole).unwrap_or_default();
            }
            "isolation" => {
                queue.isolation = reader.word(field, &ISOLATION).unwrap_or_default();
            }
            "order" => order = reader.word(field, &Order::WORDS).unwrap_or_default(),
            "parent" => queue.parent = reader.text(field),
            "priority_max" => queue.priority_max = reader.whole(field, "give a whole number"),
            "retain" => queue.retain = retain::read(reader, field),
            "user_gpus_max" => queue.user_gpus_max = reader.whole(field, whole),
            "verify" => queue.verify = verify::read(reader, field),
            "user_running_max" => queue.user_running_max = reader.whole(field, whole),
            "weight" => {
                let remedy = "give a whole number from 1";
                queue.weight = reader.whole(field, remedy).unwrap_or(1);
            }
            _ => reader.unknown(entry, &format!("{}.", document_name(field.name)), &QUEUE),
        }
    }
    (queue, order)
}

/// The table that a key stands in: `queues.a` of `queues.a.wieght`.
fn document_name(field: &str) -> &str {
    field.rsplit_once('.').map_or(field, |(table, _)| table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::node;
    use domain::isolation::Isolation;

    fn read_text(text: &str) -> (ClusterConfig, Vec<String>) {
        let mut reader = Reader::default();
        let (config, _) = read(&mut reader, &node::from_toml(text).unwrap(), Path::new("."));
        (config, reader.faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_key_is_read() {
        let (config, faults) = read_text(
            "half_life = \"1d\"\npriority_classes = { urgent = 9, batch = -1 }\n[queues.ml]\nguaranteed_gpus = 64\n[queues.ml-a]\n\
             parent = \"ml\"\nweight = 2\nguaranteed_gpus = 32\nborrow_gpus_max = 16\n\
             user_gpus_max = 8\nuser_running_max = 4\npriority_max = 10\n\
             budget_gpu_hours = 1000\nbudget_period = \"30d\"\nisolation = \"sandbox\"\n\
             order = \"shortest\"\nverify = \"segment:5%\"\nretain = \"90d\"\n",
        );
        assert_eq!(faults, [""; 0]);
        let queue = &config.queues["ml-a"];
        assert_eq!((config.half_life.0, config.queues.len()), (86_400_000, 3));
        let classes: Vec<_> = config.priority_classes.descending().collect();
        assert_eq!(classes, [("urgent", 9), ("batch", -1)]);
        assert_eq!(config.queues["ml"].guaranteed_gpus, 64);
        assert_eq!(["ml", "ml-a"].map(|queue| config.orders.of(queue).word()), ["age", "shortest"]);
        let numbers = (queue.weight, queue.gpus_max(), queue.user_gpus_max, queue.user_running_max);
        assert_eq!(numbers, (2, Some(48), Some(8), Some(4)));
        assert_eq!((queue.priority_max, queue.budget_gpu_hours), (Some(10), Some(1_000)));
        assert_eq!(queue.budget_period.map(|period| period.0), Some(30 * 86_400_000));
        assert_eq!(
            (queue.isolation, config.isolation("ml")),
            (Isolation::Sandbox, Isolation::None)
        );
        assert_eq!(queue.verify.map(|verify| verify.to_string()).as_deref(), Some("segment:5%"));
        assert_eq!(queue.retain.map(|it| it.to_string()).as_deref(), Some("90d"));
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest_known_name() {
        let (_, mut faults) = read_text("half_live = 1\n[queues.a]\nwieght = 2\nweight = -1\n");
        faults.sort();
        assert_eq!(
            faults,
            [
                "line 1: half_live: is not a known key; did you mean `half_life`?",
                "line 3: queues.a.wieght: is not a known key; did you mean `queues.a.weight`?",
                "line 4: queues.a.weight: is -1; give a whole number from 1",
            ]
        );
    }
}
