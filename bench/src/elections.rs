//! Busy loops on every core and no kill: the leader must stay.

use crate::{
    assay::Assay,
    child::{Ending, Process},
    report::{self, Figure, Quantity, Target},
    submits,
};
use anyhow::Result;
use std::{
    process::{Command, Stdio},
    time::Duration,
};

/// Clients that submit meanwhile.
const CLIENTS: usize = 16;

/// Runs the benchmark for `time`.
///
/// # Errors
/// When the cluster does not come up.
pub async fn run(time: Duration) -> Result<()> {
    let cores = std::thread::available_parallelism()?.get();
    report::section("Busy loops on all cores, 16 clients that submit, no kill: elections");
    let dir = tempfile::tempdir()?;
    let assay = Assay::start(dir.path()).await?;
    let (_, before) = assay.leader().await?;
    let busy = (0..cores).map(|_| {
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
        Process::start(&mut command, Ending::Kill)
    });
    let busy = busy.collect::<Result<Vec<_>, _>>()?;
    // The warm-up is loaded as well.
    let outcome = submits::submits(&assay, CLIENTS, time).await?;
    let (_, after) = assay.leader().await?;
    drop(busy);
    let none = Quantity::Count(0);
    Figure::new("elections under saturated cores", Quantity::Count(after - before))
        .target(Target::AtMost(none, none))
        .cpu(outcome.cpu_each())
        .note(format!(
            "{cores} busy loops for {time:?} and a warm-up; {:.0} submits/s meanwhile, p99 {:.1} ms, \
             failed {}",
            outcome.rate(),
            outcome.p99_ms(),
            outcome.failed
        ))
        .print();
    Ok(())
}
