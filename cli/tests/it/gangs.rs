//! Gangs over several nodes: the death of a part is the death of all, and their logs are one.

use crate::harness::{
    User,
    cluster::Cluster,
    machines, process,
    tasks::{self, Task},
};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

/// What a busy machine may add to a figure; `assay-bench gang` measures without it.
const BUSY: Duration = Duration::from_secs(15);

/// Three nodes, each with room for one task of five cores.
fn three_nodes() -> Cluster {
    let mut cluster = Cluster::start();
    machines::add(&cluster, "node-c");
    cluster.run("node-c");
    cluster.user.ready(3);
    cluster
}

/// Submits a gang of three that stands on three nodes and heeds no SIGTERM; waits until it runs.
fn stubborn_gang(cluster: &Cluster) -> Vec<Task> {
    let script = "trap '' TERM; exec sleep 600";
    let words = ["submit", "--name", "gang", "--tasks", "3", "--cpus", "5", "--retries", "0"];
    cluster.user.ok(&[&words[..], &["--", "sh", "-c", script]].concat());
    cluster.user.until("all three run", |_| {
        let mut found = tasks::of(cluster, "j1");
        found.retain(|task| {
            let line = std::fs::read(format!("/proc/{}/cmdline", task.pid)).unwrap_or_default();
            line.starts_with(b"sleep")
        });
        found.sort_by_key(|task| task.var("RANK").to_owned());
        (found.len() == 3).then_some(found)
    })
}

/// How long it takes until all of these are dead.
fn death_of<'a>(tasks: impl Iterator<Item = &'a Task>) -> Duration {
    let since = Instant::now();
    let pids: Vec<_> = tasks.map(|task| task.pid).collect();
    while pids.iter().any(|pid| tasks::runs(*pid)) {
        assert!(since.elapsed() < crate::harness::PATIENCE, "still alive: {pids:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
    since.elapsed()
}

/// The cause of the job's first attempt, once that has ended.
fn first_cause(user: &User) -> String {
    user.until("the attempt has ended", |user| {
        let job = user.json(&["job", "j1"])?;
        let cause = &job["parts"][0]["attempts"][0]["cause"];
        (!cause.is_null()).then(|| cause.to_string())
    })
}

#[test]
fn one_ranks_death_is_the_death_of_all_on_all_nodes_though_they_heed_no_sigterm() {
    let cluster = three_nodes();
    let gang = stubborn_gang(&cluster);
    let nodes: BTreeSet<_> = gang.iter().map(|task| task.var("NODE_RANK")).collect();
    assert_eq!(nodes.len(), 3, "one on each node");
    for task in &gang {
        assert_eq!(task.var("WORLD_SIZE"), "3");
        assert_eq!((task.var("LOCAL_RANK"), task.var("LOCAL_WORLD_SIZE")), ("0", "1"));
        assert_eq!(task.var("GROUP_RANK"), task.var("NODE_RANK"));
        assert_eq!(task.var("MASTER_PORT"), gang[0].var("MASTER_PORT"));
        assert_eq!(task.var("MASTER_ADDR"), gang[0].var("MASTER_ADDR"));
    }
    assert!(process::signal(gang[1].pid, "-KILL"));
    let took = death_of(gang.iter());
    println!("all ranks dead {} ms after one was killed", took.as_millis());
    assert!(took < Duration::from_secs(1) + BUSY, "{took:?}");
    let cause = first_cause(&cluster.user);
    assert!(cause.contains("signal") && cause.contains('1'), "{cause}");
}

/// The power of the node that holds a task fails: agent, supervisor and task at once.
fn fail_power(cluster: &mut Cluster, task: &Task) {
    let output = task.var("ASSAY_OUTPUT_DIR");
    let name = ["node-a", "node-b", "node-c"].into_iter().find(|name| output.contains(name));
    let name = name.expect("its folder names its node");
    let data = cluster.path(&format!("data/{name}")).display().to_string();
    let supervisors = process::named(&["supervisor", &data]);
    assert_eq!(supervisors.len(), 1, "{supervisors:?}");
    cluster.kill(name);
    for pid in supervisors.into_iter().chain([task.pid]) {
        assert!(process::signal(pid, "-KILL"));
    }
}

#[test]
fn the_loss_of_a_whole_node_ends_its_gang_within_the_lease_time_and_a_second() {
    let mut cluster = three_nodes();
    let gang = stubborn_gang(&cluster);
    fail_power(&mut cluster, &gang[2]);
    let took = death_of(gang.iter());
    println!("all ranks dead {} ms after their node was lost", took.as_millis());
    let lease = Duration::from_millis(domain::limit::LEASE_TTL.0);
    assert!(took < lease + Duration::from_secs(1) + BUSY, "{took:?}");
    let cause = first_cause(&cluster.user);
    assert!(cause.contains("node_lost"), "{cause}");
    cluster.user.ok(&["cancel", "j1"]);
}

#[test]
fn the_logs_of_all_ranks_are_one_text_in_which_what_all_say_stands_once() {
    let cluster = Cluster::start();
    let user = &cluster.user;
    let script = r#"
        echo together
        [ $RANK = 1 ] && echo alone
        sleep 1
        echo later
        echo $RANK > "$ASSAY_OUTPUT_DIR/rank""#;
    let words = ["submit", "--name", "gang", "--tasks", "2", "--cpus", "5", "--wait", "--"];
    user.ok(&[&words[..], &["sh", "-c", script]].concat());
    let text = user.ok(&["logs", "j1"]);
    let mut lines: Vec<_> = text.lines().collect();
    let last = lines.pop().unwrap();
    assert_eq!(last, "r00| later   (2 ranks)", "{text}");
    lines.sort_unstable();
    // A busy machine may start one rank too late for the first line to be folded.
    assert!(text.contains("together") && lines.contains(&"r01| alone"), "{text}");
    assert_eq!(user.ok(&["logs", "j1", "--rank", "1"]), "together\nalone\nlater\n");
    assert_eq!(user.ok(&["logs", "j1", "--rank", "0"]), "together\nlater\n");
    let followed = user.ok(&["logs", "-f", "j1"]);
    assert_eq!(followed.lines().last(), Some("r00| later   (2 ranks)"));
}

#[test]
fn a_job_that_wants_it_confirmed_goes_on_once_somebody_vouches_that_its_lost_attempt_is_dead() {
    let mut cluster = Cluster::start();
    let words = ["submit", "--restart", "confirmed", "--outputs", "none", "--", "sleep", "600"];
    cluster.user.ok(&words);
    let first = cluster.user.until("it runs", |_| tasks::of(&cluster, "j1").pop());
    fail_power(&mut cluster, &first);
    let user = &cluster.user;
    let remedy = user.until("the node is given up", |user| {
        let why = user.json(&["why", "j1"])?;
        let reason = why["reasons"].as_array()?.iter().find(|it| it["kind"] == "lease")?.clone();
        Some(reason["remedy"].as_str()?.to_owned())
    });
    let (_, command) = remedy.split_once("`assay ").unwrap();
    let words: Vec<&str> = command.trim_end_matches('`').split(' ').collect();
    assert_eq!(words[..2], ["node", "confirm-dead"], "{remedy}");
    assert_eq!(user.states().values().next().unwrap(), "running", "nothing starts by itself");
    user.ok(&words);
    let second = user.until("it runs elsewhere", |_| tasks::of(&cluster, "j1").pop());
    assert_ne!(second.var("ASSAY_OUTPUT_DIR"), first.var("ASSAY_OUTPUT_DIR"));
    let audit = user.ok(&["--json", "audit", "list"]);
    assert!(audit.contains("lease.confirmed_dead"), "{audit}");
    user.ok(&["cancel", "j1"]);
}
