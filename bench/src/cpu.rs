//! Processor time of other processes, which noise on the machine does not touch.

use std::{path::Path, time::Duration};

/// Kernel ticks a second, fixed by the interface of `/proc` on Linux.
const TICKS: u64 = 100;

/// User and system time of all processes and their finished children.
pub fn of(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|pid| Some(fields(*pid)?.iter().sum::<u64>())).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// User and system time of this process's children that have ended, and of theirs.
pub fn of_ended_children() -> Duration {
    let ticks = fields(std::process::id()).map_or(0, |fields| fields[2] + fields[3]);
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// User and system time of a process, then of its children that it has waited for.
fn fields(pid: u32) -> Option<[u64; 4]> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; fields are counted after it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    Some([field(11)?, field(12)?, field(13)?, field(14)?])
}

/// Processes whose command line names `dir`.
pub fn processes_of(dir: &Path) -> Vec<u32> {
    let name = dir.display().to_string();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        std::fs::read(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|line| String::from_utf8_lossy(&line).contains(&name))
    })
    .collect()
}

/// Resident memory of a process in bytes.
pub fn resident(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// `total` shared out over `count` operations.
pub fn each(total: Duration, count: u64) -> Duration {
    total.div_f64(count.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_found_with_its_memory_and_its_time() {
        let own = std::process::id();
        assert!(resident(own).is_some_and(|bytes| bytes > 100_000));
        assert!(fields(own).is_some());
        let program = std::env::current_exe().unwrap();
        assert!(processes_of(&program).contains(&own));
    }
}
