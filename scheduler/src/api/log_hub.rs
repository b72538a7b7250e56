//! What tasks write, as the agents push it: files by lease on this server's disk.

use super::log_marks::Marks;
use domain::{LeaseId, Millis, NodeId, health::IdleRank, limit, link::LogSource};
use registry::blob::room;
use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{Arc, Mutex},
};
use tokio::sync::watch;

/// Bytes kept of one file; what a task writes beyond is dropped, and said so.
pub const FILE_MAX: u64 = 256 << 20;
/// Bytes read for one answer.
pub const READ_MAX: usize = 256 << 10;

/// Ranks that do nothing, of one node. Source: no gang has more.
const IDLE_MAX: usize = limit::GANG_MAX as usize;

struct Followed {
    path: PathBuf,
    len: u64,
    /// When what came in.
    marks: Marks,
    /// The newest whole line of a metrics file.
    last_line: String,
    grown: watch::Sender<u64>,
}

/// The files of all leases whose agents push to this server.
#[derive(Clone)]
pub struct LogHub {
    dir: PathBuf,
    files: Arc<Mutex<BTreeMap<(LeaseId, LogSource), Followed>>>,
    /// Leases whose files are followed together, each with a count of what came in.
    together: Arc<Mutex<BTreeMap<LeaseId, watch::Sender<u64>>>>,
    /// Ranks that do nothing, as each node told last.
    idle: Arc<Mutex<BTreeMap<NodeId, Vec<IdleRank>>>>,
}

fn name(source: LogSource) -> String {
    match source {
        LogSource::Output { rank } => format!("r{rank}.out"),
        LogSource::Metrics { rank } => format!("r{rank}.metrics"),
    }
}

impl LogHub {
    /// Opens the folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(dir: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let (files, together) = (Arc::default(), Arc::default());
        Ok(Self { dir, files, together, idle: Arc::default() })
    }

    fn with<T>(
        &self,
        lease: LeaseId,
        source: LogSource,
        act: impl FnOnce(&mut Followed) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut files = self.files.lock().expect("no holder of this lock can panic");
        let file = match files.entry((lease, source)) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.dir.join(lease.to_string()).join(name(source));
                let len = std::fs::metadata(&path).map_or(0, |meta| meta.len());
                let grown = watch::Sender::new(len);
                let marks = Marks::of(&path);
                entry.insert(Followed { path, len, marks, last_line: String::new(), grown })
            }
        };
        act(file)
    }

    /// Bytes that are here: the offset at which the agent is to go on.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn have(&self, lease: LeaseId, source: LogSource) -> io::Result<u64> {
        self.with(lease, source, |file| Ok(file.len))
    }

    /// Takes in what an agent pushes. Returns the length after it: when that is not the end of
    /// the pushed bytes, the agent is to send from there.
    ///
    /// # Errors
    /// When the disk fails or is full.
    pub fn append(
        &self,
        lease: LeaseId,
        source: LogSource,
        offset: u64,
        bytes: &[u8],
    ) -> io::Result<u64> {
        let dir = self.dir.clone();
        let had = self.have(lease, source)?;
        let now = super::context::wall_clock();
        let have = self.with(lease, source, |file| {
            let end = offset + bytes.len() as u64;
            if offset > file.len || end <= file.len || end > FILE_MAX {
                return Ok(file.len);
            }
            let fresh = &bytes[(file.len - offset) as usize..];
            if file.len == 0 {
                let dir = file.path.parent().expect("the path has a lease folder");
                std::fs::create_dir_all(dir)?;
            }
            room::check(&dir, fresh.len() as u64)?;
            let mut out = OpenOptions::new().create(true).append(true).open(&file.path)?;
            if let Err(fault) = out.write_all(fresh) {
                // A part that was written would stand there twice.
                out.set_len(file.len)?;
                return Err(fault);
            }
            file.len = end;
            file.marks.add(end, now)?;
            if matches!(source, LogSource::Metrics { .. }) {
                let text = String::from_utf8_lossy(fresh);
                if let Some(line) = text.lines().rfind(|line| !line.trim().is_empty()) {
                    line.clone_into(&mut file.last_line);
                }
            }
            file.grown.send_replace(end);
            Ok(end)
        })?;
        if have > had {
            self.tell_together(lease);
        }
        Ok(have)
    }

    fn tell_together(&self, lease: LeaseId) {
        let mut together = self.together.lock().expect("no holder of this lock can panic");
        if let Some(count) = together.get(&lease) {
            count.send_modify(|count| *count += 1);
            if count.receiver_count() == 0 {
                together.remove(&lease);
            }
        }
    }

    /// Tells whenever anything of a lease comes in.
    #[must_use]
    pub fn follow_all(&self, lease: LeaseId) -> watch::Receiver<u64> {
        let mut together = self.together.lock().expect("no holder of this lock can panic");
        together.entry(lease).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    /// What comes after `offset`, up to where it came in together: the end, and when.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn next(
        &self,
        lease: LeaseId,
        source: LogSource,
        offset: u64,
        mark: &mut u64,
    ) -> io::Result<Option<(u64, Millis)>> {
        self.with(lease, source, |file| {
            if offset >= file.len {
                return Ok(None);
            }
            file.marks.after(offset, file.len, mark).map(Some)
        })
    }

    /// Reads on from `offset`; empty at the end.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn read(&self, lease: LeaseId, source: LogSource, offset: u64) -> io::Result<Vec<u8>> {
        let path = self.with(lease, source, |file| Ok(file.path.clone()))?;
        let mut bytes = Vec::new();
        match File::open(path) {
            Ok(mut file) => {
                file.seek(SeekFrom::Start(offset))?;
                file.take(READ_MAX as u64).read_to_end(&mut bytes)?;
                Ok(bytes)
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => Ok(bytes),
            Err(fault) => Err(fault),
        }
    }

    /// Tells the length whenever it grows.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn follow(&self, lease: LeaseId, source: LogSource) -> io::Result<watch::Receiver<u64>> {
        self.with(lease, source, |file| Ok(file.grown.subscribe()))
    }

    /// Takes what a node tells of its ranks that do nothing: these, and no others.
    pub fn set_idle(&self, node: NodeId, mut ranks: Vec<IdleRank>) {
        ranks.truncate(IDLE_MAX);
        self.idle.lock().expect("no holder of this lock can panic").insert(node, ranks);
    }

    /// Ranks that do nothing, of leases that are `wanted`.
    #[must_use]
    pub fn idle(&self, wanted: impl Fn(LeaseId) -> bool) -> Vec<IdleRank> {
        let idle = self.idle.lock().expect("no holder of this lock can panic");
        let mut found: Vec<IdleRank> =
            idle.values().flatten().filter(|rank| wanted(rank.lease)).cloned().collect();
        found.sort_by_key(|rank| (rank.lease, rank.rank));
        found
    }

    /// The newest metrics line of each rank.
    #[must_use]
    pub fn metrics(&self, lease: LeaseId) -> BTreeMap<u32, String> {
        let files = self.files.lock().expect("no holder of this lock can panic");
        let first = (lease, LogSource::Metrics { rank: 0 });
        files
            .range(first..)
            .take_while(|((of, _), _)| *of == lease)
            .filter_map(|((_, source), file)| match source {
                LogSource::Metrics { rank } if !file.last_line.is_empty() => {
                    Some((*rank, file.last_line.clone()))
                }
                _ => None,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: LeaseId = LeaseId { index: 4, ordinal: 0 };
    #[test]
    fn ranks_that_do_nothing_are_those_that_their_nodes_told_last() {
        let dir = tempfile::tempdir().unwrap();
        let hub = LogHub::open(dir.path().to_owned()).unwrap();
        let idle = |rank| IdleRank {
            lease: LEASE,
            rank,
            state: domain::health::Idleness::Hung,
            since: domain::Millis(1),
        };
        hub.set_idle(NodeId(1), vec![idle(3), idle(4)]);
        hub.set_idle(NodeId(2), vec![idle(0)]);
        hub.set_idle(NodeId(1), vec![idle(4)]);
        assert_eq!(hub.idle(|lease| lease == LEASE), [idle(0), idle(4)]);
        assert_eq!(hub.idle(|_| false), []);
    }

    const OUT: LogSource = LogSource::Output { rank: 0 };

    #[test]
    fn bytes_are_taken_once_and_gaps_are_sent_again() {
        let dir = tempfile::tempdir().unwrap();
        let hub = LogHub::open(dir.path().join("logs")).unwrap();
        assert_eq!(hub.append(LEASE, OUT, 0, b"one\n").unwrap(), 4);
        assert_eq!(
            hub.append(LEASE, OUT, 0, b"one\ntwo\n").unwrap(),
            8,
            "an overlap adds its rest"
        );
        assert_eq!(hub.append(LEASE, OUT, 20, b"late\n").unwrap(), 8, "a gap is not taken");
        assert_eq!(hub.read(LEASE, OUT, 4).unwrap(), b"two\n");
        let again = LogHub::open(dir.path().join("logs")).unwrap();
        assert_eq!(again.have(LEASE, OUT).unwrap(), 8, "a restart knows what is here");
    }

    #[test]
    fn the_newest_metrics_line_of_each_rank_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let hub = LogHub::open(dir.path().into()).unwrap();
        let one = LogSource::Metrics { rank: 1 };
        hub.append(LEASE, one, 0, b"{\"step\":1}\n{\"step\":2}\n").unwrap();
        assert_eq!(hub.metrics(LEASE), [(1, "{\"step\":2}".to_owned())].into());
    }
}
