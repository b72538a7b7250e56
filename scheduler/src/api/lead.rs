//! The shell around the leader's duties: hears effects, time and contacts; performs duties.

use super::{context::Context, context::wall_clock, sealing};
use crate::{
    consensus::shell::Effects,
    leader::duties::{Duties, Duty, Event},
    state::command::{Command, Effect, Reply},
};
use domain::{LeaseId, Millis, audit::EventSignature, limit};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Runs until the replica ends. Duties are held while this server leads and dropped after.
pub async fn run(context: Arc<Context>, mut effects: Effects, mut events: mpsc::Receiver<Event>) {
    let started = Instant::now();
    let clock = move || Millis(started.elapsed().as_millis() as u64);
    let mut status = context.node.status_changes();
    let mut ticks = tokio::time::interval(Duration::from_millis(limit::TICK.0));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut held: Option<(u64, Duties)> = None;
    loop {
        // All arms are cancel-safe: channels, watches and intervals lose nothing.
        let event = tokio::select! {
            more = effects.next() => match more {
                None => return,
                Some(mut all) => {
                    all.extend(effects.gathered());
                    Event::Applied(all)
                }
            },
            Some(event) = events.recv() => event,
            changed = status.changed() => match changed {
                Ok(()) => Event::Tick,
                Err(_) => return,
            },
            _ = ticks.tick() => Event::Tick,
        };
        let now = clock();
        let (leads, term) = {
            let status = status.borrow_and_update();
            (status.is_leader(), status.term)
        };
        wake_sessions(&context, &event, effects.missed());
        let duties = match (leads, held.take()) {
            (false, before) => {
                if before.is_some() {
                    context.sessions.wake_all();
                }
                continue;
            }
            (true, Some((of, duties))) if of == term => Some(duties),
            (true, _) => None,
        };
        let read = context.node.read_local(move |cluster, _| {
            let view = cluster.view();
            let mut duties = duties.unwrap_or_else(|| Duties::new(now, &view));
            let todo = duties.on(event, &view, now, wall_clock());
            (duties, todo)
        });
        let Ok((duties, todo)) = read.await else { return };
        held = Some((term, duties));
        for duty in todo {
            perform(&context, duty);
        }
    }
}

/// Tells the sessions of nodes whose leases have changed.
fn wake_sessions(context: &Context, event: &Event, missed: bool) {
    if missed {
        context.sessions.wake_all();
    }
    let Event::Applied(effects) = event else { return };
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
            Duty::Seal { ticket } => seal(&context, ticket).await,
            Duty::Sign { first, count } => sign(&context, first, count).await,
        }
    });
}

async fn propose(context: &Context, command: Command) {
    let plan = matches!(command, Command::Place { .. });
    if let Err(fault) = context.node.propose(context.own(command)).await {
        tracing::debug!(error = %fault, "duty not recorded");
    }
    if plan {
        let _ = context.events.send(Event::PlanAnswered).await;
    }
}

async fn seal(context: &Context, ticket: LeaseId) {
    let failed = match sealing::seal(context, ticket).await {
        Ok(None) => return,
        Ok(Some(command)) => match context.node.propose(context.own(command)).await {
            Ok(Reply::Sealed { artifact }) => {
                tracing::info!(lease = %ticket, %artifact, "artifact sealed");
                return;
            }
            Ok(Reply::Refused(refusal)) => refusal.to_string(),
            Ok(_) => return,
            Err(fault) => fault.to_string(),
        },
        Err(status) => status.message().to_owned(),
    };
    tracing::warn!(lease = %ticket, error = failed, "seal ticket is tried again");
    let _ = context.events.send(Event::SealFailed { ticket }).await;
}

async fn sign(context: &Context, first: u64, count: u64) {
    let read = context
        .node
        .read_local(move |cluster, rows| cluster.view().audit(rows, first, count as usize).events);
    let Ok(events) = read.await else { return };
    let mut signatures = Vec::with_capacity(events.len());
    for event in &events {
        match context.signer.sign_event(&event.hash) {
            Ok(bytes) => signatures.push(EventSignature {
                signer: context.signer.event_signer(),
                bytes: bytes.to_vec(),
            }),
            Err(fault) => {
                tracing::warn!(error = %fault, "audit events not signed");
                let _ = context.events.send(Event::SignFailed).await;
                return;
            }
        }
    }
    propose(context, Command::SignEvents { first, signatures }).await;
}
