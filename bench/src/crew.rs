//! Programs started over and over by several workers at once.

use crate::cpu;
use anyhow::{Context as _, Result, bail};
use std::{
    process::Command,
    time::{Duration, Instant},
};

/// What a crew's work took.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Programs that were started and ended well.
    pub done: u64,
    /// Wall time.
    pub elapsed: Duration,
    /// CPU of those programs and all that they started and waited for.
    pub cpu: Duration,
}

impl Work {
    /// Programs a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }
}

/// Starts `each` programs one after another in each of `workers` threads.
///
/// # Errors
/// When one cannot be started or fails.
pub fn run(workers: u64, each: u64, make: impl Fn(u64) -> Command + Sync) -> Result<Work> {
    let cpu = cpu::of_ended_children();
    let start = Instant::now();
    let work = |worker: u64| -> Result<()> {
        for turn in 0..each {
            let mut command = make(worker * each + turn);
            let name = command.get_program().to_string_lossy().into_owned();
            let status = command.status().with_context(|| format!("{name} does not start"))?;
            if !status.success() {
                bail!("{name} failed: {status}");
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let crew: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        crew.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    let elapsed = start.elapsed();
    Ok(Work { done: workers * each, elapsed, cpu: cpu::of_ended_children().saturating_sub(cpu) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crew_counts_what_ended_well_and_names_what_failed() {
        assert_eq!(run(2, 3, |_| Command::new("true")).unwrap().done, 6);
        let fault = run(1, 1, |_| Command::new("false")).unwrap_err().to_string();
        assert!(fault.contains("false failed"), "{fault}");
    }
}
