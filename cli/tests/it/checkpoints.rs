//! Checkpoints of tens of MB under real processes: unchanged parts are stored once, an agent that
//! is killed while it uploads costs nothing but time, the next attempt resumes from the same bits,
//! and what is no longer kept leaves the servers' disks.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    cluster::{Cluster, SERVERS},
    process, until,
};
use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Parts of a checkpoint, of which each step changes one.
const PARTS: u64 = 10;
const PART: usize = 3 << 20;
const STEPS: u64 = 8;
const MIB: u64 = 1 << 20;

/// Trains by putting `new-i` in the place of `old-i`, one a step, and waits for the test before
/// each next step. An attempt that resumes checks every bit of what it resumes from.
const SCRIPT: &str = r#"
compose() {
    i=0
    while [ $i -lt 10 ]; do
        if [ $i -lt $1 ]; then cat "$ASSAY_DATASET_PARTS/new-$i"; else cat "$ASSAY_DATASET_PARTS/old-$i"; fi
        i=$((i + 1))
    done
}
n=0
if [ -n "$ASSAY_RESUME_FROM" ]; then
    n=$(cat "$ASSAY_RESUME_FROM/step")
    compose $n | cmp - "$ASSAY_RESUME_FROM/weights" || exit 9
    echo $n > GATES/resumed
fi
while [ $n -lt 8 ]; do
    n=$((n + 1))
    rm -rf "$ASSAY_CHECKPOINT_DIR/part"
    mkdir "$ASSAY_CHECKPOINT_DIR/part"
    compose $n > "$ASSAY_CHECKPOINT_DIR/part/weights"
    echo $n > "$ASSAY_CHECKPOINT_DIR/part/step"
    # So that an agent that was not there tells a rename from the last write.
    sleep 0.02
    mv "$ASSAY_CHECKPOINT_DIR/part" "$ASSAY_CHECKPOINT_DIR/step-$n"
    touch GATES/saved-$n
    while [ ! -e GATES/open-$n ]; do sleep 0.05; done
done
compose 8 > "$ASSAY_OUTPUT_DIR/weights"
"#;

fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = vec![0; PART];
    for word in bytes.chunks_exact_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        word.copy_from_slice(&state.to_le_bytes());
    }
    bytes
}

struct Training {
    cluster: Cluster,
    gates: PathBuf,
}

impl Training {
    fn begin(keeping: &str) -> Self {
        let mut cluster = Cluster::set_up();
        for name in SERVERS {
            cluster.run(name);
        }
        cluster.run("node-a");
        cluster.user.ready(1);
        let (parts, gates) = (cluster.path("parts"), cluster.path("gates"));
        fs::create_dir(&parts).unwrap();
        fs::create_dir(&gates).unwrap();
        for part in 0..PARTS {
            fs::write(parts.join(format!("old-{part}")), noise(1 + part)).unwrap();
            fs::write(parts.join(format!("new-{part}")), noise(101 + part)).unwrap();
        }
        let script = cluster.path("train.sh");
        fs::write(&script, SCRIPT.replace("GATES", gates.to_str().unwrap())).unwrap();
        let job = cluster.path("train.toml");
        let text = format!(
            "name = \"train\"\ncommand = [\"sh\", \"{}\"]\nretries = 1\n\
             [datasets]\nparts = \"parts\"\n[checkpoint]\n{keeping}\n",
            script.display()
        );
        fs::write(&job, text).unwrap();
        cluster.user.ok(&["submit", job.to_str().unwrap()]);
        Self { cluster, gates }
    }

    /// Waits until the job has put a step into place.
    fn saved(&self, step: u64) {
        let gate = self.gates.join(format!("saved-{step}"));
        until(&format!("step {step} is saved"), || gate.exists().then_some(()));
    }

    /// Waits until a step, or a later one, is committed.
    fn committed(&self, step: u64) {
        self.cluster.user.until(&format!("step {step} is committed"), |user| {
            let job = user.json(&["job", "j1"])?;
            let mut saved = job["parts"][0]["checkpoints"].as_array()?.iter();
            saved.any(|it| it["step"].as_u64() >= Some(step)).then_some(())
        });
    }

    fn go_on(&self, step: u64) {
        fs::write(self.gates.join(format!("open-{step}")), "").unwrap();
    }

    /// Bytes that checkpoints take on a server's disk.
    fn stored(&self, server: &str) -> u64 {
        let dir = self.cluster.path(&format!("data/{server}/chunks"));
        let packs = fs::read_dir(dir).unwrap().flatten();
        packs.map(|pack| pack.metadata().map_or(0, |meta| meta.blocks() * 512)).sum()
    }

    /// What all servers hold, the least first.
    fn all_stored(&self) -> Vec<u64> {
        let mut all: Vec<u64> = SERVERS.iter().map(|server| self.stored(server)).collect();
        all.sort_unstable();
        all
    }

    fn output(&self) -> Vec<u8> {
        let to = self.cluster.path("fetched");
        self.cluster.user.ok(&["fetch", "j1", to.to_str().unwrap()]);
        fs::read(to.join("weights")).unwrap()
    }
}

fn expected() -> Vec<u8> {
    let part = |part| noise(if part < STEPS { 101 + part } else { 1 + part });
    (0..PARTS).flat_map(part).collect()
}

fn kill_task(gates: &Path) {
    let script = gates.with_file_name("train.sh");
    let tasks = process::named(&["sh", script.to_str().unwrap()]);
    assert!(!tasks.is_empty(), "the task runs");
    for pid in tasks {
        process::signal(pid, "-KILL");
    }
}

#[test]
fn checkpoints_are_stored_once_survive_a_killed_agent_are_resumed_bit_for_bit_and_go() {
    let mut training = Training::begin("keep = 2\nmax_age = \"20s\"");
    for step in 1..=3 {
        training.saved(step);
        training.committed(step);
        training.go_on(step);
    }
    // Two servers hold each checkpoint: three of 30 MiB, which share nine parts in ten.
    let stored: u64 = training.all_stored().iter().sum();
    let once = PARTS * PART as u64;
    assert!(stored >= 2 * once, "{stored} bytes are too few for two copies");
    assert!(stored < 2 * once * 3 / 2, "{stored} bytes: unchanged parts are stored once");

    // The agent dies while it uploads; its next life goes on with what is lacking.
    training.saved(4);
    training.cluster.kill("node-a");
    training.cluster.run("node-a");
    training.go_on(4);
    training.saved(5);
    training.committed(5);
    training.go_on(5);

    training.saved(6);
    training.committed(6);
    kill_task(&training.gates);
    let resumed = training.gates.join("resumed");
    let from = until("the next attempt resumes", || fs::read_to_string(&resumed).ok());
    assert_eq!(from.trim(), "6", "the newest committed one");
    for step in 6..=STEPS {
        training.go_on(step);
    }
    training.cluster.user.ok(&["wait", "j1"]);
    assert!(training.output() == expected(), "the result is the same bits");

    // Two are kept at most, and after their time none.
    until("what is no longer kept is gone from the disks", || {
        training.all_stored().iter().all(|bytes| *bytes < MIB).then_some(())
    });
    training.cluster.user.ok(&["verify", "j1"]);
}

#[test]
fn a_checkpoint_of_which_a_server_is_lost_is_copied_to_another() {
    let mut training = Training::begin("keep = 1");
    training.saved(1);
    training.committed(1);
    let once = PARTS * PART as u64;
    let holder = SERVERS.into_iter().find(|server| {
        let leads = server.replace("server-", "r") == training.cluster.user.leader();
        !leads && training.stored(server) >= once
    });
    let holder = holder.unwrap();
    training.cluster.stop(holder);
    training.cluster.user.ok(&["cluster", "remove", &holder.replace("server-", "r")]);
    until("another server holds it", || {
        let others = SERVERS.into_iter().filter(|server| *server != holder);
        let holding = others.filter(|server| training.stored(server) >= once).count();
        (holding == 2).then_some(())
    });
    // It is whole there: the other holder is lost, too, but for its vote.
    for step in 1..=STEPS {
        training.go_on(step);
    }
    training.cluster.user.ok(&["wait", "j1"]);
    assert!(training.output() == expected());
}
