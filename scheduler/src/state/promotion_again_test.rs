//! Words that are given anew, and emergencies that are taken back one after the other.

use super::{
    dataset_test::raise,
    model_test::{number, refusal, send},
    promotion_test::{
        approve, as_user, ask, bring, by, cleared, emergency, in_stage, key, named, promotion,
        stage, word, word_of,
    },
};
use domain::{Millis, PromotionId, model::Stage, promotion::Risk, refusal::RegistryRefusal};
use registry::ledger::RegistryCommand as C;

#[test]
fn whose_word_no_longer_counts_may_give_it_anew_and_counts_once() {
    let mut script = stage(1);
    raise(&mut script);
    let id = cleared(&mut script, ask("llama@1", Stage::Staging, Risk::High));
    number(approve(&mut script, id, 0));
    number(approve(&mut script, id, 1));
    let again = refusal(approve(&mut script, id, 0));
    assert!(matches!(again, RegistryRefusal::Twice { .. }), "{again}");
    let rotated = C::AddApprover { name: "bob".into(), key: key(40).verifying_key().to_bytes() };
    number(send(&mut script, rotated));
    // The word under the old key counts no more.
    let old = refusal(approve(&mut script, id, 0));
    assert!(matches!(old, RegistryRefusal::Forged { .. }), "{old}");
    let anew = word_of(&script, id, 40);
    number(as_user(&mut script, "bob", anew.clone()));
    assert_eq!(word(&script, id), "pending");
    let by_whom: Vec<String> =
        promotion(&script, id).approvals.into_iter().map(|it| it.approver).collect();
    assert_eq!(by_whom, ["cleo", "bob"], "each counts once");
    let twice = refusal(as_user(&mut script, "bob", anew));
    assert!(matches!(twice, RegistryRefusal::Twice { .. }), "{twice}");
    number(approve(&mut script, id, 2));
    assert_eq!(word(&script, id), "applied");
}

#[test]
fn emergencies_that_are_taken_back_one_after_the_other_leave_what_was_there_before_them() {
    for settled in [false, true] {
        for order in [[0, 1], [1, 0]] {
            let mut script = stage(3);
            raise(&mut script);
            for version in ["llama@1", "llama@2", "llama@3"] {
                bring(&mut script, version, Stage::Staging);
            }
            bring(&mut script, "llama@1", Stage::Prod);
            let ids = ["llama@2", "llama@3"].map(|version| {
                let id = cleared(&mut script, emergency(version));
                number(approve(&mut script, id, 0));
                assert_eq!(named(&script, "llama@prod").as_deref(), Some(version));
                id
            });
            script.now = script.now.plus(Millis(48 * 3_600_000));
            for at in order {
                let promotion = PromotionId(ids[at]);
                let reply = match settled {
                    true => by(&mut script, "server:1", C::SettlePromotion { promotion }),
                    false => {
                        let reason = "too early".to_owned();
                        as_user(&mut script, "eve", C::Reject { promotion, reason })
                    }
                };
                number(reply);
            }
            assert_eq!(named(&script, "llama@prod").as_deref(), Some("llama@1"), "{order:?}");
            assert_eq!(in_stage(&script, "llama@1"), Stage::Prod);
            assert_eq!(in_stage(&script, "llama@2"), Stage::Staging);
        }
    }
}
