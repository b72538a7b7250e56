//! Five real processes on loopback, fifty jobs, and SIGKILL for the leader, a follower and an
//! agent while they run, whom and when at random: every job is sealed, exactly once.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{ASSAY, User, alone, process};
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

    /// The leader's number, or that of one of its two followers.
    fn server(&self, victim: Victim) -> u64 {
        let leader = self.until("there is a leader", |user| {
            let leader = user.json(&["cluster", "status"])?["leader"].as_str()?.to_owned();
            leader.strip_prefix('r')?.parse::<u64>().ok()
        });
        let nth = match victim {
            Victim::Follower(nth) => nth,
            Victim::Leader | Victim::Agent(_) => return leader,
        };
        let mut followers = (1..=3).filter(|id| *id != leader);
        followers.nth(usize::from(nth)).unwrap()
    }

    fn strike(&self, victim: Victim) {
        match victim {
            Victim::Agent(name) => self.kill("agent", name),
            Victim::Leader | Victim::Follower(_) => {
                self.kill("server", &format!("server-{}", self.server(victim)));
            }
        }
    }
}

/// Who is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Leader,
    /// The first or the second by number.
    Follower(u8),
    Agent(&'static str),
}

/// Draws after how many submits who is killed: a leader, a follower, an agent, and one more, not
/// two of them at once. One number gives the same again.
fn draw(seed: u64) -> Vec<(usize, Victim)> {
    let mut state = seed;
    let mut below = move |bound: u64| {
        // splitmix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    };
    let mut victims = vec![
        Victim::Leader,
        Victim::Follower(below(2) as u8),
        Victim::Agent(["node-a", "node-b"][below(2) as usize]),
    ];
    victims.push(victims[below(3) as usize]);
    let mut at = 2;
    let mut drawn = Vec::new();
    while !victims.is_empty() {
        at += 4 + below(8) as usize;
        drawn.push((at, victims.remove(below(victims.len() as u64) as usize)));
    }
    drawn
}

/// `ASSAY_KILLS=N` replays the kills that a failed run printed.
fn seed() -> u64 {
    match std::env::var("ASSAY_KILLS") {
        Ok(given) => given.parse().expect("ASSAY_KILLS is a number"),
        Err(_) => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::from(now.subsec_nanos())
        }
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
    // One of its files stands for it; a file that lies elsewhere has no signature near.
    let answer = format!("{to}/model/answer");
    let of_file = |file: &str| dev.assay(&["verify", file, "--offline", "--keys", &keys]);
    assert_eq!(of_file(&answer).status.code(), Some(0), "a file of it");
    assert_eq!(of_file(&keys).status.code(), Some(2), "no file of a model");
    std::fs::write(export.join("model/.gitignore"), "*.tmp").unwrap();
    assert_eq!(verdict(), Some(0), "files of a version control are no part of a model");
    assert_eq!(offline(), Some(0), "nor are they for us");
    let left_out = of_file(&format!("{to}/model/.gitignore"));
    assert_eq!(left_out.status.code(), Some(7), "nobody vouches for a file that is left out");
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
    let seed = seed();
    let kills = draw(seed);
    println!("again: ASSAY_KILLS={seed} cargo test -p cli --test it end_to_end::; {kills:?}");
    assert!(kills.iter().all(|(at, _)| *at < JOBS), "all happen while jobs come: {kills:?}");
    let dev = Dev::start();
    for number in 0..JOBS {
        submit(&dev, number);
        let now = kills.iter().filter(|(at, _)| *at == number);
        now.for_each(|(_, victim)| dev.strike(*victim));
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
    crate::harness::until("a server runs", || {
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
