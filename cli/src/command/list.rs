//! Lists, and one thing in full.

use super::{Context, find, live};
use crate::{
    args::{selector::Selector, user},
    client::Answer,
    exit::Exit,
    fault::Fault,
    render::{self, jobs::Jobs},
};
use domain::{
    JobId,
    view::{JobView, NodeView, WhyView},
};
use proto::v1::{ArtifactsQuery, JobsQuery, NodesQuery, query_request::What};

/// `assay jobs`.
///
/// # Errors
/// When nobody answers.
pub async fn jobs(context: &Context, args: user::Jobs) -> Result<Exit, Fault> {
    let show =
        |list: &Jobs| context.output.show("jobs", list, |style| render::jobs::text(style, list));
    if !args.which.is_empty() {
        let list = named(context, &args.which).await?;
        context.mark(list.log_index);
        show(&list)?;
        return Ok(Exit::Ok);
    }
    let text = |word: Option<String>| word.unwrap_or_default();
    let query = JobsQuery {
        state: text(args.state),
        user: text(args.user),
        name: text(args.name),
        queue: text(args.queue),
        before: 0,
        limit: args.limit,
        mine: args.mine,
    };
    if args.live.watch {
        return live::show(context, args.live, What::Jobs(query), |answer| {
            show(&Jobs { jobs: answer.value, log_index: answer.log_index })
        })
        .await;
    }
    let list = find::pages(context, query, JobId(0)).await?;
    context.mark(list.log_index);
    show(&list)?;
    Ok(Exit::Ok)
}

async fn named(context: &Context, which: &[Selector]) -> Result<Jobs, Fault> {
    let mut list = Jobs { jobs: Vec::new(), log_index: u64::MAX };
    for element in find::every(context, which).await? {
        let job = context.client.query::<JobView>(What::Job(element.job.to_string())).await?;
        list.log_index = list.log_index.min(job.log_index);
        list.jobs.push(job.value.line);
    }
    Ok(list)
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
pub async fn why(context: &Context, args: &user::Why) -> Result<Exit, Fault> {
    let element = find::one(context, &args.which).await?;
    live::show(context, args.live, What::Why(element.to_string()), |answer| {
        let why: WhyView = answer.value;
        context.output.show("why", &why, |style| render::why::text(style, &why))
    })
    .await
}

/// `assay nodes`.
///
/// # Errors
/// When nobody answers.
pub async fn nodes(context: &Context, live: user::Live) -> Result<Exit, Fault> {
    live::show(context, live, What::Nodes(NodesQuery::default()), |answer| {
        let list = render::node::Nodes { nodes: answer.value, log_index: answer.log_index };
        context.output.show("nodes", &list, |style| render::node::text(style, &list))
    })
    .await
}

/// `assay node show`.
///
/// # Errors
/// When there is no such node, or nobody answers.
pub async fn node(context: &Context, name: &str, live: user::Live) -> Result<Exit, Fault> {
    let asked = What::Nodes(NodesQuery { node: name.to_owned() });
    live::show(context, live, asked, |answer: Answer<Vec<NodeView>>| {
        // A server of before gives them all.
        let named = |node: &NodeView| node.inventory.name == name || node.id.to_string() == name;
        let Some(node) = answer.value.into_iter().find(named) else {
            let fault = Fault::not_found(format!("there is no node `{name}`"));
            return Err(fault.hint("`assay nodes` shows what there is"));
        };
        let document = render::node::Detail { node, log_index: answer.log_index };
        let text = |style| render::node::detail(style, &document.node);
        context.output.show("node", &document, text)
    })
    .await
}

/// `assay artifacts`.
///
/// # Errors
/// When nobody answers.
pub async fn artifacts(context: &Context, page: &user::Page) -> Result<Exit, Fault> {
    let query = ArtifactsQuery { after: page.after.map_or(0, |id| id.0), limit: page.limit };
    live::show(context, page.live, What::Artifacts(query), |answer| {
        let list =
            render::artifact::Artifacts { artifacts: answer.value, log_index: answer.log_index };
        context.output.show("artifacts", &list, |style| render::artifact::list(style, &list))
    })
    .await
}
