//! raft-rs trusts what its peers send. What a peer with a certificate sends that no Raft would:
//! nothing of it may end the process.

use super::{codec::PeerMessage, testing::*, *};
use domain::ReplicaId;
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use raft::eraftpb::{Entry, Message};
use std::collections::BTreeMap;

fn config(id: ReplicaId) -> ReplicaConfig {
    // Entries of a peer that lies make states that differ, which is another test's matter.
    ReplicaConfig { log_kept: 8, digest_every: 1, ..ReplicaConfig::new(id) }
}

/// Numbers around those of a young cluster, and now and then huge ones.
fn number(below: u64) -> impl Strategy<Value = u64> {
    prop_oneof![20 => 0..below, 1 => (1u64 << 61)..(1 << 62), 1 => Just(u64::MAX)]
}

fn entry() -> impl Strategy<Value = Entry> {
    let data = prop::collection::vec(any::<u8>(), 0..6);
    (number(20), number(6), -1i32..4, data).prop_map(|(index, term, kind, data)| {
        let mut entry = Entry { index, term, ..Entry::default() };
        (entry.entry_type, entry.data) = (kind, data);
        entry
    })
}

fn message() -> impl Strategy<Value = Message> {
    let numbers = (number(6), number(6), number(20), number(20), number(20));
    let rest = (any::<bool>(), prop::option::weighted(0.05, 0u64..30), any::<bool>());
    let entries = prop::collection::vec(entry(), 0..4);
    let context = prop::collection::vec(any::<u8>(), 0..20);
    (0i32..20, numbers, rest, entries, context).prop_map(
        |(
            kind,
            (term, log_term, index, commit, hint),
            (reject, wanted, ordered),
            mut all,
            data,
        )| {
            let mut message =
                Message { msg_type: kind, term, log_term, index, commit, ..Message::default() };
            if ordered {
                // As a leader would put them together.
                for (entry, at) in all.iter_mut().zip(1..) {
                    entry.index = index.saturating_add(at);
                    entry.term = entry.term.clamp(log_term, term.max(log_term));
                }
            }
            message.entries = all;
            (message.reject, message.reject_hint) = (reject, hint);
            message.request_snapshot = wanted.unwrap_or(0);
            message.context = data;
            message
        },
    )
}

/// A replica's life among peers of which one lies: who it is, and what it is sent.
type Life = (u64, usize, bool, Vec<(Message, bool, u8)>);

fn life() -> impl Strategy<Value = Life> {
    let sent = prop::collection::vec((message(), any::<bool>(), 0u8..4), 1..16);
    (0u64..8, 0usize..3, any::<bool>(), sent)
}

fn live((seed, who, alone, sent): Life) {
    let mut cluster = Cluster::new(seed, 3, config);
    let leader = cluster.settle();
    for key in 0..6 {
        let token = cluster.propose(leader, key, "a");
        cluster.answer(token);
    }
    let at = (leader + who) % 3;
    let me = cluster.servers[at].id;
    let others: Vec<ReplicaId> =
        [1, 2, 3].map(ReplicaId).into_iter().filter(|id| *id != me).collect();
    if alone {
        // Long enough that it stands for election, or is no leader any more.
        let both = |other: &ReplicaId| [(me, *other), (*other, me)];
        cluster.cut.extend(others.iter().flat_map(both));
        cluster.run(2_000);
    }
    for (mut message, second, then) in sent {
        let from = others[usize::from(second)];
        (message.from, message.to) = (from.0, me.0);
        let bytes = PeerMessage::Raft(message).encode();
        cluster.input(at, Input::Message { from, bytes });
        match then {
            0 => cluster.input(at, Input::Tick),
            1 => while cluster.write_next(at) {},
            2 => {
                cluster.call(at, |token| Input::ReadIndex { token });
            }
            _ => {}
        }
    }
}

#[test]
fn whatever_a_peer_sends_the_process_lives() {
    let mut runner = TestRunner::deterministic();
    let mut panics = BTreeMap::new();
    for _ in 0..2_000 {
        let life = life().new_tree(&mut runner).expect("nothing is filtered out").current();
        if let Err(why) = std::panic::catch_unwind(|| live(life.clone())) {
            let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
            panics.entry(why).or_insert(life);
        }
    }
    assert!(panics.is_empty(), "{panics:#?}");
}
