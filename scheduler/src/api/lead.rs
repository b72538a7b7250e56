//! The shell around the leader's duties: hears effects, time and contacts; performs duties.

use super::{
    context::Context, context::wall_clock, copying, promoting, seal_waits::Delay, sealing, training,
};
use crate::{
    consensus::shell::{Effects, Status as ReplicaStatus},
    leader::duties::{Duties, Duty, Event},
    state::command::{Command, Effect, Reply},
};
use domain::{
    LeaseId, Millis, PromotionId, ReplicaId,
    audit::{AuditEvent, EventSignature},
    limit,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tonic::Status;

/// Time for which effects that follow others wait for more.
const GATHER: Duration = Duration::from_millis(2);

/// Runs until the replica ends. Duties are held while this server leads and dropped after.
pub async fn run(context: Arc<Context>, mut effects: Effects, mut events: mpsc::Receiver<Event>) {
    let started = Instant::now();
    let clock = move || Millis(started.elapsed().as_millis() as u64);
    let mut status = context.node.status_changes();
    let mut ticks = tokio::time::interval(Duration::from_millis(limit::TICK.0));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut held: Option<(u64, Duties)> = None;
    let mut gathered = Gathered::default();
    let mut members = Vec::new();
    loop {
        // All arms are cancel-safe: channels, watches, timers and intervals lose nothing.
        let event = tokio::select! {
            more = effects.next() => match more {
                None => return,
                Some(mut all) => {
                    all.extend(effects.gathered());
                    wake_sessions(&context, &all);
                    match gathered.add(all, Instant::now()) {
                        Some(due) => Event::Applied(due),
                        None => continue,
                    }
                }
            },
            () = tokio::time::sleep_until(gathered.quiet_until), if !gathered.wait.is_empty() => {
                Event::Applied(gathered.take(Instant::now()))
            }
            Some(event) = events.recv() => event,
            changed = status.changed() => match changed {
                Ok(()) => Event::Tick,
                Err(_) => return,
            },
            _ = ticks.tick() => Event::Tick,
        };
        let now = clock();
        let (leads, term, changed) = leadership(&status.borrow_and_update(), &mut members);
        if effects.missed() {
            context.sessions.wake_all();
        }
        let duties = match (leads, held.take()) {
            (false, before) => {
                if before.is_some() {
                    context.sessions.wake_all();
                }
                continue;
            }
            (true, Some((of, duties))) if of == term => Some(duties),
            (true, _) => {
                context.seal_waits.clear();
                None
            }
        };
        let Some(duties) = consult(&context, duties, event, now).await else { return };
        let duties = match changed {
            true => consult(&context, Some(duties), Event::MembersChanged, now).await,
            false => Some(duties),
        };
        let Some(duties) = duties else { return };
        held = Some((term, duties));
    }
}

/// Whether this server leads, in which term, and whether the members are others than `members`,
/// which is brought up to date.
fn leadership(status: &ReplicaStatus, members: &mut Vec<ReplicaId>) -> (bool, u64, bool) {
    let changed = !status.members.keys().eq(members.iter());
    if changed {
        *members = status.members.keys().copied().collect();
    }
    (status.is_leader(), status.term, changed)
}

/// Lets the duties hear of an event and does what they say; none when the replica has ended.
async fn consult(
    context: &Arc<Context>,
    duties: Option<Duties>,
    event: Event,
    now: Millis,
) -> Option<Duties> {
    let asks = context.gates.is_configured();
    let failed = match &event {
        Event::SealFailed { ticket } => Some(*ticket),
        _ => None,
    };
    let read = context.node.read_local(move |cluster, _| {
        let view = cluster.view();
        let mut duties = duties.unwrap_or_else(|| Duties::new(now, &view).asking(asks));
        let todo = duties.on(event, &view, now, wall_clock());
        (duties, todo)
    });
    let (duties, todo) = read.await.ok()?;
    if let Some(ticket) = failed
        && let Some(due) = duties.seal_due(ticket)
    {
        context.seal_waits.due(ticket, wall_clock().plus(due.minus(now)));
    }
    for duty in todo {
        perform(context, duty);
    }
    Some(duties)
}

/// Effects for the duties. The first one goes on at once; those that follow closely wait for each
/// other, so that a burst of submits is planned together and not one by one.
struct Gathered {
    wait: Vec<Effect>,
    quiet_until: Instant,
}

impl Default for Gathered {
    fn default() -> Self {
        Self { wait: Vec::new(), quiet_until: Instant::now() }
    }
}

impl Gathered {
    /// Adds what the duties hear; gives it back if it is to be heard now.
    fn add(&mut self, effects: Vec<Effect>, now: Instant) -> Option<Vec<Effect>> {
        let mut urgent = now >= self.quiet_until;
        for effect in effects {
            match effect {
                Effect::Plan if self.wait.contains(&Effect::Plan) => {}
                Effect::Plan => self.wait.push(effect),
                Effect::Seal { .. } | Effect::Gate => {
                    urgent = true;
                    self.wait.push(effect);
                }
                // Signatures gather until a tick; the others are for sessions and watchers.
                Effect::Sign | Effect::Wanted { .. } | Effect::Changed { .. } => {}
            }
        }
        (urgent && !self.wait.is_empty()).then(|| self.take(now))
    }

    fn take(&mut self, now: Instant) -> Vec<Effect> {
        self.quiet_until = now + GATHER;
        std::mem::take(&mut self.wait)
    }
}

/// Tells the sessions of nodes whose leases have changed.
fn wake_sessions(context: &Context, effects: &[Effect]) {
    for effect in effects {
        if let Effect::Wanted { node } = effect {
            context.sessions.changed(*node);
        }
    }
}

fn perform(context: &Arc<Context>, duty: Duty) {
    let context = context.clone();
    tokio::spawn(async move {
        match duty {
            Duty::Propose(command) => propose(&context, command).await,
            Duty::Reconnect { node } => context.sessions.end(node),
            Duty::Seal { ticket } => seal(&context, ticket).await,
            Duty::Sign { first, count } => sign(&context, first, count).await,
            Duty::DecideTraining { jobs } => {
                let (command, undecided) = training::decide(&context, jobs).await;
                if let Some(command) = command {
                    propose(&context, command).await;
                }
                let _ = context.events.send(Event::TrainingDecided { undecided }).await;
            }
            Duty::DecidePromotion { promotion } => {
                let command = promoting::decide(&context, promotion).await;
                promote(&context, promotion, command).await;
            }
            Duty::SignPromotion { promotion } => {
                let command = promoting::sign(&context, promotion).await;
                promote(&context, promotion, command).await;
            }
            Duty::CheckCopies { after } => {
                let (last, mended) = copying::check(&context, after).await;
                // The replica has ended if nobody hears.
                let _ = context.events.send(Event::CopiesChecked { last, mended }).await;
            }
        }
    });
}

async fn propose(context: &Context, command: Command) {
    let plan = matches!(command, Command::Place { .. } | Command::Preempt { .. });
    if let Err(fault) = context.node.propose(context.own(command)).await {
        tracing::debug!(error = %fault, "duty not recorded");
    }
    if plan {
        let _ = context.events.send(Event::PlanAnswered).await;
    }
}

async fn seal(context: &Context, ticket: LeaseId) {
    let delay = match sealing::seal(context, ticket).await {
        Ok(None) => return context.seal_waits.over(ticket),
        Ok(Some(command)) => match context.node.propose(context.own(command)).await {
            Ok(Reply::Sealed { artifact }) => {
                tracing::info!(lease = %ticket, %artifact, "artifact sealed");
                return context.seal_waits.over(ticket);
            }
            Ok(Reply::Refused(refusal)) => Delay::refused(&refusal),
            Ok(_) => return context.seal_waits.over(ticket),
            Err(fault) => Delay::servers(fault.to_string()),
        },
        Err(delay) => delay,
    };
    tracing::warn!(lease = %ticket, error = %delay, "seal ticket is tried again");
    context.seal_waits.failed(ticket, delay, wall_clock());
    let _ = context.events.send(Event::SealFailed { ticket }).await;
}

/// Proposes what was found out about a promotion, or has it tried again.
async fn promote(
    context: &Context,
    promotion: PromotionId,
    command: Result<Option<Command>, Status>,
) {
    let failed = match command {
        Ok(None) => return,
        Ok(Some(command)) => match context.node.propose(context.own(command)).await {
            Ok(Reply::Refused(refusal)) => refusal.to_string(),
            Ok(_) => return,
            Err(fault) => fault.to_string(),
        },
        Err(status) => status.message().to_owned(),
    };
    tracing::warn!(%promotion, error = failed, "promotion is tried again");
    let _ = context.events.send(Event::GateFailed { promotion }).await;
}

async fn sign(context: &Context, first: u64, count: u64) {
    let read = context
        .node
        .read_local(move |cluster, rows| cluster.view().audit(rows, first, count as usize).events);
    let Ok(events) = read.await else { return };
    let Some(key) = context.keyring.event() else {
        tracing::debug!("audit events wait for a key that a model key vouches for");
        let _ = context.events.send(Event::SignFailed).await;
        return;
    };
    let signature = |event: &AuditEvent| EventSignature {
        signer: key.kid().to_owned(),
        bytes: key.sign_event(&event.hash).to_vec(),
    };
    let signatures = events.iter().map(signature).collect();
    propose(context, Command::SignEvents { first, signatures }).await;
}
