//! GPU time, and what ran in it: what is asked for, checked, and the answer.

use super::{
    context::wall_clock,
    error,
    query::{self, Answer},
};
use crate::{
    consensus::shell::Rows,
    state::view::{TraceAsked, UsageAsked, UsageBy, View},
};
use domain::{JobId, Millis, gpu_time::UsagePlace};
use proto::v1;
use tonic::Status;

/// GPU time over some days.
pub(super) fn document(view: &View<'_>, rows: &Rows, asked: v1::UsageQuery) -> Answer {
    let asked = checked(asked)?;
    let usage = view.usage(rows, &asked).map_err(|fault| {
        error::status("limit", fault.to_string(), "`assay usage --last 7d`", false)
    })?;
    query::json(&usage)
}

/// A page of what ran and has ended, as rows of a workload.
pub(super) fn trace(view: &View<'_>, rows: &Rows, asked: v1::TraceQuery) -> Answer {
    let after = match asked.after.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|fault: domain::id::IdError| {
            error::status("invalid", fault.to_string(), "begin with an empty `after`", false)
        })?),
    };
    query::json(&view.trace(
        rows,
        &TraceAsked {
            after,
            from: Millis(asked.from_ms),
            until: (asked.until_ms > 0).then_some(Millis(asked.until_ms)),
            queue: (!asked.queue.is_empty()).then_some(asked.queue),
            limit: query::page(asked.limit),
        },
    ))
}

fn checked(asked: v1::UsageQuery) -> Result<UsageAsked, Status> {
    let by = match asked.by.as_str() {
        "" => UsageBy::All,
        "team" => UsageBy::Team,
        "queue" => UsageBy::Queue,
        "user" => UsageBy::User,
        "job" => UsageBy::Job,
        other => {
            let why = format!("GPU time is not told by `{other}`");
            return Err(error::status("invalid", why, "one of team, queue, user, job", false));
        }
    };
    if asked.last_day < asked.first_day {
        let why = format!("day {} is before day {}", asked.last_day, asked.first_day);
        return Err(error::status("invalid", why, "give the earlier day first", false));
    }
    let after = (asked.after_job > 0)
        .then_some(UsagePlace { day: asked.after_day, job: JobId(asked.after_job) });
    Ok(UsageAsked {
        by,
        first: asked.first_day,
        last: asked.last_day,
        queue: (!asked.queue.is_empty()).then_some(asked.queue),
        after,
        limit: query::page(asked.limit),
        until: wall_clock(),
    })
}
