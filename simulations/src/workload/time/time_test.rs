//! Laws of the loop of events, on small traces.

use super::{
    assay::{Assay, Known},
    cluster::Cluster,
    easy::Easy,
    engine::{Ran, simulate},
    las::Las,
    metric::measure,
    order::{By, Fifo, Order},
    pack::{Gang, pack},
};
use crate::{
    chance::Chance,
    workload::{job::Job, name::Overhead},
};

fn job(id: usize, submit_s: f64, gpus: u32, service_s: f64) -> Job {
    let tenant = String::new();
    Job { id: id.to_string(), submit_s, gpus, service_s, asked_s: None, overhead_s: 10.0, tenant }
}

fn jobs(rows: &[(f64, u32, f64)]) -> Vec<Job> {
    rows.iter().enumerate().map(|(id, row)| job(id, row.0, row.1, row.2)).collect()
}

fn run<'a>(jobs: &'a [Job], order: &mut dyn Order, overhead: Overhead) -> Ran<'a> {
    let estimates = jobs.iter().map(|job| job.service_s).collect();
    simulate(jobs, estimates, Cluster::new(vec![8, 8]), order, overhead)
}

fn ends(ran: &Ran<'_>) -> Vec<f64> {
    ran.state.run.iter().map(|run| run.end_s.unwrap_or(-1.0)).collect()
}

fn orders() -> Vec<(&'static str, Box<dyn Order>)> {
    vec![
        ("fifo", Box::new(Fifo)),
        ("easy", Box::new(Easy::default())),
        ("sjf", Box::new(By::sjf())),
        ("srtf", Box::new(By::srtf())),
        ("srsf", Box::new(By::srsf())),
        ("las", Box::new(Las::default())),
        ("assay", Box::new(Assay::new(Known::Nothing, 16))),
        ("assay with estimates", Box::new(Assay::new(Known::Estimates, 16))),
    ]
}

#[test]
fn fifo_lets_small_ones_pass_and_easy_only_where_it_costs_nothing() {
    let jobs = jobs(&[(0.0, 8, 100.0), (1.0, 16, 10.0), (2.0, 8, 500.0), (3.0, 8, 50.0)]);
    assert_eq!(ends(&run(&jobs, &mut Fifo, Overhead::None)), [100.0, 512.0, 502.0, 150.0]);
    let easy = run(&jobs, &mut Easy::default(), Overhead::None);
    assert_eq!(ends(&easy), [100.0, 110.0, 610.0, 53.0]);
}

#[test]
fn a_stopped_job_pays_for_its_second_start() {
    let jobs = jobs(&[(0.0, 16, 100.0), (50.0, 16, 5.0)]);
    let ran = run(&jobs, &mut By::srtf(), Overhead::Restart);
    // 10 to start and 40 of work; 10 and 5 of the other; 10 and 60.
    assert_eq!(ends(&ran), [135.0, 65.0]);
    assert_eq!(measure(&ran).preemptions, 1);
    assert_eq!(measure(&ran).preemption_cost_gpu_s, 16.0 * 30.0);
    assert_eq!(ends(&run(&jobs, &mut By::srtf(), Overhead::None)), [105.0, 55.0]);
}

#[test]
fn what_no_cluster_holds_is_left_out() {
    let jobs = jobs(&[(0.0, 17, 100.0), (1.0, 16, 5.0)]);
    let ran = run(&jobs, &mut Fifo, Overhead::None);
    assert_eq!((ran.too_large.len(), measure(&ran).jobs), (1, 1));
}

/// Jobs with equal times, odd sizes and fractions of seconds.
fn any_jobs(seed: u64) -> Vec<Job> {
    let mut chance = Chance::new(seed).branch("jobs", 0);
    let mut at = 0.0;
    let rows = (0..200).map(|id| {
        if !chance.one_in(3) {
            at += chance.below(4_000) as f64 / 8.0;
        }
        let magnitude = chance.below(14);
        let service = 0.1 + chance.below(1 << magnitude) as f64;
        job(id, at, 1 + chance.below(16) as u32, service)
    });
    rows.collect()
}

#[test]
fn every_job_ends_whole_and_never_too_early() {
    for seed in 0..30 {
        let jobs = any_jobs(seed);
        for overhead in [Overhead::Event, Overhead::Restart, Overhead::None] {
            for (name, mut order) in orders() {
                let ran = run(&jobs, order.as_mut(), overhead);
                for (job, run) in jobs.iter().zip(&ran.state.run) {
                    let end = run.end_s.unwrap_or_else(|| panic!("{name} {seed}: never ends"));
                    let least = job.submit_s + job.service_s;
                    assert!(end >= least - 1e-6, "{name} {seed}: {end} is before {least}");
                }
                assert!(ran.samples.used.iter().all(|used| *used <= 16), "{name} {seed}");
            }
        }
    }
}

/// Of those who waited beyond patience the oldest goes first, so from then on a job waits for
/// none but those that came before it, each for no longer than it takes. Nothing that comes
/// later, however much of it, holds it up.
#[test]
fn nobody_starves_under_our_own_order() {
    for seed in 0..60 {
        let jobs = any_jobs(seed);
        for known in [Known::Nothing, Known::Estimates] {
            let mut order = Assay::new(known, 16);
            let ran = run(&jobs, &mut order, Overhead::None);
            let mut before_s = 0.0;
            for (job, run) in jobs.iter().zip(&ran.state.run) {
                let there_s = run.end_s.expect("every job ends") - job.submit_s;
                // A job's end is an event: it is some milliseconds off at most for each before.
                let bound_s = order.patience_s() + before_s + 1.0;
                let waited_s = there_s - job.service_s;
                assert!(waited_s <= bound_s, "{seed} {known:?} {}: {waited_s}", job.id);
                before_s += job.service_s;
            }
        }
    }
}

#[test]
fn gangs_move_when_what_is_free_is_scattered() {
    // Four GPUs are used on each of two nodes; a gang of eight needs one of them whole.
    let mut cluster = Cluster::new(vec![8, 8]);
    let (one, other, nowhere) = (vec![(0, 4)], vec![(1, 4)], Vec::new());
    let around = pack(
        &mut cluster,
        &[
            Gang { gpus: 4, place: &one },
            Gang { gpus: 4, place: &other },
            Gang { gpus: 4, place: &nowhere },
        ],
    );
    assert_eq!(around[..2], [Some(one.clone()), Some(other.clone())]);
    let moved = pack(
        &mut cluster,
        &[
            Gang { gpus: 4, place: &one },
            Gang { gpus: 4, place: &other },
            Gang { gpus: 8, place: &nowhere },
        ],
    );
    assert!(moved.iter().all(Option::is_some), "{moved:?}");
    assert_eq!(cluster.left(), 0);
}
