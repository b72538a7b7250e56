//! Looking ahead for those who ask: on a copy of the state, on a thread of its own, one at a time.
//!
//! Whichever server is asked does it by itself. The copy is made where every read is made; all
//! else goes on beside it, so that neither the log nor the leader sees anything of it.

use super::{
    config,
    context::{Context, wall_clock},
    error,
    identity::Identity,
    priority,
    query::{job_id, json, unreadable},
    seal_waits,
};
use crate::{
    consensus::shell::Rows,
    foresee::{
        Changes, Course, Foresight, HISTORY_JOBS_MAX, HORIZON, HORIZON_MAX, JOBS_MAX, Quota,
        RunTimes, Unforeseen, foresee, start_if_submitted, whatif as compare,
    },
    state::{Cluster, fork::Fork, view::ended_runs},
};
use domain::{
    JobId, LogIndex, Millis,
    foresee::{StartView, WhatifView},
    view::WhyView,
};
use proto::v1::{self, quota_change::Guaranteed};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tonic::Status;

/// Callers who wait for their turn, or whose turn it is.
const CALLERS_MAX: usize = 8;
/// Longest wait for a turn. Source: with [`PATIENCE`] below the ten seconds that a caller waits.
const TURN: Duration = Duration::from_secs(3);
/// Longest time that one look takes.
const PATIENCE: Duration = Duration::from_secs(6);
/// Longest that an answer to why a job waits is held up by when it starts.
const WHY_PATIENCE: Duration = Duration::from_millis(1_500);
/// How long what was foreseen holds.
const FRESH: Duration = Duration::from_secs(5);
/// Changes that one question makes of each kind.
const CHANGES_MAX: usize = 1_000;

/// Whoever looks ahead on one server.
#[derive(Clone)]
pub struct Foreseer {
    callers: Arc<Semaphore>,
    turn: Arc<Semaphore>,
    known: Arc<Mutex<Option<Known>>>,
}

/// What was foreseen last, as things are.
#[derive(Clone)]
struct Known {
    made: Instant,
    /// The newest job that was there.
    newest: JobId,
    foresight: Arc<Foresight>,
}

impl Default for Foreseer {
    fn default() -> Self {
        Self {
            callers: Arc::new(Semaphore::new(CALLERS_MAX)),
            turn: Arc::new(Semaphore::new(1)),
            known: Arc::default(),
        }
    }
}

/// A fork with what goes with it.
struct Taken {
    fork: Fork,
    known: RunTimes,
    now: Millis,
    newest: JobId,
}

/// For whom it is looked ahead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum For {
    /// For the caller alone: without them it ends.
    Caller,
    /// For all who ask next, too.
    All,
}

/// Lets a walk end whose caller has left.
struct Leaves(Arc<AtomicBool>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Foreseer {
    /// The turn, with the place in the queue for it.
    async fn turn(&self) -> Result<[OwnedSemaphorePermit; 2], Status> {
        let busy = || {
            let why = "others have this server look ahead just now";
            error::status("busy", why, "repeat it in a moment, or ask another server", true)
        };
        let place = Arc::clone(&self.callers).try_acquire_owned().map_err(|_| busy())?;
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turn).acquire_owned()).await;
        Ok([place, turn.map_err(|_| busy())?.map_err(|_| busy())?])
    }

    fn fresh(&self, job: JobId) -> Option<Arc<Foresight>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.as_ref()?;
        (known.made.elapsed() < FRESH && job <= known.newest).then(|| Arc::clone(&known.foresight))
    }
}

/// Forks the state, and has `look` look at it; none where there was not time enough.
async fn ahead<T: Send + 'static>(
    context: &Context,
    whom: For,
    stale: bool,
    look: impl FnOnce(&Taken, &dyn Fn() -> bool) -> Result<T, Unforeseen> + Send + 'static,
) -> Result<(Option<T>, LogIndex), Status> {
    let turn = context.foreseer.turn().await?;
    let read = |cluster: &Cluster, rows: &Rows| {
        let view = cluster.view();
        let rows = rows.base().clone();
        let record = view.starts_held(wall_clock().max(view.now()));
        (view.split_off(JOBS_MAX), rows, view.now(), view.newest_job(), record, view.applied())
    };
    let read =
        if stale { context.node.read_local(read).await } else { context.node.read(read).await };
    let (split, rows, clock, newest, record, at) = read.map_err(|fault| unreadable(&fault))?;
    let unwanted: Arc<AtomicBool> = Arc::default();
    let _leaves = (whom == For::Caller).then(|| Leaves(Arc::clone(&unwanted)));
    let begun = Instant::now();
    let looked = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let ended = ended_runs(&rows, newest, clock, HISTORY_JOBS_MAX);
        let (fork, mut known) = (split.fork(), RunTimes::of(&ended));
        known.starts = record;
        let taken = Taken { fork, known, now: wall_clock().max(clock), newest };
        look(&taken, &|| !unwanted.load(Ordering::Relaxed) && begun.elapsed() < PATIENCE)
    });
    let Ok(looked) = tokio::time::timeout(PATIENCE, looked).await else { return Ok((None, at)) };
    let ended = |fault: tokio::task::JoinError| {
        error::status("internal", fault.to_string(), "report this", false)
    };
    match looked.map_err(ended)? {
        Ok(looked) => Ok((Some(looked), at)),
        Err(Unforeseen::GivenUp) => Ok((None, at)),
        Err(Unforeseen::Refused(refusal)) => Err(error::refused(&refusal)),
    }
}

fn late() -> Status {
    let why = format!("more is ahead than can be gone through in {} s", PATIENCE.as_secs());
    error::status("refused", why, "look less far ahead: `assay whatif --horizon 1h`", false)
}

/// What a change would do.
pub(super) async fn whatif(
    context: &Context,
    who: Identity,
    mut asked: v1::WhatifQuery,
    stale: bool,
) -> Result<v1::Document, Status> {
    let only_start = asked.only_start;
    let horizon = match asked.horizon_ms {
        0 => HORIZON,
        ms => Millis(ms).min(HORIZON_MAX),
    };
    let words = words(&asked);
    if let Some(job) = &mut asked.job {
        priority::resolve(context, std::slice::from_mut(job), stale).await?;
    }
    let changes = changes(who, asked)?;
    if only_start {
        let look = move |taken: &Taken, goes_on: &dyn Fn() -> bool| {
            let course = Course { now: taken.now, horizon, while_waiting: true };
            start_if_submitted(&taken.fork, &changes, &taken.known, course, goes_on)
        };
        let (start, LogIndex(log_index)) = ahead(context, For::Caller, stale, look).await?;
        let start: Option<StartView> = start.flatten();
        return Ok(v1::Document { json: json(&start)?.into(), log_index });
    }
    let look = move |taken: &Taken, goes_on: &dyn Fn() -> bool| {
        let course = Course { now: taken.now, horizon, while_waiting: false };
        compare(&taken.fork, &changes, words, &taken.known, course, goes_on)
    };
    let (answer, LogIndex(log_index)) = ahead(context, For::Caller, stale, look).await?;
    let answer: WhatifView = answer.ok_or_else(late)?;
    Ok(v1::Document { json: json(&answer)?.into(), log_index })
}

fn changes(who: Identity, asked: v1::WhatifQuery) -> Result<Changes, Status> {
    if asked.drain.len() > CHANGES_MAX || asked.quotas.len() > CHANGES_MAX {
        let why = format!("more than {CHANGES_MAX} changes of one kind");
        return Err(error::status("invalid", why, "try fewer at once", false));
    }
    let invalid = |fault: proto::convert::WireError| {
        error::status("invalid", fault.to_string(), "correct the job", false)
    };
    let job = match asked.job {
        Some(job) => Some(Box::new(job.into_spec(&who.user()?).map_err(invalid)?)),
        None => None,
    };
    let config = asked.config.map(|config| config::given(Some(config))).transpose()?;
    let quota = |change: v1::QuotaChange| {
        let quota = match change.guaranteed {
            Some(Guaranteed::ByGpus(by)) => Quota::By(by),
            Some(Guaranteed::ToGpus(gpus)) => Quota::To(gpus),
            None => Quota::By(0),
        };
        (change.queue, quota)
    };
    Ok(Changes {
        drained: asked.drain,
        drained_at: (asked.drain_at_ms > 0).then_some(Millis(asked.drain_at_ms)),
        migrate: asked.migrate,
        config,
        quotas: asked.quotas.into_iter().map(quota).collect(),
        job,
    })
}

/// The changes as people say them.
fn words(asked: &v1::WhatifQuery) -> Vec<String> {
    let moves = if asked.migrate { ", moving what runs there," } else { "" };
    let drain =
        (!asked.drain.is_empty()).then(|| format!("drain {}{moves}", asked.drain.join(", ")));
    let config = asked.config.as_ref().map(|_| "another configuration".to_owned());
    let quotas = asked.quotas.iter().map(|change| {
        let gpus = match &change.guaranteed {
            Some(Guaranteed::ByGpus(by)) => format!("{by:+}"),
            Some(Guaranteed::ToGpus(gpus)) => gpus.to_string(),
            None => "+0".to_owned(),
        };
        format!("guarantee of {} {gpus}", change.queue)
    });
    let job = asked.job.as_ref().map(|job| format!("submit {}", job.name));
    config.into_iter().chain(quotas).chain(drain).chain(job).collect()
}

/// Why a job waits, and when it is likely to start.
pub(super) async fn why(
    context: &Context,
    id: String,
    stale: bool,
) -> Result<v1::Document, Status> {
    let job = job_id(&id)?;
    let (mut why, LogIndex(log_index)) = seal_waits::why(context, &id, stale).await?;
    if may_start(&why) {
        let start = tokio::time::timeout(WHY_PATIENCE, start_of(context, job));
        // What takes longer is there with the next question.
        why.start = start.await.ok().flatten();
    }
    Ok(v1::Document { json: json(&why)?.into(), log_index })
}

/// Whether a job waits for something that may come.
fn may_start(why: &WhyView) -> bool {
    ["waiting", "held"].contains(&why.state.as_str()) && !why.reasons.iter().any(|it| it.never)
}

/// When a waiting job starts; none where nobody could look.
async fn start_of(context: &Context, job: JobId) -> Option<StartView> {
    Some(as_things_are(context, job).await?.start_of(job))
}

/// What is likely to come if nothing changes, for all jobs up to one; none where nobody could look.
pub(super) async fn as_things_are(context: &Context, newest: JobId) -> Option<Arc<Foresight>> {
    if let Some(known) = context.foreseer.fresh(newest) {
        return Some(known);
    }
    let known = Arc::clone(&context.foreseer.known);
    let look = move |taken: &Taken, goes_on: &dyn Fn() -> bool| {
        let course = Course { now: taken.now, horizon: HORIZON, while_waiting: true };
        let none = Changes::default();
        let foresight = foresee(&taken.fork, &none, &taken.known, course, goes_on)?;
        let foresight = Arc::new(foresight);
        let made =
            Known { made: Instant::now(), newest: taken.newest, foresight: Arc::clone(&foresight) };
        *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        Ok(foresight)
    };
    // It is as old as what this server has applied, which the answer beside it has caught up with.
    ahead(context, For::All, true, look).await.ok()?.0
}
