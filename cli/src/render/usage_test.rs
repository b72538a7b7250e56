//! The documents and screens of GPU time, as programs and people have come to rely on them.

use super::usage::{Usage, text};
use crate::{
    args::usage::By,
    output::{Style, stable},
};
use domain::{
    JobId, LogIndex, Millis,
    gpu_time::{GpuTime, UsageLine, UsageView},
};
use insta::{assert_json_snapshot, assert_snapshot};

fn time(hours: u64) -> GpuTime {
    let hour = 3_600_000;
    GpuTime {
        useful_gpu_ms: hours * hour,
        rework_gpu_ms: hour / 2,
        lost_to_preemption_gpu_ms: hour / 4,
        lost_to_faults_gpu_ms: 12_500,
        lost_to_cancel_gpu_ms: 0,
        held_idle_gpu_ms: 900,
        running_gpu_ms: 7_000,
    }
}

fn line(team: &str, queue: &str, user: &str, job: Option<u64>, hours: u64) -> UsageLine {
    let (team, queue, user) = (team.to_owned(), queue.to_owned(), user.to_owned());
    UsageLine { team, queue, user, job: job.map(JobId), time: time(hours) }
}

fn usage(by: By, lines: Vec<UsageLine>) -> Usage {
    let total = lines.iter().fold(GpuTime::default(), |sum, line| sum.plus(&line.time));
    let free = 40_000_000;
    let view = UsageView {
        first_day: 20_418,
        last_day: 20_424,
        now_ms: Millis(1_764_700_000_000),
        wall_gpu_ms: total.held() + free,
        free_gpu_ms: free,
        out_of_service_gpu_ms: 4_000_000,
        total,
        lines,
        next: None,
        log_index: LogIndex(101),
    };
    Usage::new(by, view)
}

#[test]
fn documents_and_screens_of_gpu_time_keep_their_form() {
    let jobs = vec![line("ml", "ml-a", "ada", Some(7), 30), line("ml", "ml-b", "bob", Some(9), 4)];
    let of_jobs = usage(By::Job, jobs);
    assert_json_snapshot!("usage.json", stable::document("usage", &of_jobs));
    assert_snapshot!("usage_jobs.txt", text(Style::COLUMNS, &of_jobs));
    let queues = vec![line("ml", "ml-a", "", None, 30), line("default", "default", "", None, 1)];
    let queues = usage(By::Queue, queues);
    assert_snapshot!("usage_queues.txt", text(Style::COLUMNS, &queues));
    let all = usage(By::Cause, vec![line("", "", "", None, 34)]);
    assert!(all.balances);
    assert_snapshot!("usage_causes.txt", text(Style::COLUMNS, &all));
}
