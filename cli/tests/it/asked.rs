//! What a job says of its GPUs, of its hardware, and of how often it is tried again by cause.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;

const WRITE: &str = "echo 7 > $ASSAY_OUTPUT_DIR/w";

/// A new cluster is raised to what all understand about a second after they have said so.
fn raised(user: &User) {
    user.until("a cluster of version 2", |user| {
        (user.json(&["cluster", "status"])?["version"] == 2).then_some(())
    });
}

fn document(user: &User, words: &[&str]) -> Value {
    serde_json::from_str(&user.ok(&[words, &["--json"]].concat())).unwrap()
}

/// The only reason of a job that waits.
fn why(user: &User, job: &str) -> Value {
    let reasons = document(user, &["why", job])["reasons"].clone();
    assert_eq!(reasons.as_array().map(Vec::len), Some(1), "{reasons}");
    reasons[0].clone()
}

#[test]
fn a_job_gets_the_gpus_and_the_hardware_that_it_asks_for_or_is_told_what_there_is() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    raised(user);
    let nodes = document(user, &["nodes"]);
    let class = nodes["nodes"][0]["hardware_class"].as_str().unwrap().to_owned();
    let gpu = &nodes["nodes"][0]["inventory"]["gpus"][0];
    let bytes = gpu["memory_bytes"].as_u64().unwrap();
    let least = format!("{}MiB", bytes >> 20);
    let asks = ["submit", "--gpus", "1", "--gpu-memory", &least];
    let words = [&asks[..], &["--hardware-class", &class, "--wait", "--", "sh", "-c", WRITE]];
    user.ok(&words.concat());
    let job = document(user, &["job", "j1"]);
    assert_eq!(job["spec"]["resources"]["gpu_memory_bytes"], bytes >> 20 << 20);
    assert_eq!(job["spec"]["hardware_class"], class.as_str());
    let text = user.ok(&["job", "j1"]);
    assert!(text.contains(" or more)") && text.contains(&class), "{text}");

    // What was made on this class is known; of another class nothing is.
    let again = user.ok(&words.concat());
    assert!(again.contains("nothing to run: a1"), "{again}");
    let other = "NVIDIA H999/driver-1/x86-64-v4";
    user.ok(&["submit", "--gpus", "1", "--hardware-class", other, "--", "sh", "-c", WRITE]);
    let reason = why(user, "j2");
    assert_eq!((&reason["kind"], &reason["never"]), (&"class".into(), &true.into()));
    assert!(reason["detail"].as_str().unwrap().contains(&class), "{reason}");
    let more = format!("{WRITE}; echo 8 >> $ASSAY_OUTPUT_DIR/w");
    user.ok(&["submit", "--gpus", "1", "--gpu-memory", "1TiB", "--", "sh", "-c", &more]);
    let reason = why(user, "j3");
    assert_eq!((&reason["kind"], &reason["never"]), (&"gpu_memory".into(), &true.into()));
    let remedy = reason["remedy"].as_str().unwrap();
    assert!(remedy.starts_with("lower `gpu_memory` to "), "{reason}");
    // The advice, followed.
    let most = remedy.strip_prefix("lower `gpu_memory` to ").unwrap().to_owned();
    let fits = ["submit", "--gpus", "1", "--gpu-memory", &most, "--outputs", "none", "--wait"];
    user.ok(&[&fits[..], &["--", "true"]].concat());
    let dry =
        user.ok(&["submit", "--dry-run", "--gpus", "1", "--gpu-memory", "1TiB", "--", "true"]);
    assert!(dry.contains("not known"), "it never starts: {dry}");
}

#[test]
fn a_job_is_tried_again_as_often_as_each_kind_of_failure_allows() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    raised(user);
    let asks = ["submit", "--outputs", "none", "--wait", "--retry-max", "exit_code=1"];
    user.fails(43, &[&asks[..], &["--", "sh", "-c", "exit 43"]].concat());
    let job = document(user, &["job", "j1"]);
    assert_eq!(job["parts"][0]["attempts"].as_array().unwrap().len(), 2, "{job}");
    assert_eq!(job["spec"]["retry"]["max"], serde_json::json!({ "exit_code": 1 }));
    assert_eq!(job["spec"]["retries"], 1, "as often as it may fail in its own ways");
    assert!(
        user.ok(&["job", "j1"]).contains("1 time after its own failures (at most exit_code 1)")
    );

    let asks = ["submit", "--outputs", "none", "--wait", "--retries", "5", "--retry-max"];
    let killed = ["signal=0", "--", "sh", "-c", "kill -9 $$"];
    user.fails(137, &[&asks[..], &killed].concat());
    let job = document(user, &["job", "j2"]);
    assert_eq!(job["parts"][0]["attempts"].as_array().unwrap().len(), 1, "{job}");

    let unknown = user.fails(2, &["submit", "--retry-max", "signl=1", "--", "true"]);
    assert!(unknown.contains("`signl` is no kind of failure"), "{unknown}");
    let far = user.fails(2, &["submit", "--retry-max", "node=101", "--", "true"]);
    assert!(far.contains("allow at most 100"), "{far}");
}
