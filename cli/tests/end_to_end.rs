//! Five real processes on loopback, fifty jobs, and SIGKILL for the leader, a follower and an
//! agent while they run: every job is sealed, exactly once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const JOBS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(120);

/// A development cluster that ends with its value.
struct Dev {
    process: Child,
    dir: tempfile::TempDir,
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

impl Dev {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_assay"))
            .args(["dev", "--dir"])
            .arg(dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let dev = Self { process, dir };
        dev.until("two nodes are ready", |dev| {
            let nodes = dev.json(&["nodes"])?;
            let ready = nodes["nodes"].as_array()?.iter();
            (ready.filter(|node| node["status"]["state"] == "ready").count() == 2).then_some(())
        });
        dev
    }

    fn assay(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_assay"))
            .arg("--profile")
            .arg(self.dir.path())
            .args(words)
            .output()
            .unwrap()
    }

    fn json(&self, words: &[&str]) -> Option<Value> {
        let output = self.assay(&[words, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).ok()
    }

    fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills the process whose command line holds `words`.
    fn kill(&self, command: &str, name: &str) {
        let config = format!("{}/config/{name}.toml", self.dir.path().display());
        for entry in Path::new("/proc").read_dir().unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if line.contains(&format!(" {command} ")) && line.contains(&config) {
                let pid = entry.file_name().into_string().unwrap();
                let killed = Command::new("kill").args(["-9", &pid]).status().unwrap();
                assert!(killed.success(), "{name} was there to be killed");
                println!("killed {name}");
                return;
            }
        }
        println!("{name} is down already");
    }

    /// The leader's number, and a follower's.
    fn roles(&self) -> (String, String) {
        self.until("there is a leader", |dev| {
            let cluster = dev.json(&["cluster", "status"])?;
            let leader = cluster["leader"].as_str()?.strip_prefix('r')?.to_owned();
            let follower = if leader == "1" { "2" } else { "1" };
            Some((leader, follower.to_owned()))
        })
    }
}

fn submit(dev: &Dev, number: usize) {
    let name = format!("e{number}");
    // Verifiers of models leave `.gitattributes` out, so it must not count for the root.
    let script = format!(
        "sleep 0.2; cd \"$ASSAY_OUTPUT_DIR\"; echo {number} > answer; echo x > .gitattributes"
    );
    let words = ["submit", "--name", &name, "--retries", "5", "--cpus", "0.5", "--gpus", "1"];
    let output = dev.assay(&[&words[..], &["--json", "--", "sh", "-c", &script]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "submit of {name}: {said}");
}

/// The reference tool of model signing accepts an export, and refuses it after one flipped bit.
fn strangers_agree(dev: &Dev) {
    let export = dev.dir.path().join("export");
    let to = export.to_str().unwrap();
    let output = dev.assay(&["artifact", "export", "a1", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/verify-with-strangers");
    let verdict = || Command::new(&script).arg(&export).status().unwrap().code();
    assert_eq!(verdict(), Some(0), "accepted as exported");

    let keys = format!("{to}/model.pub.pem");
    let offline = || dev.assay(&["verify", "--offline", to, "--keys", &keys]).status.code();
    assert_eq!(offline(), Some(0));
    std::fs::write(export.join("model/.gitignore"), "*.tmp").unwrap();
    assert_eq!(verdict(), Some(0), "files of a version control are no part of a model");
    assert_eq!(offline(), Some(0), "nor are they for us");
    std::fs::write(export.join("model/.gitmodules"), "").unwrap();
    assert_eq!(verdict(), Some(1), "any other file that was not signed is refused");
    assert_eq!(offline(), Some(7), "by us too");
    std::fs::remove_file(export.join("model/.gitmodules")).unwrap();
    let answer = export.join("model/answer");
    let mut bytes = std::fs::read(&answer).unwrap();
    bytes[0] ^= 1;
    std::fs::remove_file(&answer).unwrap();
    std::fs::write(&answer, bytes).unwrap();
    assert_eq!(verdict(), Some(1), "refused after one flipped bit");
    assert_eq!(offline(), Some(7), "by our own verifier too");
}

#[test]
fn every_job_is_sealed_exactly_once_though_leader_follower_and_agent_are_killed() {
    let dev = Dev::start();
    for number in 0..JOBS {
        submit(&dev, number);
        match number {
            10 => dev.kill("server", &format!("server-{}", dev.roles().0)),
            20 => dev.kill("agent", "node-a"),
            30 => dev.kill("server", &format!("server-{}", dev.roles().1)),
            40 => dev.kill("server", &format!("server-{}", dev.roles().0)),
            _ => {}
        }
    }
    let jobs = dev.until("all jobs have ended", |dev| {
        let jobs = dev.json(&["jobs"])?["jobs"].as_array()?.clone();
        let ended = jobs.iter().filter(|job| !job["ended"].is_null()).count();
        (ended >= JOBS).then_some(jobs)
    });
    let mut names = BTreeMap::new();
    for job in &jobs {
        assert_eq!(job["state"], "completed", "{job}");
        *names.entry(job["name"].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(names.len(), JOBS, "every submitted job is there");
    assert!(names.values().all(|count| *count == 1), "and none twice: {names:?}");

    let artifacts = dev.json(&["artifacts"]).unwrap()["artifacts"].as_array().unwrap().clone();
    let mut elements = BTreeMap::new();
    for artifact in &artifacts {
        let element = artifact["ticket"]["element"].as_str().unwrap().to_owned();
        *elements.entry(element).or_insert(0) += 1;
    }
    assert_eq!(elements.len(), JOBS, "every job has an artifact");
    assert!(elements.values().all(|count| *count == 1), "and only one: {elements:?}");

    strangers_agree(&dev);
    for words in [&["verify", "j1"][..], &["verify", "j50"], &["audit", "verify"]] {
        let output = dev.assay(words);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{words:?}: {said}");
    }
}
