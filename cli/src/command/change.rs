//! Small changes: end jobs, take nodes out of service, accept GPUs.

use super::{Context, find, list, usage::now};
use crate::{
    args::{operator::Node, selector::Selector},
    client::change::Out,
    exit::Exit,
    fault::Fault,
    moment::Moment,
    quantity::show_time,
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
        Node::Drain { names, reason, until, migrate } => {
            let out = Out { reason, migrate, ..Out::default() };
            drain(context, &names, out, until).await?
        }
        Node::Quarantine { names, reason, migrate } => {
            let out = Out { reason, migrate, quarantine: true, ..Out::default() };
            drain(context, &names, out, None).await?
        }
        Node::Resume { names, vouch } => {
            let at = context.client.drain(&names, &Out { vouch, ..Out::default() }).await?;
            (at, format!("in service again: {}", names.join(" ")))
        }
        Node::ConfirmDead { lease } => {
            let said = format!("{lease} is recorded as dead; its job may start again");
            (context.client.confirm_dead(lease).await?, said)
        }
    };
    done(context, at, &said)
}

async fn drain(
    context: &Context,
    names: &[String],
    out: Out,
    until: Option<Moment>,
) -> Result<(LogIndex, String), Fault> {
    if out.reason.is_empty() {
        let why = Fault::usage("reason", "is empty");
        return Err(why.hint("say why, for others: --reason \"fan replaced\""));
    }
    if until == Some(Moment::Now) {
        let why = Fault::usage("until", "`now` is over before it begins");
        return Err(why.hint("give a later time: --until +2h30m"));
    }
    let until = until.map(|it| it.since_epoch(now()));
    let out = Out { until, ..out };
    let at = context.client.drain(names, &out).await?;
    let names = names.join(" ");
    let runs = match out.migrate {
        true => "what runs there saves its work and goes on elsewhere",
        false => "what runs there ends by itself",
    };
    let back = match until {
        _ if out.quarantine => {
            "when the acceptance job has passed there: `assay node accept NODE`".to_owned()
        }
        Some(until) => format!("at {}, or with `assay node resume {names}`", show_time(until)),
        None => format!("with `assay node resume {names}`"),
    };
    let said = format!("takes nothing new: {names}\n{runs}\nback in service {back}");
    Ok((at, said))
}

async fn accept(
    context: &Context,
    name: &str,
    gpu: Option<&str>,
    vouch: bool,
) -> Result<(LogIndex, String), Fault> {
    if vouch && gpu.is_none() {
        let detail = "nobody vouches for GPUs that are not named";
        return Err(Fault::usage("gpu", detail).hint(
            "name one: assay node accept NODE GPU --vouch; for a node in quarantine: \
             assay node resume NODE --vouch",
        ));
    }
    let at = context.client.accept_gpu(name, gpu.unwrap_or_default(), vouch).await?;
    let which = gpu.map_or("what is in quarantine there".to_owned(), |gpu| format!("GPU {gpu}"));
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
