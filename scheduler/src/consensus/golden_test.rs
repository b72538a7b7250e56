//! Golden bytes: what is stored, to the bit. A disk outlives the program that wrote it, and two
//! releases beside each other have to write the same, or their digests differ.
//!
//! When one of these fails, an encoding has changed: a row or an entry that was stored before
//! cannot be read any more, or reads as something else. Put new variants and fields where old
//! bytes still decode, or make a new version of what is stored (decision 1). Only then:
//! `UPDATE_EXPECT=1 cargo test -p scheduler --lib golden`.

use super::{
    AppliedMark, HardState, Identity, LogStart, Membership,
    codec::{PeerMessage, entry_from_bytes, entry_to_bytes, state_from_bytes, state_to_bytes},
};
use crate::{
    planner,
    state::{
        Cluster,
        command::{Command, DrainNodes, Entry, NewJob, PlanRecord, RaiseVersion, Reply, Request},
        script::{Script, array, job, machine, output},
    },
};
use domain::{
    ArtifactId, Bytes, Digest, JobId, Millis, NodeId, PerMille, ReplicaId, RequestKey,
    after::RetryOn,
    checkpoint::Checkpoint,
    foresee::Foretold,
    hardware::Hardware,
    job::{Further, RetryMax},
    link::Report,
    node::DrainTerms,
    promotion::Quorum,
    queue::{ClusterConfig, DEFAULT, Order, Orders, PriorityClasses, QueueSpec},
    resource::{GpuLike, GpuShare},
    version::Understood,
};
use expect_test::{ExpectFile, expect_file};
use raft::eraftpb;
use registry::ledger::RegistryCommand;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

/// The table of what jobs were submitted as.
const JOB_SPECS: u8 = 0x02;
/// Digits of a line.
const LINE: usize = 96;

/// Adds a name and bytes.
fn show(text: &mut String, name: &str, bytes: &[u8]) {
    writeln!(text, "{name}").expect("writing to memory");
    for line in hex::encode(bytes).as_bytes().chunks(LINE) {
        writeln!(text, "  {}", String::from_utf8_lossy(line)).expect("writing to memory");
    }
}

/// The bytes under each name in a golden file.
fn read(file: &ExpectFile) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for line in file.data().lines() {
        match (line.strip_prefix("  "), all.last_mut()) {
            (Some(digits), Some((_, hex))) => hex.push_str(digits),
            _ => all.push((line.to_owned(), String::new())),
        }
    }
    let decode = |(name, hex): (String, String)| (name, hex::decode(hex).expect("hex digits"));
    all.into_iter().map(decode).collect()
}

fn done(reply: &Reply) {
    assert!(!matches!(reply, Reply::Refused(_)), "{reply:?}");
}

/// A bit of everything that a cluster does.
fn story() -> Script {
    let mut script = Script::new();
    let node = script.register(machine("a", 2, "H100"));
    let spec = job(1, 1);
    let recipe = Digest::of_value(&spec);
    let jobs = vec![NewJob { spec, recipe }];
    done(&script.send(Some(7), Command::Submit { jobs }));
    // The policy of the time when these bytes were made is a part of them.
    let plan = planner::plan(&script.view(), script.now, 10_000).record;
    done(&script.place(PlanRecord { policy_version: 6, ..plan }));
    let lease = script.lease_of("j1");
    let root = Digest::of(b"step 10");
    let checkpoint = Checkpoint { step: 10, root, tree: root, size: Bytes(1), lease };
    done(&script.report(node, Report::Checkpoint { checkpoint }));
    done(&script.report(node, Report::Ended { lease, output: output(1) }));
    done(&script.seal(lease));
    script.submit(array(3, 2, 1));
    done(&script.send(None, Command::Hold { job: JobId(2), held: true }));
    done(&script.cancel("j2[1]"));
    let queues = [("research".to_owned(), QueueSpec::default())].into();
    let config = ClusterConfig { half_life: Millis(60_000), queues, ..ClusterConfig::default() };
    let (config, why) = (config.whole(), "a queue for research".to_owned());
    done(&script.send(None, Command::ApplyConfig { expected: 0, config, why }));
    let reason = Some("a fan rattles".to_owned());
    done(&script.send(None, Command::Drain { node: "a".into(), reason }));
    for command in [
        RegistryCommand::SetQuorum { quorum: Quorum { required: 2, of: 3 } },
        RegistryCommand::RegisterModel {
            family: "digits".into(),
            artifact: ArtifactId(1),
            metrics: BTreeMap::new(),
            parents: Vec::new(),
            aliases: vec!["newest".into()],
        },
    ] {
        done(&script.send(None, Command::Registry(command)));
    }
    let members = (1..=3).map(|id| (ReplicaId(id), Understood::BUILD)).collect();
    let raise = RaiseVersion { to: Understood::BUILD.newest, members };
    done(&script.send(None, Command::RaiseVersion(raise)));
    script
}

#[test]
fn the_first_row_of_each_table_has_the_bytes_that_it_always_had() {
    let mut tables: BTreeMap<u8, (&Vec<u8>, &Vec<u8>)> = BTreeMap::new();
    let script = story();
    for (key, value) in &script.rows {
        tables.entry(key[0]).or_insert((key, value));
    }
    let mut text = String::new();
    for (table, (key, value)) in &tables {
        show(&mut text, &format!("table {table:#04x} key {}", hex::encode(key)), value);
    }
    assert!(tables.len() >= 20, "the story touches most tables: {}", tables.len());
    expect_file!["golden/rows.txt"].assert_eq(&text);
}

#[test]
fn each_entry_has_the_bytes_that_it_always_had() {
    let mut text = String::new();
    for (index, entry) in (1..).zip(&story().log) {
        let command = format!("{:?}", entry.members[0].command);
        let name = command.split([' ', '(']).next().unwrap_or_default();
        show(&mut text, &format!("entry {index} {name}"), &entry.encode());
    }
    let golden = expect_file!["golden/entries.txt"];
    golden.assert_eq(&text);
    for (name, bytes) in read(&golden) {
        let entry = Entry::decode(&bytes, Understood::BUILD)
            .unwrap_or_else(|fault| panic!("{name}: {fault}"));
        assert_eq!(entry.encode(), bytes, "{name}");
    }
}

/// What the second version of what is replicated added.
fn second_story() -> Script {
    let mut script = story();
    let classes = PriorityClasses([("batch".into(), -10), ("urgent".into(), 80)].into());
    let mut orders = Orders::default();
    orders.set(DEFAULT, Order::Shortest);
    let now = script.view().cluster_config();
    let config = ClusterConfig { priority_classes: classes, orders, ..now };
    done(&script.send(None, Command::apply_config(1, config, "names".into())));
    let hardware = Box::new(Hardware::default());
    done(&script.send(None, Command::Hardware { node: NodeId(1), hardware }));
    let terms = DrainTerms { until: Some(Millis(1 << 40)), migrate: true, ..Default::default() };
    let (names, reason) = (["a".to_owned()].into(), Some("until then".to_owned()));
    done(
        &script.send(None, Command::DrainNodes(DrainNodes { names, reason, terms, vouch: false })),
    );
    let mut spec = job(1, 1);
    spec.set_further(Further {
        gpu: GpuLike { memory: Some(Bytes(40 << 30)), share: GpuShare::AtLeast(PerMille(250)) },
        hardware_class: Some("H100/driver-550/x86-64-v3".into()),
        retry_max: RetryMax { own: [(RetryOn::Signal, 3)].into(), node: Some(1) },
        estimate: Some(Millis(90_000)),
    });
    let recipe = Digest::of_value(&spec);
    let Reply::Submitted { jobs, .. } =
        script.send(None, Command::submit(vec![NewJob { spec, recipe }]))
    else {
        panic!("not taken in");
    };
    let foretold = Foretold { made: Millis(1), p50: Millis(2), p90: Millis(1 << 40) };
    done(&script.send(None, Command::Foretell { starts: vec![(jobs[0], foretold)] }));
    script
}

#[test]
fn what_the_second_version_added_has_the_bytes_that_it_always_had() {
    let (first, second) = (story(), second_story());
    let known: BTreeSet<u8> = first.rows.keys().map(|key| key[0]).collect();
    let mut text = String::new();
    for (key, value) in second.rows.iter().filter(|(key, _)| !known.contains(&key[0])) {
        show(&mut text, &format!("row {}", hex::encode(key)), value);
    }
    // A job that says more is a row of a table that was there before.
    let (key, value) = second.rows.iter().rfind(|(key, _)| key[0] == JOB_SPECS).expect("jobs");
    show(&mut text, &format!("row {}", hex::encode(key)), value);
    for (index, entry) in (1..).zip(&second.log).skip(first.log.len()) {
        let bytes = entry.encode();
        show(&mut text, &format!("entry {index}"), &bytes);
        assert_eq!(Entry::decode(&bytes, Understood::BUILD).as_ref(), Ok(entry));
    }
    expect_file!["golden/second.txt"].assert_eq(&text);
}

/// What the log's own part of a disk holds.
fn kept() -> (HardState, AppliedMark, LogStart, Membership, Identity) {
    let address = |id| (ReplicaId(id), format!("host-{id}:7601"));
    (
        HardState { term: 3, vote: 2, commit: 41 },
        AppliedMark { index: 40, term: 3, digest: Some(Digest::of(b"rows")) },
        LogStart { index: 9, term: 1 },
        Membership::founders((1..=3).map(address).collect()),
        Identity { cluster: "dev".into(), id: ReplicaId(2) },
    )
}

#[test]
fn what_a_replica_keeps_of_itself_has_the_bytes_that_it_always_had() {
    let (hard_state, applied, log_start, membership, identity) = kept();
    let request = Request {
        key: Some(RequestKey([7; 16])),
        actor: "user:ada".into(),
        command: Command::Cancel { element: JobId(1).into() },
    };
    let entry = Entry { now: Millis(5), proposer: ReplicaId(1), members: vec![request] };
    let entry =
        eraftpb::Entry { index: 41, term: 3, data: entry.encode(), ..eraftpb::Entry::default() };
    let digest = PeerMessage::Digest { index: 40, digest: Digest::of(b"rows") };
    let mut text = String::new();
    show(&mut text, "hard state", &state_to_bytes(&hard_state));
    show(&mut text, "applied", &state_to_bytes(&applied));
    show(&mut text, "log start", &state_to_bytes(&log_start));
    show(&mut text, "membership", &state_to_bytes(&membership));
    show(&mut text, "identity", &state_to_bytes(&identity));
    show(&mut text, "log entry", &entry_to_bytes(&entry));
    show(&mut text, "digest for a peer", &digest.encode());
    let golden = expect_file!["golden/replica.txt"];
    golden.assert_eq(&text);

    let stored: BTreeMap<_, _> = read(&golden).into_iter().collect();
    assert_eq!(state_from_bytes(&stored["hard state"]), Ok(hard_state));
    assert_eq!(state_from_bytes(&stored["applied"]), Ok(applied));
    assert_eq!(state_from_bytes(&stored["log start"]), Ok(log_start));
    assert_eq!(state_from_bytes(&stored["membership"]), Ok(membership));
    assert_eq!(state_from_bytes(&stored["identity"]), Ok(identity));
    assert_eq!(entry_from_bytes(41, &stored["log entry"]), Ok(entry));
}

#[test]
fn golden_rows_are_read_as_the_state_that_wrote_them() {
    let script = story();
    let mut rows = script.rows.clone();
    let golden = read(&expect_file!["golden/rows.txt"]);
    assert!(golden.iter().any(|(name, _)| name.starts_with("table 0x02")), "jobs are in it");
    for (name, value) in golden {
        let key = name.rsplit(' ').next().and_then(|key| hex::decode(key).ok());
        rows.insert(key.unwrap_or_else(|| panic!("{name} names no key")), value);
    }
    assert!(Cluster::load(&rows) == script.cluster);
}
