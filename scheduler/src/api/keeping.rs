//! Keeps the log's table of keys true of this server: introduces its model keys, and has a key for
//! events vouched for before its time is over.

use super::{
    context::{Context, wall_clock},
    keyring::DelegateError,
};
use crate::state::command::{Command, Reply};
use domain::{
    Millis,
    port::SignError,
    signing::{Custody, KeyPurpose, KeysView, SigningKey},
};
use registry::{ledger::RegistryCommand, seal::keys};
use std::{sync::Arc, time::Duration};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two looks whether an entry of the log was applied here, and how many.
const APPLIED: (Duration, u32) = (Duration::from_millis(20), 500);
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Why the keys are not in order yet.
#[derive(Debug, thiserror::Error)]
enum KeepFault {
    /// A model key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The key for events.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The log.
    #[error("{0}")]
    Log(String),
}

/// Runs until it is dropped.
pub async fn run(context: Arc<Context>) {
    let mut pause = PAUSE.0;
    let mut said = String::new();
    loop {
        match look(&context).await {
            Ok(()) => {
                if !said.is_empty() {
                    tracing::info!("signing keys are in order again");
                    said.clear();
                }
                pause = PAUSE.0;
                tokio::time::sleep(LOOK).await;
            }
            Err(fault) => {
                let text = fault.to_string();
                if text != said && !matches!(fault, KeepFault::Log(_)) {
                    tracing::warn!(error = %text, "signing keys are not in order");
                    said = text;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }
}

async fn look(context: &Arc<Context>) -> Result<(), KeepFault> {
    let view = known(context).await?;
    let (mine, fault) = context.keyring.learn().await;
    for (kid, pem, custody) in &mine {
        if view.of(kid).is_none() {
            introduce(context, kid, pem, *custody).await?;
        }
    }
    match mine.iter().find(|(kid, ..)| view.active.as_ref() == Some(kid)) {
        Some((kid, _, custody)) => event_key(context, &view, kid, *custody).await?,
        // A key that is out of reach may be the one that seals now.
        None => fault.map_or(Ok(()), |fault| Err(KeepFault::Sign(fault)))?,
    }
    Ok(())
}

/// The table of keys as this server has applied it.
async fn known(context: &Context) -> Result<KeysView, KeepFault> {
    let read = context.node.read_local(|cluster, rows| cluster.view().keys(rows));
    read.await.map_err(|fault| KeepFault::Log(fault.to_string()))
}

async fn introduce(
    context: &Context,
    kid: &str,
    pem: &str,
    custody: Custody,
) -> Result<(), KeepFault> {
    let proof = context.keyring.sign_model(kid, keys::introduction(kid)).await?;
    let public_pem = pem.to_owned();
    let command = RegistryCommand::IntroduceKey { public_pem, custody, proof };
    propose(context, command).await?;
    tracing::info!(key = %kid, %custody, "model key introduced");
    Ok(())
}

/// Has a key for events that counts, and that will for a while.
async fn event_key(
    context: &Context,
    view: &KeysView,
    by: &str,
    custody: Custody,
) -> Result<(), KeepFault> {
    let keyring = &context.keyring;
    let now = wall_clock();
    // The key that seals vouches for the keys of the day: with it alone, new results verify.
    let vouched = |key: &SigningKey| {
        let delegation = key.delegation.as_deref();
        !keyring.makes_event_keys()
            || delegation.and_then(keys::delegated_by).as_deref() == Some(by)
    };
    let counts = |kid: &str| {
        view.of(kid).is_some_and(|key| {
            key.purpose == KeyPurpose::Event
                && key.check(view.now).is_ok()
                && !is_due(key.until, keyring.event_period(), now)
                && vouched(key)
        })
    };
    match keyring.event() {
        Some(key) if counts(key.kid()) => return Ok(()),
        // It may sign on while its successor is made, as long as the log lets it.
        Some(key) if view.of(key.kid()).is_none_or(|key| key.check(view.now).is_err()) => {
            keyring.retire();
        }
        Some(_) => {}
        None => match keyring.kept(custody) {
            Some(key) if counts(key.kid()) => {
                keyring.resume(key);
                return Ok(());
            }
            Some(_) | None => {}
        },
    }
    let (key, delegation, signature) = keyring.delegate(&context.cluster, by, custody, now).await?;
    propose(context, RegistryCommand::DelegateKey { delegation, signature }).await?;
    tracing::info!(key = key.kid(), by, "model key vouches for the key for events");
    // Until this server has applied it too, its own table would call the key unknown.
    for _ in 0..APPLIED.1 {
        if known(context).await?.of(key.kid()).is_some() {
            break;
        }
        tokio::time::sleep(APPLIED.0).await;
    }
    keyring.adopt(key);
    Ok(())
}

/// Whether a key that ends then is to be replaced now.
fn is_due(until: Option<Millis>, period: Millis, now: Millis) -> bool {
    // It was delegated to for a period and a twelfth of one.
    until.is_some_and(|until| now.plus(Millis(period.0 / 12)) >= until)
}

async fn propose(context: &Context, command: RegistryCommand) -> Result<(), KeepFault> {
    let reply = context.propose(context.own(Command::Registry(command))).await;
    match reply.map_err(|status| KeepFault::Log(status.message().to_owned()))? {
        Reply::Refused(refusal) => Err(KeepFault::Log(refusal.to_string())),
        _ => Ok(()),
    }
}
