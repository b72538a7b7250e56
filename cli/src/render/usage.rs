//! GPU time as a list.

use crate::{
    args::usage::By,
    output::{Style, table::table},
    quantity::{show_day, show_gpu_time, show_time},
};
use domain::{
    LogIndex,
    gpu_time::{GpuTime, Spent, UsageLine, UsageView},
};
use serde::Serialize;

/// The document of `assay usage --json`.
#[derive(Debug, Serialize)]
pub struct Usage {
    /// What the lines tell apart.
    pub by: &'static str,
    /// The first day.
    pub first_day: String,
    /// The last one, which is told too.
    pub last_day: String,
    /// Up to when it is told.
    pub as_of: String,
    /// Milliseconds times GPUs.
    pub wall_gpu_ms: u64,
    /// What nobody held of it.
    pub free_gpu_ms: u64,
    /// What of that was on nodes that take no work.
    pub out_of_service_gpu_ms: u64,
    /// What was held.
    pub total: GpuTime,
    /// Whether what was held and what was free is all that there was.
    pub balances: bool,
    /// The lines.
    pub lines: Vec<UsageLine>,
    /// The log index that it shows.
    pub log_index: LogIndex,
}

impl Usage {
    /// From a server's answer.
    #[must_use]
    pub fn new(by: By, view: UsageView) -> Self {
        Self {
            by: match by {
                By::Job => "job",
                By::Team => "team",
                By::Queue => "queue",
                By::User => "user",
                By::Cause => "cause",
            },
            first_day: show_day(view.first_day),
            last_day: show_day(view.last_day),
            as_of: show_time(view.now_ms),
            wall_gpu_ms: view.wall_gpu_ms,
            free_gpu_ms: view.free_gpu_ms,
            out_of_service_gpu_ms: view.out_of_service_gpu_ms,
            total: view.total,
            balances: view.balances(),
            lines: view.lines,
            log_index: view.log_index,
        }
    }
}

/// The list as text.
#[must_use]
pub fn text(style: Style, usage: &Usage) -> String {
    let mut out = match usage.by {
        "cause" => causes(style, usage),
        by => lines(style, by, &usage.lines),
    };
    if style.table {
        let (wall, held) = (show_gpu_time(usage.wall_gpu_ms), show_gpu_time(usage.total.held()));
        let free = show_gpu_time(usage.free_gpu_ms);
        let (first, last) = (&usage.first_day, &usage.last_day);
        let says = if usage.balances { "" } else { ", which does not balance" };
        let line = format!("{first} to {last}: {wall} of GPUs, {held} held, {free} free{says}\n");
        out.push_str(&style.faint(&line));
    }
    out
}

fn lines(style: Style, by: &str, lines: &[UsageLine]) -> String {
    const TIMES: [&str; 8] =
        ["HELD", "USEFUL", "REWORK", "PREEMPTED", "FAULTS", "CANCELLED", "IDLE", "RUNNING"];
    let names: &[&str] = match by {
        "team" => &["TEAM"],
        "queue" => &["TEAM", "QUEUE"],
        "user" => &["TEAM", "QUEUE", "USER"],
        _ => &["JOB", "TEAM", "QUEUE", "USER"],
    };
    let heading: Vec<&str> = names.iter().copied().chain(TIMES).collect();
    let row = |line: &UsageLine| -> Vec<String> {
        let name = |name: &&str| match *name {
            "JOB" => line.job.map_or_else(String::new, |job| job.to_string()),
            "TEAM" => line.team.clone(),
            "QUEUE" => line.queue.clone(),
            _ => line.user.clone(),
        };
        names.iter().map(name).chain(times(&line.time)).collect()
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    table(style, &heading, &rows)
}

fn times(time: &GpuTime) -> impl Iterator<Item = String> {
    let shares = Spent::ALL.map(|spent| time.share(spent));
    let all = std::iter::once(time.held()).chain(shares).chain([time.running_gpu_ms]);
    all.map(show_gpu_time)
}

fn causes(style: Style, usage: &Usage) -> String {
    let time = usage.lines.first().map_or_else(GpuTime::default, |line| line.time);
    let held = Spent::ALL.into_iter().map(|spent| (spent.word(), time.share(spent)));
    let rest = [
        ("running", time.running_gpu_ms),
        ("free", usage.free_gpu_ms.saturating_sub(usage.out_of_service_gpu_ms)),
        ("out of service", usage.out_of_service_gpu_ms),
    ];
    let row = |(word, ms): (&str, u64)| {
        let permille = u128::from(ms) * 1_000 / u128::from(usage.wall_gpu_ms.max(1));
        vec![word.to_owned(), show_gpu_time(ms), format!("{}.{}%", permille / 10, permille % 10)]
    };
    let rows: Vec<Vec<String>> = held.chain(rest).map(row).collect();
    table(style, &["CAUSE", "GPU TIME", "SHARE"], &rows)
}
