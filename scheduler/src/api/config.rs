//! Queues and the order in them: shown, compared, and changed.

use super::{
    context::Context,
    error,
    identity::Identity,
    priority,
    query::{self, Answer},
    rights, submit,
};
use crate::state::{
    command::{Command, Refusal},
    view::View,
};
use domain::{
    JobId,
    queue::{ClusterConfig, ConfigError},
};
use proto::v1;
use tonic::{Request, Status};

/// Puts a configuration in the place of another.
///
/// # Errors
/// When it is impossible, the other has changed meanwhile, or there is no leader.
pub async fn apply(
    context: &Context,
    request: Request<v1::ApplyConfigRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    rights::admin(context, &user)?;
    let v1::ApplyConfigRequest { key, expected, config, why } = request.into_inner();
    let config = given(config)?;
    // What the log has no place for is known here alone.
    config.check().map_err(|fault| error::refused(&Refusal::Config(fault)))?;
    submit::change(context, &user, &key, Command::apply_config(expected, config, why)).await
}

/// Keeps what has not started of a job from starting, or lets it go on.
///
/// # Errors
/// When there is no such job, it has ended or is so already, or there is no leader.
pub async fn hold(
    context: &Context,
    request: Request<v1::HoldRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let v1::HoldRequest { key, job, release } = request.into_inner();
    rights::own_job(context, &user, JobId(job)).await?;
    let command = Command::Hold { job: JobId(job), held: !release };
    submit::change(context, &user, &key, command).await
}

/// Gives a job another priority.
///
/// # Errors
/// When there is no such job or class, it has ended, its queue allows no such priority, or there
/// is no leader.
pub async fn set_priority(
    context: &Context,
    request: Request<v1::SetPriorityRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    let v1::SetPriorityRequest { key, job, priority, priority_class } = request.into_inner();
    rights::own_job(context, &user, JobId(job)).await?;
    let priority = priority::number(context, priority_class, priority, false).await?;
    let command = Command::SetPriority { job: JobId(job), priority };
    submit::change(context, &user, &key, command).await
}

pub(super) fn given(config: Option<v1::ClusterConfig>) -> Result<ClusterConfig, Status> {
    let none = || error::status("invalid", "no configuration is given", "set `config`", false);
    let invalid = |fault: proto::convert::WireError| {
        error::status("invalid", fault.to_string(), "correct the configuration", false)
    };
    config.ok_or_else(none)?.into_config().map_err(invalid)
}

/// All queues, or the one of a name.
pub(super) fn queues(view: &View<'_>, name: &str) -> Answer {
    let mut document = view.queue_views();
    if !name.is_empty() {
        document.queues.retain(|queue| queue.name == name);
        if document.queues.is_empty() {
            return Err(query::absent(&format!("queue `{name}`"), "queue list"));
        }
    }
    query::json(&document)
}

/// What a configuration would change.
pub(super) fn plan(view: &View<'_>, asked: v1::ConfigPlanQuery) -> Answer {
    let next = given(asked.config)?;
    let refuse = |fault: ConfigError| error::refused(&Refusal::Config(fault));
    let plan = view.config_plan(&next).map_err(refuse)?;
    query::json(&plan)
}
