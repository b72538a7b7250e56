//! A GPU falls ill under a job: the job goes on elsewhere, and the GPU serves again once an
//! operator has accepted it.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::fs;

/// The node of this name or id, as its document has it.
fn node(user: &User, name: &str) -> Option<Value> {
    user.json(&["node", "show", name])
}

fn gpus(node: &Value) -> usize {
    node["inventory"]["gpus"].as_array().unwrap().len()
}

/// Gives a simulated GPU another fact.
fn tell(cluster: &Cluster, node: &str, gpu: usize, name: &str, fact: Value) {
    let path = cluster.path(&format!("config/{node}.gpus.json"));
    let mut machine: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    machine["gpus"][gpu][name] = fact;
    let temporary = path.with_extension("new");
    fs::write(&temporary, machine.to_string()).unwrap();
    fs::rename(temporary, path).unwrap();
}

/// Node name and GPU of the job's first attempt, once it runs there.
fn place(cluster: &Cluster) -> (String, usize) {
    let flag = cluster.path("ran");
    cluster.user.until("the job runs", |user| {
        let job = user.json(&["job", "j1"])?;
        let member = &job["parts"][0]["attempts"][0]["members"][0];
        let gpu = member["tasks"][0]["gpus"][0].as_u64()?;
        let node = node(user, member["node"].as_str()?)?;
        let name = node["inventory"]["name"].as_str()?.to_owned();
        flag.exists().then_some((name, usize::try_from(gpu).unwrap()))
    })
}

/// A node that an operator does not trust is back when it has passed.
fn quarantined_as_a_whole(user: &User, name: &str) {
    let said = user.ok(&["node", "quarantine", name, "--reason", "strange results"]);
    assert!(said.contains("`assay node accept NODE`"), "{said}");
    let why = user.fails(3, &["node", "resume", name]);
    assert!(why.contains("in quarantine") && why.contains("--vouch"), "{why}");
    let text = user.ok(&["node", "show", name]);
    assert!(text.contains("is in quarantine: strange results"), "{text}");
    user.ok(&["node", "accept", name]);
    user.until("the node serves again", |user| {
        node(user, name).filter(|node| node["status"]["state"] == "ready")
    });
}

/// Somebody lowers a GPU's power limit: no job is told, and it is of record.
fn given_less_power(cluster: &mut Cluster, name: &str) {
    let power =
        |node: &Value| node["hardware"]["gpus"]["all"][0]["power"]["now_milliwatts"].as_u64();
    cluster.user.until("the whole machine is known", |user| power(&node(user, name)?));
    cluster.stop(name);
    tell(cluster, name, 0, "power_limit_mw", Value::from(351_000));
    cluster.run(name);
    cluster.user.until("the lower limit is known", |user| {
        node(user, name).filter(|node| power(node) == Some(351_000))
    });
    let text = cluster.user.ok(&["node", "show", name]);
    assert!(text.contains("gen 5 x16") && text.contains("351 W of "), "{text}");
}

#[test]
fn a_job_leaves_a_sick_gpu_at_no_cost_and_the_gpu_serves_again_once_it_is_accepted() {
    let mut cluster = Cluster::start();
    let user = &cluster.user;
    let flag = cluster.path("ran").display().to_string();
    let script = format!(
        "if [ -e {flag} ]; then echo well > \"$ASSAY_OUTPUT_DIR/answer\"; \
         else touch {flag}; exec sleep 600; fi"
    );
    let words = ["submit", "--name", "ill", "--gpus", "1", "--retries", "0", "--cpus", "0.5"];
    user.ok(&[&words[..], &["--", "sh", "-c", &script]].concat());
    let (sick, gpu) = place(&cluster);
    let whole = gpus(&node(user, &sick).unwrap());
    // An Xid comes.
    tell(&cluster, &sick, gpu, "xids", Value::from(vec![79]));

    let job = user.until("the job has ended", |user| {
        user.json(&["job", "j1"]).filter(|job| job["ended"].is_string())
    });
    assert_eq!(job["state"], "completed", "{job}");
    let attempts = job["parts"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{attempts:?}");
    let cause = attempts[0]["cause"].to_string();
    assert!(cause.contains("gpu_fault") && cause.contains("Xid 79"), "{cause}");
    assert_ne!(attempts[0]["members"], attempts[1]["members"], "it goes on on another GPU");

    let gpu = gpu.to_string();
    let found = user.until("the GPU is known to be held back", |user| {
        node(user, &sick).filter(|node| node["held_back"][0]["state"] == "quarantined")
    });
    assert_eq!(found["held_back"][0]["index"].to_string(), gpu);
    assert_eq!(gpus(&found), whole - 1);
    let text = user.ok(&["node", "show", &sick]);
    assert!(text.contains("Xid 79: the GPU fell off the bus"), "{text}");
    assert!(text.contains(&format!("assay node accept {sick} {gpu}")), "{text}");
    assert!(user.ok(&["nodes"]).contains("1 GPU sick"));

    let other = if sick == "node-a" { "node-b" } else { "node-a" };
    user.ok(&["node", "drain", other, "--reason", "test"]);
    let whole_word = whole.to_string();
    let all = ["submit", "--name", "all", "--gpus", &whole_word, "--cpus", "0.5"];
    user.ok(&[&all[..], &["--", "sh", "-c", "echo 1 > \"$ASSAY_OUTPUT_DIR/a\""]].concat());
    let why = user.ok(&["why", "j2"]);
    assert!(why.contains("health") && why.contains("Xid 79"), "{why}");

    user.fails(4, &["node", "accept", &sick, "77"]);
    // What the class gives, two GPUs that serve have to agree on.
    user.ok(&["node", "resume", other]);
    let said = user.ok(&["node", "accept", &sick, "--gpu", &gpu]);
    assert!(said.contains("acceptance job"), "{said}");
    user.until("the GPU serves again", |user| {
        node(user, &sick).filter(|node| gpus(node) == whole && node["held_back"][0].is_null())
    });
    user.until("a job has all GPUs of a node", |user| {
        user.json(&["job", "j2"]).filter(|job| job["state"] == "completed")
    });
    user.fails(3, &["node", "accept", &sick, &gpu]);
    quarantined_as_a_whole(user, other);
    given_less_power(&mut cluster, other);
    let user = &cluster.user;
    let audit = user.ok(&["audit", "list", "--limit", "200"]);
    let events = ["gpu.held_back", "check.opened", "class.reference_set", "check.decided"];
    let events =
        events.iter().chain(&["gpu.accepted", "gpu.released", "node.accepted", "node.changed"]);
    let missing: Vec<_> = events.filter(|it| !audit.contains(**it)).collect();
    assert!(missing.is_empty(), "{missing:?} in {audit}");
    user.ok(&["audit", "verify"]);
}
