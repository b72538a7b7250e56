//! Processes and what the system knows of them.

use std::{
    path::Path,
    process::{Child, Command},
};

/// Ids of the processes whose command line holds every one of `words`.
pub fn named(words: &[&str]) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in Path::new("/proc").read_dir().unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(pid) = pid
            && words.iter().all(|word| line.contains(word))
        {
            found.push(pid);
        }
    }
    found
}

/// Sends a signal; false when there is no such process.
pub fn signal(pid: u32, signal: &str) -> bool {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).output().unwrap();
    sent.status.success()
}

/// Asks a child to end, and waits for it.
pub fn end(child: &mut Child) {
    signal(child.id(), "-TERM");
    // It may have ended before.
    let _ = child.wait();
}

/// Bytes of memory that a process holds.
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
