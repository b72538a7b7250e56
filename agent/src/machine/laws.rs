//! The machine's laws over random lives.

use super::{
    AgentMachine, Boot, Config, Exit, Input, Output,
    script::{checkpoint, inventory, lease, output},
};
use domain::{
    Digest, LeaseId, LogIndex, Millis, NodeId,
    job::{EndCause, OnDisconnect},
    lease::Phase,
    link::{Down, Report, Up, WantedLease},
};
use proptest::{collection::vec, prelude::*};
use std::collections::{BTreeMap, BTreeSet};

/// One thing that the world does.
#[derive(Clone, Debug)]
enum Move {
    Connect,
    Disconnect,
    Answer,
    Wanted(Vec<(u64, u8, bool)>),
    Prepared(u64, bool),
    Exited(u64, i32),
    Seen(u64, u64),
    Stored(u64, bool),
    Output(u64, bool),
    Log(u64, bool),
    Killed(u64),
    Recorded(bool),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    let id = 1u64..9;
    prop_oneof![
        2 => Just(Move::Connect),
        1 => Just(Move::Disconnect),
        6 => Just(Move::Answer),
        6 => vec((id.clone(), 0u8..4, any::<bool>()), 0..8).prop_map(Move::Wanted),
        4 => (id.clone(), prop::bool::weighted(0.9)).prop_map(|(id, ok)| Move::Prepared(id, ok)),
        2 => (id.clone(), 0i32..2).prop_map(|(id, code)| Move::Exited(id, code)),
        2 => (id.clone(), 1u64..9).prop_map(|(id, step)| Move::Seen(id, step)),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, ok)| Move::Stored(id, ok)),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, ok)| Move::Output(id, ok)),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, ok)| Move::Log(id, ok)),
        3 => id.prop_map(Move::Killed),
        4 => prop::bool::weighted(0.8).prop_map(Move::Recorded),
        6 => (1u64..1_500).prop_map(Move::Wait),
    ]
}

/// The machine with a world that keeps the rules which the laws speak of.
struct World {
    machine: AgentMachine,
    now: Millis,
    at: u64,
    beats: BTreeMap<u64, Millis>,
    /// When the newest answered heartbeat was sent.
    renewed: Option<Millis>,
    wanted: BTreeMap<LeaseId, WantedLease>,
    /// Whether this stream has told what is wanted.
    told: bool,
    running: BTreeMap<LeaseId, OnDisconnect>,
    ever_wanted: BTreeSet<LeaseId>,
    ever_started: BTreeSet<LeaseId>,
    /// Reports that were sent and have no answer.
    open: BTreeMap<u64, Report>,
    /// The newest reported checkpoint of each lease, with its report's number.
    committed: BTreeMap<LeaseId, (u64, u64)>,
    storing: BTreeMap<LeaseId, u64>,
}

impl World {
    fn new() -> Self {
        Self {
            machine: AgentMachine::new(Config::new(inventory()), Boot::default()),
            now: Millis(0),
            at: 10,
            beats: BTreeMap::new(),
            renewed: None,
            wanted: BTreeMap::new(),
            running: BTreeMap::new(),
            told: false,
            ever_wanted: BTreeSet::new(),
            ever_started: BTreeSet::new(),
            open: BTreeMap::new(),
            committed: BTreeMap::new(),
            storing: BTreeMap::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        for output in self.machine.on(input, self.now) {
            self.obey(output);
        }
        let ttl = Config::new(inventory()).lease_ttl;
        for (lease, choice) in &self.running {
            let until = self.renewed.expect("nothing runs before the first contact").plus(ttl);
            assert!(
                *choice == OnDisconnect::Continue || self.now < until,
                "{lease} runs at {} though contact ended at {until}",
                self.now
            );
        }
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Start { wanted, .. } => {
                let id = wanted.lease.id;
                let current = self.wanted.get(&id).expect("only a wanted lease starts");
                assert!(current.may_run(), "{id} started in phase {:?}", current.lease.phase);
                assert!(self.ever_started.insert(id), "{id} started twice");
                self.running.insert(id, wanted.spec.on_disconnect);
            }
            Output::Kill { lease, .. } => {
                self.running.remove(&lease);
            }
            Output::StoreCheckpoint { lease, step } => {
                self.storing.insert(lease, step);
            }
            Output::Send(Up::Heartbeat { seq, .. }) => {
                self.beats.insert(seq, self.now);
            }
            Output::Send(Up::Register { .. }) => self.beats.clear(),
            Output::Send(Up::Report { seq, report }) => {
                if let Report::Checkpoint { checkpoint } = &report {
                    let before = self.committed.insert(checkpoint.lease, (seq, checkpoint.step));
                    let up = |(of, step)| of == seq || step < checkpoint.step;
                    assert!(before.is_none_or(up), "steps go up: {before:?}, {checkpoint:?}");
                }
                let lease = report.lease();
                let mut earlier = self.open.range(..seq).filter(|(_, it)| it.lease() == lease);
                let gone = !self.wanted.contains_key(&lease);
                assert!(gone || earlier.next().is_none(), "a lease's reports go out one by one");
                let before = self.open.insert(seq, report.clone());
                assert!(before.is_none_or(|before| before == report), "one number, one report");
            }
            _ => {}
        }
    }

    fn id(index: u64) -> LeaseId {
        LeaseId { index, ordinal: 0 }
    }

    fn step(&mut self, step: Move) {
        let fault = || EndCause::Prepare { detail: "x".into() };
        match step {
            Move::Connect => {
                self.told = false;
                self.feed(Input::Connected);
                self.feed(Input::Down(Down::Welcome { node: NodeId(1) }));
            }
            Move::Disconnect => self.feed(Input::Disconnected),
            Move::Answer => {
                if let Some((seq, sent)) = self.beats.pop_last() {
                    self.renewed = self.renewed.max(Some(sent));
                    self.feed(Input::Down(Down::Contact { seq }));
                }
            }
            Move::Wanted(leases) => self.want(&leases),
            Move::Prepared(id, ok) => {
                let result = if ok { Ok(()) } else { Err(fault()) };
                self.feed(Input::Prepared { lease: Self::id(id), result });
            }
            Move::Exited(id, code) => {
                let lease = Self::id(id);
                if self.running.remove(&lease).is_some() {
                    self.feed(Input::Exited { lease, rank: 0, exit: Exit::Code(code) });
                }
            }
            Move::Seen(id, step) => self.feed(Input::CheckpointSeen { lease: Self::id(id), step }),
            Move::Stored(id, ok) => {
                let lease = Self::id(id);
                let Some(step) = self.storing.get(&lease).copied() else { return };
                let result = if ok { Ok(checkpoint(lease, step)) } else { Err(fault()) };
                self.feed(Input::CheckpointStored { lease, step, result });
            }
            Move::Output(id, ok) => {
                let result = if ok { Ok(output()) } else { Err(fault()) };
                self.feed(Input::OutputStored { lease: Self::id(id), result });
            }
            Move::Log(id, ok) => {
                let result = if ok { Ok(Digest::default()) } else { Err(fault()) };
                self.feed(Input::LogStored { lease: Self::id(id), result });
            }
            Move::Killed(id) => self.feed(Input::Killed { lease: Self::id(id) }),
            Move::Recorded(ok) => {
                if let Some((seq, _)) = self.open.pop_first() {
                    let refused = (!ok).then(|| "stale".to_owned());
                    self.feed(Input::Down(Down::Recorded { seq, refused }));
                }
            }
            Move::Wait(ms) => {
                let until = self.now.plus(Millis(ms));
                while let Some(wake) = self.machine.wake().filter(|wake| *wake < until) {
                    self.now = self.now.max(wake);
                    self.feed(Input::Tick);
                    if self.machine.wake().is_some_and(|next| next <= self.now) {
                        panic!("the machine wants to be woken at {} for ever", self.now);
                    }
                }
                self.now = until;
                self.feed(Input::Tick);
            }
        }
    }

    /// The leader's list goes forward: a lease that was taken away or begun to stop never
    /// comes back.
    fn want(&mut self, leases: &[(u64, u8, bool)]) {
        self.at += 1;
        let mut next = BTreeMap::new();
        for (index, phase, lets_go_on) in leases {
            let id = Self::id(*index);
            let rank = |phase: &Phase| match phase {
                Phase::Preparing { .. } => 0,
                Phase::Started { .. } => 1,
                Phase::Stopping { .. } => 2,
            };
            let known = self.wanted.get(&id);
            if known.is_none() && !self.ever_wanted.insert(id) {
                continue;
            }
            let phase = match phase {
                0 => Phase::Preparing { ready: [].into() },
                1 | 2 => Phase::Started { done: [].into() },
                _ => Phase::Stopping { remaining: [NodeId(1)].into(), cause: EndCause::Cancelled },
            };
            let phase = match known.map(|known| known.lease.phase.clone()) {
                Some(before) if rank(&before) > rank(&phase) => before,
                _ => phase,
            };
            let mut wanted = lease(id, &[1], phase);
            wanted.spec.on_disconnect = match known {
                Some(known) => known.spec.on_disconnect,
                None if *lets_go_on => OnDisconnect::Continue,
                None => OnDisconnect::Stop,
            };
            next.insert(id, wanted);
        }
        let before = std::mem::replace(&mut self.wanted, next.clone());
        let at = LogIndex(self.at);
        let down = match std::mem::replace(&mut self.told, true) {
            false => Down::Wanted { at, leases: next.into_values().collect() },
            true => {
                let held = next.keys().copied().collect();
                let news = next.into_iter().filter(|(id, wanted)| before.get(id) != Some(wanted));
                Down::WantedNews { at, held, leases: news.map(|(_, wanted)| wanted).collect() }
            }
        };
        self.feed(Input::Down(down));
        for lease in self.running.keys() {
            let wanted = self.wanted.get(lease);
            assert!(wanted.is_some_and(WantedLease::may_run), "{lease} runs though not wanted");
        }
    }

    /// Faults stop: the leader answers everything and wants nothing any more.
    fn heal(&mut self) {
        self.step(Move::Connect);
        for _ in 0..20 {
            self.step(Move::Answer);
            self.want(&[]);
            for id in 1..9 {
                self.step(Move::Killed(id));
            }
            self.step(Move::Wait(2_500));
            while !self.open.is_empty() {
                self.step(Move::Recorded(true));
            }
        }
        assert_eq!(self.machine.held().count(), 0, "every lease is forgotten");
        self.now = self.now.plus(Millis(10_000));
        self.feed(Input::Tick);
        assert!(self.open.is_empty(), "every report is recorded or dropped: {:?}", self.open);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn nothing_runs_unwanted_or_unstarted_or_out_of_contact_and_every_report_ends(
        life in vec(moves(), 0..120)
    ) {
        let mut world = World::new();
        for step in life {
            world.step(step);
        }
        world.heal();
    }
}
