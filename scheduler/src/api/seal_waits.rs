//! Results whose seal did not succeed yet: what went wrong, how often, and when it is tried again.
//!
//! The leader alone knows, and forgets it with its leadership: nothing of this is replicated.

use super::{
    context::{Context, wall_clock},
    error, idle,
    query::{absent, job_id, unreadable},
    seal_reasons,
};
use crate::{
    consensus::shell::Rows,
    state::{Cluster, command::Refusal, view::View},
};
use bytes::Bytes;
use domain::{
    ElementId, JobId, LeaseId, LogIndex, Millis, ReplicaId,
    job::ElementState,
    port::{SignError, SignFault},
    refusal::RegistryRefusal,
    seal_wait::{SealTrouble, SealWait},
    signing::{Custody, KeyPurpose, KeysView},
    view::WhyView,
};
use proto::{
    frame,
    v1::{SealsRequest, peer_client::PeerClient},
};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tonic::Status;

/// Tickets that are remembered. Those that fail beyond it are tried all the same.
const HELD_MAX: usize = 10_000;
/// Tickets of a job that one question is about.
const ASKED_MAX: usize = 1_000;
/// Characters of what a key store said.
const SAID_MAX: usize = 300;
/// Longest wait for the leader's word.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why a ticket is not sealed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    fault: SealTrouble,
    signer: Option<String>,
    custody: Option<Custody>,
    said: String,
}

impl Delay {
    /// What is missing is no key.
    pub(super) fn servers(said: impl Into<String>) -> Self {
        let said = shortened(&said.into());
        Self { fault: SealTrouble::Servers, signer: None, custody: None, said }
    }

    /// The key that seals could not be used.
    pub(super) fn sign(fault: &SignError, custody: Option<Custody>) -> Self {
        let (kind, said) = match &fault.why {
            SignFault::Unreachable(said) => (SealTrouble::Down, said.clone()),
            SignFault::TimedOut(ms) => (SealTrouble::Slow, format!("no answer within {ms} ms")),
            SignFault::Throttled(said) => (SealTrouble::Throttled, said.clone()),
            SignFault::Refused(said) => (SealTrouble::Refused, said.clone()),
            SignFault::Wrong(said) => (SealTrouble::Wrong, said.clone()),
        };
        Self { fault: kind, signer: Some(fault.key.clone()), custody, said: shortened(&said) }
    }

    /// No key seals.
    pub(super) fn no_key(keys: &KeysView) -> Self {
        let models = keys.keys.iter().filter(|key| key.purpose == KeyPurpose::Model);
        let revoked = models.filter_map(|key| Some((key, key.revoked.as_ref()?)));
        match revoked.max_by_key(|(_, word)| word.at) {
            Some((key, word)) => Self {
                fault: SealTrouble::Revoked,
                signer: Some(key.kid.clone()),
                custody: Some(key.custody),
                said: shortened(&format!(
                    "{} revoked it ({}), and no other was put into use",
                    word.by, word.reason
                )),
            },
            None => Self {
                fault: SealTrouble::NoKey,
                signer: None,
                custody: None,
                said: "no server has shown yet that it can sign with a key".into(),
            },
        }
    }

    /// What the log said to a seal.
    pub(super) fn refused(refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Registry(RegistryRefusal::Key { kid, state, .. }) => Self {
                fault: SealTrouble::Revoked,
                signer: Some(kid.clone()),
                custody: None,
                said: shortened(state),
            },
            other => Self::servers(other.to_string()),
        }
    }
}

impl fmt::Display for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&seal_reasons::phrase(
            self.fault,
            self.signer.as_deref(),
            self.custody,
            &self.said,
        ))
    }
}

/// One line, and not a long one.
fn shortened(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(SAID_MAX).collect()
}

/// A ticket that failed.
#[derive(Clone, Debug)]
struct Held {
    delay: Delay,
    tries: u32,
    since: Millis,
    last: Millis,
    next: Option<Millis>,
}

/// What the leader knows of tickets that failed.
#[derive(Debug, Default)]
pub struct SealWaits {
    held: Mutex<BTreeMap<LeaseId, Held>>,
}

impl SealWaits {
    fn held(&self) -> MutexGuard<'_, BTreeMap<LeaseId, Held>> {
        // Each entry is put in whole: a holder that panicked has left the map as it was.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A try has failed.
    pub(super) fn failed(&self, ticket: LeaseId, delay: Delay, now: Millis) {
        let mut all = self.held();
        if all.len() >= HELD_MAX && !all.contains_key(&ticket) {
            return;
        }
        let first = Held { delay: delay.clone(), tries: 0, since: now, last: now, next: None };
        let held = all.entry(ticket).or_insert(first);
        *held = Held { delay, tries: held.tries.saturating_add(1), last: now, next: None, ..*held };
    }

    /// When a ticket that failed is tried next.
    pub(super) fn due(&self, ticket: LeaseId, next: Millis) {
        if let Some(held) = self.held().get_mut(&ticket) {
            held.next = Some(next);
        }
    }

    /// A ticket is closed.
    pub(super) fn over(&self, ticket: LeaseId) {
        self.held().remove(&ticket);
    }

    /// This server leads anew: what another term found out may be over.
    pub(super) fn clear(&self) {
        self.held().clear();
    }

    /// What is known of these.
    fn of(
        &self,
        tickets: &[(ElementId, LeaseId)],
        server: ReplicaId,
        now: Millis,
    ) -> Vec<SealWait> {
        let all = self.held();
        let one = |(element, lease): &(ElementId, LeaseId)| {
            let held = all.get(lease)?;
            Some(SealWait {
                element: *element,
                lease: *lease,
                fault: held.delay.fault,
                signer: held.delay.signer.clone(),
                custody: held.delay.custody,
                said: held.delay.said.clone(),
                server,
                tries: held.tries,
                since: held.since,
                last_try: held.last,
                next_try: held.next,
                told: now,
            })
        };
        tickets.iter().take(ASKED_MAX).filter_map(one).collect()
    }
}

/// Open tickets of a job.
fn tickets(view: &View<'_>, id: JobId) -> Vec<(ElementId, LeaseId)> {
    let Some(job) = view.live_job(id) else { return Vec::new() };
    let open = job.elements.values().filter_map(|row| match row.state {
        ElementState::Sealing { lease } => Some((view.ticket(lease)?.element, lease)),
        _ => None,
    });
    open.take(ASKED_MAX).collect()
}

/// Why a job waits, does nothing with what it holds, or has no seal.
pub(super) async fn why(
    context: &Context,
    id: &str,
    stale: bool,
) -> Result<(WhyView, LogIndex), Status> {
    let job = job_id(id)?;
    let hub = context.hub.clone();
    let answer = move |cluster: &Cluster, rows: &Rows| {
        let view = cluster.view();
        let open = tickets(&view, job);
        let keys = (!open.is_empty()).then(|| view.keys(rows));
        (idle::why(&view, rows, &hub, job), open, keys, view.applied())
    };
    let read =
        if stale { context.node.read_local(answer).await } else { context.node.read(answer).await };
    let (why, open, keys, applied) = read.map_err(|fault| unreadable(&fault))?;
    let Some(mut why) = why else { return Err(absent(&format!("job {id}"), "jobs")) };
    if let Some(keys) = keys {
        match ask(context, &open).await {
            Some(waits) => {
                why.reasons.extend(seal_reasons::of(&waits, &keys));
                why.seals = waits;
            }
            None => why.reasons.push(seal_reasons::nobody()),
        }
    }
    Ok((why, applied))
}

/// What whoever leads knows of these; none where it does not answer.
async fn ask(context: &Context, open: &[(ElementId, LeaseId)]) -> Option<Vec<SealWait>> {
    if context.node.leads() {
        return Some(context.seal_waits.of(open, context.me, wall_clock()));
    }
    let channel = context.channels.to(&context.node.leader_address()?).ok()?;
    let tickets = frame::encode(&open.to_vec());
    let asked = SealsRequest { cluster: context.cluster.clone(), tickets };
    let mut client = PeerClient::new(channel).max_decoding_message_size(proto::MESSAGE_MAX);
    let answer = tokio::time::timeout(PATIENCE, client.seals(asked)).await.ok()?.ok()?;
    frame::decode(&answer.into_inner().waits).ok()
}

/// What this server knows of tickets, for another server.
pub(super) fn answer(context: &Context, asked: &[u8]) -> Result<Bytes, Status> {
    let asked: Vec<(ElementId, LeaseId)> = frame::decode(asked).map_err(|fault| {
        error::status("invalid", fault.to_string(), "run one release on all servers", false)
    })?;
    if !context.node.leads() {
        return Err(error::status("unavailable", "server is not the leader", "ask again", true));
    }
    Ok(frame::encode(&context.seal_waits.of(&asked, context.me, wall_clock())))
}

#[cfg(test)]
#[path = "seal_waits_test.rs"]
mod tests;
