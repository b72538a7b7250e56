//! What happens on nodes: their agents, what these store, and the work of tasks.

use super::World;
use crate::{event::Event, law::Broken, node};
use agent::machine::Input as NodeInput;
use domain::{
    Digest, LeaseId, limit,
    link::{Down, Up},
};

impl World {
    pub(super) fn node_input(&mut self, at: usize, input: NodeInput) -> Result<(), Broken> {
        if let (NodeInput::Prepared { lease, result: Ok(()) }, Some(id)) =
            (&input, self.nodes[at].id())
        {
            self.laws.prepared(id, *lease);
        }
        if let NodeInput::Down(Down::Contact { seq }) = &input {
            self.laws.contact(&self.nodes[at], *seq);
        }
        let asks = self.nodes[at].input(input, self.now);
        for ask in asks {
            self.node_asks(at, ask)?;
        }
        Ok(())
    }

    pub(super) fn node_asks(&mut self, at: usize, ask: node::Ask) -> Result<(), Broken> {
        let life = self.nodes[at].life;
        match ask {
            node::Ask::Send(up) => {
                if let Up::Heartbeat { seq, .. } = &*up {
                    self.laws.beats(&self.nodes[at], *seq, self.now);
                }
                let Some((link, server)) = self.nodes[at].link else { return Ok(()) };
                if self.cut.contains(&(1_000 + at as u64, server as u64 + 1)) {
                    self.after(800, Event::Broken { node: at, link });
                    return Ok(());
                }
                let wait = self.in_order(link, false);
                self.after(wait, Event::Up { server, link, up });
            }
            node::Ask::Later(wait, input) => {
                self.after(wait, Event::Node { node: at, life, input: Box::new(input) });
            }
            node::Ask::Store(lease, digests, input) => self.store(at, lease, digests, input),
            node::Ask::Started(lease) => {
                self.laws.started(&self.nodes, at, lease)?;
                let boot = self.nodes[at].boot;
                self.after(1, Event::Work { node: at, boot });
            }
        }
        Ok(())
    }

    /// Uploads to two servers that can be reached; tries again while there are none.
    pub(super) fn store(
        &mut self,
        at: usize,
        lease: LeaseId,
        digests: Vec<Digest>,
        input: Box<NodeInput>,
    ) {
        let from = 1_000 + at as u64;
        let reached: Vec<usize> = (0..self.servers.len())
            .filter(|to| self.is_up(*to) && !self.cut.contains(&(from, *to as u64 + 1)))
            .collect();
        let life = self.nodes[at].life;
        let wait = self.net.between(5, 150);
        if reached.len() < limit::BLOB_COPIES {
            // The upload fails in the end; the machine asks for it again.
            let result = Err(domain::job::EndCause::DiskFull { detail: "no servers".into() });
            let failed = match *input {
                NodeInput::CheckpointStored { lease, step, .. } => {
                    NodeInput::CheckpointStored { lease, step, result: Err(unreached()) }
                }
                NodeInput::LogStored { lease, .. } => {
                    NodeInput::LogStored { lease, result: Err(unreached()) }
                }
                _ => NodeInput::OutputStored { lease, result },
            };
            self.after(2_000, Event::Node { node: at, life, input: Box::new(failed) });
            return;
        }
        for digest in digests {
            reached.iter().take(2).for_each(|to| self.put(*to, digest));
        }
        self.after(wait, Event::Node { node: at, life, input });
    }

    pub(super) fn node_tick(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.nodes[at].life != life || self.nodes[at].machine.is_none() {
            return Ok(());
        }
        self.node_input(at, NodeInput::Tick)?;
        self.after(100, Event::NodeTick { node: at, life });
        Ok(())
    }

    pub(super) fn work(&mut self, at: usize, boot: u64) -> Result<(), Broken> {
        if self.nodes[at].boot != boot {
            return Ok(());
        }
        let heard = self.nodes[at].work(self.now);
        self.laws.worked(&self.nodes[at], self.now)?;
        for input in heard {
            self.node_input(at, input)?;
        }
        if self.nodes[at].tasks.values().any(|running| running.alive()) {
            self.after(25, Event::Work { node: at, boot });
        }
        Ok(())
    }
}

fn unreached() -> domain::job::EndCause {
    domain::job::EndCause::DiskFull { detail: "no servers".into() }
}
