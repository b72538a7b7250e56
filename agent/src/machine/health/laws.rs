//! The machine's laws over random lives of two GPUs.

use super::*;
use proptest::{collection::vec, prelude::*};

fn gauges() -> impl Strategy<Value = Gauges> {
    let counters = (0u64..3, 0u64..2, 0u64..3);
    let conditions = (any::<bool>(), prop::bool::weighted(0.1), 60u32..95, any::<bool>());
    (counters, conditions, 0u32..2).prop_map(
        |((fixed, wrong, link), (row, failed, heat, slow), down)| Gauges {
            ecc_corrected: fixed,
            ecc_uncorrected: wrong,
            row_remap_pending: row,
            row_remap_failed: failed,
            temperature_c: heat,
            slowdown_c: Some(87),
            thermal_slowdown: slow,
            nvlinks_down: down,
            nvlink_errors: link,
            ..Gauges::default()
        },
    )
}

fn inputs() -> impl Strategy<Value = HealthInput> {
    let uuid = (0u8..2).prop_map(|n| format!("GPU-{n}"));
    let xid = prop::sample::select(vec![13, 43, 48, 63, 64, 74, 79, 92, 94, 95, 119, 4_711]);
    let reading = prop_oneof![
        4 => gauges().prop_map(Reading::Answered),
        1 => Just(Reading::Answered(Gauges::default())),
        1 => Just(Reading::Lost),
        2 => Just(Reading::Hung),
        2 => xid.prop_map(Reading::Xid),
    ];
    let accepted = (uuid.clone(), 0u64..100_000, any::<bool>());
    prop_oneof![
        6 => (uuid.clone(), reading).prop_map(|(uuid, reading)| HealthInput::Read { uuid, reading }),
        1 => uuid.clone().prop_map(|uuid| {
            let cause = Cause { symptom: "outvoted".into(), advice: "test it".into() };
            HealthInput::Accused { uuid, cause }
        }),
        2 => uuid.prop_map(|uuid| HealthInput::Free { uuid }),
        2 => accepted.prop_map(|(uuid, began, passed)| {
            HealthInput::Accepted { uuid, began: Millis(began), passed }
        }),
    ]
}

type Life = Vec<(HealthInput, u64)>;

fn lives() -> impl Strategy<Value = Life> {
    vec((inputs(), 0u64..5_000), 0..80)
}

/// Severity of a state: it may only grow, but for an acceptance.
fn severity(health: &Health, uuid: &str) -> u8 {
    match health.held_back().get(uuid) {
        None | Some(GpuState::Serving) => 0,
        Some(GpuState::Draining { .. }) => 1,
        Some(GpuState::Quarantined { .. }) => 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn equal_lives_have_equal_outcomes(life in lives()) {
        let live = || {
            let (mut health, mut now) = (Health::default(), Millis(0));
            let outputs: Vec<_> = life.iter().map(|(input, passed)| {
                now = now.plus(Millis(*passed));
                health.on(input.clone(), now)
            }).collect();
            (outputs, health.held_back())
        };
        prop_assert_eq!(live(), live());
    }

    #[test]
    fn only_an_acceptance_that_began_after_the_last_symptom_lets_a_gpu_serve_again(
        life in lives(), restarts in vec(any::<bool>(), 80)
    ) {
        let (mut health, mut now) = (Health::default(), Millis(0));
        let mut sick = BTreeMap::new();
        for ((input, passed), restart) in life.into_iter().zip(restarts) {
            now = now.plus(Millis(passed));
            if restart {
                health = Health::new(health.held_back());
            }
            let uuids = ["GPU-0", "GPU-1"];
            let before = uuids.map(|uuid| severity(&health, uuid));
            let outputs = health.on(input.clone(), now);
            if let HealthInput::Accused { uuid, .. } = &input
                && outputs.iter().any(|it| matches!(it, HealthOutput::Kill { .. }))
            {
                sick.insert(uuid.clone(), now);
            }
            for output in &outputs {
                if let HealthOutput::Found { uuid, action, .. } = output
                    && *action >= Action::Drain
                {
                    sick.insert(uuid.clone(), now);
                }
            }
            for (uuid, before) in uuids.into_iter().zip(before) {
                let after = severity(&health, uuid);
                let restored = outputs.iter().any(|output| {
                    matches!(output, HealthOutput::Restore { uuid: of } if of == uuid)
                });
                prop_assert_eq!(restored, after < before);
                if restored {
                    let accepted = matches!(&input, HealthInput::Accepted { passed: true, .. });
                    prop_assert!(accepted && before == 2 && after == 0);
                    if let HealthInput::Accepted { began, .. } = &input {
                        prop_assert!(sick.get(uuid).is_none_or(|last| last < began));
                    }
                }
                prop_assert_eq!(health.serves(uuid), after == 0);
            }
        }
    }

    #[test]
    fn what_runs_is_ended_once_and_after_the_gpu_was_withdrawn(life in lives()) {
        let (mut health, mut now) = (Health::default(), Millis(0));
        let mut offered = BTreeMap::from([("GPU-0".to_owned(), true), ("GPU-1".to_owned(), true)]);
        let mut killed = BTreeMap::new();
        for (input, passed) in life {
            now = now.plus(Millis(passed));
            for output in health.on(input, now) {
                match output {
                    HealthOutput::Found { .. } => {}
                    HealthOutput::Withdraw { uuid, .. } => {
                        prop_assert_eq!(offered.insert(uuid, false), Some(true));
                    }
                    HealthOutput::Restore { uuid } => {
                        killed.remove(&uuid);
                        prop_assert_eq!(offered.insert(uuid, true), Some(false));
                    }
                    HealthOutput::Kill { uuid, .. } => {
                        prop_assert_eq!(offered.get(&uuid), Some(&false));
                        prop_assert!(killed.insert(uuid, now).is_none());
                    }
                }
            }
        }
    }
}

fn read(health: &mut Health, reading: Reading, now: u64) -> Vec<String> {
    let input = HealthInput::Read { uuid: "GPU-0".into(), reading };
    health.on(input, Millis(now)).iter().map(said).collect()
}

fn said(output: &HealthOutput) -> String {
    match output {
        HealthOutput::Found { symptom, action, times, .. } => {
            format!("{symptom} ({times}): {action}")
        }
        HealthOutput::Withdraw { .. } => "withdraw".into(),
        HealthOutput::Kill { .. } => "kill".into(),
        HealthOutput::Restore { .. } => "restore".into(),
    }
}

#[test]
fn a_pending_remap_waits_for_the_job_and_a_lost_gpu_does_not() {
    let mut health = Health::default();
    let fine = Gauges { ecc_uncorrected: 7, ..Gauges::default() };
    assert!(read(&mut health, Reading::Answered(fine), 1).is_empty(), "counted before we came");
    let pending = Gauges { row_remap_pending: true, ..fine };
    let found = read(&mut health, Reading::Answered(pending), 2);
    assert_eq!(found, ["row remap pending (1): drain after the job", "withdraw"]);
    assert_eq!(severity(&health, "GPU-0"), 1);
    assert!(read(&mut health, Reading::Answered(pending), 3).is_empty());
    health.on(HealthInput::Free { uuid: "GPU-0".into() }, Millis(4));
    assert_eq!(severity(&health, "GPU-0"), 2);
    let accept =
        |began| HealthInput::Accepted { uuid: "GPU-0".into(), began: Millis(began), passed: true };
    assert_eq!(health.on(accept(2), Millis(5)), [], "it began before the last symptom");
    let restored = health.on(accept(4), Millis(5));
    assert_eq!(restored, [HealthOutput::Restore { uuid: "GPU-0".into() }]);
    assert_eq!(
        read(&mut health, Reading::Lost, 6),
        ["lost (1): kill and quarantine", "withdraw", "kill"]
    );
    assert_eq!(health.on(accept(7), Millis(8)), [], "nothing passes on a GPU that is away");
}

#[test]
fn what_is_watched_too_often_is_drained_and_days_are_counted_apart() {
    let mut health = Health::default();
    let day = WINDOW.0 + 1;
    assert_eq!(read(&mut health, Reading::Xid(92), 0), ["Xid 92 (1): watch"]);
    assert_eq!(read(&mut health, Reading::Xid(92), 9), ["Xid 92 (2): watch"]);
    assert_eq!(read(&mut health, Reading::Xid(92), day), ["Xid 92 (1): watch"]);
    read(&mut health, Reading::Xid(92), day + 1);
    let third = read(&mut health, Reading::Xid(92), day + 2);
    assert_eq!(third, ["Xid 92 (3): drain after the job", "withdraw"]);
    for (now, expected) in [(1, "hung call (1): watch"), (2, ""), (3, "calls still hung (1)")] {
        let found = read(&mut health, Reading::Hung, day + 10 + now).join(" ");
        assert!(found.starts_with(expected), "{found}");
    }
    assert_eq!(severity(&health, "GPU-0"), 2, "a hang ends the job that was let finish");
}
