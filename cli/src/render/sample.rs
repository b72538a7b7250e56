//! Fixed documents for the golden tests.

use domain::{
    ArtifactId, AttemptNo, Bytes, CpuMillis, Digest, ElementId, JobId, LeaseId, LogIndex, Millis,
    NodeId, ReplicaId,
    artifact::{Artifact, OutputDigests, SealTicket},
    audit::{AuditEvent, EventSignature},
    checkpoint::Checkpoint,
    health::{HeldGpu, HeldState, IdleRank, Idleness},
    job::{Array, Captured, ElementState, EndCause, JobSpec, OnDisconnect, Outputs, Restart},
    lease::{Member, Phase, TaskPlace},
    node::{Inventory, NodeState},
    resource::{Gpu, TaskResources},
    seal_wait::{SealTrouble, SealWait},
    signing::Custody,
    topology::{GpuSite, NodeTopology},
    tree::{Tree, TreeFile},
    version::{ClusterVersion, Understood},
    view::{
        ArtifactView, AttemptView, AuditPage, ClusterView, ElementCounts, ElementView, HeldGpuView,
        JobLine, JobView, NodeView, ReasonView, ReplicaView, WhyView,
    },
};

const START: u64 = 1_764_000_000_000;

fn digest(name: &str) -> Digest {
    Digest::of(name.as_bytes())
}

fn captured(name: &str) -> Captured {
    Captured { tree: digest(name), files: 2, size: Bytes(4_096), origin: name.into() }
}

pub fn spec() -> JobSpec {
    JobSpec {
        name: "digits".into(),
        user: "ada".into(),
        queue: "default".into(),
        priority: 0,
        tasks: 1,
        resources: TaskResources {
            gpus: 1,
            gpu_model: Some("H100".into()),
            cpu: CpuMillis(1_500),
            memory: Bytes(512 << 20),
            gpu_memory: None,
            gpu_share: Default::default(),
        },
        command: vec!["./assay-train".into(), "--epochs".into(), "3".into()],
        env: [("MODE".to_owned(), "full".to_owned())].into(),
        code: Some(captured("code")),
        datasets: [("digits".to_owned(), captured("digits.csv"))].into(),
        hyperparameters: [("lr".to_owned(), "0.1".to_owned())].into(),
        seed: 7,
        outputs: Outputs::Required,
        time_limit: Some(Millis(600_000)),
        retries: 1,
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

pub fn line(id: u64, state: &str) -> JobLine {
    JobLine {
        id: JobId(id),
        name: "digits".into(),
        user: "ada".into(),
        queue: "default".into(),
        priority: 0,
        state: state.into(),
        gpus: 1,
        elements: ElementCounts { running: 1, ..ElementCounts::default() },
        submitted: Millis(START),
        ended: None,
    }
}

fn checkpoint(step: u64) -> Checkpoint {
    Checkpoint {
        step,
        root: digest(&format!("root {step}")),
        tree: digest(&format!("tree {step}")),
        size: Bytes(1 << 20),
        lease: LeaseId { index: 88, ordinal: 0 },
    }
}

fn member(node: u32, gpu: u32) -> Member {
    Member { node: NodeId(node), tasks: vec![TaskPlace { rank: 0, gpus: vec![gpu] }] }
}

pub fn job() -> JobView {
    let lost = AttemptView {
        attempt: AttemptNo(1),
        lease: LeaseId { index: 60, ordinal: 0 },
        members: vec![member(1, 0)],
        granted: Millis(START + 100),
        ended: Some(Millis(START + 8_000)),
        cause: Some(EndCause::NodeLost),
        phase: None,
        notice: None,
    };
    let runs = AttemptView {
        attempt: AttemptNo(2),
        lease: LeaseId { index: 88, ordinal: 0 },
        members: vec![member(2, 3)],
        granted: Millis(START + 9_000),
        ended: None,
        cause: None,
        phase: Some(Phase::Started { done: [].into() }),
        notice: None,
    };
    JobView {
        line: line(7, "running"),
        priority_class: Some("normal".into()),
        spec: spec(),
        recipe: digest("recipe"),
        submitted_at: LogIndex(42),
        parts: vec![ElementView {
            id: ElementId::from(JobId(7)),
            state: ElementState::Running { lease: LeaseId { index: 88, ordinal: 0 } },
            attempts: vec![lost, runs],
            checkpoints: vec![checkpoint(100), checkpoint(200)],
        }],
        metrics: [(0, r#"{"step":210,"loss":0.25}"#.to_owned())].into(),
        idle: vec![IdleRank {
            lease: LeaseId { index: 88, ordinal: 0 },
            rank: 1,
            state: Idleness::Hung,
            since: Millis(START + 70_000),
        }],
        policy: None,
        replays: Vec::new(),
        dumps: Vec::new(),
    }
}

pub fn array() -> JobView {
    let elements = ElementCounts { waiting: 5, completed: 2, failed: 1, ..Default::default() };
    let part = |index, state| ElementView {
        id: ElementId { job: JobId(9), index: Some(index) },
        state,
        attempts: Vec::new(),
        checkpoints: Vec::new(),
    };
    JobView {
        line: JobLine { elements, ..line(9, "running") },
        spec: JobSpec { array: Some(Array { count: 8, at_once_max: 2 }), ..spec() },
        parts: vec![
            part(0, ElementState::Completed { artifact: ArtifactId(3) }),
            part(1, ElementState::Failed { cause: EndCause::ExitCode { rank: 0, code: 3 } }),
        ],
        metrics: [].into(),
        idle: Vec::new(),
        policy: None,
        replays: Vec::new(),
        dumps: Vec::new(),
        ..job()
    }
}

pub fn why() -> WhyView {
    WhyView {
        job: JobId(12),
        state: "waiting".into(),
        reasons: vec![
            ReasonView {
                kind: "gpus".into(),
                detail: "each task asks 9 GPUs; the largest node has 8".into(),
                remedy: "ask 8 GPUs a task and more tasks".into(),
                never: true,
            },
            ReasonView {
                kind: "gpu_model".into(),
                detail: "no node has a GPU named H900".into(),
                remedy: "leave gpu_model, or use H100".into(),
                never: true,
            },
        ],
        not_reasons: vec!["priority: nobody ahead wants these GPUs".into()],
        start: None,
        seals: Vec::new(),
    }
}

/// A job that has ended well, and whose key store is busy.
pub fn why_seal() -> WhyView {
    let lease = LeaseId { index: 40, ordinal: 0 };
    let now = Millis(1_760_000_030_000);
    WhyView {
        job: JobId(12),
        state: "sealing".into(),
        reasons: vec![ReasonView {
            kind: "key".into(),
            detail: "AWS KMS key `alias/models` is throttled: ThrottlingException; 6 tries by \
                     server r2 in 25 s, the last 3 s ago, the next in 2 s"
                .into(),
            remedy: "have the account's request quota of KMS raised, or wait; it is sealed by \
                     itself then"
                .into(),
            never: false,
        }],
        not_reasons: Vec::new(),
        start: None,
        seals: vec![SealWait {
            element: JobId(12).into(),
            lease,
            fault: SealTrouble::Throttled,
            signer: Some("kms:alias/models".into()),
            custody: Some(Custody::Kms),
            said: "ThrottlingException".into(),
            server: ReplicaId(2),
            tries: 6,
            since: now.minus(Millis(25_000)),
            last_try: now.minus(Millis(3_000)),
            next_try: Some(now.plus(Millis(2_000))),
            told: now,
        }],
    }
}

fn isolation() -> domain::isolation::NodeIsolation {
    domain::isolation::NodeIsolation { cgroup: 2, landlock: 7, ..Default::default() }
}

/// The first node is in a rack, and has two GPUs of one clique.
fn topology(id: u32) -> NodeTopology {
    if id != 1 {
        return NodeTopology::default();
    }
    let site = |index| GpuSite { index, nvlink: Some(0), numa: Some(index) };
    NodeTopology { rack: "r7".into(), block: "b1".into(), gpus: vec![site(0), site(1)] }
}

fn drained(reason: &str) -> NodeState {
    let reason = reason.into();
    NodeState::Drained { reason, until: None, migrate: false, quarantine: false }
}

pub fn nodes() -> Vec<NodeView> {
    let gpu = |index| Gpu {
        index,
        uuid: format!("GPU-{index}"),
        model: "NVIDIA H100 80GB HBM3".into(),
        memory: Bytes(80 << 30),
        compute_capability: "9.0".into(),
    };
    let node = |id, name: &str, status, gpus: Vec<Gpu>| NodeView {
        id: NodeId(id),
        inventory: Inventory {
            name: name.into(),
            boot_id: "b".into(),
            cpu: CpuMillis(2_000),
            memory: Bytes(4 << 30),
            gpus,
            driver_version: "550.54.15".into(),
            cuda_version: "12.4".into(),
            cpu_model: "any".into(),
            cpu_level: "x86-64-v3".into(),
            kernel: "6.1".into(),
            agent_version: "0.1.0".into(),
            isolation: isolation(),
            topology: topology(id),
        },
        hardware_class: "NVIDIA H100 80GB HBM3/driver-550/x86-64-v3".into(),
        status,
        gpus_used: vec![0],
        cpu_used: CpuMillis(1_500),
        memory_used: Bytes(512 << 20),
        leases: vec![LeaseId { index: 88, ordinal: 0 }],
        held_back: Vec::new(),
        accused: Vec::new(),
        windows: Vec::new(),
        acceptance: None,
        hardware: None,
    };
    let lost = NodeView { leases: Vec::new(), ..node(2, "node-b", NodeState::Lost, Vec::new()) };
    let held = |index, state, symptom: &str, accepted| HeldGpuView {
        gpu: HeldGpu {
            index,
            uuid: format!("GPU-{index}"),
            offers: vec![gpu(index)],
            state,
            symptom: symptom.into(),
            advice: "reset the GPU".into(),
            since: Millis(START + 60_000),
            refused: LogIndex(if accepted { 0 } else { 90 }),
        },
        accepted: accepted.then_some(LogIndex(99)),
        check: None,
    };
    let mut sick = node(3, "node-c", drained("fan"), vec![gpu(0)]);
    sick.held_back = vec![
        held(1, HeldState::Quarantined, "Xid 79: the GPU fell off the bus", false),
        held(2, HeldState::Draining, "Xid 63: a row of memory is to be replaced", false),
        held(3, HeldState::Quarantined, "row remap pending: takes effect at a reset", true),
    ];
    vec![node(1, "node-a", NodeState::Ready, vec![gpu(0), gpu(1)]), lost, sick]
}

pub fn artifact() -> ArtifactView {
    let ticket = SealTicket {
        lease: LeaseId { index: 88, ordinal: 0 },
        element: ElementId::from(JobId(7)),
        attempt: AttemptNo(2),
        node: NodeId(2),
        output: OutputDigests {
            root: tree().root(),
            tree: tree().digest(),
            statement: digest("statement"),
            provenance: digest("provenance"),
            log: digest("log"),
            files: 2,
            size: Bytes(1_500),
        },
        logs: Vec::new(),
        recipe: digest("recipe"),
        build_key: digest("build key"),
        opened: Millis(START + 20_000),
    };
    ArtifactView {
        artifact: Artifact {
            id: ArtifactId(3),
            ticket,
            signature: digest("signature"),
            provenance: digest("provenance envelope"),
            signer: digest("signer"),
            copies: vec![ReplicaId(1), ReplicaId(2)],
            sealed: Millis(START + 20_500),
            checkpoints: vec![checkpoint(100), checkpoint(200)],
            audit_seq: 9,
        },
        name: "digits".into(),
        agrees_with: vec![ArtifactId(4)],
        differs_from: Vec::new(),
        replays: Vec::new(),
        collected: None,
        hold: None,
    }
}

pub fn tree() -> Tree {
    let file = |path: &str, size| TreeFile {
        digest: digest(path),
        executable: false,
        path: path.into(),
        size: Bytes(size),
    };
    Tree { files: vec![file("metrics.json", 476), file("model.safetensors", 1_024)] }
}

pub fn audit() -> AuditPage {
    let event = |seq: u64, prev, signature| AuditEvent {
        seq,
        payload: format!(r#"{{"kind":"job.submitted","seq":{seq}}}"#),
        prev,
        hash: digest(&format!("event {seq}")),
        ts_us: START * 1_000 + seq,
        signature,
    };
    let signature = EventSignature { signer: "assay-audit-1".into(), bytes: vec![0xab; 4] };
    AuditPage {
        events: vec![event(1, None, Some(signature)), event(2, Some(digest("event 1")), None)],
        head: 2,
        head_hash: Some(digest("event 2")),
        signed: 1,
    }
}

pub fn cluster() -> ClusterView {
    let replica = |id: u64, role: &str, active| ReplicaView {
        id: ReplicaId(id),
        address: format!("127.0.0.1:760{id}"),
        role: role.into(),
        matched: LogIndex(100),
        active,
        understands: active.then_some(Understood::BUILD),
    };
    ClusterView {
        cluster: "dev".into(),
        version: ClusterVersion::FIRST,
        answered_by: ReplicaId(1),
        leader: Some(ReplicaId(2)),
        term: 3,
        commit: LogIndex(101),
        applied: LogIndex(100),
        state_digest: digest("state"),
        replicas: vec![
            replica(1, "follower", true),
            replica(2, "leader", true),
            replica(3, "follower", false),
        ],
    }
}
