//! Storing and restoring a checkpoint of float32 tensors, beside a copy, tar and the disk.
//!
//! What is measured is the agent's own calls and a server's own store on this disk. Left out are
//! the network, the second copy, and the server's check of what came over the wire.

use crate::{
    cpu, disk,
    report::{self, Figure, Quantity, Target},
};
use agent::store::{beside::Beside, chunks::Chunks, restore::restore, seal};
use anyhow::{Context as _, Result, bail};
use domain::{LeaseId, checkpoint::Checkpoint};
use registry::{blob::chunks::ChunkStore, files::walk};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

/// Files of a checkpoint: one is hashed by one core.
const FILES: u64 = 8;
/// Bytes of one tensor.
const TENSOR: u64 = 16 << 20;
/// One tensor in so many changes from one checkpoint to the next.
const CHANGED: u64 = 10;
const LEASE: LeaseId = LeaseId { index: 1, ordinal: 0 };

/// One server's store, and no other.
struct One(Beside);

impl Chunks for One {
    type Place = Beside;

    fn places(&self) -> Vec<Beside> {
        vec![self.0.clone()]
    }

    fn copies(&self) -> usize {
        1
    }
}

/// Weights as training leaves them: near normal, of small size, without any repetition.
fn tensor(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(TENSOR as usize);
    while (bytes.len() as u64) < TENSOR {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let sum: u32 = state
            .to_le_bytes()
            .as_chunks::<2>()
            .0
            .iter()
            .map(|half| u32::from(u16::from_le_bytes(*half)))
            .sum();
        let near_normal = (sum as f32 / 65_536.0 - 2.0) * 0.04;
        bytes.extend_from_slice(&near_normal.to_le_bytes());
    }
    bytes
}

/// Writes a checkpoint; every so many tensors are those of `step`, the others of none.
fn write(folder: &Path, size: u64, step: u64) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    let tensors = size / FILES / TENSOR;
    let file = |of: u64| -> Result<PathBuf> {
        let path = folder.join(format!("model-{of}.safetensors"));
        let mut file = File::create(&path)?;
        file.write_all(format!("{{\"step\":{step},\"tensors\":{tensors}}}").as_bytes())?;
        for tensor_of in of * tensors..(of + 1) * tensors {
            let changed = if tensor_of % CHANGED == 0 { step } else { 0 };
            file.write_all(&tensor(tensor_of + changed * 1_000_003 + 1))?;
        }
        file.sync_all()?;
        Ok(path)
    };
    std::thread::scope(|scope| {
        let file = &file;
        let halves = [0, 1].map(|odd| {
            scope.spawn(move || (odd..FILES).step_by(2).map(file).collect::<Result<Vec<_>>>())
        });
        let mut all = Vec::new();
        for half in halves {
            all.extend(half.join().ok().context("a writer panicked")??);
        }
        all.sort();
        Ok(all)
    })
}

/// Runs a shell command line to its end.
fn shell(line: &str) -> Result<Duration> {
    let start = Instant::now();
    let output = Command::new("sh").args(["-c", line]).output()?;
    if !output.status.success() {
        bail!("`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(start.elapsed())
}

fn copy_and_sync(from: &Path, to: &Path, names: &[PathBuf]) -> Result<Duration> {
    let start = Instant::now();
    shell(&format!("cp -r --reflink=never {} {}", from.display(), to.display()))?;
    for name in names.iter().filter_map(|path| path.file_name()) {
        File::open(to.join(name))?.sync_all()?;
    }
    Ok(start.elapsed())
}

/// The time and the CPU of some work of ours.
async fn timed<T>(work: impl Future<Output = Result<T>>) -> Result<(T, Duration, Duration)> {
    let own = [std::process::id()];
    let before = cpu::of(&own);
    let start = Instant::now();
    let done = work.await?;
    Ok((done, start.elapsed(), cpu::of(&own).saturating_sub(before)))
}

async fn store(step: u64, folder: &Path, one: &One) -> Result<Checkpoint> {
    let stored = seal::checkpoint(LEASE, step, folder.to_owned(), one).await;
    stored.map_err(|cause| anyhow::anyhow!("not stored: {cause}"))
}

/// Bytes that the packs take on the disk.
fn taken(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::read_dir(folder)?.map(|pack| Ok(pack?.metadata()?.blocks() * 512)).sum()
}

/// Runs the benchmark with a checkpoint of `gib` GiB below `place`.
///
/// # Errors
/// When the disk has no room, or what comes back is not what was stored.
pub async fn run(gib: u64, place: Option<&Path>) -> Result<()> {
    report::section("A checkpoint of float32 tensors (network and second copy left out)");
    let dir = match place {
        Some(place) => tempfile::tempdir_in(place)?,
        None => tempfile::tempdir()?,
    };
    let size = gib << 30;
    let (first, second) = (dir.path().join("step-1"), dir.path().join("step-2"));
    let files = write(&first, size, 1)?;
    write(&second, size, 2)?;
    let chunks = dir.path().join("chunks");
    let one = One(Beside(ChunkStore::open(&chunks)?));
    let rate = |time: Duration| size as f64 / time.as_secs_f64();

    let direct = disk::write_rate(&dir.path().join("direct"), size)?;
    // Read once, so that all three find it in memory.
    let tree = walk::hash_tree(&first)?;
    let copied = copy_and_sync(&first, &dir.path().join("copy"), &files)?;
    fs::remove_dir_all(dir.path().join("copy"))?;
    let (saved, time, cpu) = timed(store(1, &first, &one)).await?;
    if saved.root != tree.root() {
        bail!("root {} is not that of the files, {}", saved.root, tree.root());
    }
    let line = format!("set -o pipefail; tar -C {} -c . | zstd -1 | sha256sum", first.display());
    let tarred = shell(&format!("bash -c '{line}'"))?;
    let written = taken(&chunks)?;
    Figure::new(format!("hash and store {gib} GiB"), Quantity::Bandwidth(rate(time)))
        .beside("cp and fsync", Quantity::Bandwidth(rate(copied)))
        .target(Target::Times(3.5, 3.5))
        .cpu(cpu::each(cpu, gib))
        .note("CPU is that of one GiB; at least 1.3 GB/s is asked for")
        .note(format!("disk by direct writes {:.2} GB/s; {written} bytes taken", direct / 1e9))
        .print();
    Figure::new(format!("hash and store {gib} GiB"), Quantity::Bandwidth(rate(time)))
        .beside("tar | zstd -1 | sha256sum", Quantity::Bandwidth(rate(tarred)))
        .print();

    let (saved, time, cpu) = timed(store(2, &second, &one)).await?;
    let more = taken(&chunks)? - written;
    let share = Quantity::Memory(size * 15 / 100);
    Figure::new("bytes written for the next, 10 % changed", Quantity::Memory(more))
        .beside("all of it", Quantity::Memory(size))
        .target(Target::AtMost(share, share))
        .cpu(cpu::each(cpu, gib))
        .note(format!(
            "{:.1} % of the bytes, {:.2} GB/s",
            more as f64 * 100.0 / size as f64,
            rate(time) / 1e9
        ))
        .print();
    give_back(&dir, &files, &one, &saved, &second).await
}

/// Restores a checkpoint from the disk, beside the disk's own rate.
async fn give_back(
    dir: &tempfile::TempDir,
    files: &[PathBuf],
    one: &One,
    saved: &Checkpoint,
    original: &Path,
) -> Result<()> {
    let out = dir.path().join("restored");
    let cores = std::thread::available_parallelism()?.get();
    disk::forget(files)?;
    let read = disk::read_rate(files, cores)?;
    let dropped = disk::forget(files)?;
    let work = async { restore(one, saved.tree, "checkpoint", &out).await.map_err(Into::into) };
    let (_, time, cpu) = timed(work).await?;
    let rate = saved.size.0 as f64 / time.as_secs_f64();
    if walk::hash_tree(&out)? != walk::hash_tree(original)? {
        bail!("what came back is not what was stored");
    }
    let gib = saved.size.0 >> 30;
    Figure::new("restore it, verified", Quantity::Bandwidth(rate))
        .beside("bound: disk read", Quantity::Bandwidth(read))
        .target(Target::Times(0.95, 0.95))
        .cpu(cpu::each(cpu, gib))
        .note(format!("CPU is that of one GiB; {dropped}"))
        .print();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_checkpoint_goes_through_and_the_next_one_costs_what_changed() {
        let dir = tempfile::tempdir().unwrap();
        let one = One(Beside(ChunkStore::open(&dir.path().join("chunks")).unwrap()));
        let size = FILES * TENSOR * 2;
        let (first, second) = (dir.path().join("a"), dir.path().join("b"));
        write(&first, size, 1).unwrap();
        write(&second, size, 2).unwrap();
        store(1, &first, &one).await.unwrap();
        let before = taken(&dir.path().join("chunks")).unwrap();
        store(2, &second, &one).await.unwrap();
        let more = taken(&dir.path().join("chunks")).unwrap() - before;
        // Two tensors of sixteen, and a chunk at each edge.
        assert!(before >= size && more < size / 4, "{before}, then {more}");
    }
}
