//! Rows as the machine sees them: the store with changes that are not written yet laid over it.

use domain::{
    port::{Row, RowChange, RowRead},
    scratch,
};
use std::collections::BTreeMap;

/// Changes kept before those that the store already shows are dropped.
const PURGE_AT: usize = 4_096;

/// A store with unwritten changes over it.
pub struct Overlay<R> {
    base: R,
    changed: BTreeMap<Vec<u8>, (u64, Option<Vec<u8>>)>,
    written: u64,
    purge_at: usize,
}

impl<R: RowRead> Overlay<R> {
    /// Nothing over `base`.
    pub fn new(base: R) -> Self {
        Self { base, changed: BTreeMap::new(), written: 0, purge_at: PURGE_AT }
    }

    /// The store underneath.
    pub fn base(&self) -> &R {
        &self.base
    }

    /// Lays a change over the store that write `seq` will bring into it.
    pub fn lay(&mut self, seq: u64, change: &RowChange) {
        self.changed.insert(change.key.clone(), (seq, change.value.clone()));
    }

    /// The store now shows all writes up to `seq`.
    ///
    /// Changes that it shows are dropped in bulk, so that each costs little: until then they
    /// merely repeat what the store says.
    pub fn written(&mut self, seq: u64) {
        self.written = self.written.max(seq);
        if self.changed.len() >= self.purge_at {
            let written = self.written;
            self.changed.retain(|_, (seq, _)| *seq > written);
            self.purge_at = PURGE_AT.max(2 * self.changed.len());
        }
    }

    /// Forgets all changes: the store was replaced as a whole.
    pub fn clear(&mut self) {
        self.changed.clear();
    }
}

impl<R: RowRead> RowRead for Overlay<R> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changed.get(key) {
            Some((_, value)) => value.clone(),
            None => self.base.get(key),
        }
    }

    fn range(&self, from: &[u8], to: &[u8], limit: usize) -> Vec<Row> {
        scratch::merged_range(&self.base, &self.changed, |row| row.1.as_ref(), from, to, limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_overlay_reads_like_the_store_after_the_writes(
            base in prop::collection::btree_map(any::<u8>(), any::<u8>(), 0..20),
            changes in prop::collection::vec((any::<u8>(), prop::option::of(any::<u8>())), 0..20),
            (from, to, limit) in (any::<u8>(), any::<u8>(), 0usize..30),
        ) {
            let mut after: BTreeMap<Vec<u8>, Vec<u8>> =
                base.into_iter().map(|(key, value)| (vec![key], vec![value])).collect();
            let mut overlay = Overlay::new(after.clone());
            for (key, value) in changes {
                let change = RowChange { key: vec![key], value: value.map(|value| vec![value]) };
                overlay.lay(1, &change);
                match change.value {
                    Some(value) => after.insert(change.key, value),
                    None => after.remove(&change.key),
                };
            }
            let (from, to) = (&[from][..], &[to][..]);
            prop_assert_eq!(overlay.range(from, to, limit), RowRead::range(&after, from, to, limit));
            prop_assert_eq!(overlay.get(from), RowRead::get(&after, from));
        }
    }
}
