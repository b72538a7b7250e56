//! What is pushed to those who look on: a job's document as it changes, and its log as it grows.

use super::{context::Context, error, identity::Identity, log_merge, query};
use domain::{
    AttemptNo, Digest, ElementId, LeaseId, LogIndex,
    link::LogSource,
    view::{ElementView, JobView},
};
use proto::v1::{self, assay_client::AssayClient, query_request::What};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Status};

/// A boxed stream of answers.
pub type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Answers that wait for a slow reader.
const QUEUE: usize = 16;
/// Longest time without a look at a job that others may have changed.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Shortest time between two documents of one job.
const PACE: Duration = Duration::from_millis(50);
/// Shortest time between two documents of a list, which may be long.
const LIST_PACE: Duration = Duration::from_millis(250);
/// Pieces of a stored log.
const PIECE: usize = 256 << 10;

/// Asks the leader instead, whose log files are the ones that agents push to.
async fn leader(context: &Context) -> Option<AssayClient<tonic::transport::Channel>> {
    let channel = context.channels.to(&context.node.leader_address()?).ok()?;
    Some(
        AssayClient::new(channel)
            .max_decoding_message_size(proto::MESSAGE_MAX)
            .max_encoding_message_size(proto::MESSAGE_MAX),
    )
}

fn parse(text: &str) -> Result<ElementId, Status> {
    text.parse().map_err(|fault: domain::id::IdError| {
        error::status("invalid", fault.to_string(), "`assay jobs` shows what there is", false)
    })
}

async fn look(context: &Context, job: domain::JobId) -> Result<(JobView, LogIndex), Status> {
    let hub = context.hub.clone();
    let read = context.node.read_local(move |cluster, rows| {
        let view = cluster.view();
        (query::job_view(&view, rows, &hub, job), view.applied())
    });
    let (document, at) = read.await.map_err(|fault| query::unreadable(&fault))?;
    let absent =
        || error::status("not_found", format!("there is no job {job}"), "`assay jobs`", false);
    Ok((document.ok_or_else(absent)?, at))
}

fn has_ended(document: &JobView) -> bool {
    document.line.ended.is_some()
}

/// A job's document, anew whenever it changes, until the job has ended.
///
/// # Errors
/// When there is no such job.
pub async fn watch(
    context: Arc<Context>,
    request: Request<v1::WatchRequest>,
) -> Result<Answers<v1::Document>, Status> {
    let who = Identity::of(&request)?;
    let job = parse(&request.get_ref().job)?.job;
    if matches!(who, Identity::User(_))
        && let Some(mut client) = leader(&context).await
    {
        // The leader has the metrics; when it is lost, the caller's stream ends and they reattach.
        return Ok(Box::pin(client.watch(request.into_inner()).await?.into_inner()));
    }
    look(&context, job).await?;
    let (out, answers) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let mut changes = context.node.applied();
        let mut last = Vec::new();
        loop {
            let (document, LogIndex(log_index)) = match look(&context, job).await {
                Ok(found) => found,
                Err(status) => {
                    let _ = out.send(Err(status)).await;
                    return;
                }
            };
            let ended = has_ended(&document);
            let json = serde_json::to_vec(&document).unwrap_or_default();
            if json != last {
                last.clone_from(&json);
                let answer = v1::Document { json: json.into(), log_index };
                if out.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
            if ended {
                return;
            }
            // Both are cancel-safe, and a caller who has left is not waited for.
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = out.closed() => return,
            }
            tokio::select! {
                _ = tokio::time::timeout(LOOK, changes.changed()) => {}
                () = out.closed() => return,
            }
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

/// What a query answers, anew whenever it changes, until the caller leaves.
///
/// # Errors
/// When what is asked for is not there, or does not come from what is replicated.
pub async fn changes(
    context: Arc<Context>,
    request: Request<v1::QueryRequest>,
) -> Result<Answers<v1::Document>, Status> {
    let who = Identity::of(&request)?;
    let what = query::asked(who, request.get_ref().what.clone())?;
    if matches!(what, What::AuditProof(_) | What::Whatif(_)) {
        let why = "this document is not pushed";
        return Err(error::status("invalid", why, "ask for it once", false));
    }
    let first = query::current(&context, what.clone(), request.get_ref().stale).await?;
    let (out, answers) = mpsc::channel(QUEUE);
    tokio::spawn(push(context, what, request.get_ref().stale, first, out));
    Ok(Box::pin(ReceiverStream::new(answers)))
}

async fn push(
    context: Arc<Context>,
    what: What,
    stale: bool,
    first: v1::Document,
    out: mpsc::Sender<Result<v1::Document, Status>>,
) {
    let mut changes = context.node.applied();
    let mut last = first.json.clone();
    let mut news = Some(Ok(first));
    loop {
        if let Some(news) = news.take() {
            let is_last = news.is_err();
            if out.send(news).await.is_err() || is_last {
                return;
            }
        }
        // Both are cancel-safe, and a caller who has left is not waited for.
        tokio::select! {
            () = tokio::time::sleep(LIST_PACE) => {}
            () = out.closed() => return,
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(LOOK) => {
                // A server that hears no leader shows nothing new: the caller tries another.
                if !stale && context.node.leader_address().is_none() {
                    return;
                }
                continue;
            }
            () = out.closed() => return,
        }
        // What it has applied is enough: a document never goes back, and the next is soon here.
        news = match query::current(&context, what.clone(), true).await {
            Ok(document) if document.json == last => None,
            Ok(document) => {
                last.clone_from(&document.json);
                Some(Ok(document))
            }
            Err(status) => Some(Err(status)),
        };
    }
}

/// Where the bytes of an attempt's log are.
pub(super) struct Place {
    pub(super) lease: LeaseId,
    pub(super) attempt: AttemptNo,
    /// The attempt holds its lease, so that more may come.
    pub(super) live: bool,
    /// The job's log is sealed under this digest.
    pub(super) sealed: Option<Digest>,
    /// All ranks of the gang, ascending.
    pub(super) ranks: Vec<u32>,
}

impl Place {
    fn has_rank(&self, element: ElementId, rank: u32) -> Result<(), Status> {
        if self.ranks.contains(&rank) {
            return Ok(());
        }
        let last = self.ranks.last().copied().unwrap_or_default();
        let why = format!("{element} has no rank {rank}: its ranks are 0 to {last}");
        Err(error::status("not_found", why, "name one of them", false))
    }

    fn chunk(&self, rank: u32, offset: u64, data: Vec<u8>) -> v1::LogChunk {
        let ranks = u32::try_from(self.ranks.len()).unwrap_or(u32::MAX);
        let (attempt, data) = (self.attempt.0, data.into());
        v1::LogChunk { offset, data, attempt, rank, time_ms: 0, ranks }
    }
}

pub(super) async fn place(
    context: &Context,
    element: ElementId,
    attempt: u32,
) -> Result<Option<Place>, Status> {
    let (document, _) = look(context, element.job).await?;
    let wanted = |part: &&ElementView| part.id == element;
    let Some(part) = document.parts.iter().find(wanted) else {
        return Ok(None);
    };
    let found = match attempt {
        0 => part.attempts.last(),
        number => part.attempts.iter().find(|one| one.attempt == AttemptNo(number)),
    };
    let Some(found) = found else { return Ok(None) };
    let read = context.node.read_local(move |cluster, rows| {
        cluster.view().artifact_of(rows, element).map(|view| view.artifact.ticket)
    });
    let ticket = read.await.map_err(|fault| query::unreadable(&fault))?;
    let sealed = ticket.filter(|ticket| ticket.lease == found.lease).map(|t| t.output.log);
    let tasks = found.members.iter().flat_map(|member| &member.tasks);
    Ok(Some(Place {
        lease: found.lease,
        attempt: found.attempt,
        live: found.ended.is_none(),
        sealed,
        ranks: tasks.map(|task| task.rank).collect(),
    }))
}

/// What an attempt wrote, and what it goes on writing.
///
/// # Errors
/// When there is no such job.
pub async fn logs(
    context: Arc<Context>,
    request: Request<v1::LogsRequest>,
) -> Result<Answers<v1::LogChunk>, Status> {
    let who = Identity::of(&request)?;
    if matches!(who, Identity::User(_))
        && let Some(mut client) = leader(&context).await
    {
        return Ok(Box::pin(client.logs(request.into_inner()).await?.into_inner()));
    }
    let request = request.into_inner();
    let element = parse(&request.element)?;
    let (document, _) = look(&context, element.job).await?;
    let elements = document.spec.array.map(|array| array.count);
    if element.index.is_some_and(|index| elements.is_none_or(|count| index >= count)) {
        let why = match elements {
            Some(count) => format!("there is no {element}: {} has {count} elements", element.job),
            None => format!("there is no {element}: {} is no array", element.job),
        };
        return Err(error::status("not_found", why, "`assay job` shows what there is", false));
    }
    let (out, answers) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        let sent = match request.all_ranks {
            true => log_merge::send(&context, &request, element, &out).await,
            false => send_log(&context, &request, element, &out).await,
        };
        if let Err(status) = sent {
            let _ = out.send(Err(status)).await;
        }
    });
    Ok(Box::pin(ReceiverStream::new(answers)))
}

pub(super) type LogOut = mpsc::Sender<Result<v1::LogChunk, Status>>;

pub(super) async fn send_log(
    context: &Context,
    request: &v1::LogsRequest,
    element: ElementId,
    out: &LogOut,
) -> Result<(), Status> {
    let source = match request.metrics {
        true => LogSource::Metrics { rank: request.rank },
        false => LogSource::Output { rank: request.rank },
    };
    let mut changes = context.node.applied();
    let mut offset = request.offset;
    let mut followed = None;
    loop {
        let Some(place) = place(context, element, request.attempt).await? else {
            match nothing(context, request, element, out, &mut changes).await? {
                true => return Ok(()),
                false => continue,
            }
        };
        place.has_rank(element, request.rank)?;
        if followed.is_some_and(|before| before != place.lease) {
            // A new attempt writes a new file.
            offset = 0;
        }
        followed = Some(place.lease);
        let disk = |fault: std::io::Error| {
            error::status("internal", format!("log file: {fault}"), "ask another server", true)
        };
        let mut grown = context.hub.follow(place.lease, source).map_err(disk)?;
        let sent = send_new(context, &place, request.rank, source, &mut offset, out).await?;
        if !sent {
            return Ok(());
        }
        if !place.live {
            if offset == 0
                && !request.metrics
                && let Some(log) = place.sealed
            {
                return send_sealed(context, log, &place, out).await;
            }
            // Of one attempt no more comes, whatever others do.
            if !request.follow || request.attempt > 0 || ended(context, element).await? {
                return Ok(());
            }
        } else if !request.follow {
            return Ok(());
        }
        // Cancel-safe: a missed wake-up is made good by the next look.
        tokio::select! {
            _ = grown.changed() => {}
            _ = changes.changed() => {}
            () = tokio::time::sleep(LOOK) => {}
            () = out.closed() => return Ok(()),
        }
    }
}

pub(super) async fn ended(context: &Context, element: ElementId) -> Result<bool, Status> {
    let (document, _) = look(context, element.job).await?;
    let part = document.parts.iter().find(|part| part.id == element);
    // One that was never placed ends with its job at the latest, and so does an array as a whole.
    Ok(part.map_or(has_ended(&document), |part| part.state.is_final()))
}

/// What to do where an element has no such attempt: waits for a change, or says that none will come.
pub(super) async fn nothing(
    context: &Context,
    request: &v1::LogsRequest,
    element: ElementId,
    out: &LogOut,
    changes: &mut watch::Receiver<LogIndex>,
) -> Result<bool, Status> {
    let over = ended(context, element).await?;
    if request.attempt > 0 && (over || !request.follow) {
        let why = format!("{element} has no attempt {}", request.attempt);
        return Err(error::status("not_found", why, "`assay job` shows its attempts", false));
    }
    if over || !request.follow {
        return Ok(true);
    }
    // Cancel-safe: a missed wake-up is made good by the next look.
    tokio::select! {
        _ = tokio::time::timeout(LOOK, changes.changed()) => Ok(false),
        () = out.closed() => Ok(true),
    }
}

/// Sends what is there; false when the reader is gone.
async fn send_new(
    context: &Context,
    place: &Place,
    rank: u32,
    source: LogSource,
    offset: &mut u64,
    out: &LogOut,
) -> Result<bool, Status> {
    loop {
        let data = context.hub.read(place.lease, source, *offset).map_err(|fault| {
            error::status("internal", format!("log file: {fault}"), "ask another server", true)
        })?;
        if data.is_empty() {
            return Ok(true);
        }
        let start = *offset;
        *offset += data.len() as u64;
        let chunk = place.chunk(rank, start, data);
        if out.send(Ok(chunk)).await.is_err() {
            return Ok(false);
        }
    }
}

/// Sends the log that was sealed: that of the lead's ranks, each line with its rank where there
/// are several.
pub(super) async fn send_sealed(
    context: &Context,
    log: Digest,
    place: &Place,
    out: &LogOut,
) -> Result<(), Status> {
    let store = context.blobs.store();
    if !store.has(&log) {
        let status = context.node.status();
        for (id, member) in &status.members {
            if *id != context.me && context.blobs.copy(log, &member.address).await.is_ok() {
                break;
            }
        }
    }
    let bytes = context.blobs.bytes(log, super::log_hub::FILE_MAX as usize).await?;
    for (number, piece) in bytes.chunks(PIECE).enumerate() {
        // Ranks stand before the lines already: it is shown as the log of one.
        let chunk = place.chunk(0, (number * PIECE) as u64, piece.to_vec());
        let chunk = v1::LogChunk { ranks: 1, ..chunk };
        if out.send(Ok(chunk)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
