//! When the bytes of one file came in, so that the lines of many files can be put in order.
//!
//! One clock stamps them all: this server's. The marks lie beside the file, 16 bytes each: an end,
//! and when everything before it was there.

use domain::Millis;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

/// Bytes of one mark.
const MARK: u64 = 16;
/// Least time between two marks of a file; twice that after each [`SPARSER`] marks, so that what a
/// file of any age takes is bounded. Unit: ms.
const GAP: u64 = 10;
/// Marks after which they become sparser.
const SPARSER: u64 = 65_536;

/// The marks of one file.
pub(super) struct Marks {
    path: PathBuf,
    count: u64,
    /// The newest mark's time.
    marked: Millis,
    /// When bytes last came in, marked or not.
    touched: Millis,
}

impl Marks {
    /// The marks beside `file`.
    pub(super) fn of(file: &Path) -> Self {
        let path = file.with_added_extension("times");
        let count = std::fs::metadata(&path).map_or(0, |meta| meta.len() / MARK);
        Self { path, count, marked: Millis(0), touched: Millis(0) }
    }

    /// Takes note that all before `end` is there.
    pub(super) fn add(&mut self, end: u64, now: Millis) -> io::Result<()> {
        self.touched = self.touched.max(now);
        let gap = GAP << (self.count / SPARSER).min(20);
        if self.count > 0 && now < self.marked.plus(Millis(gap)) {
            return Ok(());
        }
        let mut out = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let mark = [end.to_le_bytes(), self.touched.0.to_le_bytes()].concat();
        if let Err(fault) = out.write_all(&mark) {
            out.set_len(self.count * MARK)?;
            return Err(fault);
        }
        self.count += 1;
        self.marked = self.touched;
        Ok(())
    }

    /// The end of what came in together after `offset`, and when. `from` is the mark to begin at,
    /// and is moved on.
    pub(super) fn after(&self, offset: u64, len: u64, from: &mut u64) -> io::Result<(u64, Millis)> {
        if *from < self.count {
            let file = File::open(&self.path)?;
            while *from < self.count {
                let mut mark = [0; MARK as usize];
                file.read_exact_at(&mut mark, *from * MARK)?;
                let (end, at) = mark.split_at(8);
                let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
                if number(end) > offset {
                    return Ok((number(end).min(len), Millis(number(at))));
                }
                *from += 1;
            }
        }
        Ok((len, self.touched))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_in_together_stays_together_and_its_time_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r0.out");
        let mut marks = Marks::of(&file);
        for (end, now) in [(10, 100), (20, 103), (30, 200)] {
            marks.add(end, Millis(now)).unwrap();
        }
        let walk = |marks: &Marks| {
            let (mut offset, mut from, mut found) = (0, 0, Vec::new());
            while offset < 30 {
                let (end, at) = marks.after(offset, 30, &mut from).unwrap();
                found.push((end, at.0));
                offset = end;
            }
            found
        };
        // What came 3 ms after a mark goes with the next one.
        assert_eq!(walk(&marks), [(10, 100), (30, 200)]);
        assert_eq!(walk(&Marks::of(&file)), [(10, 100), (30, 200)]);
        marks.add(35, Millis(204)).unwrap();
        assert_eq!(marks.after(30, 35, &mut 0).unwrap(), (35, Millis(204)), "not yet marked");
    }

    #[test]
    fn marks_become_sparser_with_their_number() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::of(&dir.path().join("r0.out"));
        marks.count = 3 * SPARSER;
        marks.marked = Millis(1_000);
        marks.add(1, Millis(1_079)).unwrap();
        assert_eq!(marks.count, 3 * SPARSER);
        marks.add(2, Millis(1_080)).unwrap();
        assert_eq!(marks.count, 3 * SPARSER + 1);
    }
}
