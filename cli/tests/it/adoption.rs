//! An agent that is killed, and one that is replaced by another build, under a job that runs on.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{cluster::Cluster, process};
use std::{
    fs::{self, OpenOptions},
    io::Write,
    path::Path,
};

/// Lines that the job prints, and lines between two of its checkpoints.
const LINES: usize = 300;
const EACH: usize = 50;

/// The agent's program.
const AGENT: &str = env!("CARGO_BIN_EXE_assay-agent");

/// Another build of the program at `path`: other bytes, the same behaviour.
fn install(path: &Path, build: &str) {
    let temporary = path.with_extension("new");
    fs::copy(AGENT, &temporary).unwrap();
    let mut file = OpenOptions::new().append(true).open(&temporary).unwrap();
    // What follows an ELF file's last section is not looked at.
    file.write_all(build.as_bytes()).unwrap();
    drop(file);
    fs::rename(temporary, path).unwrap();
}

/// How many lines a server has, of a job that prints its numbers.
fn printed(cluster: &Cluster) -> usize {
    let output = cluster.user.assay(&["logs", "j1"]);
    String::from_utf8_lossy(&output.stdout).lines().count()
}

#[test]
fn a_job_loses_no_line_and_no_checkpoint_though_its_agent_is_killed_twice_and_then_replaced() {
    let mut cluster = Cluster::set_up();
    let program = cluster.path("bin/assay-agent");
    fs::create_dir(cluster.path("bin")).unwrap();
    install(&program, "first");
    let path = program.display().to_string();
    for server in crate::harness::cluster::SERVERS {
        cluster.run(server);
    }
    cluster.run_as("node-a", &path);
    cluster.user.ready(1);

    let script = format!(
        r#"i=0
        while [ $i -lt {LINES} ]; do
            i=$((i + 1)); echo "line $i"; sleep 0.05
            if [ $((i % {EACH})) = 0 ]; then
                mkdir "$ASSAY_CHECKPOINT_DIR/.new"; echo $i > "$ASSAY_CHECKPOINT_DIR/.new/at"
                mv "$ASSAY_CHECKPOINT_DIR/.new" "$ASSAY_CHECKPOINT_DIR/step-$i"
            fi
        done
        echo done > "$ASSAY_OUTPUT_DIR/answer""#
    );
    let words = ["submit", "--name", "counts", "--cpus", "0.5", "--retries", "0", "--"];
    cluster.user.ok(&[&words[..], &["sh", "-c", &script]].concat());
    let data = cluster.path("data/node-a").display().to_string();
    let supervisor = cluster.user.until("it has its supervisor", |_| {
        process::named(&["supervisor", &data]).first().copied()
    });
    for (life, at) in [("killed", 40), ("killed", 100), ("replaced", 160)] {
        cluster.user.until("so many lines", |_| (printed(&cluster) >= at).then_some(()));
        if life == "killed" {
            cluster.kill("node-a");
        } else {
            install(&program, "second");
            cluster.stop("node-a");
        }
        println!("agent {life} after line {at}");
        // Lines and a checkpoint come while no agent is there.
        std::thread::sleep(std::time::Duration::from_millis(1_500));
        cluster.run_as("node-a", &path);
    }
    let job = cluster.user.until("the job has ended", |user| {
        user.json(&["job", "j1"]).filter(|job| job["ended"].is_string())
    });
    assert_eq!(job["state"], "completed", "{job}");
    let attempts = job["parts"][0]["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1, "one attempt, over all lives of its agent: {attempts:?}");
    let log = cluster.user.ok(&["logs", "j1"]);
    let wanted: Vec<_> = (1..=LINES).map(|line| format!("line {line}")).collect();
    assert_eq!(log.lines().collect::<Vec<_>>(), wanted, "each line once, in order");
    let steps = job["parts"][0]["checkpoints"].as_array().unwrap().iter();
    let last = steps.filter_map(|it| it["step"].as_u64()).max();
    assert_eq!(last, Some(LINES as u64), "{job}");
    let running = process::named(&["supervisor", &data]);
    assert_eq!(running, [supervisor], "the supervisor outlived all of them");
    assert!(cluster.log("node-a").contains("lease taken over"));
}
