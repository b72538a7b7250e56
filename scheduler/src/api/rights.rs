//! Who may change what: admins the cluster and every job, users their own jobs.
//!
//! Whoever asks is known by the certificate here alone; the log takes a server's word for it.

use super::{context::Context, error, query};
use domain::JobId;
use tonic::Status;

/// Refuses what only an admin may do.
///
/// # Errors
/// When the user is none.
pub(super) fn admin(context: &Context, user: &str) -> Result<(), Status> {
    match context.admins.contains(user) {
        true => Ok(()),
        false => {
            let why = format!("`{user}` is no admin, which this takes");
            let hint = "name admins in the servers' configuration: admins = [\"NAME\"]";
            Err(error::status("not_authorised", why, hint, false))
        }
    }
}

/// Refuses a change of somebody else's job, except to admins. One that is not there yet may be anybody's
/// when the log comes to it.
///
/// # Errors
/// When the job is another's or not there, or nobody leads.
pub(super) async fn own_job(context: &Context, user: &str, job: JobId) -> Result<(), Status> {
    if context.admins.contains(user) {
        return Ok(());
    }
    // What was acknowledged is seen: else a server that is behind would let a new job's pass.
    let read = context.node.read(move |cluster, rows| {
        cluster.view().job_rows(rows, job).map(|(submitted, _)| submitted.spec.user)
    });
    match read.await.map_err(|fault| query::unreadable(&fault))? {
        Some(owner) if owner == user => Ok(()),
        Some(owner) => {
            let why = format!("{job} is of `{owner}`");
            let hint = format!("ask `{owner}`, or an admin");
            Err(error::status("not_authorised", why, &hint, false))
        }
        None => Err(query::absent(&format!("job {job}"), "jobs")),
    }
}
