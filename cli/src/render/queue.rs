//! The list of queues, and one queue in full.

use crate::{
    output::{Style, table::table},
    quantity::{show_cpus, show_duration, show_size, show_time},
};
use domain::{
    Millis,
    queue::Order,
    queue::view::{BudgetView, QueueUserView, QueueView, QueuesView},
};
use serde::Serialize;

/// The document of `assay queue list --json`.
#[derive(Debug, Serialize)]
pub struct Queues {
    /// The queues.
    #[serde(flatten)]
    pub all: QueuesView,
    /// The log index that the list shows.
    pub log_index: u64,
}

/// The document of `assay queue show --json`.
#[derive(Debug, Serialize)]
pub struct Detail {
    /// The queue.
    #[serde(flatten)]
    pub queue: QueueView,
    /// The log index that it shows.
    pub log_index: u64,
}

const HEADING: [&str; 9] =
    ["QUEUE", "WEIGHT", "GPUS", "GUARANTEED", "BORROWED", "SHARE", "WAITING", "RUNNING", "BUDGET"];

/// The list as text.
#[must_use]
pub fn list(style: Style, all: &QueuesView) -> String {
    let mut depth: Vec<&str> = Vec::new();
    let mut rows = Vec::new();
    for queue in &all.queues {
        while depth.last().is_some_and(|last| Some(*last) != queue.spec.parent.as_deref()) {
            depth.pop();
        }
        let indent = if style.table { "  ".repeat(depth.len()) } else { String::new() };
        rows.push(row(style, &indent, queue));
        depth.push(&queue.name);
    }
    let mut out = table(style, &HEADING, &rows);
    if style.table {
        let half_life = show_duration(Millis(all.half_life_ms));
        let changed = match all.version {
            0 => "as every cluster begins".to_owned(),
            version => format!("version {version} by {}: {}", all.changed_by, all.changed_why),
        };
        let classes: Vec<_> = all
            .priority_classes
            .descending()
            .map(|(name, priority)| format!("{name} {priority}"))
            .collect();
        if !classes.is_empty() {
            out.push_str(&style.faint(&format!("priorities: {}\n", classes.join(", "))));
        }
        out.push_str(&style.faint(&format!("{changed}; use counts half after {half_life}\n")));
    }
    out
}

fn row(style: Style, indent: &str, queue: &QueueView) -> Vec<String> {
    vec![
        format!("{indent}{}", queue.name),
        queue.spec.weight.to_string(),
        match queue.gpus_max {
            Some(max) => format!("{}/{max}", queue.held_gpus),
            None => queue.held_gpus.to_string(),
        },
        queue.spec.guaranteed_gpus.to_string(),
        queue.borrowed_gpus.to_string(),
        percent(queue.share_ppm),
        queue.waiting_jobs.to_string(),
        queue.running.to_string(),
        queue.budget.as_ref().map_or("-".into(), |budget| used(style, budget)),
    ]
}

fn percent(ppm: u64) -> String {
    format!("{}.{}%", ppm / 10_000, ppm / 1_000 % 10)
}

fn used(style: Style, budget: &BudgetView) -> String {
    let text = format!("{}%", budget.used_percent);
    match budget.state.as_str() {
        "spent" => style.bad(&format!("{text} spent")),
        "low" => style.busy(&format!("{text} low")),
        _ => text,
    }
}

const USERS: [&str; 4] = ["USER", "JOBS", "RUNNING", "GPUS"];

/// One queue as text.
#[must_use]
pub fn detail(style: Style, queue: &QueueView) -> String {
    let spec = &queue.spec;
    let most = |max: Option<u64>| max.map_or("no limit".into(), |max| format!("at most {max}"));
    let facts = [
        ("queue", queue.name.clone()),
        ("parent", spec.parent.clone().unwrap_or_else(|| "none".into())),
        ("gpus", format!("{} held, {}", queue.held_gpus, most(queue.gpus_max))),
        ("guarantee", format!("{}, {} borrowed", spec.guaranteed_gpus, queue.borrowed_gpus)),
        (
            "others",
            format!(
                "{} cores, {} of memory held",
                show_cpus(queue.held_cpu),
                show_size(queue.held_memory)
            ),
        ),
        (
            "share",
            format!(
                "{} now, {} over time; {} by weight {}",
                percent(queue.share_ppm),
                percent(queue.used_share_ppm),
                percent(queue.weight_share_ppm),
                spec.weight
            ),
        ),
        (
            "jobs",
            format!(
                "{} not ended, {} in line; elements running: {}",
                queue.jobs, queue.waiting_jobs, queue.running
            ),
        ),
        (
            "a user",
            format!(
                "GPUs: {}; running: {}",
                most(spec.user_gpus_max),
                most(spec.user_running_max.map(u64::from))
            ),
        ),
        ("order", order(queue.order).into()),
        ("priority", spec.priority_max.map_or("no limit".into(), |max| format!("at most {max}"))),
        ("isolation", format!("at least {}", spec.isolation)),
        ("budget", queue.budget.as_ref().map_or("none".into(), |it| budget(style, it))),
    ];
    let mut out: String =
        facts.iter().map(|(name, value)| format!("{name:<9} {value}\n")).collect();
    if !queue.users.is_empty() {
        let row = |user: &QueueUserView| {
            let numbers = [user.jobs, user.running, user.gpus].map(|number| number.to_string());
            std::iter::once(user.user.clone()).chain(numbers).collect()
        };
        let rows: Vec<Vec<String>> = queue.users.iter().map(row).collect();
        out.push_str(&format!("\n{}", table(style, &USERS, &rows)));
    }
    out
}

fn order(order: Order) -> &'static str {
    match order {
        Order::Age => "by age",
        Order::Shortest => "the shortest first",
    }
}

fn budget(style: Style, budget: &BudgetView) -> String {
    let hour = 3_600_000;
    let tenths = budget.used_gpu_ms / (hour / 10);
    let renewed = match budget.renewed {
        Some(at) => format!("; whole again at {}", show_time(at)),
        None => String::new(),
    };
    let stop = if budget.state == "spent" { ": nothing new starts" } else { "" };
    let (used, all) = (used(style, budget), budget.gpu_hours);
    format!("{}.{} of {all} GPU-hours used ({used}){stop}{renewed}", tenths / 10, tenths % 10)
}
