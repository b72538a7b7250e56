//! The leader's look at the copies of results: who holds them, and copies where too few do.

use super::{World, collecting::blobs_of};
use crate::{law::Broken, session::Caller};
use domain::{ArtifactId, Digest, ReplicaId, limit, view::ArtifactView};
use scheduler::{
    leader::{
        copying::{Holding, Verdict, verdict},
        duties::Event,
    },
    state::command::Command,
};
use std::collections::{BTreeMap, BTreeSet};

impl World {
    pub(super) fn check_copies(
        &mut self,
        at: usize,
        life: u64,
        after: ArtifactId,
    ) -> Result<(), Broken> {
        if self.servers[at].life != life || !self.is_up(at) {
            return Ok(());
        }
        let Some(replica) = &self.servers[at].replica else { return Ok(()) };
        let members: BTreeSet<ReplicaId> = replica.membership().everyone();
        let (machine, rows) = replica.view();
        let page = machine.0.view().artifacts(rows, after, limit::COPY_CHECK_PAGE);
        let last = page.last().map(|found| found.artifact.id);
        let last = last.filter(|_| page.len() == limit::COPY_CHECK_PAGE);
        let mut commands = Vec::new();
        for found in page {
            if let Some(copies) = self.mend(at, &members, &found) {
                let artifact = found.artifact.id;
                commands.push(Command::RecordCopies { artifact, copies });
            }
        }
        self.coverage.mended += commands.len() as u64;
        let mended = !commands.is_empty();
        self.with_server(at, |server, now, asks| {
            for command in commands {
                let request = server.own(command);
                server.propose(Caller::Duty, request, now, asks);
            }
            server.duty(Event::CopiesChecked { last, mended }, now, asks);
        })
    }

    /// Copies what is short, as far as servers answer. Gives who holds it from now on; none when
    /// nothing has changed.
    fn mend(
        &mut self,
        at: usize,
        members: &BTreeSet<ReplicaId>,
        found: &ArtifactView,
    ) -> Option<Vec<ReplicaId>> {
        let needed = blobs_of(found);
        let place = |id: &ReplicaId| id.0 as usize - 1;
        let answers: Vec<ReplicaId> = members
            .iter()
            .copied()
            .filter(|id| place(id) == at || self.answers(at, place(id)))
            .collect();
        let holding: BTreeMap<ReplicaId, Holding> = members
            .iter()
            .map(|id| match (answers.contains(id), self.holds_all(place(id), &needed)) {
                (false, _) => (*id, Holding::Silent),
                (true, true) => (*id, Holding::Whole),
                (true, false) => (*id, Holding::Lacks),
            })
            .collect();
        match verdict(&found.artifact.copies, &holding) {
            Verdict::Fine => None,
            Verdict::Record(copies) => Some(copies),
            Verdict::Copy => {
                let found = |digest: &Digest| answers.iter().any(|id| self.has(place(id), *digest));
                let wanted = limit::BLOB_COPIES.min(members.len());
                if answers.len() < wanted || !needed.iter().all(found) {
                    return None;
                }
                let whole = answers.iter().filter(|id| holding[id] == Holding::Whole);
                let others = answers.iter().filter(|id| place(id) != at).take(wanted - 1);
                let mut copies: BTreeSet<ReplicaId> = whole.chain(others).copied().collect();
                copies.insert(self.servers[at].id);
                for digest in needed {
                    copies.iter().for_each(|id| self.put(place(id), digest));
                }
                Some(copies.into_iter().collect())
            }
        }
    }

    fn holds_all(&self, at: usize, digests: &[Digest]) -> bool {
        digests.iter().all(|digest| self.has(at, *digest))
    }

    /// Results of which too few members hold every blob, or whose record names others than those
    /// that do, as the replica sees it that has come the furthest: without a leader, too.
    #[must_use]
    pub fn short_of_copies(&self) -> Vec<ArtifactId> {
        let replicas = self.servers.iter().filter_map(|server| server.replica.as_ref());
        let Some(replica) = replicas.max_by_key(|replica| replica.applied()) else {
            return Vec::new();
        };
        let members = replica.membership().everyone();
        let (machine, rows) = replica.view();
        let all = machine.0.view().artifacts(rows, ArtifactId(0), 100_000);
        let short = |found: &ArtifactView| {
            let (needed, artifact) = (blobs_of(found), &found.artifact);
            let holds = |id: &ReplicaId| self.holds_all(id.0 as usize - 1, &needed);
            let holders = members.iter().filter(|id| holds(id)).count();
            holders < limit::BLOB_COPIES.min(members.len())
                || !artifact.copies.iter().all(|id| members.contains(id) && holds(id))
        };
        all.iter().filter(|it| short(it)).map(|it| it.artifact.id).collect()
    }

    /// A bit flips in a stored blob of a result: the server finds out, and no longer has it.
    pub(super) fn lose_blob(&mut self, at: usize) {
        // Of two copies one may be lost before it is made anew; of both, nothing is left. What a
        // server holds that is about to leave is as good as lost.
        let stays = |holder: &usize| *holder != at && self.stays(*holder);
        let held = |it: &BTreeSet<usize>| it.contains(&at) && it.iter().any(stays);
        let held: Vec<Digest> =
            self.blobs.iter().filter(|(_, it)| held(it)).map(|(it, _)| *it).collect();
        if held.is_empty() {
            return;
        }
        let lost = held[self.net.below(held.len() as u64) as usize];
        let Some(replica) = self.leader().and_then(|at| self.servers[at].replica.as_ref()) else {
            return;
        };
        let (machine, rows) = replica.view();
        let all = machine.0.view().artifacts(rows, ArtifactId(0), 100_000);
        // What is not sealed yet may have no other copy.
        if all.iter().any(|found| blobs_of(found).contains(&lost)) {
            self.blobs.entry(lost).or_default().remove(&at);
            self.coverage.blob_flips += 1;
        }
    }
}
