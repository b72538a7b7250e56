//! Processor time of other processes, which noise on the machine does not touch.

use std::time::Duration;

/// Kernel ticks a second, fixed by the interface of `/proc` on Linux.
const TICKS: u64 = 100;

/// User and system time of all processes and their finished children.
pub fn of(pids: &[u32]) -> Duration {
    let ticks: u64 = pids.iter().filter_map(|pid| ticks(*pid)).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

fn ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold spaces; fields are counted after it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<_> = rest.split(' ').collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    Some(field(11)? + field(12)? + field(13)? + field(14)?)
}
