//! Row changes of one log entry, readable at once by what follows in the same entry.

use crate::{
    digest::Digest,
    port::{Row, RowChange, RowRead},
};
use borsh::{BorshDeserialize, BorshSerialize};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    ops::Bound,
};

/// An overlay over the rows as they stood before an entry.
pub struct Scratch<'a, R: RowRead> {
    base: &'a R,
    changed: BTreeMap<Vec<u8>, Changed>,
}

/// A row as the entry leaves it.
struct Changed {
    /// Its bytes; none when it is removed.
    value: Option<Vec<u8>>,
    /// Whether there was no such row before the entry, so that none is to be looked for.
    fresh: bool,
}

impl<'a, R: RowRead> Scratch<'a, R> {
    /// An empty overlay.
    pub fn new(base: &'a R) -> Self {
        Self { base, changed: BTreeMap::new() }
    }

    /// Sets a row.
    pub fn put(&mut self, key: Vec<u8>, value: &impl BorshSerialize) {
        self.set(key, Some(encode(value)));
    }

    /// Adds a row of which the caller knows that it was not there before this entry: its key holds
    /// a number that was never given, or it was looked for in vain.
    pub fn put_new(&mut self, key: Vec<u8>, value: &impl BorshSerialize) {
        debug_assert!(self.base.get(&key).is_none(), "row {} is not new", hex::encode(&key));
        self.changed.insert(key, Changed { value: Some(encode(value)), fresh: true });
    }

    /// Removes a row.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.set(key, None);
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        match self.changed.entry(key) {
            Entry::Occupied(mut row) => row.get_mut().value = value,
            Entry::Vacant(row) => {
                row.insert(Changed { value, fresh: false });
            }
        }
    }

    /// Reads and decodes a row.
    ///
    /// # Panics
    /// When the stored bytes are damaged: a replica with such rows must stop.
    #[must_use]
    pub fn read<T: BorshDeserialize>(&self, key: &[u8]) -> Option<T> {
        self.get(key).map(|bytes| decode(key, &bytes))
    }

    /// The changes in key order, and the set hash after them.
    #[must_use]
    pub fn finish(self, mut hash: SetHash) -> (Vec<RowChange>, SetHash) {
        let mut changes = Vec::with_capacity(self.changed.len());
        for (key, Changed { value, fresh }) in self.changed {
            let old = if fresh { None } else { self.base.get(&key) };
            if let Some(old) = old {
                if value.as_ref() == Some(&old) {
                    continue;
                }
                hash.remove(&key, &old);
            } else if value.is_none() {
                continue;
            }
            if let Some(new) = &value {
                hash.add(&key, new);
            }
            changes.push(RowChange { key, value });
        }
        (changes, hash)
    }
}

/// Decodes a row.
///
/// # Panics
/// When the stored bytes are damaged: a replica with such rows must stop.
#[must_use]
pub fn decode<T: BorshDeserialize>(key: &[u8], bytes: &[u8]) -> T {
    match borsh::from_slice(bytes) {
        Ok(value) => value,
        Err(fault) => panic!(
            "row {} is damaged ({fault}): this replica must not serve; remove it with \
             `assay cluster remove` and add a new one with an empty disk",
            hex::encode(key)
        ),
    }
}

impl<R: RowRead> RowRead for Scratch<'_, R> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changed.get(key) {
            Some(changed) => changed.value.clone(),
            None => self.base.get(key),
        }
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        merged_range(self.base, &self.changed, |row| row.value.as_ref(), from, to, limit)
    }
}

/// A range over `base` with `changed` laid over it; `value` gives a changed row's bytes, none
/// when it is removed.
pub fn merged_range<T>(
    base: &impl RowRead,
    changed: &BTreeMap<Vec<u8>, T>,
    value: impl Fn(&T) -> Option<&Vec<u8>>,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Vec<Row> {
    if from >= to {
        return Vec::new();
    }
    let bounds = (Bound::Included(from), Bound::Excluded(to));
    let over: Vec<_> = changed.range::<[u8], _>(bounds).collect();
    if over.is_empty() {
        return base.range(from, to, limit);
    }
    let removed = over.iter().filter(|(_, row)| value(row).is_none()).count();
    let mut rows: BTreeMap<_, _> =
        base.range(from, to, limit.saturating_add(removed)).into_iter().collect();
    for (key, row) in over {
        match value(row) {
            Some(bytes) => rows.insert(key.clone(), bytes.clone()),
            None => rows.remove(key),
        };
    }
    rows.into_iter().take(limit).collect()
}

fn encode(value: &impl BorshSerialize) -> Vec<u8> {
    borsh::to_vec(value).expect("writing to memory cannot fail")
}

/// An incremental hash of a set of rows: the sum of their digests, lane by lane.
///
/// Order of changes does not matter, so it can be recomputed from the rows alone. It finds
/// accidents, not forgers, who would have to be replicas themselves. Source: rulings, 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SetHash([u64; 4]);

impl SetHash {
    fn lanes(key: &[u8], value: &[u8]) -> [u64; 4] {
        use sha2::Digest as _;
        let mut hasher = sha2::Sha256::new();
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value);
        let digest: [u8; 32] = hasher.finalize().into();
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(digest.chunks_exact(8)) {
            *lane = u64::from_be_bytes(bytes.try_into().expect("chunks of eight bytes"));
        }
        lanes
    }

    /// Takes a row in.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        for (lane, more) in self.0.iter_mut().zip(Self::lanes(key, value)) {
            *lane = lane.wrapping_add(more);
        }
    }

    /// Takes a row out that was in.
    pub fn remove(&mut self, key: &[u8], value: &[u8]) {
        for (lane, less) in self.0.iter_mut().zip(Self::lanes(key, value)) {
            *lane = lane.wrapping_sub(less);
        }
    }

    /// As a digest, for exchange and display.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value(&self.0)
    }

    /// Computes it from all rows, a page at a time.
    #[must_use]
    pub fn of_rows(rows: &impl RowRead) -> Self {
        const PAGE: usize = 4_096;
        let mut hash = Self::default();
        let mut from = Vec::new();
        loop {
            let page = rows.range(&from, &[0xff; 64], PAGE);
            for (key, value) in &page {
                hash.add(key, value);
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE => {
                    from.clone_from(key);
                    from.push(0);
                }
                _ => return hash,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Change = (u8, Option<u8>);

    proptest! {
        #[test]
        fn the_running_hash_equals_the_one_from_rows(
            entries in prop::collection::vec(
                prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>())), 0..8), 0..20)
        ) {
            let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut hash = SetHash::default();
            for entry in entries {
                let mut scratch = Scratch::new(&rows);
                for (key, value) in &entry as &Vec<Change> {
                    match value {
                        Some(value) => scratch.put(vec![*key], value),
                        None => scratch.remove(vec![*key]),
                    }
                }
                let seen = scratch.range(&[], &[0xff; 64], 1_000);
                let (changes, after) = scratch.finish(hash);
                hash = after;
                for change in changes {
                    match change.value {
                        Some(value) => rows.insert(change.key, value),
                        None => rows.remove(&change.key),
                    };
                }
                prop_assert_eq!(seen, rows.clone().into_iter().collect::<Vec<_>>());
                prop_assert_eq!(hash, SetHash::of_rows(&rows));
            }
        }
    }
}
