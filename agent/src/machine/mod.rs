//! One node's attempts as a pure machine: inputs with the time in, outputs out.
//!
//! The clock is the machine's boot-time clock, which never stops or jumps back. The shell obeys
//! outputs in order and feeds back what came of them. Laws, each tested in `machine/laws.rs`:
//! a task starts only in phase `Started` and in contact; a lease that is not wanted is killed;
//! without contact nothing runs for longer than the lease time (unless the job chose to
//! continue); every report is repeated until it is recorded, refused, or its lease is gone.

mod alphabet;
mod checkpoint;
mod fence;
pub mod health;
mod lease;
mod notice;
mod prepare;
mod publish;
mod run;

#[cfg(test)]
mod check_stories;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod notice_test;
#[cfg(test)]
mod script;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod wanted_test;

#[cfg(test)]
pub(crate) use script::{inventory as tests_inventory, tests_lease};

pub use alphabet::{Boot, Config, Exit, HeldLease, HeldTask, Input, Output};

use domain::{
    Bytes, Digest, LeaseId, LogIndex, Millis, NodeId,
    job::EndCause,
    lease::TaskPlace,
    link::{Down, Report, Up},
};
use fence::Contact;
use lease::Held;
use publish::Reports;
use std::collections::BTreeMap;

/// The life of every attempt on one node.
#[derive(Debug)]
pub struct AgentMachine {
    config: Config,
    node: Option<NodeId>,
    contact: Contact,
    /// The newest log index at which we were told what to hold: we never go back.
    seen: LogIndex,
    leases: BTreeMap<LeaseId, Held>,
    reports: Reports,
    out: Vec<Output>,
}

impl AgentMachine {
    /// A machine that goes on where an earlier life of the agent ended.
    #[must_use]
    pub fn new(config: Config, boot: Boot) -> Self {
        let seen = boot.held.iter().map(|held| held.wanted.lease.id.index).max();
        let mut machine = Self {
            reports: Reports::new(config.first_report),
            config,
            node: boot.node.or_else(|| boot.held.iter().find_map(HeldLease::node)),
            contact: Contact::default(),
            seen: LogIndex(seen.unwrap_or(0)),
            leases: BTreeMap::new(),
            out: Vec::new(),
        };
        for held in boot.held {
            machine.adopt(held);
        }
        machine
    }

    /// Takes in what happened at `now` and says what to do.
    pub fn on(&mut self, input: Input, now: Millis) -> Vec<Output> {
        match input {
            Input::Connected => self.connected(),
            Input::Disconnected => self.contact.lost(),
            Input::Down(down) => self.told(down, now),
            Input::Prepared { lease, result } => self.prepared(lease, result, now),
            Input::Exited { lease, rank, exit } => self.exited(lease, rank, exit),
            Input::Advanced { lease, bytes } => self.advanced(lease, bytes, now),
            Input::Faulted { lease, cause } => self.fail(lease, cause),
            Input::GpuFailed { index, detail } => self.gpu_failed(index, &detail),
            Input::Inventory(inventory) => {
                self.config.shared |= inventory.has_shares();
                self.config.inventory = *inventory;
            }
            Input::CheckpointSeen { lease, step } => self.checkpoint_seen(lease, step, now),
            Input::CheckpointStored { lease, step, result } => {
                self.checkpoint_stored(lease, step, result, now);
            }
            Input::OutputStored { lease, result } => self.output_stored(lease, result, now),
            Input::LogStored { lease, result } => self.log_stored(lease, result),
            Input::Killed { lease } => self.killed(lease),
            Input::Dumped { lease, rank, dump, size } => self.dumped(lease, rank, dump, size),
            Input::Tick => {}
        }
        self.guard(now);
        self.release(now);
        self.beat(now);
        self.deliver(now);
        std::mem::take(&mut self.out)
    }

    /// Whether a lease that is held here has a GPU.
    #[must_use]
    pub fn uses_gpu(&self, index: u32) -> bool {
        self.on_gpu(index).next().is_some()
    }

    /// This node's tasks of the leases that are held here.
    pub fn placed(&self) -> impl Iterator<Item = (LeaseId, &TaskPlace)> {
        self.leases.iter().flat_map(|(lease, held)| {
            let member = self.node.and_then(|node| held.wanted.lease.member(node));
            let tasks = member.into_iter().flat_map(|member| &member.tasks);
            tasks.map(|task| (*lease, task))
        })
    }

    fn on_gpu(&self, index: u32) -> impl Iterator<Item = LeaseId> + '_ {
        let uses = move |held: &Held| {
            let member = self.node.and_then(|node| held.wanted.lease.member(node));
            let mut tasks = member.into_iter().flat_map(|member| &member.tasks);
            tasks.any(|task| task.gpus.contains(&index))
        };
        self.leases.iter().filter(move |(_, held)| uses(held)).map(|(lease, _)| *lease)
    }

    /// A dump of a hung rank is on enough servers.
    fn dumped(&mut self, lease: LeaseId, rank: u32, dump: Digest, size: Bytes) {
        if self.leases.get(&lease).is_some_and(|held| !held.gone) {
            self.reports.add(Report::Dumped { lease, rank, dump, size });
        }
    }

    fn gpu_failed(&mut self, index: u32, detail: &str) {
        let leases: Vec<_> = self.on_gpu(index).collect();
        for lease in leases {
            self.fail(lease, EndCause::GpuFault { detail: detail.to_owned() });
        }
    }

    /// Leases of which something may still run or is still to be told.
    pub fn held(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.leases.keys().copied()
    }

    fn connected(&mut self) {
        self.contact.opened();
        let inventory = self.config.inventory.clone();
        let held = self.leases.keys().copied().collect();
        self.out.push(Output::Send(match self.config.shared {
            true => Up::RegisterShared { inventory, held },
            false => Up::Register { inventory, held },
        }));
    }

    fn told(&mut self, down: Down, now: Millis) {
        match down {
            Down::Welcome { node } => {
                self.node = Some(node);
                self.contact.welcomed(now);
                self.reports.forget_sent();
            }
            Down::Contact { seq } => self.renew(seq),
            Down::Wanted { at, leases } => {
                let held = leases.iter().map(|wanted| wanted.lease.id).collect();
                self.wanted(at, &held, leases, now);
            }
            Down::WantedNews { at, held, leases } => {
                self.wanted(at, &held.into_iter().collect(), leases, now);
            }
            Down::Recorded { seq, refused } => self.recorded(seq, refused),
            // The shell's link and log follower obey these.
            Down::Redirect { .. }
            | Down::LogHave { .. }
            | Down::Refused { .. }
            | Down::Accept { .. }
            | Down::Accuse { .. } => {}
        }
        self.start_ready(now);
    }
}
