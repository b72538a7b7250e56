//! What changes something on behalf of a user.

use super::{
    context::{Context, keyed},
    error,
    identity::Identity,
};
use crate::state::command::{Command, NewJob, Reply};
use domain::{LogIndex, limit};
use proto::{
    convert::{self, WireError},
    v1,
};
use tonic::{Request, Status};

fn invalid(fault: &WireError) -> Status {
    error::status("invalid", fault.to_string(), "correct the request", false)
}

/// Takes in jobs: all or none.
///
/// # Errors
/// When the request is malformed, a specification breaks a rule, or there is no leader.
pub async fn submit(
    context: &Context,
    request: Request<v1::SubmitRequest>,
) -> Result<v1::SubmitReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let request = request.into_inner();
    let key = convert::key(&request.key).map_err(|fault| invalid(&fault))?;
    if request.jobs.is_empty() || request.jobs.len() > limit::SUBMIT_BATCH_MAX {
        let why = format!("request has {} jobs", request.jobs.len());
        return Err(error::status("invalid", why, "send 1 to 1000 jobs in one request", false));
    }
    let mut jobs = Vec::with_capacity(request.jobs.len());
    for wire in request.jobs {
        let spec = wire.into_spec(&user).map_err(|fault| invalid(&fault))?;
        if let Err(faults) = spec.check() {
            let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
            let why = format!("job `{}`: {}", spec.name, all.join(" | "));
            return Err(error::status(
                "invalid",
                why,
                "correct the job and submit it again",
                false,
            ));
        }
        let recipe = registry::seal::recipe::recipe(&spec);
        jobs.push(NewJob { spec, recipe });
    }
    let command = Command::Submit { jobs };
    match context.propose(keyed(key, format!("user:{user}"), command)).await? {
        Reply::Submitted { jobs, at } => Ok(v1::SubmitReply {
            jobs: jobs.into_iter().map(|job| job.0).collect(),
            log_index: at.0,
        }),
        other => Err(unexpected(other)),
    }
}

/// Ends a job or one element of an array.
///
/// # Errors
/// When it is not there, has ended, or there is no leader.
pub async fn cancel(
    context: &Context,
    request: Request<v1::CancelRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let request = request.into_inner();
    let element = request.element.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "", false)
    })?;
    change(context, &user, &request.key, Command::Cancel { element }).await
}

/// Takes a node out of service, or back in.
///
/// # Errors
/// When there is no such node or no leader.
pub async fn drain(
    context: &Context,
    request: Request<v1::DrainRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let request = request.into_inner();
    let reason = (!request.reason.is_empty()).then_some(request.reason);
    change(context, &user, &request.key, Command::Drain { node: request.node, reason }).await
}

/// Records an operator's word that nothing of a lease runs any more.
///
/// # Errors
/// When there is no such lease or no leader.
pub async fn confirm_dead(
    context: &Context,
    request: Request<v1::ConfirmDeadRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let request = request.into_inner();
    let lease = request.lease.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "", false)
    })?;
    change(context, &user, &request.key, Command::ConfirmDead { lease }).await
}

async fn change(
    context: &Context,
    user: &str,
    key: &[u8],
    command: Command,
) -> Result<v1::DoneReply, Status> {
    let key = convert::key(key).map_err(|fault| invalid(&fault))?;
    match context.propose(keyed(key, format!("user:{user}"), command)).await? {
        Reply::Done { at: LogIndex(log_index) } => Ok(v1::DoneReply { log_index }),
        other => Err(unexpected(other)),
    }
}

fn unexpected(reply: Reply) -> Status {
    match reply {
        Reply::Refused(refusal) => error::refused(&refusal),
        other => error::status(
            "internal",
            format!("reply {other:?} does not belong to this request"),
            "the request key may belong to another request; use a new one",
            false,
        ),
    }
}
