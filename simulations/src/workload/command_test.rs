//! Options of the command over jobs that come and end.

use super::command::{Arguments, run};
use clap::Parser;
use serde_json::Value;
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Words {
    #[command(flatten)]
    arguments: Arguments,
}

fn file(name: &str, text: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("assay-command-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The first policy's figures.
fn figures(trace: &Path, words: &[&str]) -> Value {
    let trace = trace.display().to_string();
    let line = ["workload", "--json", "--overhead", "none", "--trace", &trace];
    let arguments = Words::parse_from(line.iter().chain(words)).arguments;
    let report: Value = serde_json::from_str(&run(&arguments).unwrap()).unwrap();
    report["policies"][0].clone()
}

#[test]
fn a_node_list_is_the_cluster_and_nodes_without_gpus_hold_nothing() {
    let nodes =
        file("n.csv", "sn,cpu_milli,memory_mib,gpu,model\na,1,1,4,T4\nb,1,1,0,\nc,1,1,2,P\n");
    let jobs = "job_id,submit_s,gpus,service_s\na,0,4,10\nb,0,2,10\nc,0,4,10\nd,0,7,10\n";
    let trace = file("list.csv", jobs);
    let list = nodes.display().to_string();
    let ran = figures(&trace, &["--format", "csv", "--policy", "fifo", "--node-list", &list]);
    assert_eq!((ran["jobs"].as_u64(), ran["jobs_too_large"].as_u64()), (Some(3), Some(1)));
    // Two at once, then the third on the node of four.
    assert_eq!(ran["makespan_s"].as_f64(), Some(20.0));
}

#[test]
fn a_load_moves_the_times_of_submission() {
    let row = |at: u32| format!("j{at},{},8,100\n", at * 1_000);
    let rows: String = (0..101).map(row).collect();
    let trace = file("load.csv", &format!("job_id,submit_s,gpus,service_s\n{rows}"));
    let at = |load: &str| {
        let words = ["--format", "csv", "--policy", "fifo", "--nodes", "1x8", "--load", load];
        figures(&trace, &words)["utilisation_pct"].as_f64().unwrap()
    };
    // The last job runs after the last submission, so the load is reached but for one in 101.
    assert!((at("50") - 50.0).abs() < 1.0, "{}", at("50"));
    assert!((at("90") - 90.0).abs() < 1.5, "{}", at("90"));
    assert!(at("200") > 99.0, "{}", at("200"));
}

#[test]
fn what_users_asked_for_in_swf_is_an_estimate() {
    // The first runs 50 s but asks for 900, the second runs 60 s and asks for 60; field nine.
    let text = "1 0 0 50 8 -1 -1 8 900 -1 1 1 1 -1 1 -1 -1 -1\n\
                2 0 0 60 8 -1 -1 8 60 -1 1 1 1 -1 1 -1 -1 -1\n";
    let trace = file("asked.swf", text);
    let told = |estimates: &str| {
        let words = ["--format", "swf", "--policy", "sjf", "--nodes", "1x8"];
        let words = [&words[..], &["--estimates", estimates]].concat();
        figures(&trace, &words)["jct_avg_s"].as_f64().unwrap()
    };
    assert_eq!((told("exact"), told("asked")), (80.0, 85.0));
}
