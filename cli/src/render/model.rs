//! Models: families, versions, one in full, and in what two differ.

use crate::{
    output::{Style, table::table},
    quantity::show_time,
};
use domain::{
    evaluation::Measured,
    model::{FamilyView, ModelRef, ModelView, Stage},
    view::JobView,
};
use registry::seal::recipe::recipe_value;
use serde::Serialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The document of `assay model list --json`.
#[derive(Debug, Serialize)]
pub struct Families {
    /// The families, by name.
    pub families: Vec<FamilyView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay model list FAMILY --json`.
#[derive(Debug, Serialize)]
pub struct Versions {
    /// The versions, by number.
    pub versions: Vec<ModelView>,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// A stage in its colour.
fn stage(style: Style, stage: Stage) -> String {
    match stage {
        Stage::Prod => style.good(stage.word()),
        Stage::Staging => style.busy(stage.word()),
        Stage::Deprecated => style.faint(stage.word()),
        Stage::Draft => stage.word().to_owned(),
    }
}

/// Families as text.
#[must_use]
pub fn families(style: Style, all: &Families) -> String {
    if all.families.is_empty() && style.table {
        return "no models yet; make one: assay model register NAME --artifact ID\n".into();
    }
    let row = |family: &FamilyView| {
        let named = |word: &str| {
            family.aliases.get(word).map_or_else(String::new, |version| format!("@{version}"))
        };
        let reserved = [Stage::Staging.word(), Stage::Prod.word()];
        let others = family.aliases.iter().filter(|(alias, _)| !reserved.contains(&alias.as_str()));
        let others: Vec<_> = others.map(|(alias, version)| format!("{alias}@{version}")).collect();
        vec![
            family.family.clone(),
            family.newest.model.to_string(),
            named(reserved[0]),
            named(reserved[1]),
            others.join(" "),
            show_time(family.newest.registered),
        ]
    };
    let rows: Vec<_> = all.families.iter().map(row).collect();
    table(style, &["FAMILY", "NEWEST", "STAGING", "PROD", "ALIASES", "REGISTERED"], &rows)
}

/// Versions as text.
#[must_use]
pub fn versions(style: Style, all: &Versions) -> String {
    let row = |view: &ModelView| {
        let version = &view.version;
        let revoked = if view.revoked.is_some() { " REVOKED" } else { "" };
        vec![
            version.model.to_string(),
            stage(style, version.stage),
            format!("{}{revoked}", version.artifact),
            view.aliases.join(" "),
            metrics(view).join(" "),
            show_time(version.registered),
        ]
    };
    let rows: Vec<_> = all.versions.iter().map(row).collect();
    table(style, &["MODEL", "STAGE", "ARTIFACT", "ALIASES", "METRICS", "REGISTERED"], &rows)
}

/// Metrics with their sources, short.
fn metrics(view: &ModelView) -> Vec<String> {
    let shown = |(name, measured): (&String, &Measured)| match measured.evaluation {
        Some(evaluation) => format!("{name}={} ({evaluation})", measured.value),
        None => format!("{name}={} (claimed)", measured.value),
    };
    view.measured.iter().map(shown).collect()
}

/// Metrics with their sources, for a comparison: values that were measured in different ways
/// cannot be compared, so the way is a part of it.
fn sources(view: &ModelView) -> Value {
    let mut all = serde_json::Map::new();
    for (name, measured) in &view.measured {
        let evaluation = measured.evaluation.map(|id| id.to_string());
        let method = measured.method.map(|method| method.to_string());
        all.insert(name.clone(), measured.value.to_string().into());
        all.insert(format!("{name} source"), evaluation.unwrap_or_else(|| "claimed".into()).into());
        all.insert(format!("{name} method"), method.into());
    }
    all.into()
}

fn names(all: &[ModelRef]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// One version as text.
#[must_use]
pub fn detail(style: Style, view: &ModelView) -> String {
    let version = &view.version;
    let model = &version.model;
    let head = style.strong(&model.to_string());
    let mut out = format!("{head} in {}\n", stage(style, version.stage));
    let mut fields = vec![
        ("artifact", format!("{}, made by {}", version.artifact, view.job)),
        ("root", view.root.to_string()),
        ("recipe", view.recipe.to_string()),
        ("signature", format!("{} by key {}", view.signature, view.signer)),
    ];
    for (name, value) in [
        ("metrics", metrics(view).join(" ")),
        ("aliases", view.aliases.join(" ")),
        ("parents", names(&version.parents)),
        ("children", names(&view.children)),
    ] {
        if !value.is_empty() {
            fields.push((name, value));
        }
    }
    for evaluation in &view.evaluations {
        fields.push(("evaluation", super::evaluation::line(evaluation)));
    }
    let when = show_time(version.registered);
    let who = &version.registered_by;
    fields.push(("registered", format!("{when} by {who} (audit event {})", version.audit_seq)));
    if let Some(word) = &view.revoked {
        fields.push((
            "REVOKED",
            format!("{} by {}: {}", show_time(word.since), word.by, word.reason),
        ));
    }
    for (name, value) in fields {
        out.push_str(&format!("  {} {value}\n", style.faint(&format!("{name:<12}"))));
    }
    let next = match version.stage {
        Stage::Draft if view.evaluations.is_empty() => {
            format!("assay model evaluate {model} --job FILE")
        }
        Stage::Draft => format!("assay promotion request {model} --to staging --reason TEXT"),
        Stage::Staging => format!("assay promotion request {model} --to prod --reason TEXT"),
        Stage::Prod | Stage::Deprecated => format!("assay model lineage {model}"),
    };
    out.push_str(&style.faint(&format!("next: {next}\n")));
    out
}

/// One thing in which two versions differ.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What: an input of the recipe, a metric, a digest.
    pub field: String,
    /// Of the first; null where it has none.
    pub left: Value,
    /// Of the second.
    pub right: Value,
}

/// The document of `assay model compare --json`.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// The first.
    pub left: ModelRef,
    /// The second.
    pub right: ModelRef,
    /// Whether both have the same files.
    pub same_bits: bool,
    /// Inputs of the recipe that differ.
    pub inputs: Vec<Difference>,
    /// Metrics that differ.
    pub metrics: Vec<Difference>,
    /// Digests that differ.
    pub digests: Vec<Difference>,
}

/// Leaves of a document by their paths.
fn leaves(value: &Value, path: &str, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(value, &path, into);
            }
        }
        other => {
            into.insert(path.to_owned(), other.clone());
        }
    }
}

fn differences(left: &Value, right: &Value) -> Vec<Difference> {
    let (mut lefts, mut rights) = (BTreeMap::new(), BTreeMap::new());
    leaves(left, "", &mut lefts);
    leaves(right, "", &mut rights);
    let fields: BTreeSet<String> = lefts.keys().chain(rights.keys()).cloned().collect();
    let difference = |field: String| {
        let take = |from: &BTreeMap<String, Value>| from.get(&field).cloned().unwrap_or_default();
        let (left, right) = (take(&lefts), take(&rights));
        (left != right).then_some(Difference { field, left, right })
    };
    fields.into_iter().filter_map(difference).collect()
}

impl Comparison {
    /// Compares two versions with the jobs that made them.
    #[must_use]
    pub fn of(left: (&ModelView, &JobView), right: (&ModelView, &JobView)) -> Self {
        let inputs = |(view, job): (&ModelView, &JobView)| recipe_value(&job.spec, view.job.index);
        let metrics = |(view, _): (&ModelView, &JobView)| sources(view);
        let digests = |(view, _): (&ModelView, &JobView)| {
            serde_json::json!({
                "provenance": view.provenance,
                "recipe": view.recipe,
                "root": view.root,
                "signature": view.signature,
                "signer": view.signer,
            })
        };
        Self {
            left: left.0.version.model.clone(),
            right: right.0.version.model.clone(),
            same_bits: left.0.root == right.0.root,
            inputs: differences(&inputs(left), &inputs(right)),
            metrics: differences(&metrics(left), &metrics(right)),
            digests: differences(&digests(left), &digests(right)),
        }
    }
}

/// A comparison as text.
#[must_use]
pub fn comparison(style: Style, found: &Comparison) -> String {
    let bits = if found.same_bits { "the same bits" } else { "other bits" };
    let mut out = format!("{} and {}: {bits}\n", found.left, found.right);
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut rows = Vec::new();
    for (kind, all) in
        [("input", &found.inputs), ("metric", &found.metrics), ("digest", &found.digests)]
    {
        rows.extend(
            all.iter().map(|it| {
                vec![kind.to_owned(), it.field.clone(), shown(&it.left), shown(&it.right)]
            }),
        );
    }
    if !rows.is_empty() {
        let heading = ["WHAT", "NAME", &found.left.to_string(), &found.right.to_string()];
        out.push_str(&table(style, &heading, &rows));
    }
    out
}
