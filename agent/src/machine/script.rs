//! A test's language: one line a happening, its outputs below it.

use super::{AgentMachine, Boot, Config, Exit, Input, Output};
use domain::{
    AttemptNo, Bytes, CheckId, CpuMillis, Digest, JobId, LeaseId, LogIndex, Millis, NodeId,
    artifact::OutputDigests,
    check::{CheckRun, CheckTask},
    checkpoint::Checkpoint,
    interrupt::Notice,
    job::{EndCause, JobSpec, OnDisconnect, Outputs, Restart},
    lease::{Lease, Member, Phase, TaskPlace},
    link::{Down, Report, Up, WantedLease},
    node::Inventory,
    resource::TaskResources,
};
use std::{collections::BTreeMap, fmt::Write};

pub(crate) fn inventory() -> Inventory {
    let text = || String::from("x");
    Inventory {
        name: "a".into(),
        boot_id: text(),
        cpu: CpuMillis(4_000),
        memory: Bytes(1 << 30),
        gpus: vec![],
        driver_version: String::new(),
        cuda_version: String::new(),
        cpu_model: text(),
        cpu_level: "x86-64-v3".into(),
        kernel: text(),
        agent_version: text(),
        isolation: domain::isolation::NodeIsolation::default(),
        topology: domain::topology::NodeTopology::default(),
    }
}

pub(super) fn spec() -> JobSpec {
    JobSpec {
        name: "train".into(),
        user: "u".into(),
        queue: "q".into(),
        priority: 0,
        tasks: 1,
        resources: TaskResources::default(),
        command: vec!["true".into()],
        env: BTreeMap::new(),
        code: None,
        datasets: BTreeMap::new(),
        hyperparameters: BTreeMap::new(),
        seed: 1,
        outputs: Outputs::Required,
        time_limit: None,
        retries: 0,
        on_disconnect: OnDisconnect::Stop,
        restart: Restart::Lease,
        array: None,
        reproduces: None,
        after: Vec::new(),
        retry: Default::default(),
        confinement: domain::isolation::Confinement::default(),
        checkpoint: domain::checkpoint::CheckpointRule::default(),
        framework: None,
        image: None,
        interrupt: domain::interrupt::Interrupt::default(),
        verify: None,
        check: None,
        reservation: None,
        retain: None,
        topology: Default::default(),
        registered: Default::default(),
        hardware_class: None,
        estimate: None,
    }
}

pub(super) fn lease(id: LeaseId, gang: &[u32], phase: Phase) -> WantedLease {
    let members = gang.iter().zip(0..).map(|(node, rank)| Member {
        node: NodeId(*node),
        tasks: vec![TaskPlace { rank, gpus: vec![] }],
    });
    WantedLease {
        lease: Lease {
            id,
            element: JobId(1).into(),
            attempt: AttemptNo(1),
            granted: Millis(0),
            members: members.collect(),
            phase,
            resume_from: None,
            build_key: Digest::default(),
            isolation: domain::isolation::Isolation::None,
            notice: None,
        },
        spec: spec(),
        recipe: Digest::default(),
        master_addr: "a".into(),
        checkpoints: vec![],
        cluster: "c".into(),
        inventories: vec![],
    }
}

/// A lease of one task on node n1 that is being prepared.
pub(crate) fn tests_lease(id: LeaseId) -> WantedLease {
    lease(id, &[1], Phase::Preparing { ready: [].into() })
}

pub(super) fn checkpoint(lease: LeaseId, step: u64) -> Checkpoint {
    let digest = Digest::of(&step.to_be_bytes());
    Checkpoint { step, root: digest, tree: digest, size: Bytes(1), lease }
}

pub(super) fn output() -> OutputDigests {
    let digest = Digest::default();
    OutputDigests {
        root: digest,
        tree: digest,
        statement: digest,
        provenance: digest,
        log: digest,
        files: 1,
        size: Bytes(1),
    }
}

/// Plays a script on node n1 and writes down each line with what it caused.
///
/// `@T` sets the time. A lease is written `l5.0/PHASE[/OPTION..]`; options are `n2+n1` (a gang,
/// its lead first), `continue`, `limit=MS`, `warn=MS`, `notice=j9`, `segment=STEP` (a run that is
/// compared there).
pub(super) fn play(script: &str) -> String {
    play_from(Boot::default(), script)
}

pub(super) fn play_from(boot: Boot, script: &str) -> String {
    let mut machine = AgentMachine::new(Config::new(inventory()), boot);
    let (mut now, mut text) = (Millis(0), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (at, rest) = match line.strip_prefix('@') {
            Some(timed) => timed.split_once(' ').unwrap(),
            None => ("", line),
        };
        if let Ok(at) = at.parse() {
            now = Millis(at);
        }
        writeln!(text, "{line}").unwrap();
        for output in machine.on(input(rest), now) {
            writeln!(text, "    {}", show(&output)).unwrap();
        }
    }
    text
}

fn input(line: &str) -> Input {
    let words: Vec<_> = line.split_whitespace().collect();
    let id = || words[1].parse().unwrap();
    let number = |at: usize| words[at].parse::<u64>().unwrap();
    let bad = || EndCause::Prepare { detail: "bad".into() };
    let result = |at: usize| if words.len() > at { Err(bad()) } else { Ok(()) };
    match words[0] {
        "connected" => Input::Connected,
        "disconnected" => Input::Disconnected,
        "welcome" => Input::Down(Down::Welcome { node: NodeId(1) }),
        "contact" => Input::Down(Down::Contact { seq: number(1) }),
        "wanted" => Input::Down(Down::Wanted {
            at: LogIndex(number(1)),
            leases: words[2..].iter().map(|word| wanted(word)).collect(),
        }),
        // `news AT LEASE,LEASE.. [WANTED..]`: all that is held, then what is new of them.
        "news" => Input::Down(Down::WantedNews {
            at: LogIndex(number(1)),
            held: words[2].split(',').filter_map(|id| id.parse().ok()).collect(),
            leases: words[3..].iter().map(|word| wanted(word)).collect(),
        }),
        "recorded" => Input::Down(Down::Recorded { seq: number(1), refused: None }),
        "refused" => Input::Down(Down::Recorded { seq: number(1), refused: Some("stale".into()) }),
        "prepared" => Input::Prepared { lease: id(), result: result(2) },
        "exited" => {
            let code = words[4].parse().unwrap();
            let exit = if words[3] == "code" { Exit::Code(code) } else { Exit::Signal(code) };
            Input::Exited { lease: id(), rank: words[2].parse().unwrap(), exit }
        }
        "faulted" => Input::Faulted { lease: id(), cause: bad() },
        "moved" => Input::Advanced { lease: id(), bytes: number(2) },
        "seen" => Input::CheckpointSeen { lease: id(), step: number(2) },
        "stored" => Input::CheckpointStored {
            lease: id(),
            step: number(2),
            result: result(3).map(|()| checkpoint(id(), number(2))),
        },
        "output" => Input::OutputStored { lease: id(), result: result(2).map(|()| output()) },
        "log" => Input::LogStored { lease: id(), result: result(2).map(|()| Digest::default()) },
        "killed" => Input::Killed { lease: id() },
        "dumped" => Input::Dumped { lease: id(), rank: 0, dump: Digest::default(), size: Bytes(1) },
        "tick" => Input::Tick,
        other => panic!("no such happening: {other}"),
    }
}

fn wanted(word: &str) -> WantedLease {
    let mut parts = word.split('/');
    let id = parts.next().unwrap().parse().unwrap();
    let phase = parts.next().unwrap();
    let phase = match phase.split_once(':').unwrap_or((phase, "")) {
        ("preparing", _) => Phase::Preparing { ready: [].into() },
        ("started", "") => Phase::Started { done: [].into() },
        ("started", done) => {
            let done = nodes_in_order(done).into_iter().map(|node| (node, Digest::default()));
            Phase::Started { done: done.collect() }
        }
        ("stopping", _) => {
            Phase::Stopping { remaining: [NodeId(1)].into(), cause: EndCause::Cancelled }
        }
        other => panic!("no such phase: {other:?}"),
    };
    let mut wanted = lease(id, &[1], phase);
    for option in parts {
        match option.split_once('=') {
            Some(("notice", by)) => {
                let cause = EndCause::Preempted { by: by.parse().unwrap() };
                wanted.lease.notice = Some(Notice { cause, since: Millis(0) });
            }
            Some(("warn", before)) => {
                wanted.spec.interrupt.warn = Some(Millis(before.parse().unwrap()));
            }
            Some(("segment", until)) => {
                let task =
                    CheckTask::Segment { of: JobId(1).into(), until: until.parse().unwrap() };
                wanted.spec.check = Some(CheckRun { check: CheckId(3), task });
            }
            Some(("limit", limit)) => {
                wanted.spec.time_limit = Some(Millis(limit.parse().unwrap()));
            }
            _ if option == "continue" => wanted.spec.on_disconnect = OnDisconnect::Continue,
            _ => {
                let gang: Vec<NodeId> = nodes_in_order(option);
                let ids: Vec<_> = gang.iter().map(|node| node.0).collect();
                wanted.lease.members =
                    lease(id, &ids, Phase::Preparing { ready: [].into() }).lease.members;
            }
        }
    }
    wanted
}

fn nodes_in_order(list: &str) -> Vec<NodeId> {
    list.split('+').map(|node| node.parse().unwrap()).collect()
}

pub(super) fn show(output: &Output) -> String {
    let until = |at: &Option<Millis>| at.map_or("never".into(), |at| at.to_string());
    match output {
        Output::Send(Up::Register { held, .. } | Up::RegisterShared { held, .. }) => {
            format!("register holding {held:?}")
        }
        Output::Send(Up::Heartbeat { seq, held }) => format!("heartbeat {seq} holding {held:?}"),
        Output::Send(Up::Report { seq, report }) => format!("report {seq}: {}", say(report)),
        Output::Send(Up::Log { .. }) => "log".into(),
        Output::Send(Up::Health { .. } | Up::Idle { .. } | Up::Hardware { .. }) => "health".into(),
        Output::Prepare { wanted } => format!("prepare {}", wanted.lease.id),
        Output::Start { wanted, node_rank, tasks, deadline } => {
            let ranks: Vec<_> = tasks.iter().map(|task| task.rank).collect();
            let id = wanted.lease.id;
            format!("start {id} ranks {ranks:?} node rank {node_rank} until {}", until(deadline))
        }
        Output::RenewDeadline { lease, deadline } => format!("renew {lease} {}", until(deadline)),
        Output::AskCheckpoint { lease, cause: EndCause::LeaseExpired } => {
            format!("ask {lease} for a checkpoint")
        }
        Output::AskCheckpoint { lease, cause } => {
            format!("ask {lease} for a checkpoint: {cause}")
        }
        Output::UnaskCheckpoint { lease } => format!("unask {lease}"),
        Output::Kill { lease, grace } => format!("kill {lease} within {grace}"),
        Output::StoreCheckpoint { lease, step } => format!("store checkpoint {lease} {step}"),
        Output::StoreOutput { wanted } => {
            let steps: Vec<_> = wanted.checkpoints.iter().map(|it| it.step).collect();
            format!("store output {} after checkpoints {steps:?}", wanted.lease.id)
        }
        Output::StoreLog { wanted, node } => format!("store log {} of {node}", wanted.lease.id),
        Output::Forget { lease } => format!("forget {lease}"),
    }
}

fn say(report: &Report) -> String {
    match report {
        Report::Prepared { lease } => format!("{lease} prepared"),
        Report::Checkpoint { checkpoint } => {
            format!("{} checkpoint {}", checkpoint.lease, checkpoint.step)
        }
        Report::Done { lease, .. } => format!("{lease} done"),
        Report::Ended { lease, .. } => format!("{lease} ended"),
        Report::Failed { lease, cause } => format!("{lease} failed: {cause}"),
        Report::Stopped { lease } => format!("{lease} stopped"),
        Report::Dumped { lease, rank, .. } => format!("{lease} dumped rank {rank}"),
    }
}
