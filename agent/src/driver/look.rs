//! A look at the ranks that run here: what their processes have used and written.

use super::{
    dirs::LeaseDirs,
    supervisor::{Owner, hand::Taken},
};
use crate::machine::health::RankReading;
use domain::{LeaseId, Millis};
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

/// The unit of processor time in `/proc`. Source: USER_HZ is 100 on x86-64 and on ARM64.
const TICK: Millis = Millis(10);
/// Threads in one dump.
const THREADS_MAX: usize = 256;
/// Bytes of one file of the system's in a dump.
const PART_MAX: usize = 4 << 10;

/// A rank that runs here.
#[derive(Clone, Debug)]
pub struct Rank {
    /// Its lease.
    pub lease: LeaseId,
    /// Its number.
    pub rank: u32,
    /// Its lease's folders.
    pub dirs: LeaseDirs,
    /// The agent's account, where that is not this process's own.
    pub owner: Option<Owner>,
}

/// Looks at each rank. The use of GPUs is not part of it.
#[must_use]
pub fn look(ranks: &[Rank]) -> Vec<RankReading> {
    let marks: Vec<_> = ranks.iter().map(mark).collect();
    let mut readings: Vec<RankReading> = ranks
        .iter()
        .map(|it| RankReading { progress: progress(it), ..RankReading::default() })
        .collect();
    for process in processes() {
        let Ok(environ) = fs::read(process.join("environ")) else { continue };
        if let Some(at) = marks.iter().position(|mark| is_marked(&environ, mark)) {
            let used = cpu(&process).unwrap_or_default();
            readings[at].cpu = readings[at].cpu.plus(used);
        }
    }
    readings
}

/// What the threads of a rank's processes wait for, as far as the system lets us see it.
#[must_use]
pub fn dump(rank: &Rank) -> String {
    let mark = mark(rank);
    let mut text = String::new();
    let mut threads = 0;
    for process in processes() {
        let Ok(environ) = fs::read(process.join("environ")) else { continue };
        if !is_marked(&environ, &mark) {
            continue;
        }
        let Ok(tasks) = fs::read_dir(process.join("task")) else { continue };
        for task in tasks.flatten().take(THREADS_MAX.saturating_sub(threads)) {
            threads += 1;
            text += &thread(&task.path());
        }
    }
    text
}

/// Appends to what a rank printed. Returns how many bytes were added.
///
/// # Errors
/// When there is no such file, or a link in its place, or no room.
pub fn append(rank: &Rank, text: &str) -> io::Result<u64> {
    // The folder may be the task's as well: a link must not lead us elsewhere.
    let mut file = Taken::open(&rank.dirs, rank.owner)?.log(&rank.dirs, rank.rank)?;
    file.write_all(text.as_bytes())?;
    Ok(text.len() as u64)
}

fn processes() -> Vec<PathBuf> {
    let numbered = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    all.map(|entry| entry.path()).filter(numbered).collect()
}

/// Two variables that every process of the rank carries, and no other.
fn mark(rank: &Rank) -> [Vec<u8>; 2] {
    let out = format!("ASSAY_OUTPUT_DIR={}", rank.dirs.out().display());
    [out.into_bytes(), format!("RANK={}", rank.rank).into_bytes()]
}

fn is_marked(environ: &[u8], mark: &[Vec<u8>; 2]) -> bool {
    mark.iter().all(|wanted| environ.split(|byte| *byte == 0).any(|line| line == wanted))
}

/// Grows with each printed byte, metric and checkpoint.
fn progress(rank: &Rank) -> u64 {
    Taken::open(&rank.dirs, rank.owner).map_or(0, |taken| taken.progress(&rank.dirs, rank.rank))
}

/// Processor time of a process and of its children that have ended.
fn cpu(process: &Path) -> Option<Millis> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    // The program's name, in parentheses, may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().skip(11).take(4).flat_map(str::parse::<u64>).sum();
    Some(Millis(ticks.saturating_mul(TICK.0)))
}

fn thread(task: &Path) -> String {
    let read = |name: &str| match fs::read(task.join(name)) {
        Ok(bytes) => {
            let cut = &bytes[..bytes.len().min(PART_MAX)];
            String::from_utf8_lossy(cut).trim_end().to_owned()
        }
        Err(why) => format!("not readable: {why}"),
    };
    let status = read("status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or("-");
    let number = task.file_name().unwrap_or_default().display();
    let mut text = format!("thread {number} {} state {}\n", read("comm"), state.trim());
    text += &format!("  waits in {} | call {}\n", read("wchan"), read("syscall"));
    for line in read("stack").lines() {
        text += &format!("  {line}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_ranks_processes_are_found_by_what_they_carry_and_say_what_they_wait_for() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = crate::driver::dirs::NodeDirs { root: dir.path().to_owned() };
        let lease = LeaseId { index: 7, ordinal: 0 };
        let rank = |rank| Rank { lease, rank, dirs: dirs.lease(lease), owner: None };
        let (mine, other) = (rank(0), rank(1));
        mine.dirs.create().unwrap();
        fs::write(mine.dirs.log(0), "step 1\n").unwrap();
        let script = "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; sleep 60";
        let mut child = Command::new("sh")
            .args(["-c", script])
            .env("ASSAY_OUTPUT_DIR", mine.dirs.out())
            .env("RANK", "0")
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let ranks = [mine.clone(), other.clone()];
        let readings = std::iter::repeat_with(|| {
            std::thread::sleep(std::time::Duration::from_millis(20));
            look(&ranks)
        });
        let found = readings.take(1_000).find(|it| it[0].cpu > Millis(0)).expect("it used a core");
        // Two entries of every folder are its own and the one above.
        assert_eq!((found[0].progress, found[1].cpu), (9, Millis(0)));
        assert!(dump(&mine).contains(&format!("thread {} sh", child.id())), "{}", dump(&mine));
        assert_eq!(dump(&other), "");
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(append(&mine, "dump\n").unwrap(), 5);
        assert_eq!(look(&ranks)[0].progress, 14);
        fs::remove_file(mine.dirs.log(0)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", mine.dirs.log(0)).unwrap();
        assert!(append(&mine, "dump\n").is_err(), "a link leads nowhere");
    }
}
