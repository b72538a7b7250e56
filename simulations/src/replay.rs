//! Seeds in which every segment of every job is run again elsewhere.

use crate::{Failed, Ran, attempt, plan};
use anyhow::{Result, bail};
use domain::Digest;
use scheduler::consensus::Planted;
use simulations::{bits::Bits, coverage::Coverage, world::Plan};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Flipped seeds among which one at least must name its GPU: more than half do.
const NAMED_AMONG: u64 = 8;

/// What many seeds came to.
#[derive(Default)]
struct Total {
    coverage: Coverage,
    /// Seeds in which a GPU was named.
    named: u64,
    failed: Vec<u64>,
}

/// Runs seeds with right bits, and seeds in which one GPU flips one. The law `named_right`
/// judges each.
pub fn run(first: u64, clean: u64, flipped: u64, seconds: u64, trace: bool) -> Result<()> {
    for (bits, seeds) in [(Bits::Verified, clean), (Bits::Flipped, flipped)] {
        let started = Instant::now();
        let each = |seed| attempt(Plan { bits, ..plan(seed, seconds, Planted::Nothing, trace) });
        let Total { coverage, named, failed } = seeds_of(bits, first, seeds, each);
        println!(
            "{bits:?}: {seeds} seeds, {} segments run again, the right GPU named in {named} of \
             them, another one in none; {:.1} s",
            coverage.replays,
            started.elapsed().as_secs_f64()
        );
        if bits == Bits::Flipped && seeds >= NAMED_AMONG && named == 0 {
            bail!("of {seeds} seeds with a GPU that flips bits, none named it: nothing was proved");
        }
        if !failed.is_empty() {
            bail!("{} of {seeds} seeds failed: {failed:?}", failed.len());
        }
    }
    Ok(())
}

fn seeds_of(
    bits: Bits,
    first: u64,
    seeds: u64,
    each: impl Fn(u64) -> Result<(Digest, Ran), Failed> + Sync,
) -> Total {
    let next = AtomicU64::new(first);
    let total = Mutex::new(Total::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - first >= seeds {
                        return;
                    }
                    let ran = each(seed);
                    let mut total = total.lock().expect("no panics inside");
                    match ran {
                        Ok((_, ran)) => {
                            total.coverage.add(&ran.coverage);
                            total.named += u64::from(ran.coverage.named > 0);
                        }
                        Err(failed) => {
                            println!("seed {seed} of {bits:?} FAILED {}", failed.what);
                            total.failed.push(seed);
                        }
                    }
                }
            });
        }
    });
    total.into_inner().expect("no panics inside")
}
