//! Durable placements on three replicas: many distinct jobs wait behind a shut queue, the queue is
//! opened in one entry, and it is measured from the request for that entry until a linearizable read
//! at a follower shows all of them placed.

use crate::{
    assay::{self, Assay, Client},
    cpu,
    deaf::{Authority, Deaf},
    planner,
    report::{self, Figure, Quantity, Target},
};
use anyhow::{Context as _, Result, bail, ensure};
use domain::queue::view::QueuesView;
use proto::v1::{self, query_request::What};
use std::time::{Duration, Instant};

/// Jobs in one request.
const BATCH: usize = 1_000;
/// The queue.
const QUEUE: &str = "bench";
/// Pause between two looks at it.
const LOOK: Duration = Duration::from_millis(4);
/// Longest wait for the next placement.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the issue asks for.
const GOAL: f64 = 50_000.0;
/// What others published.
const PEERS: [(&str, f64); 3] =
    [("Nomad C1M", 3_750.0), ("Gödel", 1_300.0), ("kube-scheduler", 580.0)];

/// Opens or shuts the queue: how many elements a user may have running in it.
async fn set_queue(assay: &Assay, client: &mut Client, most: Option<u32>) -> Result<()> {
    // All of them: before the first call this one is not there.
    let all = What::Queues(v1::QueuesQuery::default());
    let view: QueuesView = assay.query(0, all).await?;
    let queue = v1::Queue { weight: 1, user_running_max: most, ..v1::Queue::default() };
    let config = v1::ClusterConfig {
        half_life_ms: view.half_life_ms,
        queues: [(QUEUE.to_owned(), queue)].into(),
        ..v1::ClusterConfig::default()
    };
    let request = v1::ApplyConfigRequest {
        key: assay::key().into(),
        expected: view.version,
        config: Some(config),
        why: "benchmark".into(),
    };
    client.apply_config(request).await.context("the queue is set")?;
    Ok(())
}

async fn queues(assay: &Assay, server: usize) -> Result<QueuesView> {
    assay.query(server, What::Queues(v1::QueuesQuery { name: QUEUE.to_owned() })).await
}

/// A distinct job of one core that writes nothing.
fn job(number: usize) -> v1::Job {
    v1::Job {
        name: format!("small-{number}"),
        queue: QUEUE.into(),
        command: vec!["true".into()],
        tasks: 1,
        cpu_millis: 1_000,
        memory_bytes: 1 << 30,
        outputs: "none".into(),
        ..v1::Job::default()
    }
}

async fn submit(client: &mut Client, jobs: usize) -> Result<()> {
    for first in (0..jobs).step_by(BATCH) {
        let numbers = first..jobs.min(first + BATCH);
        let request = v1::SubmitRequest {
            key: assay::key().into(),
            jobs: numbers.map(job).collect(),
            ..v1::SubmitRequest::default()
        };
        client.submit(request).await.context("a job is taken in")?;
    }
    Ok(())
}

/// What was seen of placements, each time at a follower that a quorum has confirmed.
struct Seen {
    first: (Instant, u64),
    last: (Instant, u64),
}

impl Seen {
    /// Placements a second since the queue was opened: all may come at once, in one entry.
    fn rate(&self, opened: Instant) -> f64 {
        self.last.1 as f64 / self.last.0.duration_since(opened).as_secs_f64().max(1e-3)
    }
}

async fn watch(assay: &Assay, server: usize, jobs: usize, deaf: &mut Deaf) -> Result<Seen> {
    let mut client = assay.client(server)?;
    let mut seen: Option<Seen> = None;
    let mut news = Instant::now();
    loop {
        let what = What::Queues(v1::QueuesQuery { name: QUEUE.to_owned() });
        let request = v1::QueryRequest { stale: false, what: Some(what) };
        let answer = client.query(request).await?.into_inner();
        let at = Instant::now();
        let view: QueuesView = serde_json::from_slice(&answer.json)?;
        let running = view.queues.first().context("the queue is there")?.running;
        let known = seen.as_ref().map_or(0, |seen| seen.last.1);
        if running > known {
            news = at;
            let last = (at, running);
            seen = Some(Seen { first: seen.map_or(last, |seen| seen.first), last });
        }
        if let Some(seen) = seen.take_if(|seen| seen.last.1 == jobs as u64) {
            return Ok(seen);
        }
        deaf.check()?;
        if news.elapsed() > PATIENCE {
            bail!("{known} of {jobs} jobs are placed, and no further one within {PATIENCE:?}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn print(seen: &Seen, jobs: usize, (nodes, opened): (usize, Instant), cpu: Duration) {
    let rate = Quantity::Rate(seen.rate(opened));
    let [(nomad, best), others @ ..] = PEERS;
    let others: Vec<_> = others.iter().map(|(name, rate)| format!("{name} {rate:.0}/s")).collect();
    let goal = GOAL / best;
    Figure::new(format!("durable placements, {jobs} jobs, 3 replicas"), rate)
        .beside(format!("{nomad}, published"), Quantity::Rate(best))
        .target(Target::Times(goal, goal))
        .cpu(cpu)
        .note(format!(
            "the goal is {GOAL:.0}/s; also published: {}; {:.2} s from the request that opens the \
             queue to a linearizable read at a follower that shows all; the first that showed any \
             showed {}",
            others.join(", "),
            seen.last.0.duration_since(opened).as_secs_f64(),
            seen.first.1,
        ))
        .note(format!(
            "distinct jobs of one core onto {nodes} played nodes with a stream, a certificate and \
             a heartbeat each, which are sent their leases and run nothing; CPU is that of the \
             three servers"
        ))
        .print();
    let memory = planner::placements(nodes, jobs);
    Figure::new("the same, beside the state machine in memory", rate)
        .beside("planner and one replica's apply", Quantity::Rate(memory))
        .note("on one core; three replicas apply each placement, and the leader plans it")
        .print();
}

/// Runs the benchmark with so many jobs and nodes.
///
/// # Errors
/// When the cluster does not come up, or a job is not placed.
pub async fn run(jobs: usize, nodes: usize) -> Result<()> {
    report::section("Durable placements");
    ensure!(jobs > 0 && nodes > 0, "give jobs and nodes");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let (leader, _) = assay.leader().await?;
    let mut client = assay.client(leader)?;
    for node in ["node-a", "node-b"] {
        let (key, node) = (assay::key().into(), node.to_owned());
        let reason = "only the played nodes take part".to_owned();
        client.drain(v1::DrainRequest { key, node, reason, ..Default::default() }).await?;
    }
    set_queue(&assay, &mut client, Some(0)).await?;
    submit(&mut client, jobs).await?;
    let authority = Authority::of(assay.profile())?;
    let room = jobs.div_ceil(nodes);
    let mut deaf = Deaf::join(&authority, assay.address(leader), nodes, room).await?;
    ensure!(queues(&assay, leader).await?.queues[0].running == 0, "the queue is not shut");
    let pids = assay.pids();
    let before = cpu::of(&pids);
    let opened = Instant::now();
    set_queue(&assay, &mut client, None).await?;
    let follower = (leader + 1) % assay.servers();
    let seen = watch(&assay, follower, jobs, &mut deaf).await?;
    let used = cpu::each(cpu::of(&pids) - before, jobs as u64);
    print(&seen, jobs, (nodes, opened), used);
    Ok(())
}
