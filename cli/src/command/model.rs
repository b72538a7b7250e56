//! `assay model`: families, versions, lineage.

use super::{Context, find, live};
use crate::{
    args::{
        registry::{Lineage, Model, Register},
        user::Live,
    },
    client::Answer,
    exit::Exit,
    fault::Fault,
    render::{
        self,
        model::{Comparison, Families, Versions},
    },
};
use domain::{
    ArtifactId,
    model::{LineageView, ModelView},
    view::JobView,
};
use proto::v1::{self, query_request, registry_query::What, registry_request::Change};
use serde_json::json;

/// `assay model`.
///
/// # Errors
/// When something is not there, a rule forbids it, or nobody answers.
pub async fn run(context: &Context, what: Model) -> Result<Exit, Fault> {
    match what {
        Model::Register(args) => register(context, args).await,
        Model::List { family: None, limit, live } => families(context, limit, live).await,
        Model::List { family: Some(family), limit, live } => {
            versions(context, family, limit, live).await
        }
        Model::Show { model } => show(context, &model).await,
        Model::Lineage(args) => lineage(context, args).await,
        Model::Compare { left, right } => compare(context, &left, &right).await,
        Model::Evaluate(args) => super::evaluate::run(context, args).await,
        Model::Alias { model, name, remove } => alias(context, &model, name, remove).await,
        Model::Deprecate { model, reason } => {
            let named = one(context, &model).await?.value.version.model.to_string();
            let asked = v1::DeprecateModel { model: named.clone(), reason };
            let done = context.client.registry(Change::Deprecate(asked)).await?;
            let said = format!("{named} is out of use, and nothing names it any more");
            super::change::done(context, done.at, &said)
        }
    }
}

/// The version that a word names.
///
/// # Errors
/// When there is none.
pub async fn one(context: &Context, word: &str) -> Result<Answer<ModelView>, Fault> {
    let answer = context.client.registry_query(What::Model(word.to_owned())).await;
    answer.map_err(|fault| fault.hint_if_none("assay model list"))
}

async fn register(context: &Context, args: Register) -> Result<Exit, Fault> {
    let artifact = find::artifact(context, &args.artifact).await?.artifact.id;
    let asked = v1::RegisterModel {
        family: args.family.clone(),
        artifact: artifact.to_string(),
        metrics: args.metrics.into_iter().map(|(name, it)| (name, it.to_string())).collect(),
        parents: args.parents.iter().map(ToString::to_string).collect(),
        aliases: args.aliases,
    };
    let done = context.client.registry(Change::Register(asked)).await?;
    let model = format!("{}@{}", args.family, done.number);
    let document = json!({
        "artifact": artifact, "log_index": done.at, "model": model, "stage": args.stage,
    });
    context.output.show("model_registered", &document, |_| {
        format!(
            "{model} is registered, made of {artifact} (log {})\n\
             next: assay model evaluate {model} --job FILE\n",
            done.at
        )
    })?;
    Ok(Exit::Ok)
}

async fn families(context: &Context, limit: u32, live: Live) -> Result<Exit, Fault> {
    let query = v1::FamiliesQuery { after: String::new(), limit };
    live::show(context, live, live::registry(What::Families(query)), |answer| {
        let list = Families { families: answer.value, log_index: answer.log_index };
        context.output.show("models", &list, |style| render::model::families(style, &list))
    })
    .await
}

async fn versions(
    context: &Context,
    family: String,
    limit: u32,
    live: Live,
) -> Result<Exit, Fault> {
    let query = v1::VersionsQuery { family: family.clone(), first: 1, limit };
    let show = |answer: Answer<Vec<ModelView>>| {
        if answer.value.is_empty() {
            let fault = Fault::not_found(format!("there is no model family `{family}`"));
            return Err(fault.hint("assay model list"));
        }
        let list = Versions { versions: answer.value, log_index: answer.log_index };
        let text = |style| render::model::versions(style, &list);
        context.output.show("model_versions", &list, text)
    };
    live::show(context, live, live::registry(What::Versions(query)), show).await
}

async fn show(context: &Context, word: &str) -> Result<Exit, Fault> {
    let answer = one(context, word).await?;
    context.mark(answer.log_index);
    let model = answer.value;
    context.output.show("model", &model, |style| render::model::detail(style, &model))?;
    Ok(Exit::Ok)
}

async fn lineage(context: &Context, args: Lineage) -> Result<Exit, Fault> {
    let query = v1::LineageQuery { model: args.model, depth: args.depth.max(1), nodes: args.max };
    let answer: Answer<LineageView> = context.client.registry_query(What::Lineage(query)).await?;
    context.mark(answer.log_index);
    let view = answer.value;
    if let Some(path) = &args.svg {
        let picture = render::lineage::svg(&view)?;
        std::fs::write(path, picture).map_err(|fault| Fault::file(path, &fault))?;
        context.output.note(&format!("drawn into {}", path.display()));
    }
    context.output.show("lineage", &view, |style| render::lineage::text(style, &view))?;
    Ok(Exit::Ok)
}

async fn compare(context: &Context, left: &str, right: &str) -> Result<Exit, Fault> {
    let (left, right) = (one(context, left).await?.value, one(context, right).await?.value);
    let (of_left, of_right) = (job(context, &left).await?, job(context, &right).await?);
    let found = Comparison::of((&left, &of_left), (&right, &of_right));
    context
        .output
        .show("model_comparison", &found, |style| render::model::comparison(style, &found))?;
    Ok(Exit::Ok)
}

/// The job that made a version's artifact.
async fn job(context: &Context, model: &ModelView) -> Result<JobView, Fault> {
    let what = query_request::What::Job(model.job.to_string());
    Ok(context.client.query(what).await?.value)
}

async fn alias(context: &Context, word: &str, alias: String, remove: bool) -> Result<Exit, Fault> {
    let (family, version, said) = if remove {
        let family = word.split('@').next().unwrap_or(word).to_owned();
        let said = format!("{family}@{alias} stands for nothing");
        (family, 0, said)
    } else {
        let model = one(context, word).await?.value.version.model;
        let said = format!("{}@{alias} stands for {model}", model.family);
        (model.family, model.version, said)
    };
    let asked = v1::SetAlias { family, alias, version };
    let done = context.client.registry(Change::Alias(asked)).await?;
    super::change::done(context, done.at, &said)
}

/// `assay artifact revoke`.
///
/// # Errors
/// When it is not there or was revoked before, or nobody answers.
pub async fn revoke(
    context: &Context,
    artifact: ArtifactId,
    reason: String,
) -> Result<Exit, Fault> {
    let asked = v1::RevokeArtifact { artifact: artifact.to_string(), reason };
    let done = context.client.registry(Change::Revoke(asked)).await?;
    let said = format!("{artifact} is revoked: no version is made of it, none is promoted");
    super::change::done(context, done.at, &said)
}
