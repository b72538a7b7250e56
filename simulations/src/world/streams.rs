//! Messages on their way: hops that lose them, and streams that keep their order or break.

use super::World;
use crate::{event::Event, law::Broken};
use agent::machine::Input as NodeInput;
use domain::link::{Down, Report, Up};

/// Reports that a zombie may repeat.
const OLD_REPORTS: usize = 40;

impl World {
    /// The time of a hop between two places; none when the message is lost.
    pub(super) fn hop(&mut self, from: u64, to: u64) -> Option<u64> {
        let lost = self.loss > 0 && self.net.one_in(self.loss);
        let cut = self.cut.contains(&(from, to)) || self.forever.contains(&(from, to));
        if lost || cut {
            return None;
        }
        let spread = if self.loss > 0 { 40 } else { 3 };
        let wait = 1 + self.net.below(spread);
        let newest = self.arrival.entry((from, to)).or_insert(0);
        self.coverage.overtaken += u64::from(self.now + wait < *newest);
        *newest = (*newest).max(self.now + wait);
        Some(wait)
    }

    pub(super) fn node_of(&self, link: u64) -> Option<usize> {
        self.nodes.iter().position(|node| node.link.is_some_and(|(number, _)| number == link))
    }

    pub(super) fn tell(&mut self, link: u64, down: Down) {
        let Some(node) = self.node_of(link) else { return };
        let Some((_, server)) = self.nodes[node].link else { return };
        if self.cut.contains(&(server as u64 + 1, 1_000 + node as u64)) {
            self.after(800, Event::Broken { node, link });
            return;
        }
        let wait = self.in_order(link, true);
        self.after(wait, Event::Down { node, link, down: Box::new(down) });
    }

    pub(super) fn close(&mut self, link: u64) {
        if let Some(node) = self.node_of(link) {
            let wait = self.in_order(link, true);
            self.after(wait + 1, Event::Broken { node, link });
        }
    }

    /// A delay after which nothing on a stream overtakes what was sent before.
    pub(super) fn in_order(&mut self, link: u64, down: bool) -> u64 {
        let spread = if self.loss > 0 { 60 } else { 3 };
        let arrival = self.now + 1 + self.net.below(spread);
        let last = self.stream_at.entry((link, down)).or_insert(0);
        *last = arrival.max(*last);
        *last - self.now
    }

    pub(super) fn up(&mut self, at: usize, link: u64, up: domain::link::Up) -> Result<(), Broken> {
        let Some(node) = self.node_of(link) else { return Ok(()) };
        if let Up::Report { report: report @ Report::Checkpoint { .. }, .. } = &up {
            self.old_reports.push((node, report.clone()));
            if self.old_reports.len() > OLD_REPORTS {
                self.old_reports.remove(0);
            }
        }
        if !self.is_up(at) {
            self.after(300, Event::Broken { node, link });
            return Ok(());
        }
        self.with_server(at, |server, now, asks| server.hear(link, node, up, now, asks))
    }

    pub(super) fn down(&mut self, node: usize, link: u64, down: Down) -> Result<(), Broken> {
        if self.nodes[node].link.is_none_or(|(number, _)| number != link) {
            return Ok(());
        }
        if let Down::Redirect { leader } = &down {
            self.nodes[node].hint = leader.parse::<usize>().ok().map(|id| id - 1);
        }
        self.node_input(node, NodeInput::Down(down))
    }

    pub(super) fn broken(&mut self, node: usize, link: u64) -> Result<(), Broken> {
        if self.nodes[node].link.is_none_or(|(number, _)| number != link) {
            return Ok(());
        }
        if let Some((_, server)) = self.nodes[node].link.take() {
            self.servers[server].sessions.remove(&link);
        }
        self.node_input(node, NodeInput::Disconnected)?;
        let (wait, life) = (self.nodes[node].chance.between(20, 300), self.nodes[node].life);
        self.after(wait, Event::Connect { node, life });
        Ok(())
    }

    pub(super) fn connect(&mut self, node: usize, life: u64) -> Result<(), Broken> {
        if self.nodes[node].life != life || self.nodes[node].link.is_some() {
            return Ok(());
        }
        let among = self.in_service();
        let random = among[self.nodes[node].chance.below(among.len() as u64) as usize];
        let server = self.nodes[node].hint.take().unwrap_or(random);
        let cut = self.cut.contains(&(1_000 + node as u64, server as u64 + 1));
        if !self.is_up(server) || cut {
            self.after(200, Event::Connect { node, life });
            return Ok(());
        }
        self.next_link += 1;
        self.nodes[node].link = Some((self.next_link, server));
        self.node_input(node, NodeInput::Connected)
    }

    /// An old report is heard again, as from a process that should be dead.
    pub fn raise_zombie(&mut self) {
        let Some((node, report)) = self.old_reports.first().cloned() else { return };
        let Some((link, server)) = self.nodes[node].link else { return };
        // A number that no living agent uses, so that it is not taken for a repeat.
        let seq = 1_000_000_000_000 + self.now;
        let up = Box::new(Up::Report { seq, report });
        self.after(1, Event::Up { server, link, up });
    }
}
