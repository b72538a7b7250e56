//! Follows what tasks print and measure, and hands on what is new.

use super::dirs::LeaseDirs;
use domain::{
    LeaseId,
    limit::LOG_LINE_MAX,
    link::{LogSource, Up},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt,
    path::PathBuf,
};

/// Longest piece in one message.
const PIECE_MAX: usize = 64 << 10;

/// Whether a file may still grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// An unfinished last line waits for its end.
    Open,
    /// Everything goes out.
    Final,
}

/// The files of all leases that run here.
#[derive(Debug, Default)]
pub struct Follower {
    files: BTreeMap<(LeaseId, LogSource), Followed>,
}

#[derive(Debug)]
struct Followed {
    path: PathBuf,
    /// Opened when it first exists.
    file: Option<File>,
    /// Everything before was handed on.
    offset: u64,
}

impl Follower {
    /// Follows the files of a lease's ranks.
    pub fn add(&mut self, lease: LeaseId, dirs: &LeaseDirs, ranks: impl Iterator<Item = u32>) {
        for rank in ranks {
            let both = [
                (LogSource::Output { rank }, dirs.log(rank)),
                (LogSource::Metrics { rank }, dirs.metrics(rank)),
            ];
            for (source, path) in both {
                let followed = Followed { path, file: None, offset: 0 };
                self.files.insert((lease, source), followed);
            }
        }
    }

    /// Follows a lease's files no longer.
    pub fn remove(&mut self, lease: LeaseId) {
        self.files.retain(|(of, _), _| *of != lease);
    }

    /// Whether nothing is followed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The server has a file up to `offset` and wants what follows.
    pub fn seek(&mut self, lease: LeaseId, source: LogSource, offset: u64) {
        if let Some(followed) = self.files.get_mut(&(lease, source)) {
            followed.offset = offset;
        }
    }

    /// Where each file stands, as messages without bytes: a server that has less answers with
    /// the offset from which it wants to hear.
    #[must_use]
    pub fn positions(&self) -> Vec<Up> {
        let started = self.files.iter().filter(|(_, followed)| followed.offset > 0);
        started
            .map(|((lease, source), followed)| Up::Log {
                lease: *lease,
                source: *source,
                offset: followed.offset,
                bytes: Vec::new(),
            })
            .collect()
    }

    /// Hands what is new to `take`, until it takes no more.
    pub fn pump(&mut self, take: &mut impl FnMut(Up) -> bool) {
        for ((lease, source), followed) in &mut self.files {
            if !followed.drain(*lease, *source, Tail::Open, take) {
                return;
            }
        }
    }

    /// Hands all that a lease wrote to `take`, until it takes no more.
    pub fn finish(&mut self, lease: LeaseId, take: &mut impl FnMut(Up) -> bool) {
        for ((of, source), followed) in &mut self.files {
            if *of == lease && !followed.drain(lease, *source, Tail::Final, take) {
                return;
            }
        }
    }
}

impl Followed {
    /// False when `take` takes no more.
    fn drain(
        &mut self,
        lease: LeaseId,
        source: LogSource,
        tail: Tail,
        take: &mut impl FnMut(Up) -> bool,
    ) -> bool {
        // A file that cannot be read is like one that says nothing: it never holds up the job.
        while let Ok(Some(bytes)) = self.next(tail) {
            let length = bytes.len() as u64;
            if !take(Up::Log { lease, source, offset: self.offset, bytes }) {
                return false;
            }
            self.offset += length;
        }
        true
    }

    /// The next piece: whole lines, or the start of an overlong one.
    fn next(&mut self, tail: Tail) -> io::Result<Option<Vec<u8>>> {
        let file = match &self.file {
            Some(file) => file,
            None => match File::open(&self.path) {
                Ok(file) => self.file.insert(file),
                Err(why) if why.kind() == ErrorKind::NotFound => return Ok(None),
                Err(why) => return Err(why),
            },
        };
        let length = file.metadata()?.len();
        let fresh = usize::try_from(length.saturating_sub(self.offset)).unwrap_or(PIECE_MAX);
        if fresh == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; fresh.min(PIECE_MAX)];
        let read = file.read_at(&mut bytes, self.offset)?;
        bytes.truncate(read);
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        match (whole, tail) {
            (0, Tail::Open) if bytes.len() < LOG_LINE_MAX => return Ok(None),
            (0, Tail::Open) => bytes.truncate(LOG_LINE_MAX),
            (_, Tail::Open) => bytes.truncate(whole),
            (_, Tail::Final) => {}
        }
        Ok(Some(bytes).filter(|bytes| !bytes.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs::OpenOptions, io::Write};

    struct Bench {
        _root: tempfile::TempDir,
        dirs: LeaseDirs,
        follower: Follower,
    }

    const LEASE: LeaseId = LeaseId { index: 1, ordinal: 0 };

    fn bench() -> Bench {
        let root = tempfile::tempdir().unwrap();
        let dirs = LeaseDirs { root: root.path().join("l1.0") };
        dirs.create().unwrap();
        let mut follower = Follower::default();
        follower.add(LEASE, &dirs, 0..1);
        Bench { _root: root, dirs, follower }
    }

    impl Bench {
        fn print(&self, bytes: &[u8]) {
            let mut options = OpenOptions::new();
            let mut file = options.create(true).append(true).open(self.dirs.log(0)).unwrap();
            file.write_all(bytes).unwrap();
        }

        fn heard(&mut self, tail: Tail) -> Vec<(u64, String)> {
            let mut heard = Vec::new();
            let mut take = |up: Up| {
                if let Up::Log { offset, bytes, .. } = up {
                    heard.push((offset, String::from_utf8(bytes).unwrap()));
                }
                true
            };
            match tail {
                Tail::Open => self.follower.pump(&mut take),
                Tail::Final => self.follower.finish(LEASE, &mut take),
            }
            heard
        }
    }

    #[test]
    fn lines_go_out_whole_and_the_last_one_at_the_end() {
        let mut bench = bench();
        assert!(bench.heard(Tail::Open).is_empty());
        bench.print(b"one\ntw");
        assert_eq!(bench.heard(Tail::Open), [(0, "one\n".into())]);
        bench.print(b"o\nthree");
        assert_eq!(bench.heard(Tail::Open), [(4, "two\n".into())]);
        assert_eq!(bench.heard(Tail::Final), [(8, "three".into())]);
        assert!(bench.heard(Tail::Final).is_empty());
    }

    #[test]
    fn a_server_that_has_less_hears_it_again_from_there() {
        let mut bench = bench();
        bench.print(b"one\ntwo\n");
        bench.heard(Tail::Open);
        assert_eq!(bench.follower.positions().len(), 1);
        bench.follower.seek(LEASE, LogSource::Output { rank: 0 }, 4);
        assert_eq!(bench.heard(Tail::Open), [(4, "two\n".into())]);
    }

    #[test]
    fn an_overlong_line_goes_out_in_pieces_and_a_full_link_loses_nothing() {
        let mut bench = bench();
        bench.print(&vec![b'x'; LOG_LINE_MAX + 10]);
        bench.follower.pump(&mut |_| false);
        let heard = bench.heard(Tail::Open);
        assert_eq!(heard.len(), 1);
        assert_eq!(heard[0].1.len(), LOG_LINE_MAX);
        assert_eq!(bench.heard(Tail::Final)[0].1.len(), 10);
    }
}
