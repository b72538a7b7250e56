//! Parts of a GPU, as a node offers them and jobs get them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::{collections::BTreeSet, fs};

fn document(user: &User, words: &[&str]) -> Value {
    serde_json::from_str(&user.ok(&[words, &["--json"]].concat())).unwrap()
}

/// What a node offers: model and unique name of each.
fn offered(user: &User, name: &str) -> Vec<(String, String)> {
    let nodes = document(user, &["nodes"]);
    let node = nodes["nodes"].as_array().unwrap().iter();
    let node = node.clone().find(|node| node["inventory"]["name"] == name).cloned();
    let gpus = node.map(|node| node["inventory"]["gpus"].as_array().unwrap().clone());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    gpus.into_iter().flatten().map(|gpu| (text(&gpu["model"]), text(&gpu["uuid"]))).collect()
}

/// Two nodes, the second with its first GPU in four shares.
fn one_in_shares() -> Cluster {
    let mut cluster = Cluster::start_with(&["node-a", "node-b"]);
    cluster.stop("node-b");
    let file = cluster.path("config/node-b.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("gpu_shares = {{ 0 = 4 }}\n{text}")).unwrap();
    cluster.run("node-b");
    cluster.user.until("the shares are offered", |user| {
        let shares = offered(user, "node-b");
        (shares.iter().filter(|(model, _)| model.ends_with(" (1/4)")).count() == 4).then_some(())
    });
    cluster.user.ready(2);
    cluster
}

#[test]
fn four_jobs_run_on_one_gpu_whose_node_offers_it_in_shares() {
    let cluster = one_in_shares();
    let user = &cluster.user;
    let (_, name) = offered(user, "node-b").into_iter().find(|(_, it)| it.contains("::")).unwrap();
    let whole = name.split("::").next().unwrap();
    let go = cluster.path("go");
    let script = format!(
        "echo gpu=$CUDA_VISIBLE_DEVICES has=$ASSAY_GPU_MEMORY_BYTES xla=$XLA_PYTHON_CLIENT_MEM_FRACTION; \
         while [ ! -e {} ]; do sleep 0.1; done; echo $ASSAY_SEED > $ASSAY_OUTPUT_DIR/w",
        go.display()
    );
    let submit = |seed: &str, gpus: &str| {
        let asks = ["submit", "--rerun", "--seed", seed, "--gpus", gpus, "--cpus", "0.1"];
        let more = ["--memory", "64MiB", "--on-disconnect", "continue", "--", "sh", "-c", &script];
        user.ok(&[&asks[..], &more].concat())
    };
    for seed in ["1", "2", "3", "4"] {
        submit(seed, if seed == "1" { "1/4" } else { "0.25" });
    }
    user.until("all four run", |user| {
        let jobs = document(user, &["jobs"]);
        let all = jobs["jobs"].as_array()?.iter().filter(|job| job["state"] == "running").count();
        (all == 4).then_some(())
    });
    let mut indices = BTreeSet::new();
    for job in ["j1", "j2", "j3", "j4"] {
        let line = user.until("it has said its GPU", |user| {
            let logs = user.ok(&["logs", job]);
            logs.lines().find(|line| line.contains("gpu=")).map(str::to_owned)
        });
        assert!(line.contains(&format!("gpu={whole} ")), "{line} is not of {whole}");
        assert!(line.contains("xla=0.225") && !line.contains("has= "), "{line}");
        let told = document(user, &["job", job]);
        assert_eq!(told["spec"]["resources"]["gpu_share"]["at_least_per_mille"], 250, "{told}");
        let task = &told["parts"][0]["attempts"][0]["members"][0]["tasks"][0];
        indices.insert(task["gpus"][0].as_u64().unwrap());
    }
    assert_eq!(indices.len(), 4, "each has a share of its own");
    assert!(user.ok(&["job", "j1"]).contains("1 task of 0.25 GPU"), "as it was asked for");

    // The fifth waits, though whole ones are free; half a one there is nowhere.
    submit("5", "0.25");
    submit("6", "0.5");
    let why = |job: &str| document(user, &["why", job])["reasons"][0].clone();
    assert_eq!(why("j5")["never"], false, "{}", why("j5"));
    let half = why("j6");
    assert_eq!((&half["kind"], &half["never"]), (&"gpu_share".into(), &true.into()), "{half}");
    assert_eq!(half["remedy"], "lower `gpus` to 0.25");
    let told = user.fails(2, &["submit", "--gpus", "1.5", "--", "true"]);
    assert!(told.contains("a whole number of GPUs, or a part of one"), "{told}");
    let told = user.fails(2, &["submit", "--gpus", "0.5", "--tasks", "2", "--", "true"]);
    assert!(told.contains("a gang needs whole GPUs"), "{told}");

    fs::write(&go, "").unwrap();
    user.until("all that can have ended", |user| {
        let jobs = document(user, &["jobs"]);
        let done = jobs["jobs"].as_array()?.iter().filter(|job| job["state"] == "completed");
        (done.count() == 5).then_some(())
    });
    user.ok(&["verify", "j5"]);
}
