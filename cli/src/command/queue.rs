//! Queues as they are.

use super::Context;
use crate::{args::queue::Queue, exit::Exit, fault::Fault, render};
use domain::queue::view::QueuesView;
use proto::v1::{QueuesQuery, query_request::What};

/// `assay queue`.
///
/// # Errors
/// When there is no such queue, or nobody answers.
pub async fn run(context: &Context, args: &Queue) -> Result<Exit, Fault> {
    let name = match args {
        Queue::List => String::new(),
        Queue::Show { name } => name.clone(),
    };
    let answer = context.client.query::<QueuesView>(What::Queues(QueuesQuery { name })).await?;
    context.mark(answer.log_index);
    let document = render::queue::Queues { all: answer.value, log_index: answer.log_index };
    match args {
        Queue::List => {
            context
                .output
                .show("queues", &document, |style| render::queue::list(style, &document.all))?;
        }
        Queue::Show { name } => {
            let Some(queue) = document.all.queues.into_iter().next() else {
                let fault = Fault::not_found(format!("there is no queue `{name}`"));
                return Err(fault.hint("`assay queue list` shows what there is"));
            };
            let detail = render::queue::Detail { queue, log_index: answer.log_index };
            context
                .output
                .show("queue", &detail, |style| render::queue::detail(style, &detail.queue))?;
        }
    }
    Ok(Exit::Ok)
}
