//! A server's talk with the agents of nodes, as the API has it.

use super::{Ask, Server};
use crate::session::Caller;
use domain::{
    Digest, RequestKey,
    link::{Down, Up},
};
use scheduler::{
    consensus::Input,
    leader::duties::Event,
    state::{
        command::{Command, Effect, Request},
        view::WantedNews,
    },
};

impl Server {
    pub(super) fn effects(&mut self, effects: Vec<Effect>, now: u64, asks: &mut Vec<Ask>) {
        for effect in &effects {
            if let Effect::Wanted { node } = effect {
                for session in self.sessions.values_mut() {
                    session.dirty |= session.id == Some(*node);
                }
            }
        }
        if self.leads() {
            self.duty(Event::Applied(effects), now, asks);
        }
        self.send_wanted(asks);
    }

    pub(super) fn send_wanted(&mut self, asks: &mut Vec<Ask>) {
        let Some(replica) = &self.replica else { return };
        let (machine, rows) = replica.view();
        let view = machine.0.view();
        for (link, session) in &mut self.sessions {
            let Some(id) = session.id.filter(|_| session.dirty) else { continue };
            session.dirty = false;
            let first = session.told.is_none();
            let news = view.wanted_news(id, "sim", rows, session.told.take().unwrap_or_default());
            let WantedNews { held, leases, told } = news;
            session.told = Some(told);
            let at = view.applied();
            let down = match first {
                true => Down::Wanted { at, leases },
                false => Down::WantedNews { at, held, leases },
            };
            asks.push(Ask::Tell(*link, down));
        }
    }

    pub(super) fn contact(&mut self, link: u64, now: u64, asks: &mut Vec<Ask>) {
        let Some(node) = self.sessions.get(&link).and_then(|session| session.id) else { return };
        self.duty(Event::Contact { node }, now, asks);
    }

    /// Hears an agent on a stream.
    pub fn hear(&mut self, link: u64, node: usize, up: Up, now: u64, asks: &mut Vec<Ask>) {
        match up {
            Up::Register { inventory, held } | Up::RegisterShared { inventory, held } => {
                if !self.leads() {
                    let leader = self.leader().map(|id| id.0.to_string()).unwrap_or_default();
                    asks.push(Ask::Tell(link, Down::Redirect { leader }));
                    asks.push(Ask::Close(link));
                    return;
                }
                let actor = format!("node:{}", inventory.name);
                let command = Command::Register { inventory, held };
                let request = Request { key: None, actor, command };
                self.propose(Caller::Register { node, link }, request, now, asks);
            }
            Up::Heartbeat { seq, .. } => {
                if self.sessions.contains_key(&link) {
                    self.next_token += 1;
                    let token = self.next_token;
                    self.waiting.insert(token, Caller::Heartbeat { link, seq });
                    self.input(Input::ReadIndex { token }, now, asks);
                }
            }
            Up::Report { seq, report } => {
                let Some(id) = self.sessions.get(&link).and_then(|session| session.id) else {
                    return;
                };
                let digest = Digest::of_value(&("report", node as u64, seq));
                let mut key = [0; 16];
                key.copy_from_slice(&digest.0[..16]);
                let request = Request {
                    key: Some(RequestKey(key)),
                    actor: format!("node:node-{node}"),
                    command: Command::Report { node: id, report },
                };
                self.propose(Caller::Report { link, seq }, request, now, asks);
            }
            Up::Health { .. } | Up::Idle { .. } | Up::Log { .. } | Up::Hardware { .. } => {}
        }
    }
}
