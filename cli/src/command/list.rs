//! Lists, and one thing in full.

use super::{Context, find};
use crate::{
    args::{selector::Selector, user},
    exit::Exit,
    fault::Fault,
    render::{self, jobs::Jobs},
};
use domain::{
    JobId,
    view::{ArtifactView, JobView, NodeView, WhyView},
};
use proto::v1::{ArtifactsQuery, JobsQuery, NodesQuery, query_request::What};

/// `assay jobs`.
///
/// # Errors
/// When nobody answers.
pub async fn jobs(context: &Context, args: user::Jobs) -> Result<Exit, Fault> {
    let text = |word: Option<String>| word.unwrap_or_default();
    let list = if args.which.is_empty() {
        let query = JobsQuery {
            state: text(args.state),
            user: text(args.user),
            name: text(args.name),
            queue: text(args.queue),
            before: 0,
            limit: args.limit,
            mine: args.mine,
        };
        find::pages(context, query, JobId(0)).await?
    } else {
        let mut list = Jobs { jobs: Vec::new(), log_index: u64::MAX };
        for element in find::every(context, &args.which).await? {
            let job = context.client.query::<JobView>(What::Job(element.job.to_string())).await?;
            list.log_index = list.log_index.min(job.log_index);
            list.jobs.push(job.value.line);
        }
        list
    };
    context.mark(list.log_index);
    context.output.show("jobs", &list, |style| render::jobs::text(style, &list))?;
    Ok(Exit::Ok)
}

/// `assay job`.
///
/// # Errors
/// When there is no such job.
pub async fn job(context: &Context, which: &Selector) -> Result<Exit, Fault> {
    let element = find::one(context, which).await?;
    let answer = context.client.query(What::Job(element.job.to_string())).await?;
    let mut job: JobView = answer.value;
    if element.index.is_some() {
        job.parts.retain(|part| part.id == element);
    }
    context.mark(answer.log_index);
    let document = render::job::Job { job, log_index: answer.log_index };
    context.output.show("job", &document, |style| render::job::text(style, &document.job))?;
    Ok(Exit::Ok)
}

/// `assay why`.
///
/// # Errors
/// When there is no such job.
pub async fn why(context: &Context, which: &Selector) -> Result<Exit, Fault> {
    let element = find::one(context, which).await?;
    let why: WhyView = context.client.query(What::Why(element.to_string())).await?.value;
    context.output.show("why", &why, |style| render::why::text(style, &why))?;
    Ok(Exit::Ok)
}

/// `assay nodes`.
///
/// # Errors
/// When nobody answers.
pub async fn nodes(context: &Context) -> Result<Exit, Fault> {
    let answer = context.client.query::<Vec<NodeView>>(What::Nodes(NodesQuery {})).await?;
    context.mark(answer.log_index);
    let list = render::node::Nodes { nodes: answer.value, log_index: answer.log_index };
    context.output.show("nodes", &list, |style| render::node::text(style, &list))?;
    Ok(Exit::Ok)
}

/// `assay node show`.
///
/// # Errors
/// When there is no such node, or nobody answers.
pub async fn node(context: &Context, name: &str) -> Result<Exit, Fault> {
    let answer = context.client.query::<Vec<NodeView>>(What::Nodes(NodesQuery {})).await?;
    context.mark(answer.log_index);
    let named = |node: &NodeView| node.inventory.name == name || node.id.to_string() == name;
    let Some(node) = answer.value.into_iter().find(named) else {
        let fault = Fault::not_found(format!("there is no node `{name}`"));
        return Err(fault.hint("`assay nodes` shows what there is"));
    };
    let document = render::node::Detail { node, log_index: answer.log_index };
    context.output.show("node", &document, |style| render::node::detail(style, &document.node))?;
    Ok(Exit::Ok)
}

/// `assay artifacts`.
///
/// # Errors
/// When nobody answers.
pub async fn artifacts(context: &Context, page: &user::Page) -> Result<Exit, Fault> {
    let query = ArtifactsQuery { after: page.after.map_or(0, |id| id.0), limit: page.limit };
    let answer = context.client.query::<Vec<ArtifactView>>(What::Artifacts(query)).await?;
    context.mark(answer.log_index);
    let list = render::artifact::Artifacts { artifacts: answer.value, log_index: answer.log_index };
    context.output.show("artifacts", &list, |style| render::artifact::list(style, &list))?;
    Ok(Exit::Ok)
}
