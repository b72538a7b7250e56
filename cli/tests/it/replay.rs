//! Segments of jobs that are run again on other nodes, and the GPU that is named when bits differ.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use serde_json::Value;
use std::fs;

const FOUR: [&str; 4] = ["node-a", "node-b", "node-c", "node-d"];

/// A program that saves four checkpoints, each from the one before. Where `flips` names the GPU
/// that it runs on, one bit of what it saves is another.
fn program(flips: &str) -> String {
    format!(
        "step=0; sum=1\n\
         if [ -n \"$ASSAY_RESUME_FROM\" ]; then . \"$ASSAY_RESUME_FROM/state\"; fi\n\
         while [ $step -lt 4 ]; do\n\
           step=$((step+1)); sum=$(( (sum * 31 + step) % 65521 ))\n\
           saved=$sum\n\
           if grep -q \"$CUDA_VISIBLE_DEVICES\" {flips}; then saved=$((sum ^ 4)); fi\n\
           mkdir \"$ASSAY_CHECKPOINT_DIR/new\"\n\
           printf 'step=%s\\nsum=%s\\n' $step $saved > \"$ASSAY_CHECKPOINT_DIR/new/state\"\n\
           mv \"$ASSAY_CHECKPOINT_DIR/new\" \"$ASSAY_CHECKPOINT_DIR/step-$step\"\n\
           sleep 1\n\
         done\n\
         echo $sum > \"$ASSAY_OUTPUT_DIR/sum\"\n"
    )
}

fn submit(user: &User, name: &str, script: &str) {
    let words = ["submit", "--rerun", "--name", name, "--gpus", "1", "--cpus", "0.5"];
    let words = [&words[..], &["--verify", "segment:100%", "--", "sh", "-c", script]].concat();
    user.ok(&words);
}

/// The checks of a job's segments, once all of them have come to an end.
fn replays(user: &User, job: &str) -> Vec<Value> {
    user.until(&format!("the segments of {job} were run again"), |user| {
        let job = user.json(&["job", job])?;
        let replays = job["replays"].as_array()?.clone();
        let over = replays.iter().all(|it| it["closed"].is_array());
        (job["state"] == "completed" && !replays.is_empty() && over).then_some(replays)
    })
}

fn says(replays: &[Value]) -> Vec<String> {
    replays.iter().map(|it| it["says"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_flipped_bit_on_one_of_four_agents_names_its_gpu_and_clean_runs_name_none() {
    let cluster = Cluster::start_with(&FOUR);
    let user = &cluster.user;
    let flips = cluster.path("flips");
    fs::write(&flips, "nobody\n").unwrap();
    let script = program(&flips.display().to_string());

    submit(user, "clean", &script);
    let clean = says(&replays(user, "j1"));
    assert!(
        clean.iter().all(|it| it.contains("replayed on") && it.ends_with(": equal")),
        "{clean:?}"
    );
    let verified = user.ok(&["verify", "j1"]);
    assert!(verified.contains("replay") && verified.contains("segment 0.."), "{verified}");
    assert!(!user.ok(&["nodes"]).contains("sick"));

    // The GPU that the next such job runs on: the one that the last one had.
    let first = user.json(&["job", "j1"]).unwrap();
    let ballot = &first["replays"][0]["ballots"][0];
    let (node, uuid) = (ballot["nodes"][0].as_str().unwrap(), ballot["gpus"][0]["uuid"].as_str());
    let uuid = uuid.unwrap().to_owned();
    fs::write(&flips, format!("{uuid}\n")).unwrap();
    let mut named = None;
    for number in 0..8 {
        let before = user.json(&["jobs"]).unwrap()["jobs"][0]["id"].clone();
        let id: u64 = before.as_str().unwrap()[1..].parse().unwrap();
        submit(user, &format!("flipped-{number}"), &script);
        let job = user.until("the job is known", |user| {
            let all = user.json(&["jobs", "--limit", "50"])?;
            let all = all["jobs"].as_array()?.clone();
            let name = format!("flipped-{number}");
            let mine = all.into_iter().find(|job| job["name"] == name.as_str())?;
            Some(mine["id"].as_str()?.to_owned())
        });
        assert!(job[1..].parse::<u64>().unwrap() > id);
        let found = replays(user, &job);
        let differs = says(&found).into_iter().find(|it| it.contains("DIFFERS"));
        if let Some(says) = differs {
            named = Some((job, says));
            break;
        }
    }
    let (job, says) = named.expect("one of the jobs met the GPU");
    assert!(says.contains(&uuid) && says.contains(node), "{says}, not {uuid} on {node}");

    let found = user.until("the GPU is in quarantine", |user| {
        let node = user.json(&["node", "show", node])?;
        (node["held_back"][0]["state"] == "quarantined").then_some(node)
    });
    let held = found["held_back"].as_array().unwrap();
    assert_eq!((held.len(), held[0]["uuid"].as_str()), (1, Some(uuid.as_str())));
    assert!(held[0]["symptom"].as_str().unwrap().contains("outvoted in check"), "{held:?}");
    for other in FOUR.iter().filter(|name| **name != node) {
        let other = user.json(&["node", "show", other]).unwrap();
        assert_eq!(other["held_back"].as_array().unwrap().len(), 0, "{other}");
    }
    let audit = user.ok(&["audit", "list", "--limit", "1000", "--json"]);
    assert!(audit.contains("gpu.accused") && audit.contains(&uuid), "the evidence is of record");
    user.ok(&["audit", "verify"]);
    let text = user.ok(&["job", &job]);
    assert!(text.contains("replay"), "{text}");

    // The bundled burn-in does not flip: the operator is told what it exercises, and it passes.
    user.ok(&["node", "accept", node]);
    user.until("the GPU serves again", |user| {
        user.json(&["node", "show", node])?["held_back"][0].is_null().then_some(())
    });
}

#[test]
fn a_burn_in_of_the_clusters_own_keeps_a_gpu_that_fails_it_in_quarantine() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let flips = cluster.path("flips");
    let folder = cluster.path("burnin");
    fs::create_dir_all(&folder).unwrap();
    let program = format!(
        "#!/bin/sh\nif grep -q \"$CUDA_VISIBLE_DEVICES\" {}; then sum=41; else sum=42; fi\n\
         echo $sum > \"$ASSAY_OUTPUT_DIR/sum\"\n",
        flips.display()
    );
    fs::write(folder.join("burn.sh"), program).unwrap();
    let job = "name = \"burn\"\ncommand = [\"sh\", \"burn.sh\"]\ncode = \".\"\n\
               time_limit = \"2m\"\n[resources]\ngpus = 1\ncpus = 0.5\nmemory = \"64MiB\"\n";
    fs::write(folder.join("burn.toml"), job).unwrap();
    fs::write(folder.join("cluster.toml"), "[acceptance]\njob = \"burn.toml\"\n").unwrap();
    let config = folder.join("cluster.toml").display().to_string();
    user.ok(&["apply", &config, "--reason", "a burn-in of our own"]);
    assert!(
        user.ok(&["plan", &config]).contains("nothing to change"),
        "what is in force is not a change"
    );

    let shown = user.json(&["node", "show", "node-a"]).unwrap();
    let uuid = shown["inventory"]["gpus"][0]["uuid"].as_str().unwrap().to_owned();
    fs::write(&flips, format!("{uuid}\n")).unwrap();
    let state = cluster.path("config/node-a.gpus.json");
    let mut machine: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    machine["gpus"][0]["xids"] = Value::from(vec![95]);
    fs::write(state.with_extension("new"), machine.to_string()).unwrap();
    fs::rename(state.with_extension("new"), &state).unwrap();
    let held = |user: &User| -> Option<Value> {
        let node = user.json(&["node", "show", "node-a"])?;
        node["held_back"].as_array()?.first().cloned()
    };
    user.until("the GPU is in quarantine", |user| {
        held(user).filter(|gpu| gpu["state"] == "quarantined")
    });
    user.ok(&["node", "accept", "node-a", &uuid]);
    let failed = user.until("the acceptance job has failed", |user| {
        held(user).filter(|gpu| gpu["check"]["closed"].is_array())
    });
    let says = failed["check"]["says"].as_str().unwrap();
    assert!(says.contains("FAILED"), "{says}");
    assert!(user.ok(&["node", "show", "node-a"]).contains("FAILED"));

    fs::write(&flips, "nobody\n").unwrap();
    user.ok(&["node", "accept", "node-a", &uuid]);
    user.until("the repaired GPU serves again", |user| {
        let node = user.json(&["node", "show", "node-a"])?;
        node["held_back"][0].is_null().then_some(())
    });
}
