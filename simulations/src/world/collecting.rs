//! Servers delete the files of collected results, each on its own, as `api/collecting.rs` does.

use super::World;
use crate::{
    event::Event,
    law::{Broken, needed_kept},
    server::Server,
};
use domain::{ArtifactId, Digest, Millis, artifact::OutputDigests, view::ArtifactView};
use registry::ledger::retain;
use scheduler::state::view::Place;
use std::collections::{BTreeMap, BTreeSet};

/// Pause between two looks. Unit: ms.
const PAUSE: u64 = 2_000;
/// Time after which collected files are deleted: a few times what passes between an upload and
/// the entry that names it. Unit: ms.
const COLLECT_AFTER: u64 = 45_000;
/// Collections that are heard of together.
const TOGETHER: usize = 64;

/// The one file of a tree.
#[must_use]
pub fn file_of(tree: Digest) -> Digest {
    Digest::of_value(&("file", tree))
}

/// What of a result is stored for as long as it has its files: these, and its file.
#[must_use]
pub fn documents_of(output: &OutputDigests) -> [Digest; 4] {
    [output.tree, output.statement, output.provenance, output.log]
}

/// What of a result is to be stored.
pub(super) fn blobs_of(found: &ArtifactView) -> Vec<Digest> {
    let output = &found.artifact.ticket.output;
    let file = found.collected.is_none().then(|| file_of(output.tree));
    documents_of(output).into_iter().chain(file).collect()
}

/// A file of a collected result.
struct Doom {
    since: Millis,
    heard: u64,
    file: Digest,
}

/// What one server knows of what is to go.
#[derive(Default)]
pub(super) struct Collecting {
    /// The life of the process that knows it.
    life: u64,
    doomed: BTreeSet<Digest>,
    pending: BTreeMap<u64, Doom>,
    /// The event up to which all was carried out: the one thing that outlives the process.
    done: u64,
}

impl World {
    /// Whether a server says that it has a blob: it does not of one that is to go.
    pub(super) fn has(&self, at: usize, digest: Digest) -> bool {
        let life = self.servers[at].life;
        let dooms = self.collecting.get(&at).filter(|it| it.life == life);
        let doomed = dooms.is_some_and(|it| it.doomed.contains(&digest));
        !doomed && self.blobs.get(&digest).is_some_and(|holders| holders.contains(&at))
    }

    /// A server stores a blob, which is not to go any more.
    pub(super) fn put(&mut self, at: usize, digest: Digest) {
        self.blobs.entry(digest).or_default().insert(at);
        if let Some(dooms) = self.collecting.get_mut(&at) {
            dooms.doomed.remove(&digest);
        }
    }

    fn dooms(&mut self, at: usize) -> &mut Collecting {
        let life = self.servers[at].life;
        let dooms = self.collecting.entry(at).or_default();
        if dooms.life != life {
            *dooms = Collecting { life, done: dooms.done, ..Collecting::default() };
        }
        dooms
    }

    /// A server asks for the newest entry when something was collected, or is due.
    pub(super) fn collect(&mut self, at: usize, life: u64) -> Result<(), Broken> {
        if self.servers[at].life != life || !self.is_up(at) {
            return Ok(());
        }
        self.after(PAUSE, Event::Collect { server: at, life });
        if self.news(at).is_empty() && self.due(at).is_empty() {
            return Ok(());
        }
        self.with_server(at, |server, now, asks| server.catch_up(now, asks))
    }

    /// What was collected since the server last heard of it: events, their times, and files.
    fn news(&mut self, at: usize) -> Vec<(u64, Millis, Digest)> {
        let dooms = self.dooms(at);
        let after = dooms.pending.keys().next_back().copied().unwrap_or(dooms.done);
        let Some(replica) = &self.servers[at].replica else { return Vec::new() };
        let (_, rows) = replica.view();
        let since = |id| retain::collected(rows, id).map_or(Millis(0), |word| word.since);
        let found = retain::collected_after(rows, after, TOGETHER).into_iter();
        found.map(|(seq, it)| (seq, since(it.id), file_of(it.ticket.output.tree))).collect()
    }

    /// A server that has all that was acknowledged lets files count as not there, and deletes
    /// those whose time has come.
    pub(super) fn carry_out(&mut self, at: usize) -> Result<(), Broken> {
        self.hear(at);
        self.delete_collected(at)
    }

    fn hear(&mut self, at: usize) {
        let found = self.news(at);
        if found.is_empty() {
            return;
        }
        let (named, heard) = (named(&self.servers[at]), self.now);
        let dooms = self.dooms(at);
        for (seq, since, file) in found {
            if !named.contains(&file) {
                dooms.doomed.insert(file);
            }
            dooms.pending.insert(seq, Doom { since, heard, file });
        }
    }

    /// Collections whose time has come, in order.
    fn due(&mut self, at: usize) -> Vec<(u64, Digest)> {
        let (now, wall) = (self.now, self.servers[at].clock.wall(self.now));
        let ripe = |doom: &Doom| {
            doom.heard + COLLECT_AFTER <= now && doom.since.plus(Millis(COLLECT_AFTER)) <= wall
        };
        let pending = self.dooms(at).pending.iter();
        pending.take_while(|(_, doom)| ripe(doom)).map(|(seq, doom)| (*seq, doom.file)).collect()
    }

    fn delete_collected(&mut self, at: usize) -> Result<(), Broken> {
        let due = self.due(at);
        let Some((last, _)) = due.last().copied() else { return Ok(()) };
        let named = named(&self.servers[at]);
        for (_, file) in due {
            let dooms = self.dooms(at);
            let goes = dooms.doomed.remove(&file) && !named.contains(&file);
            if goes && self.blobs.entry(file).or_default().remove(&at) {
                self.coverage.deleted += 1;
                needed_kept::deleted(self, at, file)?;
            }
        }
        let dooms = self.dooms(at);
        dooms.pending = dooms.pending.split_off(&(last + 1));
        dooms.done = last;
        Ok(())
    }

    /// The files of the result that is so many back from the newest.
    pub(super) fn some_tree(&self, back: u64) -> Option<Digest> {
        let replica = self.leader().and_then(|at| self.servers[at].replica.as_ref())?;
        let (machine, rows) = replica.view();
        let all = machine.0.view().artifacts(rows, ArtifactId(0), 100_000);
        let found = all.iter().nth_back(usize::try_from(back).ok()?)?;
        Some(found.artifact.ticket.output.tree)
    }

    /// Whoever submits sends the data that is not there yet.
    pub(super) fn send_data(&mut self, trees: &[Digest]) {
        let up: Vec<usize> = (0..self.servers.len()).filter(|at| self.is_up(*at)).collect();
        for at in up.into_iter().take(2) {
            for tree in trees {
                self.put(at, *tree);
                self.put(at, file_of(*tree));
            }
        }
    }
}

/// Files that something names, as a server sees it.
fn named(server: &Server) -> BTreeSet<Digest> {
    let mut files = BTreeSet::new();
    let Some(replica) = &server.replica else { return files };
    let (machine, rows) = replica.view();
    let mut at = Some(Place::Artifacts(ArtifactId(0)));
    while let Some(place) = at {
        let (trees, next) = machine.0.view().named_trees(rows, place);
        files.extend(trees.into_iter().map(file_of));
        at = next;
    }
    files
}
