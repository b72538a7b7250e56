//! The leader's check of a seal ticket: it fetches the bytes, copies them, and signs.

use super::{
    World,
    collecting::{documents_of, file_of},
};
use crate::{event::Event as WorldEvent, law::Broken, session::Caller};
use domain::{Digest, LeaseId, ReplicaId, artifact::SealTicket, job::EndCause, limit};
use scheduler::{leader::duties::Event, state::command::Command};
use std::collections::BTreeSet;

/// What becomes of a ticket now.
enum Outcome {
    /// To be recorded.
    Record(Box<Command>),
    /// To be tried again.
    Later,
}

impl World {
    pub(super) fn seal(&mut self, at: usize, life: u64, ticket: LeaseId) -> Result<(), Broken> {
        if self.servers[at].life != life || !self.is_up(at) {
            return Ok(());
        }
        let Some(replica) = &self.servers[at].replica else { return Ok(()) };
        let members = replica.membership().everyone();
        let Some(open) = replica.view().0.0.view().ticket(ticket).cloned() else { return Ok(()) };
        let fails = !self.healing && self.net.one_in(10);
        let peers: Vec<usize> =
            members.iter().map(|id| id.0 as usize - 1).filter(|peer| *peer != at).collect();
        let outcome = if fails { Outcome::Later } else { self.complete(at, &peers, &open)? };
        match outcome {
            Outcome::Later => self.with_server(at, |server, now, asks| {
                server.duty(Event::SealFailed { ticket }, now, asks);
            }),
            Outcome::Record(command) => {
                // A key store takes its time, in which a key may be put out of use.
                let slow = !self.healing && self.net.one_in(6);
                let wait = if slow { self.net.between(200, 3_000) } else { self.net.below(20) };
                if slow && self.net.one_in(3) {
                    self.after(wait / 2, WorldEvent::KeyOut);
                }
                self.after(wait, WorldEvent::Signed { server: at, life, command });
                Ok(())
            }
        }
    }

    /// What a key signed, or what gives a ticket up, is proposed.
    pub(super) fn signed(&mut self, at: usize, life: u64, command: Command) -> Result<(), Broken> {
        let (Command::CompleteSeal { ticket, .. } | Command::AbandonSeal { ticket, .. }) = command
        else {
            return Ok(());
        };
        if self.servers[at].life != life {
            return Ok(());
        }
        self.with_server(at, |server, now, asks| {
            let request = server.own(command);
            server.propose(Caller::Seal { ticket }, request, now, asks);
        })
    }

    fn complete(
        &mut self,
        at: usize,
        peers: &[usize],
        open: &SealTicket,
    ) -> Result<Outcome, Broken> {
        let output = &open.output;
        let mut needed = documents_of(output).to_vec();
        needed.push(file_of(output.tree));
        let answering: Vec<usize> =
            peers.iter().copied().filter(|peer| self.answers(at, *peer)).collect();
        for digest in needed.iter().copied() {
            let holds = |peer: &usize| self.has(*peer, digest);
            if !holds(&at) && !answering.iter().any(holds) {
                return Ok(match answering.len() == peers.len() {
                    true => Outcome::Record(Box::new(Command::AbandonSeal {
                        ticket: open.lease,
                        cause: EndCause::BlobsLost,
                    })),
                    false => Outcome::Later,
                });
            }
            self.put(at, digest);
        }
        let wanted = limit::BLOB_COPIES.min(peers.len() + 1);
        let mut copies: BTreeSet<usize> = [at].into();
        copies.extend(answering.iter().take(wanted - 1));
        if copies.len() < wanted {
            return Ok(Outcome::Later);
        }
        for digest in needed {
            copies.iter().for_each(|at| self.put(*at, digest));
        }
        let Some((signer, signature)) = self.sign(at, open)? else { return Ok(Outcome::Later) };
        Ok(Outcome::Record(Box::new(Command::CompleteSeal {
            ticket: open.lease,
            signature,
            provenance: Digest::of_value(&("envelope", open.lease)),
            signer,
            copies: copies.iter().map(|at| ReplicaId(*at as u64 + 1)).collect(),
        })))
    }

    /// Whether a call from one server to another is answered.
    pub(super) fn answers(&self, from: usize, to: usize) -> bool {
        let (from, to) = (from as u64 + 1, to as u64 + 1);
        let cut = |link| self.cut.contains(&link) || self.forever.contains(&link);
        self.is_up(to as usize - 1) && !cut((from, to)) && !cut((to, from))
    }
}
