//! Makes decisions again that are on record, from what this server has kept of its past.
//!
//! On a copy of its own, on a thread of its own, one at a time: the replica and the leader see
//! nothing of it. Source: rulings, 12; ADR-0064.

mod walk;

#[cfg(test)]
mod walk_test;

use super::{context::Context, error, identity::Identity, query::json};
use crate::consensus::{History, StoreError, store::PastLog};
use domain::{
    LogIndex, ReplicaId,
    replay::{DecisionView, ReplayEnd, ReplayHead, ReplayPart},
};
use proto::v1::{Document, ReplayRequest, replays_server::Replays};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use walk::{Decision, WalkError};

/// Longest wait for one's turn.
const TURN: Duration = Duration::from_secs(5);
/// Pause between two looks at what is kept.
const PAUSE: Duration = Duration::from_secs(1);
/// Decisions in one part of the answer.
const TOGETHER: usize = 256;
/// Time after which a part goes out that is not full.
const SHOW_EVERY: Duration = Duration::from_millis(500);
/// Parts that wait for the network.
const AHEAD: usize = 4;
/// Longest wait for the network to take a part.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest time for one question.
const LIMIT: Duration = Duration::from_secs(1_800);

type Part = Result<Document, Status>;

/// Looks after what is kept, until the replica ends.
pub(super) async fn keep(context: Arc<Context>, history: Arc<History>) {
    loop {
        tokio::time::sleep(PAUSE).await;
        let (applied, roomy) = (context.node.applied().borrow().0, context.node.has_room());
        let looks = Arc::clone(&history);
        match tokio::task::spawn_blocking(move || looks.turn(applied, roomy)).await {
            Ok(Ok(true)) => tracing::debug!(applied, "rows kept for replays"),
            Ok(Ok(false)) => {}
            Ok(Err(fault)) => tracing::warn!(%fault, "what replays need is not kept"),
            Err(fault) => tracing::warn!(%fault, "what replays need is not kept"),
        }
    }
}

/// The service of one server.
#[derive(Clone)]
pub(super) struct ReplayService {
    context: Arc<Context>,
    history: Arc<History>,
    turn: Arc<Semaphore>,
}

impl ReplayService {
    pub(super) fn new(context: Arc<Context>, history: Arc<History>) -> Self {
        Self { context, history, turn: Arc::new(Semaphore::new(1)) }
    }
}

#[tonic::async_trait]
impl Replays for ReplayService {
    type ReplayStream = ReceiverStream<Part>;

    async fn replay(
        &self,
        request: Request<ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        Identity::of(&request)?.user()?;
        let asked = request.into_inner();
        let me = self.context.me;
        if asked.server != 0 && ReplicaId(asked.server) != me {
            let why = format!("this is {me}, not {}", ReplicaId(asked.server));
            let hint = "name a server of the profile: `assay cluster status`";
            return Err(error::elsewhere(why, hint));
        }
        // Whoever has just had its answer may still be putting its copy away.
        let turn = tokio::time::timeout(TURN, Arc::clone(&self.turn).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            let why = format!("{me} goes through its log for somebody else just now");
            return Err(error::status("busy", why, "wait, or ask another: `--on`", true));
        };
        let LogIndex(applied) = *self.context.node.applied().borrow();
        let (out, parts) = mpsc::channel(AHEAD);
        let tells = Tells::new(out, Handle::current());
        let replay = Replay { me, history: Arc::clone(&self.history), asked, applied };
        tokio::task::spawn_blocking(move || replay.answer(tells, turn));
        Ok(Response::new(ReceiverStream::new(parts)))
    }
}

/// One question.
struct Replay {
    me: ReplicaId,
    history: Arc<History>,
    asked: ReplayRequest,
    applied: u64,
}

impl Replay {
    fn answer(self, mut tells: Tells, turn: OwnedSemaphorePermit) {
        let ended = self.run(&mut tells);
        if let Err(fault) = ended {
            tells.send(Err(fault));
        }
        drop(turn);
    }

    fn run(&self, tells: &mut Tells) -> Result<(), Status> {
        let log = self.history.log();
        let copies = self.history.copies();
        let (from, to) = self.range(&copies)?;
        let decisions = walk::on_record(&log, from, to).map_err(|fault| failed(&fault))?;
        let head = ReplayHead {
            server: self.me,
            from: LogIndex(from),
            to: LogIndex(to),
            rows_of: None,
            kept_from: LogIndex(copies.first().map_or(0, |at| at + 1)),
        };
        if decisions.is_empty() {
            tells.part(&ReplayPart::Head(head), to)?;
            return tells.part(&ReplayPart::End(ReplayEnd::default()), to);
        }
        // From the newest rows that are old enough.
        for at in copies.iter().rev().filter(|at| **at < from) {
            if self.walk(tells, (&log, *at), &decisions, head.clone())? {
                return Ok(());
            }
        }
        let oldest = decisions.iter().map(Decision::base).min().unwrap_or_default();
        Err(self.outside(from, &format!("its first decision was made on entry {oldest}"), &copies))
    }

    /// The entries that are asked for, which must lie within what is kept.
    fn range(&self, copies: &[u64]) -> Result<(u64, u64), Status> {
        let Some(oldest) = copies.first() else {
            let why = match self.history.window().entries {
                0 => format!("{} keeps nothing for replays: its replay_window is 0", self.me),
                _ => format!("{} has kept no rows yet, or its disk is nearly full", self.me),
            };
            let hint = "ask another server: `--on`; a new one keeps rows within seconds";
            return Err(error::status("refused", why, hint, false));
        };
        let from = if self.asked.from == 0 { oldest + 1 } else { self.asked.from };
        let to = if self.asked.to == 0 { self.applied } else { self.asked.to };
        if from <= *oldest {
            return Err(self.outside(from, "that entry is older", copies));
        }
        if to > self.applied {
            let why =
                format!("entry {to} is not here yet: {} has applied {}", self.me, self.applied);
            return Err(error::status("unavailable", why, "wait, or ask for less", true));
        }
        if from > to.saturating_add(1) {
            let why = format!("entry {from} comes after entry {to}");
            return Err(error::status("invalid", why, "exchange `--from` and `--to`", false));
        }
        Ok((from, to))
    }

    fn outside(&self, from: u64, why: &str, copies: &[u64]) -> Status {
        let window = self.history.window();
        let kept = copies.first().map_or(0, |at| at + 1);
        let why = format!(
            "entry {from} is outside the replay window of {}: {why}; kept are entries {kept} to {} \
             (replay_window = {})",
            self.me, self.applied, window.entries
        );
        let hint = "ask for later entries, or a server that keeps more: `--on`; a larger \
                    `replay_window` in the servers' configuration holds from then on";
        error::status("refused", why, hint, false)
    }

    /// Goes from the rows as of `at`. False when they are too new, or gone.
    fn walk(
        &self,
        tells: &mut Tells,
        (log, at): (&PastLog<'_>, u64),
        decisions: &[Decision],
        head: ReplayHead,
    ) -> Result<bool, Status> {
        let fork = self.history.fork(at).map_err(|fault| failed(&WalkError::Store(fault)))?;
        let Some(fork) = fork else { return Ok(false) };
        let cluster = walk::load(&fork).map_err(|fault| failed(&fault))?;
        let base = cluster.view().applied();
        let (old, due): (Vec<_>, Vec<_>) =
            decisions.iter().copied().partition(|decision| decision.base() < base);
        // Without `--from`, what was made before the oldest rows is nobody's question.
        let oldest = self.history.copies().first().is_none_or(|oldest| *oldest >= at);
        if !old.is_empty() && (self.asked.from != 0 || !oldest) {
            return Ok(false);
        }
        let to = head.to.0;
        let head = ReplayHead { rows_of: Some(LogIndex(at)), ..head };
        tells.part(&ReplayPart::Head(head), to)?;
        let end = walk::walk((&fork, cluster), log, due, &mut |view| tells.decision(view, to));
        let end = end.map_err(|fault| failed(&fault))?;
        tells.flush(to)?;
        let end = ReplayEnd { left_out: old.len() as u64, ..end };
        tells.part(&ReplayPart::End(end), to).map(|()| true)
    }
}

fn failed(fault: &WalkError) -> Status {
    let hint = "ask another server: `--on`";
    match fault {
        WalkError::Store(StoreError::DiskFull { .. }) => {
            error::status("unavailable", fault.to_string(), hint, true)
        }
        WalkError::TooMany { .. } => {
            error::status("refused", fault.to_string(), "ask for less: `--from`, `--to`", false)
        }
        WalkError::Rows { .. } => error::status("mismatch", fault.to_string(), hint, false),
        WalkError::Left => {
            let why = format!("not done within {} s, or nobody reads", LIMIT.as_secs());
            error::status("unavailable", why, "ask for less: `--from`, `--to`", true)
        }
        WalkError::Store(_) | WalkError::Entry { .. } => {
            error::status("internal", fault.to_string(), hint, false)
        }
    }
}

/// The way to whoever asked: parts as they fill.
struct Tells {
    out: mpsc::Sender<Part>,
    runtime: Handle,
    gathered: Vec<DecisionView>,
    begun: Instant,
    shown: Instant,
}

impl Tells {
    fn new(out: mpsc::Sender<Part>, runtime: Handle) -> Self {
        let now = Instant::now();
        Self { out, runtime, gathered: Vec::new(), begun: now, shown: now }
    }

    /// Takes a decision, or only time. False when it is of no use to go on.
    fn decision(&mut self, view: Option<DecisionView>, to: u64) -> bool {
        self.gathered.extend(view);
        if self.out.is_closed() || self.begun.elapsed() > LIMIT {
            return false;
        }
        let late = !self.gathered.is_empty() && self.shown.elapsed() >= SHOW_EVERY;
        if self.gathered.len() < TOGETHER && !late {
            return true;
        }
        self.flush(to).is_ok()
    }

    fn flush(&mut self, to: u64) -> Result<(), Status> {
        self.shown = Instant::now();
        let decisions = std::mem::take(&mut self.gathered);
        if decisions.is_empty() {
            return Ok(());
        }
        self.part(&ReplayPart::Decisions { decisions }, to)
    }

    fn part(&mut self, part: &ReplayPart, log_index: u64) -> Result<(), Status> {
        let document = Document { json: json(part)?.into(), log_index };
        if self.send(Ok(document)) { Ok(()) } else { Err(failed(&WalkError::Left)) }
    }

    /// Waits for the network, but not for ever.
    fn send(&mut self, part: Part) -> bool {
        let sent = self.runtime.block_on(tokio::time::timeout(PATIENCE, self.out.send(part)));
        matches!(sent, Ok(Ok(())))
    }
}
