//! The drill: a cluster is saved, lost, and restored; everything in it verifies as before.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    ASSAY, User,
    cluster::{AGENTS, Cluster, SERVERS},
    process, said,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Writes a file that is kept as a blob of its own, and one that is kept among small ones.
const WRITE: &str = "head -c 300000 /dev/zero | tr '\\0' x > \"$ASSAY_OUTPUT_DIR/weights\"; \
                     echo small > \"$ASSAY_OUTPUT_DIR/notes\"";

fn take(user: &User, dir: &str) -> Value {
    serde_json::from_str(&user.ok(&["--json", "backup", "take", dir])).unwrap()
}

fn restore(cluster: &Cluster, name: &str, dir: &str, more: &[&str]) -> Output {
    let config = cluster.path(&format!("config/{name}.toml"));
    let mut command = Command::new(ASSAY);
    command.args(["restore", dir, "--config"]).arg(config).args(more).output().unwrap()
}

/// The largest file below a folder.
fn largest(dir: &Path) -> PathBuf {
    let files = |dir: &Path| fs::read_dir(dir).unwrap().flatten().map(|it| it.path());
    let all = files(dir).flat_map(|below| files(&below).collect::<Vec<_>>());
    all.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

/// A job that has saved a step and runs on, until it is begun again from there.
fn begin_training(user: &User, cluster: &Cluster) {
    let script = format!(
        "if [ -n \"$ASSAY_RESUME_FROM\" ]; then \
           cp \"$ASSAY_RESUME_FROM/state\" \"$ASSAY_OUTPUT_DIR/state\"; exit; fi; \
         [ ! -e {0} ] || exit 3; touch {0}; mkdir \"$ASSAY_CHECKPOINT_DIR/part\"; \
         echo saved > \"$ASSAY_CHECKPOINT_DIR/part/state\"; \
         mv \"$ASSAY_CHECKPOINT_DIR/part\" \"$ASSAY_CHECKPOINT_DIR/step-5\"; exec sleep 60417",
        cluster.path("begun").display()
    );
    let words = ["submit", "--name", "train", "--cpus", "0.5", "--retries", "3", "--"];
    user.ok(&[&words[..], &["sh", "-c", &script]].concat());
    user.until("a step is committed", |user| {
        let job = user.json(&["job", "name=train"])?;
        (job["parts"][0]["checkpoints"][0]["step"] == 5).then_some(())
    });
}

#[test]
fn a_cluster_that_was_lost_is_restored_and_everything_in_it_verifies() {
    let mut cluster = Cluster::start();
    let backups = cluster.path("backups").display().to_string();
    let head = cluster.path("head.json").display().to_string();
    let user = User { profile: cluster.dir().to_owned() };
    user.ok(&["submit", "--wait", "--name", "one", "--cpus", "0.5", "--", "sh", "-c", WRITE]);
    let first = take(&user, &backups);
    assert_eq!(first["fetched"], first["blobs"], "{first}");
    user.run_job("two");
    begin_training(&user, &cluster);
    user.ok(&["audit", "verify", "--head-file", &head]);
    let second = take(&user, &backups);
    let count = |value: &Value| value.as_u64().unwrap();
    assert!(count(&second["fetched"]) > 0 && count(&second["fetched"]) < count(&second["blobs"]));
    assert!(count(&second["log_index"]) > count(&first["log_index"]));
    assert_eq!(second["silent"], serde_json::json!([]));
    assert_eq!(second["checkpoints"], 1, "{second}");
    user.ok(&["backup", "verify", &backups]);
    let at = first["log_index"].to_string();
    user.ok(&["backup", "verify", &backups, "--at", &at]);
    assert_eq!(user.ok(&["backup", "list", &backups]).lines().count(), 2);
    let lists = fs::read_dir(cluster.path("backups/lists")).unwrap().flatten().map(|it| it.path());
    for list in lists.filter(|path| path.extension().is_some_and(|form| form == "sha256")) {
        let mut stranger = Command::new("sha256sum");
        stranger.args(["--check", "--quiet"]).arg(list).current_dir(&backups);
        assert!(stranger.status().unwrap().success(), "tools that are not ours check it");
    }
    let artifacts = user.json(&["artifacts"]).unwrap();
    // This one is lost: it came after the backup.
    user.run_job("three");

    for name in SERVERS.iter().chain(&AGENTS) {
        cluster.stop(name);
    }
    for pid in process::named(&["sleep", "60417"]) {
        process::signal(pid, "-KILL");
    }
    for name in SERVERS {
        let refused = restore(&cluster, name, &backups, &[]);
        assert!(said(&refused).contains("holds data"), "{}", said(&refused));
        fs::remove_dir_all(cluster.path(&format!("data/{name}"))).unwrap();
    }
    let weights = largest(&cluster.path("backups/blobs"));
    let whole = fs::read(&weights).unwrap();
    let mut bytes = whole.clone();
    bytes[1_000] ^= 1;
    fs::write(&weights, bytes).unwrap();
    let name = weights.file_name().unwrap().to_str().unwrap();
    assert!(user.fails(7, &["backup", "verify", &backups]).contains(name));
    let refused = restore(&cluster, "server-1", &backups, &[]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(said(&refused).contains(name) && said(&refused).contains("is damaged"));
    let started = cluster.run_to_end("server-1");
    assert!(said(&started).contains("was not finished"), "{}", said(&started));
    fs::write(&weights, whole).unwrap();

    for name in SERVERS {
        let restored = restore(&cluster, name, &backups, &["--json"]);
        assert!(restored.status.success(), "{}", said(&restored));
        let restored: Value = serde_json::from_slice(&restored.stdout).unwrap();
        assert_eq!(restored["log_index"], second["log_index"]);
    }
    cluster.start_all();
    assert_eq!(user.json(&["artifacts"]).unwrap()["artifacts"], artifacts["artifacts"]);
    let chain = user.ok(&["audit", "verify", "--head-file", &head]);
    assert!(chain.contains("it extends the"), "{chain}");
    for artifact in ["a1", "a2"] {
        user.ok(&["verify", artifact]);
    }
    user.fails(4, &["job", "name=three"]);
    // What ran goes on from what it had saved.
    user.until("the training ends", |user| (user.states()["train"] == "completed").then_some(()));
    let fetched = cluster.path("trained").display().to_string();
    user.ok(&["fetch", "name=train", &fetched]);
    assert_eq!(fs::read_to_string(cluster.path("trained/state")).unwrap(), "saved\n");
    let fetched = cluster.path("fetched").display().to_string();
    user.ok(&["fetch", "a1", &fetched]);
    assert_eq!(fs::read(cluster.path("fetched/weights")).unwrap(), vec![b'x'; 300_000]);
    // It goes on: new work is sealed on the same chain, and can be saved again.
    user.run_job("four");
    user.ok(&["verify", "name=four"]);
    user.ok(&["audit", "verify", "--head-file", &head]);
    let third = take(&user, &backups);
    assert!(count(&third["log_index"]) > 1_000_000_000, "no lease has an id twice: {third}");
}
