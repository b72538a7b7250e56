//! A closed loop of clients: each sends its next request when the last was acknowledged.

use crate::cpu;
use hdrhistogram::Histogram;
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// What one load gave.
pub struct Outcome {
    /// Requests acknowledged within the window.
    pub done: u64,
    /// Requests that failed within the window.
    pub failed: u64,
    /// Wall time of the window.
    pub elapsed: Duration,
    /// Latencies in µs.
    pub latency: Histogram<u64>,
    /// CPU of the observed processes within the window.
    pub cpu: Duration,
}

impl Outcome {
    /// Nothing yet.
    pub fn none() -> Self {
        let (elapsed, cpu) = (Duration::ZERO, Duration::ZERO);
        Self { done: 0, failed: 0, elapsed, latency: empty(), cpu }
    }

    /// This window and another one.
    pub fn and(mut self, more: &Self) -> Self {
        self.done += more.done;
        self.failed += more.failed;
        self.elapsed += more.elapsed;
        self.cpu += more.cpu;
        self.latency.add(&more.latency).expect("histograms of one shape add up");
        self
    }

    /// Acknowledged requests a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// Median latency in ms.
    pub fn median_ms(&self) -> f64 {
        self.latency.value_at_quantile(0.5) as f64 / 1_000.0
    }

    /// 99th percentile of the latency in ms.
    pub fn p99_ms(&self) -> f64 {
        self.latency.value_at_quantile(0.99) as f64 / 1_000.0
    }

    /// CPU of the observed processes for each acknowledged request.
    pub fn cpu_each(&self) -> Duration {
        cpu::each(self.cpu, self.done)
    }
}

/// Runs `clients` loops for `time`, after one call of each (which connects) and a warm-up of a
/// fifth of the time. Counts what is acknowledged within that window and the CPU that `pids` take
/// meanwhile.
pub async fn run<C, F, R>(clients: Vec<C>, time: Duration, pids: &[u32], call: F) -> Outcome
where
    C: Send + 'static,
    F: Fn(C, u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = (C, bool)> + Send,
{
    let clients = connect(clients, &call).await;
    let begin = Instant::now() + time / 5;
    let end = begin + time;
    let mut loops = tokio::task::JoinSet::new();
    for (mut client, mut turn) in clients {
        let call = call.clone();
        loops.spawn(async move {
            let mut latency = empty();
            let (mut done, mut failed) = (0u64, 0u64);
            loop {
                let sent = Instant::now();
                let (again, good) = call(client, turn).await;
                client = again;
                turn += 1;
                let answered = Instant::now();
                if answered >= end {
                    return (done, failed, latency);
                }
                if answered < begin {
                    continue;
                }
                if good {
                    done += 1;
                    let micros = u64::try_from((answered - sent).as_micros()).unwrap_or(u64::MAX);
                    latency.saturating_record(micros);
                } else {
                    failed += 1;
                }
            }
        });
    }
    tokio::time::sleep_until(begin.into()).await;
    let before = cpu::of(pids);
    tokio::time::sleep_until(end.into()).await;
    let mut sum =
        Outcome { cpu: cpu::of(pids).saturating_sub(before), elapsed: time, ..Outcome::none() };
    while let Some(ended) = loops.join_next().await {
        let (done, failed, histogram) = ended.expect("a client loop does not panic");
        sum.done += done;
        sum.failed += failed;
        sum.latency.add(histogram).expect("histograms of one shape add up");
    }
    sum
}

/// One call of each client, so that no handshake falls into a window; gives its next turn.
async fn connect<C, F, R>(clients: Vec<C>, call: &F) -> Vec<(C, u64)>
where
    C: Send + 'static,
    F: Fn(C, u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = (C, bool)> + Send,
{
    let mut calls = tokio::task::JoinSet::new();
    for (number, client) in clients.into_iter().enumerate() {
        let call = call.clone();
        let turn = (number as u64) << 40;
        calls.spawn(async move { (call(client, turn).await.0, turn + 1) });
    }
    calls.join_all().await
}

/// Latencies from 1 µs to a minute, to three digits.
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid")
}

/// The middle of some times; the upper one of two.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
