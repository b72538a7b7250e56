//! Damage that a server must find by itself: flipped bits on its disk or in its memory.

use crate::{chance::Chance, disk::SimDisk};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit of a stored log entry. It must never start again.
    Log,
    /// A bit of a stored row. It must never start again.
    Row,
    /// Its memory differs from what it wrote since an entry. It must stop when digests are
    /// compared, or start from what it wrote.
    Memory {
        /// The entry.
        since: u64,
    },
}

/// Where a server stands with its operator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Service {
    /// It is kept running.
    #[default]
    In,
    /// It has stopped for good and is to be replaced.
    Out,
    /// It was removed.
    Gone,
}

/// Flips a bit on the disk of a server that is down. Says of what, if there was any.
pub fn flip(disk: &mut SimDisk, chance: &mut Chance) -> Option<Damage> {
    let log = chance.one_in(2);
    let stored = if log { disk.log_mut() } else { disk.rows_mut() };
    let values: Vec<&mut Vec<u8>> = stored.filter(|bytes| !bytes.is_empty()).collect();
    let count = values.len() as u64;
    let bytes = values.into_iter().nth(chance.below(count) as usize)?;
    let bit = chance.below(bytes.len() as u64 * 8) as usize;
    bytes[bit / 8] ^= 1 << (bit % 8);
    Some(if log { Damage::Log } else { Damage::Row })
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread is one that is expected: it needs no report.
#[must_use]
pub fn panic_is_expected() -> bool {
    EXPECTED.get()
}

/// Does what may end the process.
///
/// # Errors
/// With the last words, when it did.
pub fn expect_panic<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    EXPECTED.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(act));
    EXPECTED.set(false);
    outcome.map_err(|words| match words.downcast::<String>() {
        Ok(words) => *words,
        Err(_) => "it panicked".to_owned(),
    })
}
