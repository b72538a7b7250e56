//! The signing proxy: the keys that this server can sign with, asked with patience and not trusted.

use domain::{
    Digest, Millis,
    port::{SignError, SignFault, Signer},
    signing::{Custody, Delegation},
};
use ed25519_dalek::{Signature, VerifyingKey};
use registry::{
    seal::{bundle, dsse, keys},
    sign::{event::EventKey, local::KeyError},
};
use std::{
    collections::{BTreeMap, VecDeque},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;

/// Tries of one call for a signature, and the pauses between them. What still fails then is tried
/// again by the duty that wanted it, which pauses by itself.
const TRIES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(200)];
/// Longest wait for one answer, a turn included. A key store's own bound is below it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Signatures that are remembered, so that a seal that is tried again asks for none twice.
const REMEMBERED: usize = 4_096;
/// Signatures that one key store is asked for at the same time.
const AT_ONCE: usize = 8;

/// How a server's keys are found and kept.
#[derive(Clone)]
pub struct Signers {
    /// Model keys, in the order of the configuration.
    pub models: Vec<Arc<dyn Signer>>,
    /// A key for events that lies with the model key; none is one that the server makes.
    pub event: Option<EventKey>,
    /// Time after which a key for events that the server has made is replaced.
    pub event_period: Millis,
}

/// Why a key for events could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// The model key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The file.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The keys of one server.
pub struct Keyring {
    signers: Signers,
    /// Where a key for events that was made here is kept.
    path: PathBuf,
    /// Model keys whose public half is known: by id, its place and PEM text.
    known: Mutex<BTreeMap<String, (usize, String)>>,
    /// What keys said that were asked for their public half in vain, by their places.
    unheard: Mutex<BTreeMap<usize, SignError>>,
    /// The key for events that the log knows of.
    event: Mutex<Option<EventKey>>,
    made: Mutex<Made>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Made {
    by_message: BTreeMap<(String, Digest), Vec<u8>>,
    order: VecDeque<(String, Digest)>,
}

fn held<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // What is guarded is replaced as a whole: a holder that panicked has left it as it was.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keyring {
    /// Keys of these signers; a key for events is kept at `path`.
    #[must_use]
    pub fn new(signers: Signers, path: PathBuf) -> Self {
        Self {
            signers,
            path,
            known: Mutex::default(),
            unheard: Mutex::default(),
            event: Mutex::default(),
            made: Mutex::default(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }

    /// Time after which a key for events is replaced.
    #[must_use]
    pub fn event_period(&self) -> Millis {
        self.signers.event_period
    }

    /// Asks each key that was not heard of yet for its public half; returns those that are known
    /// now, by id with their PEM text and custody.
    ///
    /// # Errors
    /// The first that does not answer; the others are asked all the same.
    pub async fn learn(&self) -> (Vec<(String, String, Custody)>, Option<SignError>) {
        let mut fault = None;
        for (place, signer) in self.signers.models.iter().enumerate() {
            if held(&self.known).values().any(|(of, _)| *of == place) {
                continue;
            }
            let asked = signer.clone();
            match self.ask(signer, move || asked.public_pem()).await {
                Ok(pem) => {
                    held(&self.unheard).remove(&place);
                    held(&self.known).insert(bundle::hint(&pem), (place, pem));
                }
                Err(why) => {
                    held(&self.unheard).insert(place, why.clone());
                    fault = fault.or(Some(why));
                }
            }
        }
        let known = held(&self.known).clone();
        let all = known
            .into_iter()
            .map(|(kid, (place, pem))| (kid, pem, self.signers.models[place].custody()));
        (all.collect(), fault)
    }

    /// Signs with the model key of this id. The same message is signed once: a call that is
    /// repeated gets the first signature. (The duty that seals works on a ticket once at a time.)
    ///
    /// # Errors
    /// When the key is not here, or cannot be used after a few tries.
    pub async fn sign_model(&self, kid: &str, message: Vec<u8>) -> Result<Vec<u8>, SignError> {
        let found = held(&self.known).get(kid).cloned();
        let Some((place, pem)) = found else { return Err(self.not_known(kid)) };
        let name = (kid.to_owned(), Digest::of(&message));
        if let Some(made) = held(&self.made).by_message.get(&name) {
            return Ok(made.clone());
        }
        let signer = &self.signers.models[place];
        let message = Arc::new(message);
        let mut pauses = TRIES.into_iter();
        let signature = loop {
            let (asked, bytes) = (signer.clone(), message.clone());
            match self.ask(signer, move || asked.sign(&bytes)).await {
                Ok(signature) => break signature,
                Err(fault) => match pauses.next().filter(|_| fault.is_passing()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(fault),
                },
            }
        };
        // A signature is looked at before it is believed, also one of a key store.
        if !keys::signed_by(&pem, &message, &signature) {
            let why = "it gave a signature that its public key does not verify".to_owned();
            return Err(SignError { key: signer.name(), why: SignFault::Wrong(why) });
        }
        held(&self.made).keep(name, signature.clone());
        Ok(signature)
    }

    /// Why this server cannot sign with the key of an id that it does not know.
    fn not_known(&self, kid: &str) -> SignError {
        let key = kid.to_owned();
        // One that has not told its public half may be the one.
        if let Some(fault) = held(&self.unheard).values().next() {
            return fault.clone();
        }
        let why = match held(&self.known).len() >= self.signers.models.len() {
            true => SignFault::Wrong("no key of this server's configuration has this id".into()),
            false => SignFault::Unreachable("it was not asked for its public half yet".into()),
        };
        SignError { key, why }
    }

    /// Where the key of this name is; none where the configuration names none so.
    #[must_use]
    pub fn custody_of(&self, name: &str) -> Option<Custody> {
        self.signers.models.iter().find(|it| it.name() == name).map(|it| it.custody())
    }

    /// Asks a key on a thread that may wait. A device that never answers keeps its thread, and
    /// with it its turn: the other threads of this server stay free.
    async fn ask<T: Send + 'static>(
        &self,
        of: &Arc<dyn Signer>,
        ask: impl FnOnce() -> Result<T, SignError> + Send + 'static,
    ) -> Result<T, SignError> {
        let fault = |why| SignError { key: of.name(), why };
        let turns = self.turns.clone();
        let asked = async {
            let turn = turns.acquire_owned().await.expect("the turns are never closed");
            tokio::task::spawn_blocking(move || {
                let _turn = turn;
                ask()
            })
            .await
        };
        match tokio::time::timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(panicked)) => Err(fault(SignFault::Wrong(panicked.to_string()))),
            Err(_) => Err(fault(SignFault::TimedOut(PATIENCE.as_millis() as u64))),
        }
    }

    /// Whether keys for events are made here, and not laid beside the model key.
    #[must_use]
    pub fn makes_event_keys(&self) -> bool {
        self.signers.event.is_none()
    }

    /// The key for events that the log knows of.
    #[must_use]
    pub fn event(&self) -> Option<EventKey> {
        held(&self.event).clone()
    }

    /// The key for events that lies with the model key, or that was made here before.
    #[must_use]
    pub fn kept(&self, custody: Custody) -> Option<EventKey> {
        match &self.signers.event {
            Some(key) => Some(key.clone()),
            None => EventKey::read(&self.path, custody).ok(),
        }
    }

    /// Makes the statement by which a model key vouches for a key for events, and signs it. The
    /// event key is a new one, unless it lies with the model key.
    ///
    /// # Errors
    /// When the model key cannot be used, or no key can be made.
    pub async fn delegate(
        &self,
        cluster: &str,
        by: &str,
        custody: Custody,
        now: Millis,
    ) -> Result<(EventKey, Delegation, Vec<u8>), DelegateError> {
        let (key, until) = match &self.signers.event {
            Some(key) => (key.clone(), None),
            None => {
                let until = now.plus(self.signers.event_period).plus(Millis(self.overlap()));
                (EventKey::generate(custody)?, Some(until))
            }
        };
        let said = Delegation {
            cluster: cluster.to_owned(),
            by: by.to_owned(),
            kid: key.kid().to_owned(),
            public: key.public(),
            from: now,
            until,
        };
        let signature = self.sign_model(by, dsse::pae(&keys::delegation(&said))).await?;
        Ok((key, said, signature))
    }

    /// Time for which a key for events counts beyond its period.
    fn overlap(&self) -> u64 {
        self.signers.event_period.0 / 12
    }

    /// Signs events with this key from now on. One that was made here is kept for the next start.
    pub fn adopt(&self, key: EventKey) {
        if self.signers.event.is_none()
            && let Err(fault) = key.replace(&self.path)
        {
            tracing::warn!(error = %fault, "key for events not kept: the next start makes another");
        }
        *held(&self.event) = Some(key);
    }

    /// Signs events with a key that was kept.
    pub fn resume(&self, key: EventKey) {
        *held(&self.event) = Some(key);
    }

    /// Signs no events: the log no longer lets the key's word count.
    pub fn retire(&self) {
        *held(&self.event) = None;
    }
}

impl Made {
    fn keep(&mut self, name: (String, Digest), signature: Vec<u8>) {
        if self.by_message.insert(name.clone(), signature).is_none() {
            self.order.push_back(name);
        }
        while self.order.len() > REMEMBERED {
            if let Some(oldest) = self.order.pop_front() {
                self.by_message.remove(&oldest);
            }
        }
    }
}

/// Whether an event key's signature of a digest holds.
#[must_use]
pub fn verifies(key: &EventKey, digest: Digest, signature: &[u8; 64]) -> bool {
    let signature = Signature::from_bytes(signature);
    VerifyingKey::from_bytes(&key.public())
        .is_ok_and(|key| key.verify_strict(&digest.0, &signature).is_ok())
}

#[cfg(test)]
#[path = "keyring_test.rs"]
mod tests;
