//! A supervisor as root for an agent with an account of its own, which may be in wrong hands.

use super::{
    Ask, Client, Owner, Rules, Said, TaskCommand,
    hand::{self, Taken, over},
    hand_back::{back, last, settle},
    serve,
};
use crate::driver::{
    dirs::{LeaseDirs, NodeDirs},
    sandbox::Walls,
};
use domain::{Bytes, CpuMillis, LeaseId, isolation::Network};
use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A user that every Debian has: daemon.
const AGENT: Owner = Owner { uid: 1, gid: 1 };
const TASKS: u32 = 0x7000_0005;
const LEASE: LeaseId = LeaseId { index: 3, ordinal: 0 };

struct Bench {
    root: TempDir,
    lease: LeaseDirs,
}

/// A lease's folders as an agent makes them.
fn bench() -> Bench {
    assert!(rustix::process::geteuid().is_root(), "not enforced here: start the tests as root");
    let root = tempfile::tempdir().unwrap();
    let dirs = nodes(&root);
    settle(&dirs, AGENT).unwrap();
    let lease = dirs.lease(LEASE);
    lease.create().unwrap();
    for path in [&lease.root].into_iter().chain(&lease.all()) {
        chown(path, Some(AGENT.uid), Some(AGENT.gid)).unwrap();
    }
    Bench { root, lease }
}

fn nodes(root: &TempDir) -> NodeDirs {
    NodeDirs { root: root.path().to_owned() }
}

fn owner(path: &Path) -> (u32, u32) {
    let meta = path.symlink_metadata().unwrap();
    (meta.uid(), meta.mode() & 0o7777)
}

#[test]
fn folders_are_the_tasks_while_they_run_and_the_agents_before_and_after() {
    let Bench { root, lease } = bench();
    let top = |name: &str| owner(&root.path().join(name));
    assert_eq!((top(""), top("leases"), top("cache")), ((0, 0o755), (0, 0o1775), (1, 0o755)));
    fs::create_dir(lease.checkpoint(4)).unwrap();
    let (own, cached) = (lease.checkpoint(4).join("own"), lease.checkpoint(4).join("cached"));
    fs::write(&own, "weights").unwrap();
    fs::write(root.path().join("cache/blob"), "weights").unwrap();
    fs::hard_link(root.path().join("cache/blob"), &cached).unwrap();
    for path in [&own, &cached, &lease.checkpoint(4)] {
        chown(path, Some(AGENT.uid), Some(AGENT.gid)).unwrap();
    }
    over(&lease, &[0], TASKS, Some(AGENT)).unwrap();
    assert_eq!(owner(&lease.root), (0, 0o1775));
    for path in [lease.out(), lease.tmp(), lease.checkpoints(), own.clone(), lease.metrics(0)] {
        assert_eq!(owner(&path).0, TASKS, "{}", path.display());
    }
    assert_eq!(owner(&lease.logs()), (0, 0o755), "no log is replaced");
    assert_eq!(owner(&cached).0, AGENT.uid, "others read this file, too");

    // What tasks leave, as unreachable as they like.
    let deep = lease.out().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("m"), "model").unwrap();
    symlink("/etc/shadow", deep.join("link")).unwrap();
    for path in [lease.out().join("a"), deep.clone(), deep.join("m"), deep.join("link")] {
        std::os::unix::fs::lchown(path, Some(TASKS), Some(TASKS)).unwrap();
    }
    fs::set_permissions(deep.join("m"), fs::Permissions::from_mode(0o4400)).unwrap();
    fs::set_permissions(&deep, fs::Permissions::from_mode(0o000)).unwrap();
    let shadow = owner(Path::new("/etc/shadow"));
    back(&nodes(&root), &lease, AGENT).unwrap();
    for path in [&lease.root, &lease.out(), &lease.logs(), &deep, &lease.metrics(0)] {
        assert_eq!(owner(path).0, AGENT.uid, "{}", path.display());
    }
    assert_eq!(owner(&deep.join("m")), (AGENT.uid, 0o600), "its owner reads and removes it");
    assert_eq!(owner(&deep).1, 0o755);
    assert_eq!(owner(&deep.join("link")).0, AGENT.uid);
    assert_eq!(owner(Path::new("/etc/shadow")), shadow, "no link is followed");
    // A checkpoint may be on its way to servers: nothing of it is touched until it is not needed.
    assert_eq!((owner(&own).0, owner(&lease.checkpoint(4)).0), (TASKS, TASKS));
    last(&nodes(&root), &lease, AGENT).unwrap();
    for path in [lease.checkpoints(), lease.checkpoint(4), own] {
        assert_eq!(owner(&path).0, AGENT.uid, "{}", path.display());
    }
}

#[test]
fn names_that_an_agent_has_planted_lead_nowhere() {
    let Bench { root, lease } = bench();
    let victim = root.path().join("victim");
    fs::write(&victim, "as it was").unwrap();
    let before = owner(&victim);
    // A file of root's under a second name: a system may let anybody make such.
    fs::hard_link(&victim, lease.log(0)).unwrap();
    let fault = hand::log(&lease.log(0)).unwrap_err().to_string();
    assert!(fault.contains("second name"), "{fault}");
    assert!(Taken::open(&lease, Some(AGENT)).is_err(), "nothing is added to what is the agent's");
    fs::hard_link(&victim, lease.metrics(0)).unwrap();
    assert!(over(&lease, &[0], TASKS, Some(AGENT)).is_err());
    fs::hard_link(&victim, lease.root.join("more")).unwrap();
    fs::hard_link(&victim, lease.out().join("more")).unwrap();
    fs::hard_link(&victim, lease.checkpoints().join("more")).unwrap();
    fs::remove_file(lease.metrics(0)).unwrap();
    over(&lease, &[0], TASKS, Some(AGENT)).unwrap();
    assert!(Taken::open(&lease, Some(AGENT)).is_ok());
    back(&nodes(&root), &lease, AGENT).unwrap();
    assert_eq!(owner(&victim), before, "it stays root's");
    // A pipe, at which nobody ever is at the other end.
    fs::remove_file(lease.metrics(0)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, lease.metrics(0), 0o666.into()).unwrap();
    assert!(over(&lease, &[0], TASKS, Some(AGENT)).is_err(), "and it does not hang");
    // Links in the place of folders and files.
    for name in ["out", "tmp", "ckpt", "log"] {
        let other = bench();
        fs::remove_dir_all(other.lease.root.join(name)).unwrap();
        symlink(root.path(), other.lease.root.join(name)).unwrap();
        assert!(over(&other.lease, &[0], TASKS, Some(AGENT)).is_err(), "{name}");
    }
    symlink(&victim, lease.log(1)).unwrap();
    assert!(hand::log(&lease.log(1)).is_err());
    symlink(root.path(), lease.root.with_file_name("l9.0")).unwrap();
    let planted = nodes(&root).lease(LeaseId { index: 9, ordinal: 0 });
    assert!(over(&planted, &[0], TASKS, Some(AGENT)).is_err());
    back(&nodes(&root), &planted, AGENT).unwrap();
    assert_eq!((owner(root.path()).0, fs::read(&victim).unwrap()), (0, b"as it was".to_vec()));
}

#[test]
fn what_is_nested_too_deep_is_removed_and_said() {
    let Bench { root, lease } = bench();
    over(&lease, &[0], TASKS, Some(AGENT)).unwrap();
    // By steps, since no path names it.
    let script = "for (1..1500) { mkdir 'd' or die; chdir 'd' or die } open(F, '>f'); mkdir 'e'";
    let mut perl = std::process::Command::new("perl");
    assert!(perl.args(["-e", script]).current_dir(lease.out()).status().unwrap().success());
    let why = back(&nodes(&root), &lease, AGENT).unwrap_err().to_string();
    assert!(why.contains("deeper than 512"), "{why}");
    assert_eq!(owner(&lease.root), (AGENT.uid, 0o755));
    assert_eq!(fs::read_dir(root.path().join("deep")).unwrap().count(), 0, "nothing is left of it");
    back(&nodes(&root), &lease, AGENT).unwrap();
    fs::remove_dir_all(&lease.root).unwrap();
}

#[test]
fn what_an_earlier_agent_had_is_the_agents_now() {
    let root = tempfile::tempdir().unwrap();
    let dirs = nodes(&root);
    // As root, which is what agents without an account of their own are.
    let (blob, kept) = (dirs.cache().join("ab/blob"), dirs.lease(LEASE));
    for path in [blob.parent().unwrap(), &dirs.pool().join("7/out"), &dirs.records(), &kept.out()] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(&blob, "weights").unwrap();
    fs::write(dirs.records().join("boot"), "b").unwrap();
    let all = [blob, dirs.pool().join("7/out"), dirs.records().join("boot"), kept.out()];
    // Root, then daemon, then bin, then daemon again.
    for uid in [AGENT.uid, 2, AGENT.uid] {
        settle(&dirs, Owner { uid, gid: uid }).unwrap();
        for path in &all {
            assert_eq!(owner(path).0, uid, "{}", path.display());
        }
        fs::write(dirs.pool().join(format!("made-as-root-{uid}")), "").unwrap();
    }
    assert_eq!(owner(&dirs.pool().join("made-as-root-2")).0, AGENT.uid);
}

fn walls(devices: &[&str]) -> Walls {
    Walls {
        network: Network::None,
        memory: Bytes(64 << 20),
        cpu: CpuMillis(0),
        processes: 16,
        devices: devices.iter().map(|it| (*it).to_owned()).collect(),
        readable: vec!["/root".to_owned()],
    }
}

fn task(log: PathBuf) -> Vec<TaskCommand> {
    vec![TaskCommand {
        rank: 0,
        program: "/bin/true".into(),
        args: vec![],
        env: vec![],
        cwd: "/".into(),
        log: log.to_str().unwrap().to_owned(),
    }]
}

/// A supervisor for such an agent, and the agent's connection.
async fn served(root: &TempDir) -> (tokio::task::JoinHandle<()>, Client) {
    let dir = root.path().to_owned();
    let rules = || Ok(Rules { owner: Some(AGENT), ..Rules::default() });
    let serving = tokio::spawn(async move { serve(&dir, Box::new(rules)).await.unwrap() });
    loop {
        match Client::connect(root.path()).await {
            Ok(client) => return (serving, client),
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

async fn ask(client: &mut Client, ask: &Ask) {
    client.writer.ask(ask).await.unwrap();
    client.writer.flush().await.unwrap();
}

#[tokio::test]
async fn what_would_give_more_than_walls_allow_is_refused() {
    let Bench { root, lease } = bench();
    let (serving, mut client) = served(&root).await;
    assert!(Client::check(root.path(), Some(AGENT.uid)).is_ok());
    let fault = Client::check(root.path(), None).unwrap_err().to_string();
    assert!(fault.contains("serves user 1, this agent is to be its own user"), "{fault}");
    let socket = root.path().join("supervisor.sock").metadata().unwrap();
    assert_eq!((socket.uid(), socket.gid(), socket.mode() & 0o777), (0, AGENT.gid, 0o660));

    let deadline = None;
    let id = |index| LeaseId { index, ordinal: 0 };
    let confine =
        |index, walls, log| Ask::Confine { lease: id(index), deadline, tasks: task(log), walls };
    let asks = [
        (
            Ask::Start { lease: id(20), deadline, tasks: task(lease.log(0)) },
            "starts nothing without walls",
        ),
        (confine(21, walls(&[]), "/etc/cron.d/x".into()), "is not the log of rank 0"),
        (confine(22, walls(&[]), lease.log(1)), "is not the log of rank 0"),
        (
            Ask::Confine { lease: id(23), deadline, tasks: vec![], walls: walls(&[]) },
            "a lease has tasks",
        ),
        (
            confine(3, walls(&["/dev/sda"]), lease.log(0)),
            "`/dev/sda` is no device file of a GPU or its network",
        ),
    ];
    for (asked, expected) in asks {
        ask(&mut client, &asked).await;
        match client.reader.next().await.unwrap() {
            Some(Said::NotConfined { why, .. }) => assert!(why.contains(expected), "{why}"),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(!Path::new("/etc/cron.d/x").exists());
    // A lease that was refused, and has its tasks on record as ended, starts no further rank as root.
    let mark = root.path().join("ran");
    let mut more = task(lease.log(1));
    more[0].rank = 1;
    more[0].program = "/usr/bin/touch".into();
    more[0].args = vec![mark.to_str().unwrap().to_owned()];
    ask(&mut client, &Ask::Confine { lease: LEASE, deadline, tasks: more, walls: walls(&[]) })
        .await;
    let mut said = Vec::new();
    while !said
        .iter()
        .any(|it| matches!(it, Said::Exited { rank: 1, .. } | Said::NotStarted { .. }))
    {
        said.push(client.reader.next().await.unwrap().unwrap());
    }
    assert!(!mark.exists(), "{said:?}");
    serving.abort();
}

#[tokio::test]
async fn a_lease_that_is_being_forgotten_starts_nothing_while_its_folders_change_hands() {
    let Bench { root, lease } = bench();
    let (serving, mut client) = served(&root).await;
    ask(&mut client, &Ask::Forget { lease: LEASE }).await;
    let tasks = task(lease.log(0));
    ask(&mut client, &Ask::Confine { lease: LEASE, deadline: None, tasks, walls: walls(&[]) })
        .await;
    let mut said = Vec::new();
    while !said.contains(&Said::Forgotten { lease: LEASE }) {
        said.push(client.reader.next().await.unwrap().unwrap());
    }
    assert!(!said.iter().any(|it| matches!(it, Said::Started { .. })), "{said:?}");
    serving.abort();
}
