//! Steering jobs that wait: hold, release, priority.

use super::{Context, change::done, find, named};
use crate::{
    args::{selector::Selector, user},
    capture::no_class,
    exit::Exit,
    fault::Fault,
    output::Form,
};
use domain::{JobId, queue::Priority};
use serde_json::json;
use std::collections::BTreeSet;

/// `assay hold` and `assay release`.
///
/// # Errors
/// The first job that could not be held or released, once all were tried.
pub async fn hold(context: &Context, which: &[Selector], held: bool) -> Result<Exit, Fault> {
    let (schema, said) = match held {
        true => ("held", "starts nothing more; let it go on: assay release"),
        false => ("released", "may start again; see when: assay why"),
    };
    let mut first = None;
    let mut all = Vec::new();
    for job in jobs(context, which).await? {
        match context.client.hold(job, held).await {
            Ok(at) => {
                all.push(json!({ "job": job, "log_index": at }));
                context.output.note(&format!("{job} {said} {job} (log {at})"));
            }
            Err(fault) => {
                context.output.note(&format!("{job}: {}", fault.detail));
                first.get_or_insert(fault);
            }
        }
    }
    if context.output.form != Form::Text {
        context.output.document(schema, &json!({ schema: all }))?;
    }
    first.map_or(Ok(Exit::Ok), Err)
}

async fn jobs(context: &Context, which: &[Selector]) -> Result<BTreeSet<JobId>, Fault> {
    let elements = find::every(context, which).await?;
    if let Some(one) = elements.iter().find(|element| element.index.is_some()) {
        let detail = format!("{one} is an element; a job is held as a whole");
        return Err(Fault::usage("element", detail).hint(format!("name the job: {}", one.job)));
    }
    Ok(elements.into_iter().map(|element| element.job).collect())
}

/// `assay priority`.
///
/// # Errors
/// When there is no such job or class, it has ended, or its queue allows no such priority.
pub async fn priority(context: &Context, args: &user::Priority) -> Result<Exit, Fault> {
    let element = find::one(context, &args.which).await?;
    let job = element.job;
    let (priority, said) = match &args.priority {
        Priority::Number(number) => (*number, String::new()),
        Priority::Class(name) => {
            let classes = named::classes(&context.client).await?;
            (classes.find(name).map_err(|fault| no_class(&fault))?, format!(" ({name})"))
        }
    };
    let at = context.client.set_priority(job, priority).await?;
    done(context, at, &format!("{job} has priority {priority}{said}"))
}
