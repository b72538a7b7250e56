//! The form of what a change would do.

use super::{sample, start, whatif, why};
use crate::output::{Style, stable};
use domain::{
    Digest, ElementId, JobId, Millis,
    foresee::{
        Basis, CalibrationView, EvictionView, ShiftView, StartView, StartsHeld, UtilisationView,
        WhatifView,
    },
    view::WhyView,
};
use insta::{assert_json_snapshot, assert_snapshot};

const NOW: Millis = Millis(1_790_000_000_000);

fn at(minutes: u64) -> Option<Millis> {
    Some(NOW.plus(Millis(minutes * 60_000)))
}

fn starts(p50: Option<Millis>, p90: Option<Millis>) -> StartView {
    let not_known = p90.is_none().then(|| "not within the 1440 minutes looked ahead".to_owned());
    let nodes = if p50.is_some() { vec!["n1".to_owned(), "n2".to_owned()] } else { Vec::new() };
    let basis = Basis::History;
    let held = Some(CalibrationView { attempts: 200, within_p50: 97, within_p90: 182 });
    let starts_held = None;
    StartView {
        from_time: NOW,
        p50,
        p90,
        nodes,
        basis,
        scenarios: 11,
        held,
        starts_held,
        not_known,
    }
}

fn shift(job: u64, before: Option<StartView>, after: StartView) -> ShiftView {
    let then = before.as_ref().and_then(|it| it.p50);
    let moved = then.zip(after.p50).map(|(then, now)| now.0 as i64 - then.0 as i64);
    ShiftView {
        job: JobId(job),
        name: format!("train-{job}"),
        user: "ada".into(),
        queue: "ml-a".into(),
        gpus: 16,
        before,
        after,
        shift_ms: moved,
    }
}

fn answer() -> WhatifView {
    WhatifView {
        from_time: NOW,
        horizon_ms: 24 * 3_600_000,
        scenarios: 11,
        policy_version: 4,
        view: Digest::of(b"view"),
        changes: vec!["guarantee of ml-b +32".into(), "drain n3, n4".into()],
        drained_at: at(60),
        shifts: vec![
            shift(7, Some(starts(at(5), at(9))), starts(None, None)),
            shift(8, Some(starts(at(5), at(9))), starts(at(95), at(120))),
            shift(9, Some(starts(at(30), at(40))), starts(at(0), at(0))),
        ],
        more_shifts: 4,
        unmoved: 12,
        submitted: Some(shift(20, None, starts(at(10), at(1_000)))),
        evictions: vec![EvictionView {
            element: ElementId { job: JobId(3), index: Some(2) },
            user: "bob".into(),
            queue: "ml-b".into(),
            gpus: 8,
            cause: "preempted by j9".into(),
            first_at: NOW.plus(Millis(60_000)),
            before: 1,
            after: 9,
        }],
        more_evictions: 0,
        utilisation: UtilisationView {
            window_ms: 24 * 3_600_000,
            before_per_mille: 612,
            after_per_mille: 580,
            before_gpu_ms: 1_000_000,
            after_gpu_ms: 950_000,
        },
        notes: vec!["nothing fails, and nothing else is submitted meanwhile".into()],
    }
}

#[test]
fn what_a_change_would_do_keeps_its_form() {
    let document = whatif::Whatif { view: answer(), log_index: 101 };
    assert_json_snapshot!("whatif.json", stable::document("whatif", &document));
    assert_snapshot!("whatif.txt", whatif::text(Style::COLUMNS, &answer()));
    let none = WhatifView { shifts: Vec::new(), evictions: Vec::new(), ..answer() };
    assert!(whatif::text(Style::PLAIN, &none).contains("no start moves (12 waiting jobs)"));
}

#[test]
fn a_start_is_a_time_a_span_or_not_known() {
    let line = |start: &StartView| start::line(start);
    let exact = StartView { basis: Basis::TimeLimits, ..starts(at(5), at(5)) };
    assert!(line(&exact).ends_with("(in 5m00s) (by time limits) on n1 n2"), "{}", line(&exact));
    assert!(
        line(&starts(at(5), at(9))).contains("by history; of the last 200 runs 91 % were within")
    );
    let starts_held = Some(StartsHeld { jobs: 240, within_p50: 130, within_p90: 219 });
    let known = StartView { starts_held, ..starts(at(5), at(9)) };
    let few = StartsHeld { jobs: 19, within_p50: 9, within_p90: 17 };
    let few = StartView { starts_held: Some(few), ..known.clone() };
    assert_eq!(line(&few), line(&starts(at(5), at(9))), "too few to tell");
    let json = stable::document("start", &known);
    assert_eq!(json["starts_held"]["jobs"], 240);
    assert!(line(&known).contains("p90, by history; last week 91 % of 240 p90s held) on"));
    assert!(line(&starts(at(5), None)).contains("p90 not known: not within"));
    assert_eq!(
        line(&starts(None, None)),
        "start not known: not within the 1440 minutes looked ahead"
    );
    let why = WhyView { start: Some(starts(at(5), at(9))), ..sample::why() };
    assert_json_snapshot!("why_start.json", stable::document("why", &why));
    assert_snapshot!("why_start.txt", why::text(Style::COLUMNS, &why));
}
