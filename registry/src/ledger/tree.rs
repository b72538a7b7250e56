//! The transparency log's tree over the events, in rows.

use super::{Ledger, key, view};
use crate::seal::tlog::{Frontier, NodeRead, TreeFault, inclusion_proof, leaf_hash, node_hash};
use domain::{Digest, audit::AuditEvent, port::RowRead, scratch, scratch::Scratch};

/// Subtrees of 256 leaves, of 256 of those, and so on have a row, as they have a tile in C2SP
/// tlog-tiles: one row for 256 events. The others are computed from these, or from events.
const STEP: u32 = 8;
/// Events that are read at once where a tree is made after the fact.
const PAGE: usize = 1_000;

impl Ledger {
    /// The right edge of the tree as its row has it.
    pub(super) fn load_tree(rows: &impl RowRead) -> Frontier {
        let key = key::tree();
        rows.get(&key).map(|bytes| scratch::decode(&key, &bytes)).unwrap_or_default()
    }

    /// Appends event `seq`, whose row is there already.
    pub(super) fn grow<R: RowRead>(&mut self, rows: &mut Scratch<'_, R>, seq: u64, payload: &str) {
        // A ledger that an earlier release has kept holds events without a tree.
        while self.tree.size() + 1 < seq {
            let page = view::events(rows, self.tree.size() + 1, PAGE);
            for event in page.iter().take_while(|event| event.seq < seq) {
                assert_eq!(event.seq, self.tree.size() + 1, "every event has a row");
                self.leaf(rows, &event.payload);
            }
        }
        self.leaf(rows, payload);
        rows.put(key::tree(), &self.tree);
    }

    fn leaf<R: RowRead>(&mut self, rows: &mut Scratch<'_, R>, payload: &str) {
        self.tree.push(leaf_hash(payload.as_bytes()), |node| {
            if node.level > 0 && node.level.is_multiple_of(STEP) {
                rows.put_new(key::node(node.level, node.index), &node.hash);
            }
        });
    }
}

/// The tree as its rows and its events have it.
struct Rows<'a, R: RowRead>(&'a R);

impl<R: RowRead> Rows<'_, R> {
    /// Hashes of a level that has rows, or of leaves.
    fn stored(&self, level: u32, first: u64, count: usize) -> Option<Vec<Digest>> {
        let found: Vec<Digest> = if level == 0 {
            let events = view::events(self.0, first + 1, count);
            events.iter().map(|event| leaf_hash(event.payload.as_bytes())).collect()
        } else {
            let (from, to) = (key::node(level, first), key::node(level, first + count as u64));
            let rows = self.0.range(&from, &to, count);
            rows.iter().map(|(key, value)| scratch::decode(key, value)).collect()
        };
        (found.len() == count).then_some(found)
    }
}

impl<R: RowRead> NodeRead for Rows<'_, R> {
    fn node(&self, level: u32, index: u64) -> Option<Digest> {
        let above = level % STEP;
        let count = 1_u64 << above;
        let mut hashes = self.stored(level - above, index * count, count as usize)?;
        while hashes.len() > 1 {
            hashes = hashes.chunks_exact(2).map(|pair| node_hash(pair[0], pair[1])).collect();
        }
        hashes.pop()
    }
}

/// An event with what proves it against the newest head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventProof {
    /// The event.
    pub event: AuditEvent,
    /// Hashes from it to the root.
    pub hashes: Vec<Digest>,
    /// Events under the root.
    pub size: u64,
    /// The root.
    pub root: Digest,
}

/// Proves event `seq`, if there is one.
///
/// # Errors
/// When rows of the tree are missing.
pub fn prove(
    ledger: &Ledger,
    rows: &impl RowRead,
    seq: u64,
) -> Result<Option<EventProof>, TreeFault> {
    let event = view::events(rows, seq, 1).pop().filter(|event| event.seq == seq);
    let Some(event) = event else { return Ok(None) };
    let size = ledger.tree.size();
    let hashes = inclusion_proof(&Rows(rows), seq - 1, size)?;
    Ok(Some(EventProof { event, hashes, size, root: ledger.tree.root() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tlog::verify_inclusion;
    use domain::Millis;
    use serde_json::Map;
    use std::collections::BTreeMap;

    fn record<R: RowRead>(ledger: &mut Ledger, rows: &mut Scratch<'_, R>, count: u64) {
        for _ in 0..count {
            ledger.record(rows, Millis(5), "job.submitted", "user:ada", Map::new());
        }
    }

    fn holds(ledger: &Ledger, rows: &impl RowRead, seq: u64) {
        let found = prove(ledger, rows, seq).unwrap().unwrap();
        let leaf = leaf_hash(found.event.payload.as_bytes());
        verify_inclusion(&found.hashes, leaf, seq - 1, found.size, found.root).unwrap();
    }

    #[test]
    fn every_event_is_proved_from_rows_across_the_bounds_of_tiles() {
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        for size in 1..=600 {
            record(&mut ledger, &mut rows, 1);
            for seq in [1, size / 2 + 1, size] {
                holds(&ledger, &rows, seq);
            }
        }
        for seq in 1..=600 {
            holds(&ledger, &rows, seq);
        }
        assert_eq!(prove(&ledger, &rows, 601), Ok(None));
        assert_eq!(prove(&ledger, &rows, 0), Ok(None));
        assert!(rows.get(&key::node(8, 1)).is_some() && rows.get(&key::node(8, 2)).is_none());
        assert_eq!(Ledger::load(&rows), ledger, "a restart goes on where it was");
    }

    #[test]
    fn a_ledger_without_a_tree_gets_the_one_that_it_would_have() {
        let base = BTreeMap::new();
        let mut rows = Scratch::new(&base);
        let mut ledger = Ledger::default();
        record(&mut ledger, &mut rows, 2_300);
        let whole = ledger.clone();
        for level_8 in 0..8 {
            rows.remove(key::node(8, level_8));
        }
        rows.remove(key::tree());
        let mut old = Ledger::load(&rows);
        assert_eq!(old.tree.size(), 0);
        record(&mut old, &mut rows, 1);
        let mut new = whole;
        let event = view::events(&rows, 2_301, 1).pop().unwrap();
        new.tree.push(leaf_hash(event.payload.as_bytes()), |_| {});
        assert_eq!(old.tree, new.tree);
        holds(&old, &rows, 17);
    }
}
