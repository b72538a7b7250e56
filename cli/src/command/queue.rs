//! Queues as they are.

use super::{Context, live};
use crate::{args::queue::Queue, client::Answer, exit::Exit, fault::Fault, render};
use domain::queue::view::QueuesView;
use proto::v1::{QueuesQuery, query_request::What};

/// `assay queue`.
///
/// # Errors
/// When there is no such queue, or nobody answers.
pub async fn run(context: &Context, args: &Queue) -> Result<Exit, Fault> {
    match args {
        Queue::List(live) => {
            live::show(context, *live, asked(""), |answer| {
                let list = render::queue::Queues { all: answer.value, log_index: answer.log_index };
                let text = |style| render::queue::list(style, &list.all);
                context.output.show("queues", &list, text)
            })
            .await
        }
        Queue::Show { name, live } => {
            live::show(context, *live, asked(name), |answer: Answer<QueuesView>| {
                let Some(queue) = answer.value.queues.into_iter().next() else {
                    let fault = Fault::not_found(format!("there is no queue `{name}`"));
                    return Err(fault.hint("`assay queue list` shows what there is"));
                };
                let detail = render::queue::Detail { queue, log_index: answer.log_index };
                let text = |style| render::queue::detail(style, &detail.queue);
                context.output.show("queue", &detail, text)
            })
            .await
        }
    }
}

fn asked(name: &str) -> What {
    What::Queues(QueuesQuery { name: name.to_owned() })
}
