//! The published figures of Muri, which the simulator must give again.

use super::{
    assay::{Assay, Known},
    cluster::Cluster,
    engine::simulate,
    las::Las,
    metric::{Metrics, measure},
    order::{By, Order},
};
use crate::workload::{
    estimate::Estimates,
    given,
    load::load,
    name::{Format, Overhead},
};
use serde_json::Value;

const FIGURES: [&str; 3] = ["avg_jct_s", "p99_jct_s", "makespan_s"];

fn orders() -> [(&'static str, &'static str, Box<dyn Order>); 3] {
    [
        ("SRTF", "SRTF", Box::new(By::srtf())),
        ("SRSF", "SRSF", Box::new(By::srsf())),
        ("Tiresias_L", "tiresias", Box::new(Las::default())),
    ]
}

fn run(trace: &str, order: &mut dyn Order, overhead: Overhead) -> Metrics {
    run_told(trace, order, overhead, Estimates::Exact)
}

fn run_told(trace: &str, order: &mut dyn Order, overhead: Overhead, told: Estimates) -> Metrics {
    let path = given::traces().unwrap().join("muri").join(trace);
    let trace = load(&path, Format::Muri).unwrap();
    let estimates = told.of(&trace.jobs);
    measure(&simulate(&trace.jobs, estimates, Cluster::new(vec![8; 8]), order, overhead))
}

/// Fails for each figure that is further off than `within`.
fn check(name: &str, ours: &Metrics, published: [&Value; 3], within: f64) {
    let ours = [ours.jct_avg_s, ours.jct_p99_s, ours.makespan_s];
    for ((figure, ours), published) in FIGURES.iter().zip(ours).zip(published) {
        let published = published.as_f64().unwrap();
        let off = (ours / published - 1.0).abs();
        println!("{name} {figure}: {ours:.3}, published {published:.3}, off {:.4} %", 100.0 * off);
        assert!(off <= within, "{name} {figure}: {ours} is not {published}");
    }
}

#[test]
fn simulated_traces_are_as_published() {
    let Some(published) = given::published("muri.json") else { return };
    for (at, trace) in ["trace1", "trace3"].into_iter().enumerate() {
        for (name, _, mut order) in orders() {
            for (overhead, within) in [(Overhead::Event, 0.0001), (Overhead::Restart, 0.02)] {
                // The rounded columns of the normalised trace must do as well.
                for file in [format!("{trace}.csv"), format!("muri_{trace}.csv")] {
                    let ours = run(&file, order.as_mut(), overhead);
                    let figures = &published["simulation"][name];
                    let figures = FIGURES.map(|figure| &figures[figure][at]);
                    check(&format!("{file} {name} {overhead:?}"), &ours, figures, within);
                }
            }
        }
    }
}

#[test]
fn the_testbed_trace_is_near_the_physical_run() {
    let Some(published) = given::published("muri.json") else { return };
    for (_, name, mut order) in orders() {
        for overhead in [Overhead::Event, Overhead::Restart] {
            let ours = run("muri_cluster_trace.csv", order.as_mut(), overhead);
            let figures = &published["testbed_400_jobs"][name];
            let figures = FIGURES.map(|figure| &figures[figure]);
            check(&format!("testbed {name} {overhead:?}"), &ours, figures, 0.03);
        }
    }
}

#[test]
fn our_own_is_below_tiresias_without_estimates_and_below_srtf_with() {
    if given::traces().is_none() {
        return;
    }
    for trace in ["muri_trace1.csv", "muri_trace3.csv", "muri_cluster_trace.csv"] {
        let average = |order: &mut dyn Order| run(trace, order, Overhead::Restart).jct_avg_s;
        let without = average(&mut Assay::new(Known::Nothing, 64));
        let with = average(&mut Assay::new(Known::Estimates, 64));
        let (las, srtf) = (average(&mut Las::default()), average(&mut By::srtf()));
        println!(
            "{trace}: without {without:.0}, Tiresias {las:.0}; with {with:.0}, SRTF {srtf:.0}"
        );
        let known = &mut Assay::new(Known::Estimates, 64);
        let wrong = run_told(trace, known, Overhead::Restart, Estimates::Noise(50.0)).jct_avg_s;
        println!("{trace}: with estimates off by up to 50 % {wrong:.0}");
        assert!(wrong < srtf, "{trace}: {wrong}, {srtf}");
        assert!(without < las && with < srtf, "{trace}: {without}, {las}; {with}, {srtf}");
    }
}
