//! A whole agent with real tasks, a store in memory and a leader played by the test.

mod care;

use super::{Config, serve_on, ward::Node};
use crate::{
    driver::{clock, dirs::NodeDirs, supervisor},
    link::LinkEvent,
    store::memory::MemoryBlobs,
};
use domain::{
    Bytes, CpuMillis, Digest, LeaseId, LogIndex, NodeId, contract,
    health::HeldGpu,
    job::{Captured, EndCause, Outputs},
    lease::Phase,
    link::{Down, Report, Up, WantedLease},
    node::Inventory,
    resource::Gpu,
    tree::{Tree, TreeFile},
};
use std::{collections::BTreeMap, fs, sync::Arc, time::Duration};
use tempfile::TempDir;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

/// Only a test that fails waits so long.
const PATIENCE: Duration = Duration::from_secs(20);
const LEASE: LeaseId = LeaseId { index: 5, ordinal: 0 };

struct World {
    dir: TempDir,
    blobs: Arc<MemoryBlobs>,
    at: u64,
    _supervisor: JoinHandle<()>,
}

struct Agent {
    events: mpsc::Sender<LinkEvent>,
    ups: mpsc::Receiver<Up>,
    stop: Option<oneshot::Sender<()>>,
    living: JoinHandle<()>,
    logs: BTreeMap<String, Vec<u8>>,
    held: Vec<LeaseId>,
    held_back: Vec<HeldGpu>,
}

fn inventory() -> Inventory {
    let mut inventory = crate::machine::tests_inventory();
    inventory.gpus = (0..2)
        .map(|index| Gpu {
            index,
            uuid: format!("GPU-{index}"),
            model: "H100".into(),
            memory: Bytes(1),
            compute_capability: "9.0".into(),
        })
        .collect();
    inventory
}

impl World {
    async fn new() -> Self {
        // What the supervisor does as a process of its own.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(contract::UMASK));
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_owned();
        let rules = Box::new(|| Ok(supervisor::Rules::default()));
        let supervisor =
            tokio::spawn(async move { supervisor::serve(&folder, rules).await.unwrap() });
        while supervisor::Client::connect(dir.path()).await.is_err() {
            tokio::task::yield_now().await;
        }
        Self { dir, blobs: Arc::default(), at: 5, _supervisor: supervisor }
    }

    /// Starts an agent and welcomes it.
    async fn agent(&self) -> Agent {
        self.agent_on(Node::unwatched(inventory())).await
    }

    async fn agent_on(&self, node: Node) -> Agent {
        let config = Config {
            name: "a".into(),
            dir: self.dir.path().to_owned(),
            servers: vec!["unused:1".into()],
            tls: None,
            nvml: None,
            gpu_shares: Default::default(),
            cpu: Some(CpuMillis(1_000)),
            memory: Some(Bytes(1 << 30)),
            isolation: domain::isolation::Isolation::None,
            containers: crate::driver::image::Containers::default(),
            place: domain::topology::NodeTopology::default(),
            readable: vec![],
            cache_max: Bytes(1 << 30),
            supervisor: vec!["/bin/false".into()],
            user: None,
        };
        let (events, inbox) = mpsc::channel(64);
        let (stop, stopped) = oneshot::channel::<()>();
        let blobs = Arc::clone(&self.blobs);
        let living = tokio::spawn(async move {
            let stop = async { stopped.await.unwrap_or(()) };
            serve_on(config, node, blobs, inbox, |_| {}, stop).await.unwrap();
        });
        let (up, ups) = mpsc::channel(4_096);
        let mut agent = Agent {
            events,
            ups,
            stop: Some(stop),
            living,
            logs: BTreeMap::new(),
            held: vec![],
            held_back: vec![],
        };
        agent.events.send(LinkEvent::Opened { server: "s".into(), up }).await.unwrap();
        let Some(Up::Register { held, .. }) = agent.ups.recv().await else { panic!("no register") };
        agent.held = held;
        agent.say(Down::Welcome { node: NodeId(1) }).await;
        agent
    }

    async fn want(&mut self, agent: &Agent, wanted: &[WantedLease]) {
        self.at += 1;
        let leases = wanted.to_vec();
        agent.say(Down::Wanted { at: LogIndex(self.at), leases }).await;
    }

    /// Runs `wanted` until it is reported, and gives the report.
    async fn run(&mut self, agent: &mut Agent, mut wanted: WantedLease) -> Report {
        self.want(agent, std::slice::from_ref(&wanted)).await;
        match agent.report().await {
            Report::Prepared { .. } => {}
            other => return other,
        }
        wanted.lease.phase = Phase::Started { done: [].into() };
        self.want(agent, &[wanted]).await;
        agent.report().await
    }

    fn dirs(&self) -> NodeDirs {
        NodeDirs { root: self.dir.path().canonicalize().unwrap() }
    }

    fn capture(&self, files: &[(&str, &str, bool)], origin: &str) -> Captured {
        let files = files.iter().map(|(path, text, executable)| TreeFile {
            digest: self.blobs.keep(text.as_bytes()),
            executable: *executable,
            path: (*path).into(),
            size: Bytes(text.len() as u64),
        });
        let tree = Tree { files: files.collect() };
        Captured {
            tree: self.blobs.keep(&tree.encode()),
            files: tree.files.len() as u64,
            size: tree.size(),
            origin: origin.into(),
        }
    }

    fn blob(&self, digest: Digest) -> String {
        let held = self.blobs.held.lock().unwrap();
        String::from_utf8(held.get(&digest).expect("it was uploaded").clone()).unwrap()
    }
}

impl Agent {
    async fn say(&self, down: Down) {
        self.events.send(LinkEvent::Down(down)).await.unwrap();
    }

    /// The next report, recorded at once; heartbeats are answered, log lines gathered.
    async fn report(&mut self) -> Report {
        loop {
            let up = tokio::time::timeout(PATIENCE, self.ups.recv()).await;
            match up.expect("the agent reports in time").expect("the agent lives") {
                Up::Heartbeat { seq, .. } => self.say(Down::Contact { seq }).await,
                Up::Log { source, bytes, .. } => {
                    self.logs.entry(format!("{source:?}")).or_default().extend(bytes);
                }
                Up::Report { seq, report } => {
                    self.say(Down::Recorded { seq, refused: None }).await;
                    return report;
                }
                Up::Health { gpus } => self.held_back = gpus,
                Up::Idle { .. } | Up::Hardware { .. } => {}
                Up::Register { .. } | Up::RegisterShared { .. } => panic!("registered twice"),
            }
        }
    }

    async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.living.await.unwrap();
    }
}

fn job(script: &str) -> WantedLease {
    let mut wanted = crate::machine::tests_lease(LEASE);
    wanted.spec.command = vec!["sh".into(), "-c".into(), script.into()];
    wanted.lease.members[0].tasks[0].gpus = vec![1];
    wanted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_of_a_version_control_in_an_output_are_no_part_of_the_model() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let wanted = job("
        cd $ASSAY_OUTPUT_DIR; mkdir -p .git sub; echo w > weights; echo a > .gitattributes
        echo h > .git/HEAD; echo s > sub/.gitignore
    ");
    let Report::Ended { output, .. } = world.run(&mut agent, wanted).await else {
        panic!("not ended")
    };
    let tree = Tree::decode(world.blob(output.tree).as_bytes()).unwrap();
    let names: Vec<_> = tree.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["sub/.gitignore", "weights"]);
    assert_eq!((tree.root(), output.files), (output.root, 2));
    assert!(!world.blob(output.statement).contains("\"name\":\".gitattributes\""));
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_under_exactly_the_contract_and_its_output_is_uploaded() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let mut wanted = job("
        echo hello; echo '{\"step\":1}' > $ASSAY_METRICS
        env -0 | sort -z | tr '\\0' '\\n' > $ASSAY_OUTPUT_DIR/env; umask >> $ASSAY_OUTPUT_DIR/env
    ");
    wanted.spec.env = [("MINE".to_owned(), "1 2".to_owned())].into();
    wanted.spec.hyperparameters = [("lr".to_owned(), "0.1".to_owned())].into();
    let Report::Ended { output, .. } = world.run(&mut agent, wanted).await else {
        panic!("not ended")
    };
    let tree = Tree::decode(world.blob(output.tree).as_bytes()).unwrap();
    assert_eq!((tree.root(), tree.files.len()), (output.root, 1));
    let env = world.blob(tree.files[0].digest);
    for (name, value) in contract::FIXED {
        assert!(env.contains(&format!("{name}={value}\n")), "{name} in {env}");
    }
    let root = world.dirs().lease(LEASE).root;
    for line in [
        "ASSAY_SEED=1".to_owned(),
        "ASSAY_HYPERPARAMETERS={\"lr\":\"0.1\"}".to_owned(),
        format!("ASSAY_OUTPUT_DIR={}/out", root.display()),
        format!("TMPDIR={}/tmp", root.display()),
        "CUDA_VISIBLE_DEVICES=GPU-1".to_owned(),
        "RANK=0".to_owned(),
        "WORLD_SIZE=1".to_owned(),
        "MINE=1 2".to_owned(),
        "0022".to_owned(),
    ] {
        assert!(env.contains(&format!("{line}\n")), "{line} in {env}");
    }
    assert!(!env.contains("CARGO"), "nothing of ours leaks in: {env}");
    assert_eq!(world.blob(output.log), "hello\n");
    assert_eq!(agent.logs["Output { rank: 0 }"], b"hello\n");
    assert_eq!(agent.logs["Metrics { rank: 0 }"], b"{\"step\":1}\n");
    world.want(&agent, &[]).await;
    while root.exists() {
        tokio::task::yield_now().await;
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checkpoints_are_committed_and_a_later_attempt_resumes_from_one() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let wanted = job("
        mkdir $ASSAY_CHECKPOINT_DIR/part; echo ten > $ASSAY_CHECKPOINT_DIR/part/model
        mv $ASSAY_CHECKPOINT_DIR/part $ASSAY_CHECKPOINT_DIR/step-10
        exit 3
    ");
    let mut report = world.run(&mut agent, wanted.clone()).await;
    let mut checkpoint = None;
    loop {
        match report {
            Report::Checkpoint { checkpoint: stored } => checkpoint = Some(stored),
            Report::Failed { cause, .. } => {
                assert_eq!(cause, EndCause::ExitCode { rank: 0, code: 3 });
            }
            Report::Stopped { .. } => break,
            other => panic!("{other:?}"),
        }
        report = agent.report().await;
    }
    world.want(&agent, &[]).await;
    // Whether it was in time is the disk's choice; a run that waits for it always has it.
    let mut first = job("
        mkdir $ASSAY_CHECKPOINT_DIR/part; echo ten > $ASSAY_CHECKPOINT_DIR/part/model
        mv $ASSAY_CHECKPOINT_DIR/part $ASSAY_CHECKPOINT_DIR/step-10
        echo done > $ASSAY_OUTPUT_DIR/x
    ");
    first.lease.id = LeaseId { index: 7, ordinal: 0 };
    let Report::Checkpoint { checkpoint: stored } = world.run(&mut agent, first).await else {
        panic!("no checkpoint before the end")
    };
    assert!(checkpoint.is_none_or(|before| before.root == stored.root), "same bytes, same root");
    assert!(matches!(agent.report().await, Report::Ended { .. }));
    world.want(&agent, &[]).await;
    let mut second = job("cp $ASSAY_RESUME_FROM/model $ASSAY_OUTPUT_DIR/resumed");
    second.lease.id = LeaseId { index: 9, ordinal: 0 };
    second.lease.resume_from = Some(stored);
    let Report::Ended { output, .. } = world.run(&mut agent, second).await else {
        panic!("not ended")
    };
    let tree = Tree::decode(world.blob(output.tree).as_bytes()).unwrap();
    assert_eq!(world.blob(tree.files[0].digest), "ten\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_and_data_are_laid_out_and_a_program_with_a_slash_is_the_codes() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let script = "#!/bin/sh\ncat $ASSAY_DATASET_FILE $ASSAY_DATASET_DIR/b/c > $ASSAY_OUTPUT_DIR/o";
    let mut wanted = job("");
    wanted.spec.command = vec!["bin/run".into()];
    wanted.spec.code = Some(world.capture(&[("bin/run", script, true)], "/home/u/code"));
    wanted.spec.datasets = [
        ("file".to_owned(), world.capture(&[("a.csv", "1,2\n", false)], "/data/a.csv")),
        ("dir".to_owned(), world.capture(&[("b/c", "3,4\n", false)], "/data/")),
    ]
    .into();
    let Report::Ended { output, .. } = world.run(&mut agent, wanted).await else {
        panic!("not ended")
    };
    let tree = Tree::decode(world.blob(output.tree).as_bytes()).unwrap();
    assert_eq!(world.blob(tree.files[0].digest), "1,2\n3,4\n");
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_job_ends_with_its_own_cause() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let mut no_program = job("");
    no_program.spec.command = vec!["no-such-program".into()];
    let mut no_code = job("");
    no_code.spec.code =
        Some(Captured { tree: Digest::of(b"lost"), files: 1, size: Bytes(1), origin: "x".into() });
    let mut none_needed = job("true");
    none_needed.spec.outputs = Outputs::None;
    let cases: [(WantedLease, &str); 5] = [
        (job("true"), "wrote nothing to ASSAY_OUTPUT_DIR"),
        (job("kill -9 $$"), "rank 0 was killed by signal 9"),
        (no_program, "program `no-such-program` is not in"),
        (no_code, "could not be prepared: code: blob"),
        (none_needed, "ended"),
    ];
    for (number, (mut wanted, expected)) in (10..).step_by(2).zip(cases) {
        wanted.lease.id = LeaseId { index: number, ordinal: 0 };
        let text = match world.run(&mut agent, wanted).await {
            Report::Failed { cause, .. } => cause.to_string(),
            Report::Ended { .. } => "ended".to_owned(),
            other => panic!("{other:?}"),
        };
        assert!(text.contains(expected), "{text} is not {expected}");
        if text != "ended" {
            assert!(matches!(agent.report().await, Report::Stopped { .. }));
        }
        world.at = number;
        world.want(&agent, &[]).await;
    }
    agent.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_later_agent_takes_over_what_an_earlier_one_started() {
    let mut world = World::new().await;
    let mut agent = world.agent().await;
    let mut wanted = job("
        echo up > $TMPDIR/up; while [ ! -e $TMPDIR/go ]; do sleep 0.01; done
        echo late > $ASSAY_OUTPUT_DIR/x
    ");
    world.want(&agent, std::slice::from_ref(&wanted)).await;
    assert!(matches!(agent.report().await, Report::Prepared { .. }));
    wanted.lease.phase = Phase::Started { done: [].into() };
    world.want(&agent, std::slice::from_ref(&wanted)).await;
    let tmp = world.dirs().lease(LEASE).tmp();
    while !tmp.join("up").exists() {
        tokio::task::yield_now().await;
    }
    agent.stop().await;
    let mut agent = world.agent().await;
    assert_eq!(agent.held, [LEASE]);
    world.want(&agent, &[wanted]).await;
    let before = clock::boot_now();
    fs::write(tmp.join("go"), "").unwrap();
    assert!(matches!(agent.report().await, Report::Ended { .. }));
    assert!(clock::boot_now().minus(before).0 < 5_000);
    agent.stop().await;
}
