//! What moves a version to a stage, and what does not.

use super::{
    command::{Command, Reply, Request},
    model_test::{head, kinds, number, refusal, register, sealed, send},
    script::Script,
};
use domain::{
    ArtifactId, Decimal, Digest, LogIndex, Millis, PromotionId,
    model::{ModelRef, Stage},
    promotion::{
        Bound, EvaluationGate, GateResult, PolicyDecision, Promotion, PromotionState, Quorum, Risk,
        Ruling,
    },
    refusal::RegistryRefusal,
};
use ed25519_dalek::{Signer, SigningKey};
use registry::{
    ledger::{RegistryCommand as C, view as ledger},
    seal::manifest,
};

pub fn key(of: u8) -> SigningKey {
    SigningKey::from_bytes(&[of + 1; 32])
}

pub const PEOPLE: [&str; 5] = ["bob", "cleo", "dan", "eve", "fay"];

pub fn by(script: &mut Script, actor: &str, command: C) -> Reply {
    let request = Request { key: None, actor: actor.into(), command: Command::Registry(command) };
    script.entry(vec![request]).remove(0)
}

pub fn as_user(script: &mut Script, user: &str, command: C) -> Reply {
    by(script, &format!("user:{user}"), command)
}

/// A version of `llama` for each artifact, and five approvers.
pub fn stage(versions: u64) -> Script {
    let mut script = sealed(versions);
    for artifact in 1..=versions {
        number(register(&mut script, "llama", artifact, &[]));
    }
    for (of, name) in (0..).zip(PEOPLE) {
        let key = key(of).verifying_key().to_bytes();
        number(send(&mut script, C::AddApprover { name: name.into(), key }));
    }
    script
}

pub fn model(text: &str) -> ModelRef {
    text.parse().unwrap()
}

pub fn ask(of: &str, to: Stage, risk: Risk) -> C {
    let (model, reason) = (model(of), "better on every slice".to_owned());
    C::RequestPromotion { model, to, risk, emergency: false, reason, within: None }
}

pub fn allow() -> PolicyDecision {
    PolicyDecision {
        engine: "embedded".into(),
        request_id: "p".into(),
        decision: Ruling::Allow,
        policy_id: Some("pol-1".into()),
        policy_version: Some("3".into()),
        rule_id: None,
        rationale: "none of 2 policies matched".into(),
        evidence_refs: Vec::new(),
        ts: None,
    }
}

/// What a gate at `needed` that takes a claim meets in a version with accuracy 0.91.
pub fn gate(needed: &str) -> GateResult {
    let needed: Decimal = needed.parse().unwrap();
    let (metric, bound, claimed) = ("accuracy".into(), Bound::Min, true);
    let gate = EvaluationGate { metric, bound, needed, claimed, method: None };
    GateResult::of(gate, Some(("0.91".parse().unwrap(), None)))
}

pub fn decided(id: u64, gates: Vec<GateResult>, policy: PolicyDecision) -> C {
    let promotion = PromotionId(id);
    C::DecidePromotion { promotion, gates, ungated: false, risk: Risk::Low, policy }
}

pub fn promotion(script: &Script, id: u64) -> Promotion {
    script.view().promotion(&script.rows, PromotionId(id)).unwrap()
}

pub fn word(script: &Script, id: u64) -> String {
    promotion(script, id).state.word().to_owned()
}

pub fn sign(script: &Script, id: u64) -> C {
    let manifest = manifest::digest(&promotion(script, id));
    let signature = key(99).sign(&manifest.0).to_bytes().to_vec();
    C::SignPromotion { promotion: PromotionId(id), manifest, signature, signer: "k".into() }
}

/// Opens a promotion and clears it up to people's words.
pub fn cleared(script: &mut Script, command: C) -> u64 {
    let id = number(as_user(script, "ada", command));
    number(by(script, "server:1", decided(id, vec![gate("0.9")], allow())));
    let signed = sign(script, id);
    number(by(script, "server:1", signed));
    id
}

/// The word of the person `of` for a promotion.
pub fn word_of(script: &Script, id: u64, of: u8) -> C {
    let bytes = manifest::approval_bytes(&promotion(script, id));
    let signature = key(of).sign(&bytes).to_bytes().to_vec();
    C::Approve { promotion: PromotionId(id), signature }
}

pub fn approve(script: &mut Script, id: u64, of: u8) -> Reply {
    let word = word_of(script, id, of);
    as_user(script, PEOPLE[usize::from(of)], word)
}

pub fn in_stage(script: &Script, of: &str) -> Stage {
    script.view().model(&script.rows, of).unwrap().version.stage
}

pub fn named(script: &Script, word: &str) -> Option<String> {
    script.view().model(&script.rows, word).map(|it| it.version.model.to_string())
}

/// Brings a version to a stage in the quickest way.
pub fn bring(script: &mut Script, of: &str, to: Stage) {
    let id = cleared(script, ask(of, to, Risk::Low));
    assert_eq!(word(script, id), "applied");
}

#[test]
fn low_risk_needs_gates_policy_and_signature_and_is_one_event_a_step() {
    let mut script = stage(1);
    let first = head(&script) + 1;
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::Low));
    assert_eq!(word(&script, id), "applied");
    assert_eq!(
        (in_stage(&script, "llama@1"), named(&script, "llama@staging").as_deref()),
        (Stage::Staging, Some("llama@1"))
    );
    let wanted = [
        "registry.promotion.request",
        "policy.decision",
        "registry.promotion.cleared",
        "registry.manifest.signed",
        "registry.promotion.applied",
    ];
    assert_eq!(kinds(&script, first), wanted);
    let found = promotion(&script, id);
    let applied = ledger::events(&script.rows, found.history.last().unwrap().audit_seq, 1);
    let signed = found.manifest.unwrap();
    for part in [signed.manifest.to_string(), signed.signature, found.root.to_string()] {
        assert!(applied[0].payload.contains(&part), "an event is bound to {part}");
    }
}

#[test]
fn a_failed_gate_or_a_policy_that_does_not_allow_refuses_and_says_which_and_what_was_needed() {
    let mut script = stage(1);
    let deny = |decision| PolicyDecision { decision, rationale: "no".into(), ..allow() };
    let cases = [
        (vec![gate("0.95")], allow(), "gate `accuracy`: 0.91, needed at least 0.95"),
        (Vec::new(), allow(), "no evaluation gate is configured for staging"),
        (vec![gate("0.9")], deny(Ruling::Deny), "policy: deny: no"),
        (vec![gate("0.9")], deny(Ruling::Quarantine), "policy: quarantine: no"),
        (vec![gate("0.9")], deny(Ruling::Remediate), "policy: remediate: no"),
    ];
    for (gates, policy, wanted) in cases {
        let command = ask("llama@1", Stage::Staging, Risk::Low);
        let id = number(as_user(&mut script, "ada", command));
        number(by(&mut script, "server:1", decided(id, gates, policy)));
        let PromotionState::Refused { why } = promotion(&script, id).state else {
            panic!("{wanted}: {:?}", promotion(&script, id).state)
        };
        assert!(why.starts_with(wanted), "{why}");
        let signed = sign(&script, id);
        let late = refusal(by(&mut script, "server:1", signed));
        assert!(matches!(late, RegistryRefusal::State { .. }), "{late}");
    }
    assert_eq!(in_stage(&script, "llama@1"), Stage::Draft);
    let first = promotion(&script, 1).history.last().unwrap().audit_seq;
    let event = ledger::events(&script.rows, first, 1).pop().unwrap();
    assert!(event.payload.contains("registry.promotion.refused"), "{}", event.payload);
}

#[test]
fn evidence_that_the_state_does_not_bear_out_decides_nothing() {
    let mut script = stage(1);
    let id = number(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::Low)));
    let high = Some("0.99".parse().unwrap());
    let invented = GateResult { value: high, passed: true, ..gate("0.95") };
    let waved = GateResult { passed: true, ..gate("0.95") };
    for gate in [invented, waved] {
        let why = refusal(by(&mut script, "server:1", decided(id, vec![gate], allow())));
        assert!(matches!(why, RegistryRefusal::Evidence { .. }), "{why}");
    }
    number(by(&mut script, "server:1", decided(id, vec![gate("0.9")], allow())));
    let other = C::SignPromotion {
        promotion: PromotionId(id),
        manifest: Digest::of(b"another"),
        signature: vec![1; 64],
        signer: "k".into(),
    };
    let why = refusal(by(&mut script, "server:1", other));
    assert!(matches!(why, RegistryRefusal::Evidence { .. }), "{why}");
    assert_eq!(word(&script, id), "signing");
}

#[test]
fn high_risk_needs_three_of_five_distinct_people() {
    let mut script = stage(1);
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::High));
    for of in 0..2 {
        number(approve(&mut script, id, of));
        assert_eq!(
            (word(&script, id), in_stage(&script, "llama@1")),
            ("pending".into(), Stage::Draft)
        );
    }
    number(approve(&mut script, id, 2));
    assert_eq!(
        (word(&script, id), in_stage(&script, "llama@1")),
        ("applied".into(), Stage::Staging)
    );
    let approvals = promotion(&script, id).approvals;
    assert!((0..3).all(|of| {
        let raw = key(of).verifying_key().to_bytes();
        let bytes = hex::decode(&approvals[usize::from(of)].signature).unwrap();
        manifest::verify_approval(&promotion(&script, id), &raw, &bytes)
    }));
}

#[test]
fn the_rules_may_raise_the_risk_and_then_people_are_asked() {
    let mut script = stage(1);
    let id = number(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::Low)));
    let command = C::DecidePromotion {
        promotion: PromotionId(id),
        gates: vec![gate("0.9")],
        ungated: false,
        risk: Risk::High,
        policy: allow(),
    };
    number(by(&mut script, "server:1", command));
    let signed = sign(&script, id);
    number(by(&mut script, "server:1", signed));
    assert_eq!((word(&script, id).as_str(), promotion(&script, id).required), ("pending", 3));
}

#[test]
fn a_word_counts_once_is_ones_own_and_is_for_this_promotion_alone() {
    let mut script = stage(2);
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::High));
    let other = cleared(&mut script, ask("llama@2", Stage::Staging, Risk::High));
    number(approve(&mut script, id, 0));
    let first = head(&script) + 1;

    let again = refusal(approve(&mut script, id, 0));
    assert!(matches!(again, RegistryRefusal::Twice { .. }), "{again}");
    let word = word_of(&script, id, 1);
    let stolen = refusal(as_user(&mut script, "dan", word.clone()));
    assert!(matches!(stolen, RegistryRefusal::Forged { .. }), "another's signature: {stolen}");
    let C::Approve { signature, .. } = word else { panic!("an approval") };
    let replayed = C::Approve { promotion: PromotionId(other), signature };
    let replayed = refusal(as_user(&mut script, "cleo", replayed));
    assert!(matches!(replayed, RegistryRefusal::Forged { .. }), "another promotion's: {replayed}");
    for signature in [Vec::new(), vec![0; 64], vec![7; 65]] {
        let word = C::Approve { promotion: PromotionId(id), signature };
        let forged = refusal(as_user(&mut script, "cleo", word));
        assert!(matches!(forged, RegistryRefusal::Forged { .. }), "{forged}");
    }
    let word = word_of(&script, id, 3);
    let stranger = refusal(as_user(&mut script, "mallory", word));
    assert!(matches!(stranger, RegistryRefusal::NotApprover(_)), "{stranger}");

    assert_eq!(promotion(&script, id).approvals.len(), 1);
    let attempts = kinds(&script, first);
    assert_eq!(attempts, vec!["registry.attempt.refused"; 7], "each attempt is on record");
}

#[test]
fn nobody_approves_what_they_asked_for() {
    let mut script = stage(1);
    let command = ask("llama@1", Stage::Staging, Risk::High);
    let id = number(as_user(&mut script, "bob", command));
    number(by(&mut script, "server:1", decided(id, vec![gate("0.9")], allow())));
    let signed = sign(&script, id);
    number(by(&mut script, "server:1", signed));
    let own = refusal(approve(&mut script, id, 0));
    assert!(matches!(own, RegistryRefusal::Own { .. }), "{own}");
}

#[test]
fn a_key_belongs_to_one_person_and_one_person_cannot_vote_again_with_a_new_key() {
    let mut script = stage(1);
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::High));
    let taken = C::AddApprover { name: "cleo".into(), key: key(0).verifying_key().to_bytes() };
    let taken = refusal(send(&mut script, taken));
    assert!(matches!(taken, RegistryRefusal::KeyTaken(_)), "{taken}");
    number(approve(&mut script, id, 0));
    let rotated = C::AddApprover { name: "bob".into(), key: key(40).verifying_key().to_bytes() };
    number(send(&mut script, rotated));
    let second = word_of(&script, id, 40);
    let again = refusal(as_user(&mut script, "bob", second));
    assert!(matches!(again, RegistryRefusal::Twice { .. }), "{again}");
    // The word given under the old key counts no more: three others are needed.
    number(approve(&mut script, id, 1));
    number(approve(&mut script, id, 2));
    assert_eq!(word(&script, id), "pending");
    number(approve(&mut script, id, 3));
    assert_eq!(word(&script, id), "applied");
}

#[test]
fn the_quorum_bounds_the_approvers_and_too_few_of_them_are_named() {
    let mut script = stage(1);
    let sixth = C::AddApprover { name: "gil".into(), key: key(5).verifying_key().to_bytes() };
    let full = refusal(send(&mut script, sixth.clone()));
    assert!(matches!(full, RegistryRefusal::Full { .. }), "{full}");
    for (required, of) in [(1, 5), (6, 5), (3, 4), (3, 33)] {
        let wrong = refusal(send(&mut script, C::SetQuorum { quorum: Quorum { required, of } }));
        assert!(matches!(wrong, RegistryRefusal::Invalid(_)), "{required} of {of}: {wrong}");
    }
    number(send(&mut script, C::SetQuorum { quorum: Quorum { required: 4, of: 6 } }));
    number(send(&mut script, sixth));
    for name in ["eve", "fay", "gil"] {
        number(send(&mut script, C::RemoveApprover { name: name.into() }));
    }
    let few = refusal(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::High)));
    let wanted = RegistryRefusal::Electorate { requester: "ada".into(), have: 3, required: 4 };
    assert_eq!(few, wanted);
    let weak = C::AddApprover { name: "gil".into(), key: [0; 32] };
    assert!(matches!(refusal(send(&mut script, weak)), RegistryRefusal::Invalid(_)));
}

#[test]
fn a_promotion_expires_by_the_clock_of_the_log_and_no_word_counts_after() {
    let mut script = stage(1);
    let C::RequestPromotion { model, to, risk, emergency, reason, .. } =
        ask("llama@1", Stage::Staging, Risk::High)
    else {
        panic!("a request")
    };
    let within = Some(Millis(60_000));
    let id =
        cleared(&mut script, C::RequestPromotion { model, to, risk, emergency, reason, within });
    let settle = C::SettlePromotion { promotion: PromotionId(id) };
    let early = refusal(by(&mut script, "server:1", settle.clone()));
    assert!(matches!(early, RegistryRefusal::NotDue(_)), "{early}");
    script.now = script.now.plus(Millis(60_000));
    let late = refusal(approve(&mut script, id, 0));
    assert!(matches!(late, RegistryRefusal::Expired { .. }), "{late}");
    number(by(&mut script, "server:1", settle.clone()));
    assert_eq!(word(&script, id), "expired");
    let first = head(&script);
    number(by(&mut script, "server:1", settle));
    assert_eq!(head(&script), first, "the next leader may repeat it without harm");
    assert!(matches!(refusal(approve(&mut script, id, 0)), RegistryRefusal::Expired { .. }));
}

pub fn emergency(of: &str) -> C {
    let (model, reason) = (model(of), "prod is down".to_owned());
    C::RequestPromotion {
        model,
        to: Stage::Prod,
        risk: Risk::High,
        emergency: true,
        reason,
        within: None,
    }
}

#[test]
fn an_emergency_applies_on_one_word_and_a_quorum_ratifies_it() {
    let mut script = stage(1);
    bring(&mut script, "llama@1", Stage::Staging);
    let id = cleared(&mut script, emergency("llama@1"));
    assert_eq!(in_stage(&script, "llama@1"), Stage::Staging, "one word is needed");
    number(approve(&mut script, id, 0));
    assert_eq!(
        (word(&script, id), in_stage(&script, "llama@1")),
        ("unratified".into(), Stage::Prod)
    );
    number(approve(&mut script, id, 1));
    number(approve(&mut script, id, 2));
    assert_eq!(word(&script, id), "applied");
    let settle = C::SettlePromotion { promotion: PromotionId(id) };
    script.now = script.now.plus(Millis(49 * 3_600_000));
    number(by(&mut script, "server:1", settle));
    assert_eq!(in_stage(&script, "llama@1"), Stage::Prod);
}

#[test]
fn an_emergency_that_nobody_ratifies_is_reversed_and_what_it_displaced_is_back() {
    let mut script = stage(2);
    bring(&mut script, "llama@1", Stage::Staging);
    bring(&mut script, "llama@1", Stage::Prod);
    bring(&mut script, "llama@2", Stage::Staging);
    let id = cleared(&mut script, emergency("llama@2"));
    number(approve(&mut script, id, 0));
    assert_eq!(named(&script, "llama@prod").as_deref(), Some("llama@2"));
    assert_eq!(named(&script, "llama@staging"), None);
    let settle = C::SettlePromotion { promotion: PromotionId(id) };
    script.now = script.now.plus(Millis(48 * 3_600_000 - 1));
    assert!(matches!(
        refusal(by(&mut script, "server:1", settle.clone())),
        RegistryRefusal::NotDue(_)
    ));
    script.now = script.now.plus(Millis(1));
    let first = head(&script) + 1;
    number(by(&mut script, "server:1", settle));
    assert_eq!(word(&script, id), "reversed");
    assert_eq!(named(&script, "llama@prod").as_deref(), Some("llama@1"));
    assert_eq!(named(&script, "llama@staging").as_deref(), Some("llama@2"));
    assert_eq!(in_stage(&script, "llama@2"), Stage::Staging);
    assert_eq!(kinds(&script, first), ["registry.promotion.rolled_back"]);
}

#[test]
fn a_rejection_ends_it_and_takes_an_emergency_back() {
    let mut script = stage(1);
    bring(&mut script, "llama@1", Stage::Staging);
    let reject = |id| C::Reject { promotion: PromotionId(id), reason: "too early".into() };
    let id = cleared(&mut script, ask("llama@1", Stage::Prod, Risk::High));
    let stranger = refusal(as_user(&mut script, "mallory", reject(id)));
    assert!(matches!(stranger, RegistryRefusal::NotApprover(_)), "{stranger}");
    number(as_user(&mut script, "eve", reject(id)));
    assert_eq!(word(&script, id), "rejected");
    assert!(matches!(refusal(approve(&mut script, id, 0)), RegistryRefusal::State { .. }));
    let id = cleared(&mut script, emergency("llama@1"));
    number(approve(&mut script, id, 0));
    number(as_user(&mut script, "eve", reject(id)));
    assert_eq!(
        (word(&script, id), in_stage(&script, "llama@1")),
        ("reversed".into(), Stage::Staging)
    );
}

#[test]
fn what_is_revoked_on_the_way_goes_no_further() {
    let mut script = stage(1);
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::High));
    number(approve(&mut script, id, 0));
    let reason = "licence".to_owned();
    number(send(&mut script, C::RevokeArtifact { artifact: ArtifactId(1), reason }));
    let why = refusal(approve(&mut script, id, 1));
    assert!(matches!(why, RegistryRefusal::Revoked { .. }), "{why}");
    assert_eq!((word(&script, id), in_stage(&script, "llama@1")), ("refused".into(), Stage::Draft));
    let why = refusal(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::Low)));
    assert!(matches!(why, RegistryRefusal::Revoked { .. }), "{why}");
}

#[test]
fn stages_are_taken_in_order_and_one_promotion_of_a_version_is_open_at_a_time() {
    let mut script = stage(2);
    for (of, to) in [("llama@1", Stage::Prod), ("llama@9", Stage::Staging)] {
        refusal(as_user(&mut script, "ada", ask(of, to, Risk::Low)));
    }
    for to in [Stage::Draft, Stage::Deprecated] {
        let why = refusal(as_user(&mut script, "ada", ask("llama@1", to, Risk::Low)));
        assert!(matches!(why, RegistryRefusal::Invalid(_)), "{why}");
    }
    number(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::Low)));
    let open = refusal(as_user(&mut script, "ada", ask("llama@1", Stage::Staging, Risk::Low)));
    assert!(matches!(open, RegistryRefusal::Open { .. }), "{open}");
    // What is promoted to its stage again is named by it again: a rollback.
    let reject = C::Reject { promotion: PromotionId(1), reason: "anew".into() };
    number(as_user(&mut script, "ada", reject));
    for (of, to) in [
        ("llama@1", Stage::Staging),
        ("llama@1", Stage::Prod),
        ("llama@2", Stage::Staging),
        ("llama@2", Stage::Prod),
        ("llama@1", Stage::Prod),
    ] {
        bring(&mut script, of, to);
        assert_eq!(named(&script, &format!("llama@{to}")).as_deref(), Some(of));
    }
    assert_eq!(in_stage(&script, "llama@2"), Stage::Prod);
    assert_eq!(script.view().promotions(&script.rows, PromotionId(0), 2).len(), 2);
    assert!(script.at > LogIndex(0));
}
