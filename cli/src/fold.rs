//! The lines of many ranks as one text, in which a line that several ranks wrote stands once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Time for which a line waits for other ranks to say the same, by the clock of the stream.
/// Unit: ms.
pub const HOLD: u64 = 50;
/// Lines that wait at most.
const WAITING_MAX: usize = 256;
/// Bytes of an unfinished line that are kept at most.
const KEPT_MAX: usize = 64 << 10;

/// A line and who wrote it.
struct Group {
    line: String,
    ranks: BTreeSet<u32>,
    time: u64,
}

/// Takes pieces of all ranks in, and gives lines out.
#[derive(Default)]
pub struct Fold {
    /// Size of the gang.
    ranks: u32,
    /// The start of each rank's next line.
    kept: BTreeMap<u32, Vec<u8>>,
    waiting: VecDeque<Group>,
    /// Number of the first group that waits, counted from the beginning.
    first: u64,
    /// The number after the group that each rank joined last: its lines keep their order.
    after: BTreeMap<u32, u64>,
    folded: bool,
}

impl Fold {
    /// Bytes of one rank came in at a time; gives the lines that wait for nobody any more.
    pub fn hear(&mut self, rank: u32, ranks: u32, time: u64, data: &[u8]) -> Vec<String> {
        self.ranks = self.ranks.max(ranks);
        let kept = self.kept.entry(rank).or_default();
        kept.extend_from_slice(data);
        let end = match kept.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if kept.len() > KEPT_MAX => kept.len(),
            None => 0,
        };
        let whole: Vec<u8> = kept.drain(..end).collect();
        // What has waited long enough is over: nobody joins it any more.
        let mut ready = self.give_while(|group, _| group.time + HOLD < time);
        for line in String::from_utf8_lossy(&whole).lines() {
            self.take(rank, time, line);
        }
        let ranks = self.ranks as usize;
        ready.extend(
            self.give_while(|group, waiting| group.ranks.len() >= ranks || waiting > WAITING_MAX),
        );
        ready
    }

    /// Gives the oldest lines as long as they, and how many wait, are so.
    fn give_while(&mut self, so: impl Fn(&Group, usize) -> bool) -> Vec<String> {
        let mut ready = Vec::new();
        while self.waiting.front().is_some_and(|group| so(group, self.waiting.len())) {
            ready.extend(self.give());
        }
        ready
    }

    /// Whether no line waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether any line was folded so far.
    #[must_use]
    pub fn has_folded(&self) -> bool {
        self.folded
    }

    /// Gives all lines that wait.
    pub fn flush(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.give()).collect()
    }

    /// Gives all that is left, unfinished lines among it.
    pub fn finish(&mut self) -> Vec<String> {
        for (rank, rest) in std::mem::take(&mut self.kept) {
            if !rest.is_empty() {
                self.take(rank, u64::MAX, &String::from_utf8_lossy(&rest));
            }
        }
        self.flush()
    }

    fn take(&mut self, rank: u32, time: u64, line: &str) {
        let after = self.after.get(&rank).copied().unwrap_or(0).saturating_sub(self.first);
        let mut open = (0u64..).zip(&mut self.waiting).skip(after as usize);
        let number = match open.find(|(_, group)| group.line == line) {
            Some((number, group)) => {
                group.ranks.insert(rank);
                self.folded = true;
                number
            }
            None => {
                let ranks = BTreeSet::from([rank]);
                self.waiting.push_back(Group { line: line.to_owned(), ranks, time });
                self.waiting.len() as u64 - 1
            }
        };
        self.after.insert(rank, self.first + number + 1);
    }

    fn give(&mut self) -> Option<String> {
        let Group { line, ranks, .. } = self.waiting.pop_front()?;
        self.first += 1;
        let width = self.ranks.saturating_sub(1).to_string().len().max(2);
        let first = ranks.first().copied().unwrap_or(0);
        let whose = match ranks.len() {
            1 => String::new(),
            count if count == self.ranks as usize => format!("   ({count} ranks)"),
            _ => format!("   (ranks {})", spans(&ranks)),
        };
        Some(format!("r{first:0width$}| {line}{whose}"))
    }
}

/// `0-2 5`.
fn spans(ranks: &BTreeSet<u32>) -> String {
    let mut spans: Vec<(u32, u32)> = Vec::new();
    for rank in ranks {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *rank => *last = *rank,
            _ => spans.push((*rank, *rank)),
        }
    }
    let text = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    spans.iter().map(text).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(pieces: &[(u32, u64, &str)], ranks: u32) -> Vec<String> {
        let mut fold = Fold::default();
        let mut all = Vec::new();
        for (rank, time, text) in pieces {
            all.extend(fold.hear(*rank, ranks, *time, text.as_bytes()));
        }
        all.extend(fold.finish());
        all
    }

    #[test]
    fn what_all_ranks_say_stands_once_and_what_one_says_alone() {
        let pieces = [(0, 1, "step 1\n"), (1, 2, "step 1\nslow\n"), (2, 3, "step 1\n")];
        assert_eq!(told(&pieces, 3), ["r00| step 1   (3 ranks)", "r01| slow"]);
        let some = [(0, 1, "a\n"), (1, 2, "a\n"), (3, 2, "a\n"), (2, HOLD + 60, "a\n")];
        assert_eq!(told(&some, 4), ["r00| a   (ranks 0-1 3)", "r02| a"], "one came too late");
    }

    #[test]
    fn each_ranks_lines_keep_their_order_and_their_number() {
        let pieces = [(0, 1, "x\ny\nx\n"), (1, 1, "y\nx\nx\n")];
        let all = told(&pieces, 2);
        for rank in [0, 1] {
            let name = format!("r{rank:02}");
            let lines = all.iter().filter(|line| line.contains(&name) || line.contains("(2"));
            let of: Vec<_> = lines.map(|line| &line[5..6]).collect();
            let own = if rank == 0 { ["x", "y", "x"] } else { ["y", "x", "x"] };
            assert_eq!(of, own, "{all:?}");
        }
    }

    #[test]
    fn a_line_waits_for_others_no_longer_than_it_may_and_not_at_all_alone() {
        let mut fold = Fold::default();
        assert_eq!(fold.hear(0, 2, 100, b"one\ntw"), [""; 0]);
        assert_eq!(fold.hear(0, 2, 101 + HOLD, b"o\n"), ["r00| one"]);
        assert_eq!(fold.flush(), ["r00| two"]);
        assert!(fold.is_empty() && !fold.has_folded());
        assert_eq!(Fold::default().hear(0, 1, 0, b"alone\n"), ["r00| alone"]);
        let mut fold = Fold::default();
        let many = "x\n".repeat(2 * WAITING_MAX);
        assert_eq!(fold.hear(0, 2, 0, many.as_bytes()).len(), WAITING_MAX, "bounded");
    }
}
