//! The supervisor with real processes.

use super::{Ask, Client, Rules, Said, TaskCommand, serve};
use crate::{driver::clock, machine::Exit};
use domain::{LeaseId, Millis};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const LEASE: LeaseId = LeaseId { index: 3, ordinal: 0 };
/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    dir: TempDir,
    client: Client,
    _serving: Option<JoinHandle<()>>,
}

async fn connect(dir: &Path) -> Client {
    let patience = tokio::time::timeout(PATIENCE, async {
        loop {
            match Client::connect(dir).await {
                Ok(client) => return client,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    patience.await.unwrap()
}

async fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_owned();
    let serving =
        tokio::spawn(
            async move { serve(&folder, Box::new(|| Ok(Rules::default()))).await.unwrap() },
        );
    let client = connect(dir.path()).await;
    Bench { dir, client, _serving: Some(serving) }
}

impl Bench {
    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn shell(&self, script: &str) -> TaskCommand {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        let out = self.dir.path().join("leases").join(LEASE.to_string()).join("out");
        TaskCommand {
            rank: 0,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![
                ("PATH".into(), "/usr/bin:/bin".into()),
                ("ASSAY_OUTPUT_DIR".into(), text(out)),
            ],
            cwd: text(self.dir.path().to_owned()),
            log: text(self.file("log")),
        }
    }

    async fn start(&mut self, script: &str, deadline: Option<Millis>) {
        let tasks = vec![self.shell(script)];
        self.ask(Ask::Start { lease: LEASE, deadline, tasks }).await;
        let said = self.said().await;
        assert!(matches!(said, Said::Started { .. }), "{said:?}");
    }

    async fn ask(&mut self, ask: Ask) {
        self.client.writer.ask(&ask).await.unwrap();
        self.client.writer.flush().await.unwrap();
    }

    /// What it says next, apart from what it observes of a task.
    async fn said(&mut self) -> Said {
        loop {
            let said = tokio::time::timeout(PATIENCE, self.client.reader.next()).await;
            let said = said.expect("the supervisor speaks in time").unwrap();
            match said.expect("it does not end") {
                Said::Observed { .. } => {}
                said => return said,
            }
        }
    }

    async fn exit(&mut self) -> Exit {
        match self.said().await {
            Said::Exited { exit, .. } => exit,
            other => panic!("not an exit: {other:?}"),
        }
    }

    /// Waits until the task wrote `name`.
    async fn wait_for(&self, name: &str) -> String {
        let patience = tokio::time::timeout(PATIENCE, async {
            loop {
                match fs::read_to_string(self.file(name)) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    _ => tokio::task::yield_now().await,
                }
            }
        });
        patience.await.unwrap()
    }
}

fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

async fn wait_for_death(pid: &str) {
    let patience = tokio::time::timeout(PATIENCE, async {
        while lives(pid) {
            tokio::task::yield_now().await;
        }
    });
    patience.await.expect("the process ends in time");
}

#[tokio::test]
async fn an_exit_code_is_kept_for_the_next_agent_until_it_is_used() {
    let mut bench = bench().await;
    bench.start("echo out; echo err >&2; exit 7", None).await;
    assert_eq!(bench.exit().await, Exit::Code(7));
    assert_eq!(fs::read_to_string(bench.file("log")).unwrap(), "out\nerr\n");
    bench.client = connect(bench.dir.path()).await;
    bench.ask(Ask::List).await;
    let Said::All(all) = bench.said().await else { panic!("no list") };
    assert_eq!(all[0].tasks[0].exit.unwrap().0, Exit::Code(7));
    bench.ask(Ask::Forget { lease: LEASE }).await;
    bench.ask(Ask::List).await;
    assert_eq!(bench.said().await, Said::All(vec![]));
}

#[tokio::test]
async fn a_repeated_start_starts_nothing_twice() {
    let mut bench = bench().await;
    let tasks = vec![bench.shell("echo x >> ran")];
    for _ in 0..2 {
        bench.ask(Ask::Start { lease: LEASE, deadline: None, tasks: tasks.clone() }).await;
    }
    assert!(matches!(bench.said().await, Said::Started { .. }));
    assert_eq!(bench.exit().await, Exit::Code(0));
    bench.ask(Ask::List).await;
    assert!(matches!(bench.said().await, Said::All(_)));
    assert_eq!(fs::read_to_string(bench.file("ran")).unwrap(), "x\n");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let mut bench = bench().await;
    let mut task = bench.shell("");
    task.program = "/no/such/program".into();
    bench.ask(Ask::Start { lease: LEASE, deadline: None, tasks: vec![task] }).await;
    let Said::NotStarted { why, .. } = bench.said().await else { panic!("it started") };
    assert!(why.contains("/no/such/program"), "{why}");
}

#[tokio::test]
async fn tasks_are_killed_at_their_deadline_though_no_agent_is_there() {
    let mut bench = bench().await;
    let deadline = clock::boot_now().plus(Millis(150));
    bench.start("echo $$ > pid; trap '' TERM; while :; do sleep 1; done", Some(deadline)).await;
    let pid = bench.wait_for("pid").await;
    drop(bench.client);
    wait_for_death(&pid).await;
    assert!(clock::boot_now() >= deadline);
    bench.client = connect(bench.dir.path()).await;
    loop {
        bench.ask(Ask::List).await;
        // The end itself may be told first, if the supervisor had not read it yet.
        let Said::All(all) = bench.said().await else { continue };
        if let Some((exit, _)) = all[0].tasks[0].exit {
            assert_eq!(exit, Exit::Killed);
            break;
        }
    }
}

#[tokio::test]
async fn a_renewed_deadline_lets_a_task_end_by_itself() {
    let mut bench = bench().await;
    let deadline = clock::boot_now().plus(Millis(300));
    bench.start("while [ ! -e go ]; do sleep 0.01; done", Some(deadline)).await;
    bench.ask(Ask::Renew { lease: LEASE, deadline: None }).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    fs::write(bench.file("go"), "").unwrap();
    assert_eq!(bench.exit().await, Exit::Code(0));
}

#[tokio::test]
async fn a_kill_asks_first_and_then_ends_what_does_not_listen() {
    let mut bench = bench().await;
    let script = "trap 'echo asked >> heard' TERM; echo up > up; while :; do sleep 0.01; done";
    bench.start(script, None).await;
    bench.wait_for("up").await;
    bench.ask(Ask::Kill { lease: LEASE, grace: Millis(200) }).await;
    assert_eq!(bench.exit().await, Exit::Killed);
    assert_eq!(bench.said().await, Said::Killed { lease: LEASE });
    assert_eq!(bench.wait_for("heard").await, "asked");
}

#[tokio::test]
async fn a_kill_of_what_is_not_there_is_answered() {
    let mut bench = bench().await;
    bench.ask(Ask::Kill { lease: LEASE, grace: Millis(0) }).await;
    assert_eq!(bench.said().await, Said::Killed { lease: LEASE });
}

#[tokio::test]
async fn a_process_that_left_its_group_ends_with_its_lease() {
    let mut bench = bench().await;
    bench.start("setsid sh -c 'echo $$ > pid; sleep 600' & sleep 600", None).await;
    let pid = bench.wait_for("pid").await;
    bench.ask(Ask::Kill { lease: LEASE, grace: Millis(0) }).await;
    assert_eq!(bench.exit().await, Exit::Killed);
    assert_eq!(bench.said().await, Said::Killed { lease: LEASE });
    wait_for_death(&pid).await;
}

#[tokio::test]
async fn what_a_task_leaves_behind_in_its_group_ends_with_it() {
    let mut bench = bench().await;
    bench.start("sleep 600 & echo $! > pid", None).await;
    let pid = bench.wait_for("pid").await;
    assert_eq!(bench.exit().await, Exit::Code(0));
    wait_for_death(&pid).await;
}

/// Not a test: what the tests below start as a process of its own.
#[test]
fn process() {
    if let Ok(dir) = std::env::var("ASSAY_TEST_SUPERVISOR") {
        super::run(Path::new(&dir), Box::new(|| Ok(Rules::default()))).unwrap();
    }
}

fn start_process(dir: &Path) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["driver::supervisor::tests::process", "--exact", "--nocapture"])
        .env("ASSAY_TEST_SUPERVISOR", dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_gave_up_group_session_and_environment_ends_once_no_task_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = start_process(dir.path());
    let client = connect(dir.path()).await;
    let mut bench = Bench { dir, client, _serving: None };
    bench.start("exit 0", None).await;
    assert!(matches!(bench.said().await, Said::Exited { alone: true, .. }));
    bench.ask(Ask::Forget { lease: LEASE }).await;
    let file = bench.file("pid").display().to_string();
    let leave = format!("setsid env -i sh -c 'echo $$ > {file}; exec sleep 600' & ");
    bench.start(&format!("{leave} while [ ! -s {file} ]; do sleep 0.01; done"), None).await;
    let pid = bench.wait_for("pid").await;
    assert!(matches!(bench.said().await, Said::Exited { alone: false, .. }));
    wait_for_death(&pid).await;
    bench.ask(Ask::End).await;
    assert!(process.wait().unwrap().success());
}

#[tokio::test]
async fn a_new_supervisor_ends_what_a_dead_one_left_and_both_set_the_umask() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = start_process(dir.path());
    let client = connect(dir.path()).await;
    let mut bench = Bench { dir, client, _serving: None };
    bench.start("umask > mask; echo $$ > pid; sleep 600", None).await;
    let pid = bench.wait_for("pid").await;
    assert_eq!(bench.wait_for("mask").await, "0022");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lives(&pid), "a task outlives its supervisor's death");
    let mut second = start_process(bench.dir.path());
    wait_for_death(&pid).await;
    bench.client = connect(bench.dir.path()).await;
    bench.ask(Ask::End).await;
    assert!(second.wait().unwrap().success());
}

#[tokio::test]
async fn a_look_whether_a_folder_is_served_keeps_no_supervisor_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let lock = fs::File::create(dir.path().join("supervisor.lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockShared).unwrap();
    let looked = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        drop(lock);
    });
    let folder = dir.path().to_owned();
    let rules = Box::new(|| Ok(Rules::default()));
    let serving = tokio::spawn(async move { serve(&folder, rules).await });
    let mut client = connect(dir.path()).await;
    looked.join().unwrap();
    client.writer.ask(&Ask::End).await.unwrap();
    client.writer.flush().await.unwrap();
    assert!(serving.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_supervisor_of_another_release_is_told_apart_and_left_alone() {
    let mut bench = bench().await;
    fs::write(bench.file("supervisor.version"), "7\n").unwrap();
    let never = [String::from("/bin/false")];
    let Err(fault) = Client::ensure(bench.dir.path(), &never).await else { panic!("connected") };
    let said = fault.to_string();
    assert!(said.contains("speaks version 7, this agent 2"), "{said}");
    assert!(said.contains("drain the node"), "{said}");
    // It still serves whoever speaks its version.
    bench.client.writer.ask(&Ask::List).await.unwrap();
    bench.client.writer.flush().await.unwrap();
    let said = tokio::time::timeout(PATIENCE, bench.client.reader.next()).await.unwrap();
    assert_eq!(said.unwrap(), Some(Said::All(Vec::new())));
}
