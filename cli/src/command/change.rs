//! Small changes: end jobs, take nodes out of service, accept GPUs.

use super::{Context, find, list};
use crate::{
    args::{operator::Node, selector::Selector},
    exit::Exit,
    fault::Fault,
};
use domain::LogIndex;
use serde_json::json;

/// `assay cancel`: every job that is named, also after one that could not be.
///
/// # Errors
/// The first that could not be cancelled.
pub async fn cancel(context: &Context, which: &[Selector]) -> Result<Exit, Fault> {
    let mut first = None;
    let mut done = Vec::new();
    for element in find::every(context, which).await? {
        match context.client.cancel(element).await {
            Ok(at) => {
                done.push(json!({"job": element, "log_index": at}));
                context.output.note(&format!("{element} is being cancelled (log {at})"));
            }
            Err(fault) => {
                context.output.note(&format!("{element}: {}", fault.detail));
                first.get_or_insert(fault);
            }
        }
    }
    if context.output.form != crate::output::Form::Text {
        context.output.document("cancelled", &json!({ "cancelled": done }))?;
    }
    first.map_or(Ok(Exit::Ok), Err)
}

/// `assay node`.
///
/// # Errors
/// When there is no such node or lease, or nobody answers.
pub async fn node(context: &Context, change: Node) -> Result<Exit, Fault> {
    let (at, said) = match change {
        Node::Show { name, live } => return list::node(context, &name, live).await,
        Node::Accept { name, gpu, only, vouch } => {
            accept(context, &name, gpu.or(only).as_deref(), vouch).await?
        }
        Node::Drain { name, reason } => {
            let at = context.client.drain(&name, &reason).await?;
            (at, format!("{name} takes nothing new; back in service: assay node resume {name}"))
        }
        Node::Resume { name } => {
            (context.client.drain(&name, "").await?, format!("{name} takes work again"))
        }
        Node::ConfirmDead { lease } => {
            let said = format!("{lease} is recorded as dead; its job may start again");
            (context.client.confirm_dead(lease).await?, said)
        }
    };
    done(context, at, &said)
}

async fn accept(
    context: &Context,
    name: &str,
    gpu: Option<&str>,
    vouch: bool,
) -> Result<(LogIndex, String), Fault> {
    if vouch && gpu.is_none() {
        let detail = "nobody vouches for GPUs that are not named";
        return Err(
            Fault::usage("gpu", detail).hint("name one: assay node accept NODE GPU --vouch")
        );
    }
    let at = context.client.accept_gpu(name, gpu.unwrap_or_default(), vouch).await?;
    let which = gpu.map_or("every GPU in quarantine".to_owned(), |gpu| format!("GPU {gpu}"));
    let said = match vouch {
        true => format!("{which} of {name} is accepted; its node puts it back"),
        false => format!("{which} of {name} is to pass the acceptance job before it serves"),
    };
    Ok((at, format!("{said}: assay node show {name}")))
}

/// Says that a change is in the log.
///
/// # Errors
/// When standard output is gone.
pub fn done(context: &Context, at: LogIndex, said: &str) -> Result<Exit, Fault> {
    let document = json!({ "done": said, "log_index": at });
    context.output.show("done", &document, |_| format!("{said} (log {at})\n"))?;
    Ok(Exit::Ok)
}
