//! Sealing a tree that was hashed while it was written, beside sealing the same one read at the end.

use crate::{
    disk,
    report::{Figure, Quantity},
    seal::{FILE, record, seal},
};
use agent::{driver::dirs::LeaseDirs, store::ahead::Ahead};
use anyhow::{Context as _, Result, ensure};
use registry::sign::local::LocalSigner;
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// Time between two looks, as the agent has it.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Writes `count` files of 1 GiB below `root` with looks at them, and seals them twice.
///
/// # Errors
/// When the disk has no room, the tree is not sealed, or the two records differ.
pub async fn run(count: u64, root: &Path, signer: &LocalSigner) -> Result<()> {
    let dirs = LeaseDirs { root: root.to_owned() };
    dirs.create()?;
    fs::write(dirs.log(0), "done\n")?;
    let (ahead, written) = (Arc::new(Ahead::default()), Arc::new(AtomicBool::new(false)));
    let looks = {
        let (dirs, ahead, written) = (dirs.clone(), Arc::clone(&ahead), Arc::clone(&written));
        thread::spawn(move || {
            while !written.load(Ordering::Relaxed) {
                ahead.look(&dirs);
                thread::sleep(LOOK_EVERY);
            }
        })
    };
    let begun = Instant::now();
    for n in 0..count {
        // Others than those that are read at the end.
        disk::fill(&dirs.out().join(format!("part-{n}.bin")), FILE, 1_000 + n)?;
    }
    let wrote = begun.elapsed();
    written.store(true, Ordering::Relaxed);
    let mut followed = record(dirs.clone())?;
    followed.ahead = ahead;
    let (before, start) = (read_so_far()?, Instant::now());
    let (one, _) = seal(followed, signer).await?;
    let along = start.elapsed();
    let read = read_so_far()? - before;
    let start = Instant::now();
    let (two, _) = seal(record(dirs.clone())?, signer).await?;
    let at_end = start.elapsed();
    ensure!(one == two, "what was hashed while it was written has another record");
    ensure!(looks.join().is_ok(), "a look panicked");
    let ms = |it: Duration| Quantity::ms(it.as_secs_f64() * 1e3);
    let share = read as f64 * 100.0 / (count * FILE) as f64;
    Figure::new(format!("seal {count} GiB, hashed while written"), ms(along))
        .beside("the same, read at the end from memory", ms(at_end))
        .note(format!(
            "{share:.1} % of the bytes were read again; written in {:.1} s at {:.2} GB/s, with a \
             look each second",
            wrote.as_secs_f64(),
            (count * FILE) as f64 / wrote.as_secs_f64() / 1e9,
        ))
        .print();
    fs::remove_dir_all(root)?;
    Ok(())
}

/// Bytes that this process has read so far, from files in memory or not.
fn read_so_far() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    Ok(line.context("/proc/self/io has no rchar")?.parse()?)
}
