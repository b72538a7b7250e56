//! Retrains that are held for a time, and what ends that.

use super::{
    drift_test::{
        HOUR, ask, close, dispatched, episode, model, observe, policy, resume_due, set, watched,
        with_data,
    },
    model_test::{head, kinds, number, refusal},
    script::Script,
};
use domain::{
    EpisodeId, Millis,
    drift::{Dispatch, Retrain, RetrainPolicy},
};
use registry::ledger::drift::DriftCommand as D;

#[test]
fn a_retrain_that_is_held_for_a_time_starts_when_that_is_over_and_no_earlier() {
    let mut script = watched(Dispatch::Auto);
    number(observe(&mut script, with_data(2, "")));
    let first = script.now;
    close(&mut script, 1);
    script.now = first.plus(Millis(HOUR));
    number(observe(&mut script, with_data(3, "")));
    let due = first.plus(Millis(24 * HOUR));
    assert_eq!(script.view().held_retrains().collect::<Vec<_>>(), [(EpisodeId(2), due)]);
    let resume = |script: &mut Script| ask(script, D::Resume { episode: EpisodeId(2) });
    script.now = due.minus(Millis(1));
    let early = refusal(resume(&mut script)).to_string();
    assert!(early.contains("is held until"), "{early}");
    script.now = due;
    let before = head(&script) + 1;
    number(resume(&mut script));
    dispatched(&script, 2);
    assert_eq!(script.view().held_retrains().count(), 0);
    assert!(kinds(&script, before).contains(&"drift.retrain.dispatched".to_owned()));
    let again = refusal(resume(&mut script)).to_string();
    assert!(again.contains("has no retrain that is held"), "{again}");
}

#[test]
fn a_policy_that_was_set_anew_decides_on_what_the_old_one_held() {
    let mut script = watched(Dispatch::Auto);
    number(observe(&mut script, with_data(2, "")));
    close(&mut script, 1);
    number(observe(&mut script, with_data(3, "")));
    assert!(matches!(episode(&script, 2).retrain, Retrain::Held { due: Some(_), .. }));
    let short = RetrainPolicy { cool_down: Millis(0), ..policy(Dispatch::Auto) };
    number(set(&mut script, short));
    resume_due(&mut script);
    dispatched(&script, 2);
    // One that starts nothing leaves it to a person.
    close(&mut script, 2);
    number(ask(&mut script, D::Observe { model: model(), revision: 2, seen: with_data(2, "") }));
    assert!(matches!(episode(&script, 3).retrain, Retrain::Held { due: Some(_), .. }));
    number(set(&mut script, policy(Dispatch::Suggest)));
    resume_due(&mut script);
    assert_eq!(episode(&script, 3).retrain, Retrain::Suggested);
}
