//! A configuration: compared with what is in force, and put into force.

use super::Context;
use crate::{
    args::queue::Apply,
    client::Answer,
    clusterfile::{self, Loaded},
    exit::Exit,
    fault::Fault,
    render::plan::{self, Applied, Plan},
};
use domain::queue::{ClusterConfig, view::ConfigPlanView};
use proto::v1::{ConfigPlanQuery, query_request::What};
use std::path::Path;

/// `assay plan`.
///
/// # Errors
/// When the file or the configuration is impossible, or nobody answers.
pub async fn plan(context: &Context, file: &Path) -> Result<Exit, Fault> {
    let answer = compare(context, &clusterfile::load(file)?.config).await?;
    context.mark(answer.log_index);
    let document = Plan { plan: answer.value, log_index: answer.log_index };
    let next = file.display().to_string();
    context
        .output
        .show("config-plan", &document, |style| plan::text(style, &document.plan, Some(&next)))?;
    Ok(Exit::Ok)
}

/// `assay apply`.
///
/// # Errors
/// When the configuration is impossible, another has changed it meanwhile, or nobody answers.
pub async fn apply(context: &Context, args: Apply) -> Result<Exit, Fault> {
    let Loaded { config, burn_in } = clusterfile::load(&args.file)?;
    let plan = compare(context, &config).await?.value;
    let mut document = Applied { applied: false, log_index: None, plan };
    if !document.plan.changes.is_empty() {
        let client = &context.client;
        if let Some(burn_in) = &burn_in {
            client.upload(|| burn_in.sources()).await?;
        }
        let at = client.apply_config(document.plan.version, &config, &args.reason).await?;
        (document.applied, document.log_index) = (true, Some(at));
    }
    context.output.show("config-applied", &document, |style| plan::applied(style, &document))?;
    Ok(Exit::Ok)
}

async fn compare(
    context: &Context,
    config: &ClusterConfig,
) -> Result<Answer<ConfigPlanView>, Fault> {
    let query = ConfigPlanQuery { config: Some(config.into()) };
    context.client.query(What::ConfigPlan(query)).await
}
