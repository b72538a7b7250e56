//! Which keys count, from when, until when, and who may not say so.

use super::*;
use crate::{
    ledger::{Background, RegistryCommand as C},
    sign::{
        event::EventKey,
        local::{LocalSigner, create_model},
    },
};
use domain::{port::Signer, scratch::Scratch};
use std::collections::BTreeMap;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

struct Bench {
    base: Rows,
    ledger: Ledger,
    dir: tempfile::TempDir,
}

fn pem(key: &LocalSigner) -> String {
    key.public_pem().unwrap()
}

fn kid(key: &LocalSigner) -> String {
    bundle::hint(&pem(key))
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { base: Rows::new(), ledger: Ledger::default(), dir }
    }

    fn model(&self, name: &str) -> LocalSigner {
        create_model(&self.dir.path().join(name)).unwrap()
    }

    /// Does one change at a time.
    fn step(&mut self, now: u64, command: C) -> Result<u64, RegistryRefusal> {
        let mut rows = Scratch::new(&self.base);
        let done =
            self.ledger.step(&mut rows, Millis(now), "user:ada", command, &Background::none());
        let (changes, _) = rows.finish(Default::default());
        for change in changes {
            match change.value {
                Some(value) => self.base.insert(change.key, value),
                None => self.base.remove(&change.key),
            };
        }
        done
    }

    fn introduce(&mut self, now: u64, key: &LocalSigner) -> Result<u64, RegistryRefusal> {
        let proof = key.sign(&keys::introduction(&kid(key))).unwrap();
        let (public_pem, custody) = (pem(key), Custody::Kms);
        self.step(now, C::IntroduceKey { public_pem, custody, proof })
    }

    fn rotate(&mut self, now: u64, to: &LocalSigner, overlap: u64) -> Result<u64, RegistryRefusal> {
        self.step(now, C::RotateKey { to: kid(to), overlap: Millis(overlap) })
    }

    fn revoke(&mut self, now: u64, key: &str, since: Option<u64>) -> Result<u64, RegistryRefusal> {
        let (kid, since, reason) = (key.to_owned(), since.map(Millis), "lost".to_owned());
        self.step(now, C::RevokeKey { kid, since, reason })
    }

    /// Whether a seal with this key is taken at a time.
    fn seals(&self, key: &LocalSigner, now: u64) -> bool {
        check_signer(&self.base, kid(key).parse().unwrap(), Millis(now)).is_ok()
    }

    fn active(&self) -> Option<String> {
        view(&self.base, Millis(0)).active
    }
}

#[test]
fn the_first_key_seals_at_once_and_later_ones_stand_by_until_they_are_rotated_to() {
    let mut bench = Bench::new();
    let (first, second) = (bench.model("a"), bench.model("b"));
    assert!(bench.seals(&first, 1), "before any key is known, each is as good as another");
    bench.introduce(10, &first).unwrap();
    bench.introduce(20, &second).unwrap();
    bench.introduce(30, &second).unwrap();
    assert_eq!(bench.active(), Some(kid(&first)));
    assert_eq!((bench.seals(&first, 40), bench.seals(&second, 40)), (true, false));

    bench.rotate(100, &second, 50).unwrap();
    assert_eq!(bench.active(), Some(kid(&second)));
    assert_eq!((bench.seals(&first, 149), bench.seals(&second, 149)), (true, true));
    assert_eq!((bench.seals(&first, 150), bench.seals(&second, 150)), (false, true));
    let view = view(&bench.base, Millis(200));
    let first = view.of(&kid(&first)).unwrap();
    assert_eq!((first.check(Millis(99)), first.state(view.now)), (Ok(()), "expired"));
}

#[test]
fn a_key_counts_again_only_while_its_time_is_not_over() {
    let mut bench = Bench::new();
    let (first, second) = (bench.model("a"), bench.model("b"));
    bench.introduce(10, &first).unwrap();
    bench.introduce(20, &second).unwrap();
    bench.rotate(100, &second, 50).unwrap();
    bench.rotate(120, &first, 50).unwrap();
    assert!(bench.seals(&first, 1_000), "rolled back: it has no end again");
    let refused = bench.rotate(1_000, &second, 0).unwrap_err();
    assert!(refused.to_string().contains("its time was over"), "{refused}");
    let long = limit::KEY_OVERLAP_MAX.0 + 1;
    assert!(matches!(bench.rotate(1, &second, long), Err(RegistryRefusal::Invalid(_))));
}

#[test]
fn a_revoked_key_seals_nothing_more_and_its_earlier_word_stands() {
    let mut bench = Bench::new();
    let (first, second) = (bench.model("a"), bench.model("b"));
    bench.introduce(10, &first).unwrap();
    bench.introduce(20, &second).unwrap();
    bench.revoke(100, &kid(&first), Some(60)).unwrap();
    assert_eq!((bench.active(), bench.seals(&first, 101)), (None, false));
    let known = view(&bench.base, Millis(101)).of(&kid(&first)).unwrap().clone();
    assert_eq!((known.check(Millis(59)).is_ok(), known.check(Millis(60)).is_ok()), (true, false));
    // A later word may only name an earlier time.
    assert!(bench.revoke(110, &kid(&first), Some(70)).is_err());
    bench.revoke(120, &kid(&first), Some(30)).unwrap();
    assert!(bench.rotate(130, &first, 0).is_err(), "never again");
    // No key takes its place by itself, not even one that comes later.
    let third = bench.model("c");
    bench.introduce(140, &third).unwrap();
    assert_eq!(bench.active(), None);
    bench.rotate(150, &second, 0).unwrap();
    assert!(bench.seals(&second, 151));
    assert!(bench.revoke(160, "nothing", None).is_err());
}

#[test]
fn a_key_that_its_holder_cannot_sign_with_is_not_taken_in() {
    let mut bench = Bench::new();
    let (mine, other) = (bench.model("a"), bench.model("b"));
    let proof = other.sign(&keys::introduction(&kid(&mine))).unwrap();
    let command = C::IntroduceKey { public_pem: pem(&mine), custody: Custody::Kms, proof };
    assert!(matches!(bench.step(1, command), Err(RegistryRefusal::KeyUnproven { .. })));
    let proof = mine.sign(&keys::introduction(&bundle::hint("hello"))).unwrap();
    let command = C::IntroduceKey { public_pem: "hello".into(), custody: Custody::Kms, proof };
    assert!(matches!(bench.step(1, command), Err(RegistryRefusal::KeyUnproven { .. })));
    assert_eq!(view(&bench.base, Millis(1)).keys, []);
}

fn delegation(by: &LocalSigner, event: &EventKey, from: u64, until: Option<u64>) -> C {
    let delegation = Delegation {
        cluster: "c".into(),
        by: kid(by),
        kid: event.kid().to_owned(),
        public: event.public(),
        from: Millis(from),
        until: until.map(Millis),
    };
    let signature = by.sign(&dsse::pae(&keys::delegation(&delegation))).unwrap();
    C::DelegateKey { delegation, signature }
}

#[test]
fn an_event_key_counts_only_with_a_model_keys_word_and_for_as_long_as_that_says() {
    let mut bench = Bench::new();
    let model = bench.model("a");
    let event = EventKey::generate(Custody::Kms).unwrap();
    let signed =
        |event: &EventKey| [EventSignature { signer: event.kid().to_owned(), bytes: vec![0; 64] }];
    assert!(may_sign_events(&bench.base, &signed(&event), Millis(1)), "no key is known yet");
    assert!(bench.step(5, delegation(&model, &event, 5, Some(100))).is_err(), "by no known key");
    bench.introduce(10, &model).unwrap();
    assert!(!may_sign_events(&bench.base, &signed(&event), Millis(11)));
    bench.step(20, delegation(&model, &event, 20, Some(100))).unwrap();
    assert!(may_sign_events(&bench.base, &signed(&event), Millis(99)));
    assert!(!may_sign_events(&bench.base, &signed(&event), Millis(100)));

    let other = EventKey::generate(Custody::Kms).unwrap();
    let C::DelegateKey { delegation: mut said, signature } =
        delegation(&model, &other, 20, Some(100))
    else {
        panic!("it is one");
    };
    said.until = Some(Millis(200));
    let forged = C::DelegateKey { delegation: said, signature };
    assert!(matches!(bench.step(30, forged), Err(RegistryRefusal::KeyUnproven { .. })));
    let long = 20 + limit::DELEGATION_MAX.0 + 1;
    assert!(bench.step(30, delegation(&model, &other, 20, Some(long))).is_err(), "for too long");
    assert!(bench.step(30, delegation(&model, &other, 20, None)).is_err(), "without an end");
    let stolen = EventKey::generate(Custody::Local).unwrap();
    assert!(bench.step(30, delegation(&model, &stolen, 20, Some(90))).is_err(), "another's id");
    bench.revoke(40, event.kid(), None).unwrap();
    assert!(!may_sign_events(&bench.base, &signed(&event), Millis(41)));
    assert!(bench.step(50, delegation(&model, &event, 20, Some(100))).is_err(), "not once more");
}
