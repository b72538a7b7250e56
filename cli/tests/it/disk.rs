//! Disks that are really full, under agents and servers that really run: on small file systems of
//! their own, which needs root or user namespaces (the tests fail, and say so, where neither is).
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
    said,
    wire::{address, channel},
};
use proto::v1::{self, assay_client::AssayClient};
use std::{fs, path::PathBuf};

const MIB: u64 = 1 << 20;
/// Room of an agent's disk.
const AGENT_DISK: u64 = 32 * MIB;
/// Room of a server's disk: new jobs are taken with 256 MiB left, blobs with 96 MiB. RocksDB takes
/// about 40 of them for its write-ahead log before there is any.
const SERVER_DISK: u64 = 384 * MIB;

/// Runs a shell script as a job to its end, with more words for `submit`; returns what the
/// command said of the end, and whether all went well.
fn run(user: &User, name: &str, words: &[&str], script: &str) -> (String, bool) {
    let submit = ["submit", "--wait", "--name", name, "--cpus", "0.5"];
    let output = user.assay(&[&submit[..], words, &["--", "sh", "-c", script]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
    (text, output.status.success())
}

/// The causes of a job's ended attempts, as `assay job` shows them.
fn shown(user: &User, job: &str) -> String {
    user.ok(&["job", job])
}

/// A folder with one file of noise, which does not compress.
fn data_set(cluster: &Cluster, seed: u64, mib: u64) -> String {
    let dir: PathBuf = cluster.path(&format!("data-{seed}"));
    fs::create_dir(&dir).unwrap();
    let mut state = seed;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let bytes: Vec<u8> = noise.take((mib * MIB) as usize).collect();
    fs::write(dir.join("noise"), bytes).unwrap();
    dir.display().to_string()
}

#[test]
fn a_task_that_fills_an_agents_disk_ends_by_its_name_and_the_node_stays_usable() {
    let mut cluster = Cluster::set_up();
    cluster.small_disk("node-a", AGENT_DISK);
    for name in SERVERS {
        cluster.run(name);
    }
    // The first to register is the first to be used.
    cluster.run("node-a");
    cluster.user.ready(1);
    cluster.run("node-b");
    cluster.user.ready(2);
    // Faults of nodes make pauses, of which most of this consists.
    cluster.let_others_begin();
    let user = &cluster.user;

    let big = r#"head -c 48M /dev/zero > "$ASSAY_OUTPUT_DIR/big""#;
    let (text, ok) = run(user, "output", &[], big);
    assert!(ok, "the other node has room: {text}");
    let job = shown(user, "j1");
    assert!(job.contains("the node's disk is full: rank 0 exited with code 1"), "{job}");
    assert!(job.contains("data/node-a"), "which disk: {job}");

    // Now there is no other node.
    user.ok(&["node", "drain", "node-b", "--reason", "test"]);
    let big = r#"mkdir "$ASSAY_CHECKPOINT_DIR/.new" && head -c 48M /dev/zero > "$ASSAY_CHECKPOINT_DIR/.new/big""#;
    let (text, ok) = run(user, "checkpoint", &[], big);
    assert!(!ok, "{text}");
    assert!(text.contains("the node's disk is full"), "{text}");

    let (first, second) = (data_set(&cluster, 1, 16), data_set(&cluster, 2, 16));
    let too_big = data_set(&cluster, 3, 40);
    let copy = r#"wc -c < "$ASSAY_DATASET_D/noise" > "$ASSAY_OUTPUT_DIR/size""#;
    let (text, ok) = run(user, "too-big", &["--dataset", &format!("d={too_big}")], copy);
    assert!(!ok, "{text}");
    assert!(text.contains("the node's disk is full") && text.contains("data set `d`"), "{text}");
    for (name, data) in [("first", &first), ("second", &second)] {
        let (text, ok) = run(user, name, &["--dataset", &format!("d={data}")], copy);
        assert!(ok, "{name} fits once the cache gives way: {text}");
    }
    user.run_job("still-usable");
    assert!(cluster.log("node-a").contains("the cache of blobs gives way"));
}

/// Submits jobs with long command lines until the log has grown by some mebibytes.
async fn grow_the_log(cluster: &Cluster, server: &str, mib: usize) {
    let tls = cluster.path("tls");
    let mut client = AssayClient::new(channel(&address(cluster, server), &tls, Some("user")));
    let job = v1::Job {
        name: "long".into(),
        queue: "default".into(),
        tasks: 1,
        gpus: 64,
        cpu_millis: 1_000,
        memory_bytes: 1 << 20,
        command: vec!["echo".into(), "x".repeat(60_000)],
        outputs: "none".into(),
        ..v1::Job::default()
    };
    for n in 0..mib * 4 {
        let key = [[n as u8; 8], [server.len() as u8; 8]].concat().into();
        let request =
            v1::SubmitRequest { key, jobs: vec![job.clone(); 4], reuse: false, ties: Vec::new() };
        client.submit(request).await.unwrap();
    }
}

fn other_than(leader: &str) -> Vec<&'static str> {
    let leader = leader.replace('r', "server-");
    SERVERS.into_iter().filter(|server| *server != leader).collect()
}

fn on_small_disks(servers: &[&str]) -> Cluster {
    let mut cluster = Cluster::set_up();
    for name in servers {
        cluster.small_disk(name, SERVER_DISK);
    }
    cluster.start_all();
    cluster.user.run_job("before");
    cluster
}

#[test]
fn a_leader_whose_disk_fills_gives_the_lead_away_and_full_disks_refuse_jobs_until_there_is_room() {
    let cluster = on_small_disks(&SERVERS);
    let user = &cluster.user;
    let first = user.leader();
    let server = first.replace('r', "server-");
    cluster.disk(&server).leave(120);
    user.run_job("moved");
    user.until("another leads", |user| (user.leader() != first).then_some(()));
    let log = cluster.log(&server);
    assert!(log.contains("disk is nearly full, no new jobs are taken"), "{log}");
    assert!(log.contains("leadership given away"), "{log}");

    for name in other_than(&first) {
        cluster.disk(name).leave(90);
    }
    let said = user.until("jobs are refused", |user| {
        let output = user.assay(&["submit", "--outputs", "none", "--", "true"]);
        (output.status.code() == Some(3)).then(|| said(&output))
    });
    assert!(said.contains("MiB left and 256 are needed: nothing was taken in"), "{said}");
    assert!(said.contains("the disk of r") && said.contains("assay cluster transfer"), "{said}");
    // Two of three have no room for blobs either: what a job needs is not half taken in. What they
    // kept of their past they let go of on a full disk, so that there was room again.
    for name in other_than(&first) {
        let past = cluster.path(&format!("data/{name}/log-history"));
        user.until("no past is kept", |_| {
            fs::read_dir(&past).map_or(true, |mut copies| copies.next().is_none()).then_some(())
        });
        cluster.disk(name).leave(90);
    }
    let data = data_set(&cluster, 1, 1);
    let set = format!("d={data}");
    let refused = user.fails(5, &["submit", "--dataset", &set, "--outputs", "none", "--", "true"]);
    assert!(refused.contains("no room for blobs at"), "{refused}");

    for name in SERVERS {
        cluster.disk(name).make_room();
    }
    user.until("jobs are taken again", |user| {
        user.assay(&["submit", "--outputs", "none", "--", "true"]).status.success().then_some(())
    });
    user.run_job("after");
    let states = user.states();
    for name in ["before", "moved", "after"] {
        assert_eq!(states.get(name).map(String::as_str), Some("completed"), "{states:?}");
    }
    user.ok(&["audit", "verify"]);
    assert!(SERVERS.iter().any(|name| cluster.log(name).contains("disk has room again")));
}

#[test]
fn a_server_whose_disk_is_full_to_the_last_byte_stops_and_comes_back_with_all_when_there_is_room() {
    let full = "server-3";
    let mut cluster = on_small_disks(&[full]);
    cluster.user.ok(&["cluster", "transfer", "r1"]);
    cluster.disk(full).leave(0);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(grow_the_log(&cluster, "server-1", 48));
    assert!(!cluster.wait(full), "it does not go on as if it had written");
    let log = cluster.log(full);
    assert!(log.contains("no space is left for") && log.contains("nothing is lost"), "{log}");
    cluster.user.run_job("without");

    let output = cluster.run_to_end(full);
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    let named = ["no space is left for", "no room for blobs at"];
    assert!(named.iter().any(|name| words.contains(name)), "{words}");

    cluster.disk(full).make_room();
    cluster.run(full);
    cluster.user.until("it has caught up", |user| {
        let status = user.json(&["cluster", "status"])?;
        let members = status["replicas"].as_array()?;
        let member = members.iter().find(|member| member["id"] == "r3")?;
        (member["matched"].as_u64() >= status["commit"].as_u64()).then_some(())
    });
    // It counts again: with another one gone, a majority takes it.
    cluster.kill("server-2");
    cluster.user.run_job("with");
    for job in ["j1", "last"] {
        let job = cluster.user.json(&["job", job]).unwrap();
        assert_eq!(job["state"], "completed", "{job}");
    }
}
