//! Laws of the state under any log.

use super::{
    Cluster,
    command::{Command, Entry, NewJob, Placement, PlanRecord, Reply, Request},
    health_test::held,
    promotion_test, retain_test,
    script::{Rows, Script, array, job, machine, output},
};
use crate::planner;
use domain::{
    ArtifactId, Bytes, Digest, ElementId, JobId, LeaseId, LogIndex, Millis, NodeId, PromotionId,
    ReplicaId, RequestKey,
    after::{After, RetryRule, When},
    audit::EventSignature,
    checkpoint::Checkpoint,
    health::{HeldGpu, HeldState},
    job::{EndCause, JobSpec, Restart},
    lease::{Member, Phase, TaskPlace},
    link::Report,
    model::{ModelRef, Stage},
    promotion::{PolicyDecision, Risk, Ruling},
    queue::{ClusterConfig, QueueSpec},
    version::Understood,
};
use proptest::{collection::vec, prelude::*};
use registry::ledger::RegistryCommand;

/// Nodes, each with ranks, each with GPUs.
type Members = Vec<(u32, Vec<(u32, Vec<u32>)>)>;

/// One command, whose small numbers pick among what there is.
#[derive(Clone, Debug)]
pub(super) enum Move {
    Submit { tasks: u32, gpus: u32, priority: i32, retries: u32, confirmed: bool, h100: bool },
    SubmitArray { count: u32, at_once: u32 },
    Reproduce { job: u64 },
    Cancel { job: u64, index: Option<u32> },
    Register { node: u8, boot: u8, gpus: u32, held: bool },
    Drain { node: u8, out: bool },
    Lose { node: u32, stale: bool },
    ConfirmDead { lease: usize },
    Health { node: u32, sick: u32, since: u64, refused: u64 },
    Accept { node: u8, gpu: u32 },
    Plan,
    PlaceAnything { job: u64, index: Option<u32>, members: Members },
    Report { lease: usize, member: usize, kind: u8, step: u64 },
    Seal { ticket: usize },
    Abandon { ticket: usize, lost: bool },
    Copies { artifact: u64, server: u64 },
    Sign { first: u64, count: usize },
    Wait { ms: u64 },
    SubmitAfter { before: u64, when: u8, backoff: u64 },
    Hold { job: u64, held: bool },
    Priority { job: u64, priority: i32 },
    Configure { which: u8, stale: bool },
    CloseGate,
    Train { job: u64, allow: bool },
    Registry { act: u8, on: u64, who: u8 },
    Collect { first: u64, held: Option<bool> },
}

fn any_move() -> impl Strategy<Value = Move> {
    let index = || prop::option::of(0u32..4);
    let members = vec((0u32..5, vec((0u32..3, vec(0u32..5, 0..3)), 0..3)), 0..3);
    prop_oneof![
        6 => (1u32..4, 0u32..3, -1i32..2, 0u32..2, any::<bool>(), any::<bool>()).prop_map(
            |(tasks, gpus, priority, retries, confirmed, h100)| {
                Move::Submit { tasks, gpus, priority, retries, confirmed, h100 }
            }
        ),
        2 => (0u32..5, 0u32..3).prop_map(|(count, at_once)| Move::SubmitArray { count, at_once }),
        1 => (0u64..6).prop_map(|job| Move::Reproduce { job }),
        2 => (0u64..8, index()).prop_map(|(job, index)| Move::Cancel { job, index }),
        4 => (0u8..4, 0u8..3, 0u32..5, any::<bool>())
            .prop_map(|(node, boot, gpus, held)| Move::Register { node, boot, gpus, held }),
        1 => (0u8..4, any::<bool>()).prop_map(|(node, out)| Move::Drain { node, out }),
        2 => (0u32..5, any::<bool>()).prop_map(|(node, stale)| Move::Lose { node, stale }),
        1 => (0usize..6).prop_map(|lease| Move::ConfirmDead { lease }),
        2 => (0u32..5, 0u32..4, 0u64..2, 0u64..40).prop_map(
            |(node, sick, since, refused)| Move::Health { node, sick, since, refused }
        ),
        1 => (0u8..4, 0u32..4).prop_map(|(node, gpu)| Move::Accept { node, gpu }),
        6 => Just(Move::Plan),
        2 => (0u64..8, index(), members)
            .prop_map(|(job, index, members)| Move::PlaceAnything { job, index, members }),
        16 => (0usize..6, 0usize..4, 0u8..8, prop_oneof![0u64..50, Just(u64::MAX)])
            .prop_map(|(lease, member, kind, step)| Move::Report { lease, member, kind, step }),
        3 => (0usize..4).prop_map(|ticket| Move::Seal { ticket }),
        1 => (0usize..4, any::<bool>()).prop_map(|(ticket, lost)| Move::Abandon { ticket, lost }),
        1 => (0u64..4, 1u64..4).prop_map(|(artifact, server)| Move::Copies { artifact, server }),
        1 => (0u64..40, 0usize..8).prop_map(|(first, count)| Move::Sign { first, count }),
        1 => (0u64..200_000_000).prop_map(|ms| Move::Wait { ms }),
        2 => (0u64..8, 0u8..3, 0u64..3_000).prop_map(
            |(before, when, backoff)| Move::SubmitAfter { before, when, backoff }
        ),
        2 => (0u64..8, any::<bool>()).prop_map(|(job, held)| Move::Hold { job, held }),
        1 => (0u64..8, -1i32..4).prop_map(|(job, priority)| Move::Priority { job, priority }),
        1 => (0u8..4, prop::bool::weighted(0.1))
            .prop_map(|(which, stale)| Move::Configure { which, stale }),
        1 => Just(Move::CloseGate),
        3 => (0u64..8, prop::bool::weighted(0.8)).prop_map(|(job, allow)| Move::Train { job, allow }),
        8 => (0u8..12, 0u64..5, 0u8..6).prop_map(|(act, on, who)| Move::Registry { act, on, who }),
        2 => (0u64..5, prop::option::weighted(0.3, any::<bool>()))
            .prop_map(|(first, held)| Move::Collect { first, held }),
    ]
}

fn submit(spec: JobSpec) -> Command {
    let recipe = Digest::of_value(&spec);
    Command::Submit { jobs: vec![NewJob { spec, recipe }] }
}

fn pick_lease(script: &Script, nth: usize) -> LeaseId {
    let view = script.view();
    view.all_leases().nth(nth).map_or(LeaseId { index: 1, ordinal: 7 }, |lease| lease.id)
}

fn pick_ticket(script: &Script, nth: usize) -> LeaseId {
    let view = script.view();
    view.all_tickets().nth(nth).map_or(LeaseId { index: 2, ordinal: 7 }, |ticket| ticket.lease)
}

fn report_of(script: &Script, lease: usize, member: usize, kind: u8, step: u64) -> Command {
    let id = pick_lease(script, lease);
    let members = script.view().lease(id).map(|lease| lease.members.clone()).unwrap_or_default();
    let node = members.get(member).map_or(NodeId(member as u32), |member| member.node);
    let report = match kind {
        0 => Report::Prepared { lease: id },
        1 => Report::Done { lease: id, log: Digest::of(b"log") },
        2 | 3 => Report::Ended { lease: id, output: output(step as u8) },
        4 => Report::Failed {
            lease: id,
            cause: match step % 3 {
                0 => EndCause::ExitCode { rank: 0, code: 1 },
                1 => EndCause::DiskFull { detail: "/data".into() },
                _ => EndCause::NodeLost,
            },
        },
        5 | 6 => Report::Stopped { lease: id },
        _ => {
            let root = Digest::of(&step.to_be_bytes());
            let checkpoint = Checkpoint { step, root, tree: root, size: Bytes(1), lease: id };
            Report::Checkpoint { checkpoint }
        }
    };
    Command::Report { node, report }
}

fn register(script: &Script, node: u8, boot: u8, gpus: u32, held: bool) -> Command {
    let mut inventory = machine(&format!("m{node}"), gpus, if node == 0 { "A100" } else { "H100" });
    inventory.boot_id = format!("boot-{boot}");
    let view = script.view();
    let held = if held { view.all_leases().map(|lease| lease.id).collect() } else { Vec::new() };
    Command::Register { inventory, held }
}

fn sick_gpu(index: u32, since: u64, refused: u64) -> HeldGpu {
    let state = if index == 0 { HeldState::Draining } else { HeldState::Quarantined };
    HeldGpu { refused: LogIndex(refused), ..held(index, state, since) }
}

fn place_anything(script: &Script, job: u64, index: Option<u32>, members: Members) -> Command {
    let task = |(rank, gpus)| TaskPlace { rank, gpus };
    let members = members
        .into_iter()
        .map(|(node, tasks)| Member {
            node: NodeId(node),
            tasks: tasks.into_iter().map(task).collect(),
        })
        .collect();
    let placements = vec![Placement { element: ElementId { job: JobId(job), index }, members }];
    let plan = PlanRecord {
        base: script.at,
        now: script.now,
        budget_steps: 0,
        policy_version: 0,
        view: Digest::default(),
        plan: PlanRecord::digest_of(&placements),
        placements,
    };
    Command::Place { plan }
}

fn command(script: &mut Script, step: Move) -> Command {
    match step {
        Move::Submit { tasks, gpus, priority, retries, confirmed, h100 } => {
            let mut spec = JobSpec { priority, retries, ..job(tasks, gpus) };
            spec.restart = if confirmed { Restart::Confirmed } else { Restart::Lease };
            spec.resources.gpu_model = h100.then(|| "h100".to_owned());
            submit(spec)
        }
        Move::SubmitArray { count, at_once } => submit(array(count, at_once, 1)),
        Move::Reproduce { job: id } => submit(JobSpec { reproduces: Some(JobId(id)), ..job(1, 1) }),
        Move::Cancel { job, index } => {
            Command::Cancel { element: ElementId { job: JobId(job), index } }
        }
        Move::Register { node, boot, gpus, held } => register(script, node, boot, gpus, held),
        Move::Drain { node, out } => {
            Command::Drain { node: format!("m{node}"), reason: out.then(|| "repair".to_owned()) }
        }
        Move::Lose { node, stale } => {
            let node = NodeId(node);
            let known = script.view().node(node).map(|row| row.registered_at);
            let registered_at = known.filter(|_| !stale).unwrap_or(LogIndex(1));
            Command::NodeLost { node, registered_at }
        }
        Move::Health { node, sick, since, refused } => Command::Health {
            node: NodeId(node),
            gpus: (0..sick).map(|gpu| sick_gpu(gpu, since, refused)).collect(),
        },
        Move::Accept { node, gpu } => {
            Command::AcceptGpu { node: format!("m{node}"), gpu: gpu.to_string() }
        }
        Move::ConfirmDead { lease } => Command::ConfirmDead { lease: pick_lease(script, lease) },
        Move::SubmitAfter { before, when, backoff } => {
            let when = [When::Completed, When::Ended, When::Failed][usize::from(when)];
            let retry = RetryRule { backoff: Some(Millis(backoff)), ..RetryRule::default() };
            let after = vec![After { job: JobId(before), when }];
            let user = format!("u{}", before % 2);
            let queue = if before % 3 == 0 { "part" } else { "default" }.to_owned();
            submit(JobSpec { after, retry, retries: 3, user, queue, ..job(1, 1) })
        }
        Move::Hold { job, held } => Command::Hold { job: JobId(job), held },
        Move::Priority { job, priority } => Command::SetPriority { job: JobId(job), priority },
        Move::Configure { which, stale } => {
            let expected = script.view().config().version + u64::from(stale);
            Command::ApplyConfig { expected, config: configuration(which), why: "drawn".into() }
        }
        Move::Plan => {
            Command::Place { plan: planner::plan(&script.view(), script.now, 1_000).record }
        }
        Move::PlaceAnything { job, index, members } => place_anything(script, job, index, members),
        Move::Report { lease, member, kind, step } => report_of(script, lease, member, kind, step),
        Move::Seal { ticket } => Command::CompleteSeal {
            ticket: pick_ticket(script, ticket),
            signature: Digest::of(b"signature"),
            provenance: Digest::of(b"provenance"),
            signer: Digest::of(b"signer"),
            copies: vec![ReplicaId(1)],
        },
        Move::Abandon { ticket, lost } => Command::AbandonSeal {
            ticket: pick_ticket(script, ticket),
            cause: match lost {
                true => EndCause::BlobsLost,
                false => EndCause::Seal { detail: "root differs".into() },
            },
        },
        Move::Copies { artifact, server } => Command::RecordCopies {
            artifact: ArtifactId(artifact),
            copies: vec![ReplicaId(server), ReplicaId(1)],
        },
        Move::CloseGate => Command::GateTraining,
        Move::Train { job, allow } => {
            let decision = if allow { Ruling::Allow } else { Ruling::Deny };
            let policy = PolicyDecision { decision, ..promotion_test::allow() };
            Command::DecideTraining { decisions: vec![(JobId(job), policy)] }
        }
        Move::Registry { act, on, who } => Command::Registry(registry_act(script, act, on, who)),
        Move::Collect { first, held } => Command::Registry(retain_test::drawn(first, held)),
        Move::Sign { first, count } => Command::SignEvents {
            first,
            signatures: vec![EventSignature { signer: "k".into(), bytes: vec![1; 64] }; count],
        },
        Move::Wait { ms } => {
            script.now = script.now.plus(Millis(ms));
            Command::SignEvents { first: 0, signatures: Vec::new() }
        }
    }
}

/// Some configuration, with and without a tree and bounds.
fn configuration(which: u8) -> ClusterConfig {
    let mut config =
        ClusterConfig { half_life: Millis(u64::from(which) * 5_000), ..Default::default() };
    let spec = |weight, bound: Option<u64>| QueueSpec {
        weight,
        borrow_gpus_max: bound,
        user_gpus_max: bound,
        user_running_max: bound.map(|bound| bound as u32),
        priority_max: bound.map(|_| 1),
        budget_gpu_hours: bound,
        budget_period: bound.map(|_| Millis(60_000)),
        verify: bound.map(|_| domain::check::Verify { segments_of_10000: 5_000 }),
        retain: (which > 1).then_some(domain::retain::Retain::For(Millis(5_000))),
        ..QueueSpec::default()
    };
    if which > 0 {
        config.queues.insert("top".into(), spec(2, (which > 1).then_some(4)));
        let part = QueueSpec { parent: Some("top".into()), ..spec(1, (which > 2).then_some(2)) };
        config.queues.insert("part".into(), part);
    }
    config
}

/// Lets every job start that could: no bounds, and nothing is held.
fn open_up(script: &mut Script) {
    let mut config = script.view().cluster_config();
    for queue in config.queues.values_mut() {
        *queue = QueueSpec { parent: queue.parent.take(), ..QueueSpec::default() };
    }
    let expected = script.view().config().version;
    script.send(None, Command::ApplyConfig { expected, config, why: "heal".into() });
    let live: Vec<_> = script.view().all_live_jobs().map(|(id, _)| id).collect();
    for job in live {
        script.send(None, Command::Hold { job, held: false });
    }
}

/// One act at the registry. Everybody is `ada` here, who is an approver as well.
fn registry_act(script: &Script, act: u8, on: u64, who: u8) -> RegistryCommand {
    use RegistryCommand as C;
    let model = ModelRef { family: format!("m{}", who % 2), version: on };
    let promotion = PromotionId(on);
    let reason = "because".to_owned();
    match act {
        0 | 1 => C::RegisterModel {
            family: model.family.clone(),
            artifact: ArtifactId(on),
            metrics: [("accuracy".to_owned(), "0.91".parse().unwrap())].into(),
            parents: if who > 3 { vec![model] } else { Vec::new() },
            aliases: vec!["champion".into()],
        },
        2 => C::SetAlias { family: model.family, alias: "champion".into(), version: Some(on) },
        3 if who == 0 => C::DeprecateModel { model, reason },
        4 if who == 0 => C::RevokeArtifact { artifact: ArtifactId(on), reason },
        5 => {
            let name = if who == 0 { "ada".to_owned() } else { format!("p{who}") };
            C::AddApprover { name, key: promotion_test::key(who).verifying_key().to_bytes() }
        }
        6 => C::Reject { promotion, reason },
        7 => C::SettlePromotion { promotion },
        8 => {
            promotion_test::decided(on, vec![promotion_test::gate("0.9")], promotion_test::allow())
        }
        9 => match script.view().promotion(&script.rows, promotion) {
            Some(_) => promotion_test::sign(script, on),
            None => C::SettlePromotion { promotion },
        },
        10 => match script.view().promotion(&script.rows, promotion) {
            Some(_) => promotion_test::word_of(script, on, who),
            None => C::Approve { promotion, signature: vec![0; 64] },
        },
        _ => C::RequestPromotion {
            model,
            to: if who > 2 { Stage::Prod } else { Stage::Staging },
            risk: Risk::Low,
            emergency: who == 5,
            reason,
            within: Some(Millis(60_000)),
        },
    }
}

/// Moves that become one entry, each with or without a key.
pub(super) type Batch = Vec<(Move, Option<u8>)>;

pub(super) fn any_log() -> impl Strategy<Value = Vec<Batch>> {
    vec(vec((any_move(), prop::option::weighted(0.3, 0u8..20)), 1..4), 1..60)
}

pub(super) fn run(script: &mut Script, log: Vec<Batch>) {
    for batch in log {
        let members = batch
            .into_iter()
            .map(|(step, key)| Request {
                key: key.map(|key| RequestKey([key; 16])),
                actor: "user:ada".into(),
                command: command(script, step),
            })
            .collect();
        script.entry(members);
        // Proposers' clocks differ: some stamp an earlier time.
        script.now = Millis(script.now.0 + 100 - 40 * (script.at.0 % 4));
    }
}

/// Ends everything: nodes come back after a reboot, tasks end well, tickets are sealed.
fn heal(script: &mut Script) {
    for node in 0..5u8 {
        let mut inventory =
            machine(&format!("m{node}"), 8, if node == 0 { "A100" } else { "H100" });
        inventory.boot_id = "healed".into();
        script.send(None, Command::Register { inventory, held: Vec::new() });
        script.send(None, Command::Drain { node: format!("m{node}"), reason: None });
    }
    open_up(script);
    for _ in 0..200 {
        let stopping: Vec<_> = script
            .view()
            .all_leases()
            .filter(|lease| matches!(lease.phase, Phase::Stopping { .. }))
            .cloned()
            .collect();
        for lease in stopping {
            for member in &lease.members {
                script.report(member.node, Report::Stopped { lease: lease.id });
            }
        }
        let gated: Vec<_> =
            script.view().gated_jobs().map(|id| (id, promotion_test::allow())).collect();
        script.send(None, Command::DecideTraining { decisions: gated });
        script.plan();
        let leases: Vec<_> = script.view().all_leases().map(|lease| lease.id).collect();
        for id in leases {
            script.finish(id, 1);
        }
        let tickets: Vec<_> = script.view().all_tickets().map(|ticket| ticket.lease).collect();
        for ticket in tickets {
            script.seal(ticket);
        }
        if script.view().live_jobs() == 0 {
            return;
        }
        script.now = script.now.plus(Millis(1_000));
    }
    let left: Vec<_> = script.view().all_live_jobs().map(|(id, _)| id).collect();
    for id in left {
        let why = planner::why(&script.view(), &script.rows, id, script.now).unwrap();
        // What can never run is waited for by others without end.
        let never = why.reasons.iter().any(|reason| reason.never || reason.kind == "after");
        assert!(never, "{id} never ended: {why:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn any_log_keeps_every_invariant_and_restart_from_rows_equals_the_state_before(
        log in any_log()
    ) {
        let mut script = Script::new();
        for batch in log {
            run(&mut script, vec![batch]);
            let again = Cluster::load(&script.rows);
            prop_assert_eq!(&again, &script.cluster);
            prop_assert_eq!(again.digest(), script.cluster.digest());
        }
    }

    #[test]
    fn replicas_that_apply_the_same_log_agree_even_if_one_restarts_midway(
        log in any_log(), restart in 0usize..60
    ) {
        let mut script = Script::new();
        run(&mut script, log);
        let mut rows = Rows::new();
        let mut other = Cluster::load(&rows);
        for (at, entry) in script.log.iter().enumerate() {
            if at == restart {
                other = Cluster::load(&rows);
            }
            let entry = Entry::decode(&entry.encode(), Understood::BUILD).unwrap();
            let applied = other.apply(&rows, LogIndex(at as u64 + 1), entry);
            for change in applied.rows {
                match change.value {
                    Some(value) => rows.insert(change.key, value),
                    None => rows.remove(&change.key),
                };
            }
        }
        prop_assert_eq!(other.digest(), script.cluster.digest());
        prop_assert_eq!(rows, script.rows);
    }

    #[test]
    fn a_repeated_key_has_one_effect_and_one_reply(log in any_log(), step in any_move()) {
        let mut script = Script::new();
        run(&mut script, log);
        let command = command(&mut script, step);
        let first = script.send(Some(200), command.clone());
        let jobs = script.view().live_jobs();
        let leases = script.view().all_leases().count();
        let head = script.view().audit_head();
        let second = script.send(Some(200), command.clone());
        if !matches!(first, Reply::Refused(super::command::Refusal::NotYet { .. })) {
            prop_assert_eq!(&first, &second);
        }
        prop_assert_eq!(jobs, script.view().live_jobs());
        prop_assert_eq!(leases, script.view().all_leases().count());
        prop_assert_eq!(head, script.view().audit_head());
    }

    #[test]
    fn once_faults_stop_every_job_ends(log in any_log()) {
        let mut script = Script::new();
        run(&mut script, log);
        heal(&mut script);
        for (_, node) in script.view().all_nodes() {
            prop_assert!(node.leases.is_empty() && node.gpus_used.is_empty());
        }
    }
}
