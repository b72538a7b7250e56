//! Five real processes on loopback, fifty jobs, and SIGKILL for the leader, a follower and an
//! agent while they run: every job is sealed, exactly once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

mod harness;

use harness::{ASSAY, User, alone, process};
use std::{
    collections::BTreeMap,
    ops::Deref,
    path::Path,
    process::{Child, Command, Stdio},
    sync::MutexGuard,
};

const JOBS: usize = 50;

/// A development cluster that ends with its value. It starts killed processes again.
struct Dev {
    user: User,
    process: Child,
    dir: tempfile::TempDir,
    _alone: MutexGuard<'static, ()>,
}

impl Drop for Dev {
    fn drop(&mut self) {
        process::end(&mut self.process);
    }
}

impl Deref for Dev {
    type Target = User;

    fn deref(&self) -> &User {
        &self.user
    }
}

impl Dev {
    fn start() -> Self {
        let dev = Self::begin();
        dev.ready(2);
        dev
    }

    /// Starts it, and does not wait for it.
    fn begin() -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(ASSAY);
        command.args(["dev", "--dir"]).arg(dir.path());
        let process = command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap();
        let user = User { profile: dir.path().to_owned() };
        Self { user, process, dir, _alone: alone }
    }

    /// Kills the process with this configuration.
    fn kill(&self, command: &str, name: &str) {
        let config = format!("{}/config/{name}.toml", self.dir.path().display());
        let found = process::named(&[&format!("{command} "), &config]);
        for pid in &found {
            assert!(process::signal(*pid, "-KILL"), "{name} was there to be killed");
        }
        println!("{name}: {}", if found.is_empty() { "down already" } else { "killed" });
    }

    /// The leader's number, and a follower's.
    fn roles(&self) -> (String, String) {
        let leader = self.leader().replace('r', "");
        let follower = if leader == "1" { "2" } else { "1" };
        (leader, follower.to_owned())
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

/// The reference tool of model signing and the verifier of sigstore accept an export, and refuse it
/// after one flipped bit; the script says when they disagree.
fn strangers_agree(dev: &Dev) {
    let export = dev.dir.path().join("export");
    let to = export.to_str().unwrap();
    let output = dev.assay(&["artifact", "export", "a1", to]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let script = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap())
        .join("../scripts/verify-with-strangers");
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

#[test]
fn a_server_that_is_killed_while_the_cluster_starts_is_started_again() {
    let mut dev = Dev::begin();
    let pids = dev.dir.path().join("config/pids");
    harness::until("a server runs", || {
        std::fs::read_to_string(&pids).ok().filter(|text| text.contains("server-2 "))
    });
    dev.kill("server", "server-2");
    dev.ready(2);
    dev.until("all servers are there", |user| {
        let status = user.json(&["cluster", "status"])?;
        let active = |member: &serde_json::Value| member["active"] == true;
        status["replicas"].as_array()?.iter().all(active).then_some(())
    });
    assert!(dev.process.try_wait().unwrap().is_none(), "the cluster goes on");
}
