//! The scrub: rows are read back from the disk while the replica serves, and their digest is
//! compared with the one that was stored beside them.
//!
//! A start reads every row, and a read the rows that it wants. What changes on a disk under a
//! server that runs for months, in rows that nobody asks for, would wait for the next start or for
//! whoever is sent a snapshot. Source: rulings, 4.

use super::{
    replica::Damage,
    store::{Store, StoreError},
    write::AppliedMark,
};
use domain::{Digest, limit, port::Row, scratch::SetHash};
use std::time::Duration;

/// Bytes of rows that are read at once.
const PAGE: usize = 1 << 20;

/// What a scrub came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All rows are those that were written.
    Whole {
        /// The newest entry in them.
        at: u64,
        /// How many there are.
        rows: u64,
        /// Their keys and values. Unit: bytes.
        bytes: u64,
    },
    /// They are not.
    Damaged(Damage),
    /// Nothing was applied yet.
    Empty,
    /// It was told to end before it was through.
    CutOff,
}

/// Rows that were read so far.
struct Reading {
    at: u64,
    stored: Digest,
    hash: SetHash,
    rows: u64,
    bytes: u64,
    /// Where the next page begins.
    next: Vec<u8>,
}

impl Reading {
    /// Of rows with this mark. None when it names no digest: there are no rows.
    fn of(mark: AppliedMark) -> Option<Self> {
        let hash = SetHash::default();
        let stored = mark.digest?;
        Some(Self { at: mark.index, stored, hash, rows: 0, bytes: 0, next: Vec::new() })
    }

    /// Takes the next page; gives its size, or none at the end.
    fn take(&mut self, page: &[Row]) -> Option<u64> {
        let (last, _) = page.last()?;
        self.next = [last.as_slice(), &[0]].concat();
        page.iter().for_each(|(key, value)| self.hash.add(key, value));
        let bytes = page.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        self.rows += page.len() as u64;
        self.bytes += bytes;
        Some(bytes)
    }

    fn outcome(self) -> Outcome {
        let Self { at, stored, rows, bytes, .. } = self;
        let found = self.hash.digest();
        match found == stored {
            true => Outcome::Whole { at, rows, bytes },
            false => Outcome::Damaged(Damage::Differs { at, stored, found }),
        }
    }
}

/// Time in which no more than `bytes` may be read.
fn time_for(bytes: u64) -> Duration {
    Duration::from_micros(bytes.saturating_mul(1_000_000) / limit::SCRUB_RATE.0)
}

/// Reads all rows of a frozen copy, and their mark in it. `rest` waits between two pages, and says
/// whether to go on.
///
/// # Errors
/// When no copy can be made, which says nothing of the rows.
pub(super) fn scrub(
    store: &Store,
    mut rest: impl FnMut(Duration) -> bool,
) -> Result<Outcome, StoreError> {
    match read_all(store, &mut rest) {
        Err(StoreError::Damaged { source, .. }) => {
            Ok(Outcome::Damaged(Damage::Unreadable { why: source.to_string() }))
        }
        Err(StoreError::Boot(fault)) => {
            Ok(Outcome::Damaged(Damage::Unreadable { why: fault.to_string() }))
        }
        other => other,
    }
}

fn read_all(store: &Store, rest: &mut impl FnMut(Duration) -> bool) -> Result<Outcome, StoreError> {
    let copy = store.checkpoint()?;
    let Some(mut reading) = Reading::of(copy.mark().applied) else { return Ok(Outcome::Empty) };
    while let Some(bytes) = reading.take(&copy.page(&reading.next, PAGE)?) {
        if !rest(time_for(bytes)) {
            return Ok(Outcome::CutOff);
        }
    }
    Ok(reading.outcome())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(values: [u8; 3]) -> Vec<Row> {
        (0u8..).zip(values).map(|(key, value)| (vec![key], vec![value])).collect()
    }

    fn reading(written: [u8; 3]) -> Reading {
        let mut hash = SetHash::default();
        rows(written).iter().for_each(|(key, value)| hash.add(key, value));
        let mark = AppliedMark { index: 7, term: 1, digest: Some(hash.digest()) };
        Reading::of(mark).unwrap()
    }

    #[test]
    fn rows_that_are_what_was_written_are_whole_however_they_are_paged() {
        let all = rows([1, 2, 3]);
        for cut in 0..=3 {
            let mut reading = reading([1, 2, 3]);
            for page in [&all[..cut], &all[cut..]] {
                assert_eq!(reading.take(page).unwrap_or(0), 2 * page.len() as u64);
            }
            assert_eq!(reading.take(&[]), None);
            assert_eq!(reading.outcome(), Outcome::Whole { at: 7, rows: 3, bytes: 6 });
        }
    }

    #[test]
    fn a_changed_a_missing_and_an_added_row_are_each_found() {
        let more = [rows([1, 2, 3]), vec![(vec![9], vec![9])]].concat();
        for page in [rows([1, 2, 4]), rows([1, 2, 3])[..2].to_vec(), more] {
            let mut reading = reading([1, 2, 3]);
            reading.take(&page);
            let outcome = reading.outcome();
            assert!(matches!(outcome, Outcome::Damaged(Damage::Differs { at: 7, .. })), "{page:?}");
        }
    }

    #[test]
    fn no_more_is_read_in_a_second_than_the_limit_says() {
        assert_eq!(time_for(limit::SCRUB_RATE.0), Duration::from_secs(1));
        assert!(time_for(PAGE as u64) < Duration::from_millis(100), "its end is never far");
    }
}
