//! A key store that is slow, down or wrong, and what becomes of the signatures.

use super::*;
use domain::signing::Custody;
use registry::sign::local::{LocalSigner, create_model};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A key that fails in a given way so many times before it signs.
struct Moody {
    key: LocalSigner,
    fails: AtomicUsize,
    with: SignFault,
    asked: AtomicUsize,
    forges: bool,
}

impl Signer for Moody {
    fn name(&self) -> String {
        "moody".into()
    }

    fn custody(&self) -> Custody {
        Custody::Kms
    }

    fn public_pem(&self) -> Result<String, SignError> {
        self.key.public_pem()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let left = self.fails.load(Ordering::SeqCst);
        if left > 0 {
            self.fails.store(left - 1, Ordering::SeqCst);
            return Err(SignError { key: self.name(), why: self.with.clone() });
        }
        self.key.sign(if self.forges { b"something else" } else { message })
    }
}

struct Bench {
    _dir: tempfile::TempDir,
    keyring: Keyring,
    key: Arc<Moody>,
    kid: String,
}

async fn bench(fails: usize, with: SignFault, forges: bool) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let key = create_model(&dir.path().join("model.key.pem")).unwrap();
    let kid = bundle::hint(&key.public_pem().unwrap());
    let (fails, asked) = (AtomicUsize::new(fails), AtomicUsize::new(0));
    let key = Arc::new(Moody { key, fails, with, asked, forges });
    let signers =
        Signers { models: vec![key.clone()], event: None, event_period: Millis(86_400_000) };
    let keyring = Keyring::new(signers, dir.path().join("event.key.pem"));
    let (known, fault) = keyring.learn().await;
    assert_eq!((known.len(), fault), (1, None));
    Bench { _dir: dir, keyring, key, kid }
}

fn throttled() -> SignFault {
    SignFault::Throttled("ThrottlingException".into())
}

#[tokio::test]
async fn a_fault_that_passes_is_tried_again_a_few_times_and_one_that_does_not_is_not() {
    let good = bench(2, throttled(), false).await;
    assert!(good.keyring.sign_model(&good.kid, b"m".to_vec()).await.is_ok());
    assert_eq!(good.key.asked.load(Ordering::SeqCst), 3);

    let busy = bench(3, throttled(), false).await;
    let fault = busy.keyring.sign_model(&busy.kid, b"m".to_vec()).await.unwrap_err();
    assert!(fault.is_passing(), "{fault}");

    let disabled = bench(1, SignFault::Refused("DisabledException".into()), false).await;
    let fault = disabled.keyring.sign_model(&disabled.kid, b"m".to_vec()).await.unwrap_err();
    assert_eq!((fault.is_passing(), disabled.key.asked.load(Ordering::SeqCst)), (false, 1));
}

#[tokio::test]
async fn one_message_is_signed_once_however_often_its_seal_is_tried() {
    let bench = bench(0, throttled(), false).await;
    let first = bench.keyring.sign_model(&bench.kid, b"m".to_vec()).await;
    let again = bench.keyring.sign_model(&bench.kid, b"m".to_vec()).await;
    assert_eq!((first.is_ok(), first == again), (true, true));
    assert_eq!(bench.key.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_signature_over_something_else_is_never_used() {
    let forger = bench(0, throttled(), true).await;
    let fault = forger.keyring.sign_model(&forger.kid, b"m".to_vec()).await.unwrap_err();
    assert!(matches!(fault.why, SignFault::Wrong(_)), "{fault}");
}

#[tokio::test]
async fn a_key_for_events_is_made_vouched_for_and_kept_for_the_next_start() {
    let bench = bench(0, throttled(), false).await;
    let now = Millis(1_000);
    let (key, said, signature) =
        bench.keyring.delegate("c", &bench.kid, Custody::Kms, now).await.unwrap();
    assert_eq!(said.until, Some(Millis(1_000 + 86_400_000 + 7_200_000)));
    let message = dsse::pae(&keys::delegation(&said));
    assert!(keys::signed_by(&bench.key.public_pem().unwrap(), &message, &signature));
    assert!(bench.keyring.event().is_none());
    bench.keyring.adopt(key.clone());
    let kept = bench.keyring.kept(Custody::Kms).unwrap();
    assert_eq!((kept.kid(), bench.keyring.event().unwrap().kid()), (key.kid(), key.kid()));
    let hash = Digest::of(b"event");
    assert!(verifies(&kept, hash, &key.sign_event(&hash)));
}
