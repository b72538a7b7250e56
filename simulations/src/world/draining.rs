//! An operator of nodes: drains them for a time, moves what runs there, distrusts them.

use super::World;
use domain::{
    Bytes, Millis, NodeId,
    hardware::{Disk, Hardware, HostHardware},
    node::DrainTerms,
};
use scheduler::state::command::{CheckCommand, Command, DrainNodes};

impl World {
    /// What somebody does about nodes now, if anything. Nothing stays that only people would end.
    pub(super) fn tend_nodes(&mut self, at: usize) -> Option<(String, Command)> {
        let (machine, _) = self.servers[at].replica.as_ref()?.view();
        let view = machine.0.view();
        let mut shut = view.all_nodes().filter(|(id, _)| view.drain_terms(*id).quarantine);
        let shut = shut.next().map(|(_, node)| node.row.inventory.name.clone());
        let chance = &mut self.people.nodes;
        if !self.healing && !chance.one_in(100) {
            return None;
        }
        let names: Vec<String> =
            view.all_nodes().map(|(_, node)| node.row.inventory.name.clone()).collect();
        let command = match shut {
            Some(node) if !self.healing && chance.one_in(2) => {
                Command::Check(CheckCommand::Accept { node, gpu: None })
            }
            Some(node) => drain(node, None, DrainTerms::default()),
            None if self.healing || names.is_empty() => return None,
            None if chance.one_in(3) => {
                let (node, _) = view.all_nodes().next()?;
                tell(node, chance.below(3))
            }
            None => {
                let node = names[chance.below(names.len() as u64) as usize].clone();
                let quarantine = chance.one_in(4);
                let until = view.now().plus(Millis(chance.between(2_000, 20_000)));
                let migrate = chance.one_in(2);
                let until = (!quarantine).then_some(until);
                let terms = DrainTerms { until, migrate, quarantine, check: None };
                drain(node, Some("drawn".to_owned()), terms)
            }
        };
        if command.since() > machine.0.version() {
            return None;
        }
        self.coverage.drained += 1;
        Some(("operator".into(), command))
    }
}

/// What a node tells of its machine: one of a few, so that it is news at times.
fn tell(node: NodeId, disks: u64) -> Command {
    let disk = |number| {
        let name = format!("nvme{number}n1");
        Disk { name, size: Bytes(1 << 40), rotates: false }
    };
    let host = HostHardware { disks: (0..disks).map(disk).collect(), ..HostHardware::default() };
    Command::Hardware { node, hardware: Box::new(Hardware { host, ..Hardware::default() }) }
}

/// Out of service on terms, or back with somebody's word.
fn drain(node: String, reason: Option<String>, terms: DrainTerms) -> Command {
    let vouch = reason.is_none();
    Command::DrainNodes(DrainNodes { names: [node].into(), reason, terms, vouch })
}
