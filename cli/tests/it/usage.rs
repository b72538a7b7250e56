//! GPU time as real processes use it: it balances to the millisecond, and Finance can take it in.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{User, cluster::Cluster};
use domain::Digest;
use registry::{ledger::parse_rfc3339, seal::canonical};
use serde_json::Value;
use std::fs;

const SHARES: [&str; 7] = [
    "useful_gpu_ms",
    "rework_gpu_ms",
    "lost_to_preemption_gpu_ms",
    "lost_to_faults_gpu_ms",
    "lost_to_cancel_gpu_ms",
    "held_idle_gpu_ms",
    "running_gpu_ms",
];

/// A gang whose first rank saves its work when it has notice, and that ends once there is `go`.
const VICTIM: &str = r#"
[ -n "$ASSAY_RESUME_FROM" ] && echo "goes on"
while [ ! -e HERE/go ]; do
    if [ "$RANK" = 0 ] && [ -e "$ASSAY_NOTICE" ] && [ -z "$saved" ]; then
        mkdir "$ASSAY_CHECKPOINT_DIR/.new"
        echo 1 > "$ASSAY_CHECKPOINT_DIR/.new/step"
        mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-1"; saved=1
    fi
    sleep 0.1
done
if [ "$RANK" = 0 ]; then echo 1 > "$ASSAY_OUTPUT_DIR/model"; fi
"#;

/// Saves its work once, waits for `fail`, and fails.
const FAILS: &str = r#"
mkdir "$ASSAY_CHECKPOINT_DIR/.new"
echo 1 > "$ASSAY_CHECKPOINT_DIR/.new/step"
mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-1"
while [ ! -e HERE/fail ]; do sleep 0.1; done
exit 3
"#;

fn until_state(user: &User, name: &str, state: &str) {
    user.until(&format!("{name} is {state}"), |user| (user.states()[name] == state).then_some(()));
}

fn usage(user: &User, words: &[&str]) -> Value {
    let all = [&["usage"], words].concat();
    let document = user.until("usage is told", |user| user.json(&all));
    assert_eq!(document["balances"], true, "{document}");
    document
}

fn share(time: &Value, name: &str) -> u64 {
    time[name].as_u64().unwrap()
}

fn held(time: &Value) -> u64 {
    SHARES.iter().map(|name| share(time, name)).sum()
}

/// What a job used.
fn of(document: &Value, job: &str) -> Value {
    let lines = document["lines"].as_array().unwrap();
    lines.iter().find(|line| line["job"] == job).unwrap_or_else(|| panic!("{document}")).clone()
}

fn ms(time: &Value) -> u64 {
    let text = time.as_str().unwrap().replace('Z', "000Z");
    parse_rfc3339(&text).unwrap() / 1_000
}

/// Milliseconds for which a job's attempts had their GPUs, times these.
fn wall(user: &User, job: &str) -> u64 {
    let document = user.until("the job is told of", |user| user.json(&["job", job]));
    let attempts = document["parts"][0]["attempts"].as_array().unwrap();
    let gpus = document["gpus"].as_u64().unwrap();
    attempts.iter().map(|it| (ms(&it["ended"]) - ms(&it["granted"])) * gpus).sum()
}

#[test]
fn every_millisecond_of_every_gpu_is_told_of_once() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let here = |script: &str| script.replace("HERE", &cluster.dir().display().to_string());
    let submit = |name: &str, words: &[&str], script: &str| {
        let first = ["submit", "--name", name, "--cpus", "0.2", "--on-disconnect", "continue"];
        user.ok(&[&first[..], words, &["--", "sh", "-c", &here(script)]].concat());
    };
    let nodes = user.json(&["nodes"]).unwrap();
    let gpus = nodes["nodes"][0]["inventory"]["gpus"].as_array().unwrap().len().to_string();

    submit("fails", &["--gpus", "1", "--retries", "0"], FAILS);
    user.until("it has saved its work", |user| {
        let job = user.json(&["job", "j1"])?;
        (job["parts"][0]["checkpoints"][0]["step"] == 1).then_some(())
    });
    fs::write(cluster.path("fail"), "").unwrap();
    until_state(user, "fails", "failed");

    let gang = ["--tasks", "2", "--gpus", &gpus];
    submit("victim", &[&gang[..], &["--min-run-time", "0s"]].concat(), VICTIM);
    until_state(user, "victim", "running");
    let urgent = "if [ $RANK = 0 ]; then echo 1 > \"$ASSAY_OUTPUT_DIR/answer\"; fi";
    submit("urgent", &[&gang[..], &["--priority", "5"]].concat(), urgent);
    until_state(user, "urgent", "completed");
    user.until("the victim goes on", |user| {
        user.ok(&["logs", "j2"]).contains("goes on").then_some(())
    });
    let open = usage(user, &["--by", "job"]);
    assert!(share(&of(&open, "j2"), "running_gpu_ms") > 0, "what becomes of it is not known yet");
    fs::write(cluster.path("go"), "").unwrap();
    until_state(user, "victim", "completed");

    let jobs = all_is_told_of(user);
    finance_takes_it_in(&cluster, &jobs);
    it_is_a_workload(&cluster);
}

/// What ran, as `assay-sim workload --format csv` reads it.
fn it_is_a_workload(cluster: &Cluster) {
    let user = &cluster.user;
    let file = cluster.path("live.csv").display().to_string();
    let told = user.ok(&["usage", "trace", "--out", &file]);
    assert!(told.contains("3 elements written to") && told.contains("--nodes 2x"), "{told}");
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(text, user.ok(&["usage", "trace"]), "the same without a file");
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0][..5], ["job_id", "submit_s", "gpus", "service_s", "tenant"]);
    let column = |at: usize| rows[1..].iter().map(|row| row[at]).collect::<Vec<_>>();
    assert_eq!(column(0), ["j1", "j2", "j3"]);
    assert_eq!(column(1)[0], "0.000", "times count from the first submission");
    // The victim had saved its work when it made room: both of its attempts count.
    let seconds = |text: &str| text.parse::<f64>().unwrap();
    let gpus = seconds(column(2)[1]);
    let apart = wall(user, "j2") as f64 / 1_000.0 / gpus - seconds(column(3)[1]);
    assert!(apart.abs() < 0.001, "{text}");
    let document = user.json(&["usage", "trace", "--out", &file]).unwrap();
    assert_eq!((&document["elements"], &document["unended"]), (&3.into(), &0.into()));
    let rows = user.json(&["usage", "trace"]).unwrap();
    assert_eq!(
        (&rows["schema"], &rows["rows"][0]["gpus"]),
        (&"usage_trace_rows/v1".into(), &1.into())
    );
    let nothing = user.fails(4, &["usage", "trace", "--to", "2001-01-01"]);
    assert!(nothing.contains("nothing that was submitted"), "{nothing}");
    user.fails(2, &["usage", "trace", "--from", "2026-01-02", "--to", "2026-01-01"]);
}

/// What was held adds up, by whatever it is told; of each job to what its attempts say.
fn all_is_told_of(user: &User) -> Value {
    let jobs = usage(user, &["--by", "job"]);
    for job in ["j1", "j2", "j3"] {
        assert_eq!(held(&of(&jobs, job)), wall(user, job), "{job}: {jobs}");
    }
    let (fails, victim, urgent) = (of(&jobs, "j1"), of(&jobs, "j2"), of(&jobs, "j3"));
    let some = |time: &Value, names: &[&str]| {
        for name in SHARES {
            assert_eq!(share(time, name) > 0, names.contains(&name), "{name} of {time}");
        }
    };
    some(&fails, &["useful_gpu_ms", "rework_gpu_ms"]);
    some(&victim, &["useful_gpu_ms", "lost_to_preemption_gpu_ms", "held_idle_gpu_ms"]);
    some(&urgent, &["useful_gpu_ms", "held_idle_gpu_ms"]);

    let sum: u64 = jobs["lines"].as_array().unwrap().iter().map(held).sum();
    assert_eq!(sum, held(&jobs["total"]), "{jobs}");
    for by in ["team", "queue", "user", "cause"] {
        let lines = usage(user, &["--by", by]);
        let lines = lines["lines"].as_array().unwrap();
        assert_eq!(lines.iter().map(held).sum::<u64>(), sum, "by {by}");
    }
    assert!(user.ok(&["usage", "--by", "cause"]).contains("lost to preemption"));
    user.fails(2, &["usage", "--since", "yesterday"]);

    let top = user.json(&["top"]).unwrap();
    assert_eq!((&top["gpus"]["held"], &top["waiting_jobs"]), (&0.into(), &0.into()), "{top}");
    assert!(user.ok(&["top", "--once"]).contains("0 of"), "it ends by itself");
    jobs
}

/// The export of these days: not while they go on, unless that is asked for.
fn finance_takes_it_in(cluster: &Cluster, jobs: &Value) {
    let user = &cluster.user;
    let first = jobs["first_day"].as_str().unwrap();
    let export = ["usage", "export", "--from", first, "--to", "2999-01-01"];
    let priced = [&export[..], &["--cents-per-gpu-hour", "3600000"]].concat();
    let refused = user.fails(3, &priced);
    assert!(refused.contains("not over"), "{refused}");
    let file = cluster.path("finance.json").display().to_string();
    let written = user.ok(&[&priced[..], &["--provisional", "--out", &file]].concat());
    assert!(written.contains("3 journals over"), "{written}");
    let text = fs::read_to_string(&file).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    // A cent is a millisecond of one GPU here.
    let owed: u64 = ["j1", "j2", "j3"]
        .iter()
        .map(|job| {
            let time = of(jobs, job);
            held(&time) - share(&time, "lost_to_preemption_gpu_ms")
        })
        .sum();
    let journals = document["journals"].as_array().unwrap().clone();
    let amount =
        |journal: &Value, entry: usize| journal["entries"][entry]["amount_cents"].as_u64().unwrap();
    assert_eq!(journals.iter().map(|it| amount(it, 0)).sum::<u64>(), owed, "{document}");
    for journal in &journals {
        assert_eq!(amount(journal, 0), amount(journal, 1), "{journal}");
        assert!(journal["journal_id"].as_str().unwrap().ends_with(":provisional"), "{journal}");
        assert!(journal["context"].as_object().unwrap().values().all(Value::is_string));
    }
    let said = document.as_object_mut().unwrap().remove("digest").unwrap();
    let canonical = canonical::to_string(&document).unwrap();
    assert_eq!(said, format!("sha256:{}", Digest::of(canonical.as_bytes())));
    assert_eq!(document["final"], false);
}
