//! `assay dataset`: versions of data, and who may use them.

use super::{Context, change::done, live};
use crate::{
    args::{
        dataset::{Dataset, Licence, Register},
        user::Live,
    },
    capture::CapturedData,
    client::{Answer, registry::Done},
    exit::Exit,
    fault::Fault,
    render::{
        self,
        dataset::{Datasets, Licences},
    },
};
use domain::dataset::DatasetView;
use proto::v1::{self, registry_query::What, registry_request::Change};
use registry::{seal::clearance, sign::approver};
use serde_json::json;
use std::{collections::BTreeMap, path::Path, time::Duration};

/// Pause before a server that scans is asked again. It answers as soon as it has done, so this
/// is only waited for between its answers.
const AGAIN: Duration = Duration::from_millis(50);
/// What a server says while it looks through the files.
const SCANNING: &str = "scanning";

/// `assay dataset`.
///
/// # Errors
/// When something is not there, a rule forbids it, or nobody answers.
pub async fn run(context: &Context, what: Dataset) -> Result<Exit, Fault> {
    match what {
        Dataset::Register(args) => register(context, args).await,
        Dataset::List { name, limit, live } => list(context, name, limit, live).await,
        Dataset::Show { dataset } => {
            let answer = one(context, &dataset).await?;
            context.mark(answer.log_index);
            let view = answer.value;
            context.output.show("dataset", &view, |style| render::dataset::detail(style, &view))?;
            Ok(Exit::Ok)
        }
        Dataset::Clear { dataset, key, reason } => clear(context, &dataset, &key, reason).await,
        Dataset::Hold { dataset, reason } => hold(context, &dataset, true, reason).await,
        Dataset::Release { dataset, reason } => hold(context, &dataset, false, reason).await,
        Dataset::Licence(Licence { licence, allow, .. }) => {
            let asked = v1::SetLicence { licence: licence.clone(), allowed: allow };
            let changed = context.client.registry(Change::Licence(asked)).await?;
            let verdict = if allow { "allows training" } else { "does not allow training" };
            done(context, changed.at, &format!("{licence} {verdict}"))
        }
        Dataset::Licences(live) => licences(context, live).await,
    }
}

async fn one(context: &Context, word: &str) -> Result<Answer<DatasetView>, Fault> {
    let answer = context.client.registry_query(What::Dataset(word.to_owned())).await;
    answer.map_err(|fault| fault.hint_if_none("assay dataset list"))
}

async fn register(context: &Context, args: Register) -> Result<Exit, Fault> {
    let data = CapturedData::of(&args.path)?;
    context.client.upload(|| data.sources()).await?;
    let mut slices: BTreeMap<String, v1::Paths> = BTreeMap::new();
    for (name, path) in args.slices {
        slices.entry(name).or_default().paths.push(path);
    }
    let asked = v1::RegisterDataset {
        name: args.name.clone(),
        tree: data.tree().0.to_vec().into(),
        source: args.source,
        transformations: args.transformations,
        licence: args.licence,
        owner: args.owner.unwrap_or_default(),
        slices: slices.into_iter().collect(),
        pii: args.pii,
    };
    let changed = scanned(context, asked).await?;
    let dataset = format!("{}@{}", args.name, changed.number);
    let view = one(context, &dataset).await?.value;
    let document = json!({
        "blocked": view.blocked, "dataset": dataset, "log_index": changed.at,
        "pii_findings": view.version.facts.scan.total(), "tree": view.version.facts.tree,
    });
    context
        .output
        .show("dataset_registered", &document, |style| render::dataset::registered(style, &view))?;
    Ok(Exit::Ok)
}

/// Asks until the server has looked through the files: each answer says how far it has come.
async fn scanned(context: &Context, asked: v1::RegisterDataset) -> Result<Done, Fault> {
    loop {
        match context.client.registry(Change::RegisterDataset(asked.clone())).await {
            Err(fault) if fault.detail.starts_with(SCANNING) => {
                context.output.note(&fault.detail);
                tokio::time::sleep(AGAIN).await;
            }
            other => return other,
        }
    }
}

async fn list(
    context: &Context,
    name: Option<String>,
    limit: u32,
    live: Live,
) -> Result<Exit, Fault> {
    let what = match &name {
        None => What::Datasets(v1::FamiliesQuery { after: String::new(), limit }),
        Some(name) => {
            What::DatasetVersions(v1::VersionsQuery { family: name.clone(), first: 1, limit })
        }
    };
    let show = |answer: Answer<Vec<DatasetView>>| {
        if let (Some(name), true) = (&name, answer.value.is_empty()) {
            let fault = Fault::not_found(format!("there is no data set `{name}`"));
            return Err(fault.hint("assay dataset list"));
        }
        let all = Datasets { datasets: answer.value, log_index: answer.log_index };
        context.output.show("datasets", &all, |style| render::dataset::list(style, &all))
    };
    live::show(context, live, live::registry(what), show).await
}

async fn clear(context: &Context, word: &str, key: &Path, reason: String) -> Result<Exit, Fault> {
    let view = one(context, word).await?.value;
    context.output.note(&render::dataset::asked(&view));
    let document = clearance::document(&view.version, &view.blocked, &reason);
    let signature = approver::sign_document(key, document.as_bytes());
    let signature = signature.map_err(|fault| {
        Fault::usage("key", fault.to_string()).hint("make one: assay approver new-key FILE")
    })?;
    let dataset = view.version.dataset.to_string();
    let signature = signature.to_vec().into();
    let asked = v1::ClearDataset { dataset: dataset.clone(), reason, signature };
    let changed = context.client.registry(Change::ClearDataset(asked)).await?;
    done(context, changed.at, &format!("{dataset} may be used"))
}

async fn hold(context: &Context, word: &str, held: bool, reason: String) -> Result<Exit, Fault> {
    let dataset = one(context, word).await?.value.version.dataset.to_string();
    let asked = v1::HoldDataset { dataset: dataset.clone(), held, reason };
    let changed = context.client.registry(Change::HoldDataset(asked)).await?;
    let state = if held { "is under legal hold" } else { "is not under legal hold any more" };
    done(context, changed.at, &format!("{dataset} {state}"))
}

async fn licences(context: &Context, live: Live) -> Result<Exit, Fault> {
    let query = What::Licences(v1::LicencesQuery {});
    live::show(context, live, live::registry(query), |answer| {
        let all = Licences { licences: answer.value, log_index: answer.log_index };
        context.output.show("licences", &all, |style| render::dataset::licences(style, &all))
    })
    .await
}
