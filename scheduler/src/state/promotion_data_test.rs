//! Data that is blocked after a model was trained with it stops the model where it stands.

use super::{
    command::Reply,
    dataset_test::{clear, facts, raise, register as dataset},
    model_test::{number, refusal, register, send, train},
    promotion_test::{PEOPLE, allow, by, decided, gate, key, model, promotion, sign, word_of},
    script::{Script, machine, output},
    view::sources,
};
use domain::{
    ArtifactId, Digest, model::Stage, promotion::Risk, refusal::RegistryRefusal::DatasetBlocked,
};
use registry::ledger::{
    RegistryCommand as C,
    lineage::{self, Bounds},
};

/// The tree of the data that the base was trained with.
const DATA: u8 = 200;

/// `tuned@1`, whose data is the files of an artifact that was trained with [`DATA`].
fn tuned() -> Script {
    let mut script = Script::new();
    script.register(machine("a", 1, "H100"));
    train(&mut script, Some(Digest([DATA; 32])), 1);
    train(&mut script, Some(output(1).tree), 2);
    number(register(&mut script, "tuned", 2, &[]));
    for (of, name) in (0..).zip(PEOPLE) {
        let key = key(of).verifying_key().to_bytes();
        number(send(&mut script, C::AddApprover { name: name.into(), key }));
    }
    script
}

fn found_mails(script: &mut Script) {
    number(dataset(script, "ada", "mails", facts(DATA, "MIT", 1)));
}

fn ask(script: &mut Script, risk: Risk) -> Reply {
    request(script, risk, false)
}

fn request(script: &mut Script, risk: Risk, emergency: bool) -> Reply {
    let (model, reason) = (model("tuned@1"), "better".to_owned());
    let to = Stage::Staging;
    let asked = C::RequestPromotion { model, to, risk, emergency, reason, within: None };
    by(script, "user:ada", asked)
}

fn decide(script: &mut Script, id: u64) -> Reply {
    by(script, "server:1", decided(id, vec![gate("0.9")], allow()))
}

fn blocked(reply: Reply) -> bool {
    matches!(refusal(reply), DatasetBlocked { dataset, .. } if dataset.to_string() == "mails@1")
}

#[test]
fn a_promotion_is_not_requested_until_the_data_of_the_base_is_cleared() {
    let mut script = tuned();
    raise(&mut script);
    found_mails(&mut script);
    assert!(blocked(ask(&mut script, Risk::Low)));
    number(clear(&mut script, "bob", "mails", 0, "checked"));
    number(ask(&mut script, Risk::Low));
}

#[test]
fn a_promotion_is_refused_at_whatever_step_the_data_is_blocked() {
    for steps in 0..3 {
        let mut script = tuned();
        raise(&mut script);
        let risk = if steps == 2 { Risk::High } else { Risk::Low };
        let id = number(ask(&mut script, risk));
        if steps > 0 {
            number(decide(&mut script, id));
        }
        if steps > 1 {
            let signed = sign(&script, id);
            number(by(&mut script, "server:1", signed));
        }
        found_mails(&mut script);
        let next = match steps {
            0 => decide(&mut script, id),
            1 => {
                let signed = sign(&script, id);
                by(&mut script, "server:1", signed)
            }
            _ => {
                let word = word_of(&script, id, 0);
                by(&mut script, "user:bob", word)
            }
        };
        assert!(blocked(next), "step {steps}");
        let left = promotion(&script, id);
        let why = left.history.last().map(|last| last.what.clone()).unwrap_or_default();
        assert_eq!(left.state.word(), "refused", "step {steps}");
        assert!(why.contains("mails@1 is blocked: it holds personal data"), "{why}");
        assert!(why.ends_with("then request the promotion again"), "{why}");
    }
}

#[test]
fn a_cluster_of_the_version_before_does_not_look() {
    let mut script = tuned();
    found_mails(&mut script);
    number(ask(&mut script, Risk::Low));
    raise(&mut script);
    assert!(blocked(decide(&mut script, 1)), "it does once all members understand it");
}

#[test]
fn what_an_emergency_applied_is_not_ratified_before_the_data_is_cleared() {
    let mut script = tuned();
    raise(&mut script);
    let id = number(request(&mut script, Risk::High, true));
    number(decide(&mut script, id));
    let signed = sign(&script, id);
    number(by(&mut script, "server:1", signed));
    let approve = |script: &mut Script, of: u8| {
        let word = word_of(script, id, of);
        by(script, &format!("user:{}", PEOPLE[usize::from(of)]), word)
    };
    number(approve(&mut script, 0));
    found_mails(&mut script);
    assert!(blocked(approve(&mut script, 1)));
    assert_eq!(promotion(&script, id).state.word(), "unratified");
    number(clear(&mut script, "bob", "mails", 0, "checked"));
    number(approve(&mut script, 1));
    number(approve(&mut script, 2));
    assert_eq!(promotion(&script, id).state.word(), "applied");
}

#[test]
fn the_walk_ends_at_its_bounds_and_meets_the_nearest_first() {
    let mut script = tuned();
    train(&mut script, Some(output(2).tree), 3);
    let rows = &script.rows;
    let came_of = |depth, nodes| {
        let of = &|element| sources(rows, element);
        lineage::came_of(rows, ArtifactId(3), Bounds { depth, nodes }, of)
    };
    let (data, one, two) = (Digest([DATA; 32]), output(1).tree, output(2).tree);
    assert_eq!(came_of(50, 1_000), [two, one, data]);
    assert_eq!(came_of(1, 1_000), [two, one], "one step back is one artifact back");
    assert_eq!(came_of(50, 3), [two]);
}
