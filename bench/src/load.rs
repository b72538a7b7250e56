//! A closed loop of clients: each sends its next request when the last was acknowledged.

use hdrhistogram::Histogram;
use std::{
    future::Future,
    time::{Duration, Instant},
};

/// What one load gave.
pub struct Outcome {
    /// Requests acknowledged.
    pub done: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Wall time of the measured part.
    pub elapsed: Duration,
    /// Latencies in µs.
    pub latency: Histogram<u64>,
}

impl Outcome {
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
}

/// Runs `clients` loops for `time`, after a warm-up of a fifth of it.
pub async fn run<C, F, R>(clients: Vec<C>, time: Duration, call: F) -> Outcome
where
    C: Send + 'static,
    F: Fn(C, u64) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = (C, bool)> + Send,
{
    let begin = Instant::now() + time / 5;
    let end = begin + time;
    let mut loops = tokio::task::JoinSet::new();
    for (number, mut client) in clients.into_iter().enumerate() {
        let call = call.clone();
        loops.spawn(async move {
            let mut latency = empty();
            let (mut done, mut failed, mut turn) = (0u64, 0u64, (number as u64) << 40);
            loop {
                let sent = Instant::now();
                if sent >= end {
                    return (done, failed, latency);
                }
                let (again, good) = call(client, turn).await;
                client = again;
                turn += 1;
                if sent < begin {
                    continue;
                }
                if good {
                    done += 1;
                    latency.saturating_record(sent.elapsed().as_micros() as u64);
                } else {
                    failed += 1;
                }
            }
        });
    }
    let mut latency = empty();
    let (mut done, mut failed) = (0, 0);
    while let Some(ended) = loops.join_next().await {
        let (more, lost, histogram) = ended.expect("a client loop does not panic");
        done += more;
        failed += lost;
        latency.add(histogram).expect("histograms of one shape add up");
    }
    Outcome { done, failed, elapsed: time, latency }
}

/// Latencies from 1 µs to a minute, to three digits.
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are valid")
}
