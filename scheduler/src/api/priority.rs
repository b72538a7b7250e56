//! Priorities by the name of a class: looked up where a request comes in, and numbers from then on.

use super::{context::Context, error};
use crate::{consensus::shell::Rows, state::Cluster};
use domain::queue::class::UnknownClass;
use proto::v1;
use std::{collections::BTreeMap, mem};
use tonic::Status;

fn both() -> Status {
    let why = "both `priority` and `priority_class` are given";
    error::status("invalid", why, "give one of them", false)
}

fn unknown(fault: &UnknownClass) -> Status {
    let hint = "an admin names classes in the cluster's file: `[priority_classes]`, `assay apply`";
    error::status("not_found", fault.to_string(), hint, false)
}

/// Fills in the priorities of jobs that name a class. Where none does, nobody is asked; `stale`
/// takes what this server has applied.
///
/// # Errors
/// When there is no such class, both are given, or there is no leader.
pub async fn resolve(context: &Context, jobs: &mut [v1::Job], stale: bool) -> Result<(), Status> {
    let mut known: BTreeMap<String, i32> = BTreeMap::new();
    for job in jobs.iter_mut().filter(|job| !job.priority_class.is_empty()) {
        let class = mem::take(&mut job.priority_class);
        job.priority = match known.get(&class).filter(|_| job.priority == 0) {
            Some(number) => *number,
            None => number(context, class.clone(), job.priority, stale).await?,
        };
        known.insert(class, job.priority);
    }
    Ok(())
}

/// The priority that a class stands for, where one is named; else the one that is given.
///
/// # Errors
/// As [`resolve`].
pub async fn number(
    context: &Context,
    class: String,
    given: i32,
    stale: bool,
) -> Result<i32, Status> {
    if class.is_empty() {
        return Ok(given);
    }
    if given != 0 {
        return Err(both());
    }
    let look = move |cluster: &Cluster, _: &Rows| cluster.view().priority_classes().find(&class);
    let found = match stale {
        true => context.node.read_local(look).await,
        false => context.node.read(look).await,
    };
    let found = found.map_err(|fault| super::query::unreadable(&fault))?;
    found.map_err(|fault| unknown(&fault))
}
