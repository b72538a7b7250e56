//! The burn-in that every agent brings along: a fixed computation whose every bit is known.
//!
//! It runs where a job would, with a job's environment, and stands where a program on the GPU
//! would stand. What it exercises is the processor and the memory of the node; of the GPU it
//! proves no more than that its driver still names it to a task. A cluster whose GPUs are to be
//! proved names a burn-in of its own.

use domain::Digest;
use std::{fs, io, path::Path};

/// Rows and columns of the matrices.
const SIDE: usize = 128;
/// Products, each of the one before.
const ROUNDS: usize = 8;
/// Words of the memory that is written and read back. Unit: 8 bytes.
const WORDS: usize = 1 << 21;
/// Passes over the memory.
const PASSES: u64 = 3;

/// What it says of itself, in its output and on its log.
pub const EXERCISES: &str = "processor and memory of the node; not the arithmetic of the GPU";

/// Runs it, and writes what it found into `output`.
///
/// # Errors
/// When memory gave back other words than were written, or the output cannot be written.
pub fn run(output: &Path, gpus: &str) -> io::Result<String> {
    let mut found: Vec<u8> = products().into_iter().flat_map(f32::to_le_bytes).collect();
    found.extend(memory()?.to_le_bytes());
    let digest = Digest::of(&found);
    // Nothing here may depend on the machine: the root of the output is what is compared.
    fs::write(output.join("digest"), format!("{digest}\n"))?;
    fs::write(output.join("exercises"), format!("{EXERCISES}\n"))?;
    Ok(format!("burn-in for GPU {gpus}: {digest} ({EXERCISES})"))
}

/// Numbers that any generator of this rule gives.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A chain of products of matrices in single precision, each sum in one order.
fn products() -> Vec<f32> {
    let mut state = 1;
    let mut draw = || -> Vec<f32> {
        (0..SIDE * SIDE).map(|_| (next(&mut state) % 2_001) as f32 / 1_000.0 - 1.0).collect()
    };
    let (mut left, right) = (draw(), draw());
    for _ in 0..ROUNDS {
        let mut product = vec![0.0f32; SIDE * SIDE];
        for row in 0..SIDE {
            for inner in 0..SIDE {
                let factor = left[row * SIDE + inner];
                for column in 0..SIDE {
                    product[row * SIDE + column] += factor * right[inner * SIDE + column];
                }
            }
        }
        // Kept near one, so that no round loses itself in infinities.
        left = product.into_iter().map(|value| value / SIDE as f32).collect();
    }
    left
}

/// Writes patterns, reads them back, and sums what it reads.
fn memory() -> io::Result<u64> {
    let mut words = vec![0u64; WORDS];
    let mut sum = 0u64;
    for pass in 0..PASSES {
        let mut state = pass + 7;
        for word in &mut words {
            *word = next(&mut state) ^ (pass.wrapping_mul(0x5555_5555_5555_5555));
        }
        let words = std::hint::black_box(&words);
        let mut state = pass + 7;
        for (at, word) in words.iter().enumerate() {
            let wrote = next(&mut state) ^ (pass.wrapping_mul(0x5555_5555_5555_5555));
            if *word != wrote {
                let why = format!("word {at} was written as {wrote:x} and reads as {word:x}");
                return Err(io::Error::other(why));
            }
            sum = sum.rotate_left(5) ^ *word;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_the_same_whatever_gpu_it_is_for_and_says_what_it_does_not_prove() {
        let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let said = run(a.path(), "GPU-a").unwrap();
        run(b.path(), "GPU-b").unwrap();
        for file in ["digest", "exercises"] {
            let read = |dir: &tempfile::TempDir| fs::read(dir.path().join(file)).unwrap();
            assert_eq!(read(&a), read(&b));
        }
        assert!(said.contains("GPU-a") && said.contains("not the arithmetic of the GPU"), "{said}");
    }

    #[test]
    fn the_chain_of_products_stays_within_numbers() {
        assert!(products().iter().all(|value| value.is_finite()));
        assert!(products().iter().any(|value| *value != 0.0));
    }
}
