//! Arrays: many elements in one row, acknowledged as one.

use crate::{
    assay::{self, Assay},
    load,
    report::{self, Figure, Quantity, Target},
    submits,
};
use anyhow::Result;
use std::time::Duration;

/// Elements, and the longest median in ms.
const TARGETS: [(u32, f64); 2] = [(1_000, 2.5), (100_000, 5.0)];

/// Runs the benchmark.
///
/// # Errors
/// When the cluster does not come up.
pub async fn run(time: Duration) -> Result<()> {
    report::section("Arrays, one request after another by one client");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let single = submits::submits(&assay, 1, time).await?;
    for (count, at_most) in TARGETS {
        let client = assay.client(0)?;
        let outcome =
            load::run(vec![client], time, &assay.pids(), move |mut client, _| async move {
                let mut request = assay::request(1);
                request.jobs[0].array_count = count;
                let good = client.submit(request).await.is_ok();
                (client, good)
            })
            .await;
        let target = Quantity::ms(at_most);
        Figure::new(
            format!("array of {count} acknowledged, median"),
            Quantity::ms(outcome.median_ms()),
        )
        .beside("bound: one job", Quantity::ms(single.median_ms()))
        .target(Target::AtMost(target, target))
        .cpu_beside(outcome.cpu_each(), single.cpu_each())
        .note(format!(
            "p99 {:.2} ms, {} requests, failed {}",
            outcome.p99_ms(),
            outcome.done,
            outcome.failed
        ))
        .print();
    }
    Ok(())
}
