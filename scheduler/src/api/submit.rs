//! What changes something on behalf of a user.

use super::{
    context::{Context, keyed},
    error,
    identity::Identity,
    named, priority, rights,
};
use crate::{
    consensus::shell::Rows,
    state::{
        Cluster,
        command::{CheckCommand, Command, DrainNodes, NewJob, Reply, Submission, Tie, gather},
    },
};
use domain::{
    Digest, ElementId, LogIndex, Millis, RequestKey, contract,
    job::Outputs,
    limit,
    node::{DrainTerms, build_key},
    version::ClusterVersion,
};
use proto::{
    convert::{self, WireError},
    v1,
};
use registry::ledger::{dataset, view as ledger};
use tonic::{Request, Status};

/// Bytes of jobs in one entry, with room for key, actor and the numbers of earlier parts.
const PART_BYTES: usize = limit::PROPOSAL_MAX.0 as usize - (8 << 10) - TIES_MAX * TIE_BYTES;
/// Jobs of one request that wait for others of it, counted for each that they wait for.
const TIES_MAX: usize = 10_000;
/// Encoded bytes of a [`Tie`].
const TIE_BYTES: usize = 9;

const _: () = assert!(limit::SPEC_MAX.0 + limit::FURTHER_MAX.0 < PART_BYTES as u64);

fn tie(wire: v1::Tie) -> Result<Tie, WireError> {
    Ok(Tie { job: wire.job, on: wire.on, when: convert::when(&wire.when)? })
}

pub(super) fn invalid(fault: &WireError) -> Status {
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
    let mut request = request.into_inner();
    let key = convert::key(&request.key).map_err(|fault| invalid(&fault))?;
    if request.jobs.is_empty() || request.jobs.len() > limit::SUBMIT_BATCH_MAX {
        let why = format!("request has {} jobs", request.jobs.len());
        return Err(error::status("invalid", why, "send 1 to 1000 jobs in one request", false));
    }
    let ties: Vec<Tie> =
        request.ties.into_iter().map(tie).collect::<Result<_, _>>().map_err(|it| invalid(&it))?;
    if ties.len() > TIES_MAX {
        let why = format!("request ties {} jobs to others", ties.len());
        return Err(error::status("invalid", why, "send several requests", false));
    }
    priority::resolve(context, &mut request.jobs, false).await?;
    named::resolve(context, &mut request.jobs).await?;
    let mut jobs = Vec::with_capacity(request.jobs.len());
    for wire in request.jobs {
        let spec = wire.into_spec(&user).map_err(|fault| invalid(&fault))?;
        // Lists and terminals show it as it is. The log holds some of before this was refused.
        if spec.name.chars().any(char::is_control) {
            let why = format!("job `{}`: name: has control characters", spec.name.escape_debug());
            let hint = "name it by what can be read";
            return Err(error::status("invalid", why, hint, false));
        }
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
    if let ([job], true) = (jobs.as_slice(), request.reuse)
        && let Some(reply) = found(context, key, job).await
    {
        return Ok(reply);
    }
    match propose(context, key, &format!("user:{user}"), jobs, ties).await? {
        Reply::Submitted { jobs, at } => Ok(v1::SubmitReply {
            jobs: jobs.into_iter().map(|job| job.0).collect(),
            log_index: at.0,
            artifact: String::new(),
        }),
        other => Err(unexpected(other)),
    }
}

/// The reply to a job whose result is there already, as far as this server knows.
///
/// A job of which only its running counts has none, nor has one with data that is blocked by now,
/// nor one that was submitted under this very key: it has a reply already.
async fn found(context: &Context, key: RequestKey, job: &NewJob) -> Option<v1::SubmitReply> {
    let NewJob { spec, recipe } = job;
    if spec.array.is_some() || spec.outputs == Outputs::None || spec.reproduces.is_some() {
        return None;
    }
    let recipe = *recipe;
    let class = spec.hardware_class.as_deref();
    let build = class.map(|class| build_key(recipe, contract::digest(spec.framework), class));
    let data = spec.datasets.values().chain(&spec.code);
    let data: Vec<_> = data.map(|captured| captured.tree).collect();
    let look = move |cluster: &Cluster, rows: &Rows| {
        let blocked = data.iter().any(|tree| dataset::blocked(rows, *tree).is_some());
        let known = Cluster::has_answered(rows, key);
        let artifact = ledger::of_recipe(rows, recipe, build).filter(|_| !blocked && !known)?;
        Some((artifact, cluster.view().applied()))
    };
    // Most jobs have no result yet, which costs no round to the others. Where one seems to have,
    // what was revoked or blocked before now must count.
    context.node.read_local(look.clone()).await.ok().flatten()?;
    let (artifact, LogIndex(log_index)) = context.node.read(look).await.ok().flatten()?;
    Some(v1::SubmitReply { jobs: Vec::new(), log_index, artifact: artifact.to_string() })
}

/// Proposes jobs in as many entries as they take; the last takes all in.
async fn propose(
    context: &Context,
    key: RequestKey,
    actor: &str,
    mut jobs: Vec<NewJob>,
    ties: Vec<Tie>,
) -> Result<Reply, Status> {
    let further = gather(&mut jobs);
    let size = borsh::object_length(&further).unwrap_or(usize::MAX) as u64;
    if size > limit::FURTHER_MAX.0 {
        let why = format!(
            "what the jobs say of parts and memory of GPUs, hardware_class, retry_max and estimates \
             takes {size} of {} bytes",
            limit::FURTHER_MAX.0
        );
        return Err(error::status("invalid", why, "send several requests", false));
    }
    if !further.is_empty() {
        let (parts, jobs, ties) = (Vec::new(), Vec::new(), Vec::new());
        let whole = Submission { parts, jobs, ties, further: further.clone() };
        context.check_age(&Command::SubmitFurther(whole)).await?;
    }
    let mut earlier = cut(jobs, PART_BYTES - size as usize);
    let last = earlier.pop().unwrap_or_default();
    let mut parts = Vec::with_capacity(earlier.len());
    for (number, jobs) in earlier.into_iter().enumerate() {
        let request = keyed(part_key(key, number), actor.to_owned(), Command::SubmitPart { jobs });
        match context.propose(request).await? {
            Reply::Part { number } => parts.push(number),
            other => return Ok(other),
        }
    }
    let command = Command::take_in(Submission { parts, jobs: last, ties, further });
    context.propose(keyed(key, actor.to_owned(), command)).await
}

/// Cuts a batch at whole jobs, for entries with so much room; the same batch is always cut alike, so
/// that it may be repeated.
fn cut(jobs: Vec<NewJob>, room: usize) -> Vec<Vec<NewJob>> {
    let mut parts = vec![Vec::new()];
    let mut size = 0;
    for job in jobs {
        let more = borsh::object_length(&job).unwrap_or(room);
        if size + more > room && size > 0 {
            parts.push(Vec::new());
            size = 0;
        }
        size += more;
        parts.last_mut().expect("there is one from the start").push(job);
    }
    parts
}

/// The key of an earlier part, which follows from that of the whole.
fn part_key(whole: RequestKey, number: usize) -> RequestKey {
    let digest = Digest::of_value(&("part of a submit", whole.0, number as u64));
    let mut key = [0; 16];
    key.copy_from_slice(&digest.0[..16]);
    RequestKey(key)
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
    let element: ElementId = request.element.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "", false)
    })?;
    rights::own_job(context, &user, element.job).await?;
    change(context, &user, &request.key, Command::Cancel { element }).await
}

/// Takes nodes out of service, or back in.
///
/// # Errors
/// When there is no such node or no leader, or the cluster's version knows no terms.
pub async fn drain(
    context: &Context,
    request: Request<v1::DrainRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    rights::admin(context, &user)?;
    let asked = request.into_inner();
    let v1::DrainRequest { key, node, reason, until_ms, migrate, others, quarantine, vouch } =
        asked;
    let reason = (!reason.is_empty()).then_some(reason);
    let until = (until_ms > 0).then_some(Millis(until_ms));
    let terms = DrainTerms { until, migrate, quarantine, check: None };
    let plain = others.is_empty() && !vouch && terms == DrainTerms::default();
    let command = match plain && is_plain(context, node.clone()).await? {
        true => Command::Drain { node, reason },
        false => {
            let names = others.into_iter().chain([node]).collect();
            Command::DrainNodes(DrainNodes { names, reason, terms, vouch })
        }
    };
    change(context, &user, &key, command).await
}

/// Whether a word is the name of a node, and not of a rack; a cluster of the version before knows
/// nodes alone.
async fn is_plain(context: &Context, word: String) -> Result<bool, Status> {
    let found = context.node.read_local(move |cluster, _| {
        cluster.version() == ClusterVersion::FIRST || cluster.view().has_node(&word)
    });
    found.await.map_err(|fault| super::query::unreadable(&fault))
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
    rights::admin(context, &user)?;
    let request = request.into_inner();
    let lease = request.lease.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "", false)
    })?;
    change(context, &user, &request.key, Command::ConfirmDead { lease }).await
}

/// Has GPUs in quarantine run the acceptance job, or records an operator's word that one is well.
///
/// # Errors
/// When there is no such GPU in quarantine or no leader.
pub async fn accept_gpu(
    context: &Context,
    request: Request<v1::AcceptGpuRequest>,
) -> Result<v1::DoneReply, Status> {
    let user = Identity::of(&request)?.user()?;
    rights::admin(context, &user)?;
    let v1::AcceptGpuRequest { key, node, gpu, vouch } = request.into_inner();
    let command = match vouch {
        true => Command::AcceptGpu { node, gpu },
        false => {
            let gpu = (!gpu.is_empty()).then_some(gpu);
            Command::Check(CheckCommand::Accept { node, gpu })
        }
    };
    change(context, &user, &key, command).await
}

pub(super) async fn change(
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

pub(super) fn unexpected(reply: Reply) -> Status {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::script;
    use domain::job::JobSpec;

    fn job(name: String) -> NewJob {
        let spec = JobSpec { name, ..script::job(1, 1) };
        NewJob { recipe: Digest::of_value(&spec), spec }
    }

    #[test]
    fn a_batch_is_cut_at_whole_jobs_and_each_part_fits_an_entry() {
        let sizes = [10, 200_000, 200_000, 200_000, 10];
        let jobs: Vec<_> = sizes.iter().map(|size| job("x".repeat(*size))).collect();
        let parts = cut(jobs.clone(), PART_BYTES);
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3, 2]);
        assert!(parts.iter().all(|part| borsh::object_length(part).unwrap() <= PART_BYTES + 4));
        assert_eq!(parts.concat(), jobs);
        assert_ne!(part_key(RequestKey([1; 16]), 0), part_key(RequestKey([1; 16]), 1));
    }
}
