//! `needed_kept`: a collection takes nothing that a hold, a stage, a name, lineage or a job needs,
//! and no server deletes a file that counts.
//!
//! Told from what is shown alone, in the plainest way: not as the ledger looks it up.

use super::Broken;
use crate::{
    server::Server,
    world::{World, file_of},
};
use domain::{
    ArtifactId, Digest, JobId, LogIndex,
    model::{ModelRef, ModelVersion, Stage},
    port::RowRead,
    retain::Retain,
    view::ArtifactView,
};
use registry::ledger::{RegistryCommand, dataset};
use scheduler::state::{
    command::{Command, Entry},
    view::View,
};
use std::collections::BTreeSet;

/// More than there are of anything here.
const ALL: usize = 100_000;

/// Results whose files went so far.
#[derive(Default)]
pub struct NeededKept {
    gone: BTreeSet<ArtifactId>,
}

impl NeededKept {
    /// Looks at what an entry has left. Gives the law that it breaks.
    pub fn look(
        &mut self,
        view: &View<'_>,
        rows: &impl RowRead,
        at: LogIndex,
        entry: &Entry,
    ) -> Option<String> {
        let about_registry = |command: &Command| matches!(command, Command::Registry(_));
        if !entry.members.iter().any(|request| about_registry(&request.command)) {
            return None;
        }
        let asked: Vec<ArtifactId> =
            entry.members.iter().flat_map(|request| collects(&request.command)).copied().collect();
        let went = |id: &ArtifactId| view.artifact(rows, *id)?.collected.map(|_| *id);
        let new: Vec<ArtifactId> = asked
            .iter()
            .filter(|id| !self.gone.contains(id))
            .filter_map(went)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        self.gone.extend(&new);
        // Another command of the entry may have come to need it after it went.
        let alone = entry.members.iter().all(|it| !collects(&it.command).is_empty());
        let broken = new.iter().filter(|_| alone).find_map(|id| needed(view, rows, *id));
        let broken = broken.or_else(|| self.used(view, rows));
        broken.map(|what| format!("needed_kept: at entry {at} {what}"))
    }

    /// Results whose files went.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.gone.len() as u64
    }

    /// Whatever is in use or held has its files, whenever it came to be so.
    fn used(&self, view: &View<'_>, rows: &impl RowRead) -> Option<String> {
        if self.gone.is_empty() {
            return None;
        }
        let held = |id: &&ArtifactId| view.artifact(rows, **id).is_some_and(|it| it.hold.is_some());
        if let Some(id) = self.gone.iter().find(held) {
            return Some(format!("{id} is held and its files went"));
        }
        let all = versions(view, rows);
        let used = |it: &&ModelVersion| self.gone.contains(&it.artifact) && in_use(view, rows, it);
        let version = all.iter().find(used)?;
        Some(format!("{} is in use and the files of {} went", version.model, version.artifact))
    }
}

fn collects(command: &Command) -> &[ArtifactId] {
    match command {
        Command::Registry(RegistryCommand::Collect { artifacts }) => artifacts,
        _ => &[],
    }
}

/// Why a result that went should not have.
fn needed(view: &View<'_>, rows: &impl RowRead, id: ArtifactId) -> Option<String> {
    let found = view.artifact(rows, id)?;
    let tree = found.artifact.ticket.output.tree;
    let say = |why: &str| Some(format!("the files of {id} went, and {why}"));
    match time_of(view, rows, &found) {
        Some(Retain::For(time)) if found.artifact.sealed.plus(time) <= view.now() => {}
        Some(Retain::For(_)) => return say("their time is not over"),
        Some(Retain::Forever) | None => return say("no rule lets them go"),
    }
    if found.hold.is_some() {
        return say("it is held");
    }
    let sets = dataset::datasets(rows, "", ALL).into_iter().flat_map(|newest| {
        let name = newest.version.dataset.name;
        dataset::versions(rows, &name, 1, ALL)
    });
    if sets.into_iter().any(|it| it.version.facts.tree == tree) {
        return say("they are a data set");
    }
    let all = versions(view, rows);
    let needed = needed_versions(view, rows, &all);
    if let Some(version) = all.iter().find(|it| it.artifact == id && needed.contains(&it.model)) {
        return say(&format!("{} is in use, or what was made from it is", version.model));
    }
    let others = view.artifacts(rows, ArtifactId(0), ALL);
    let mut has_files = others.iter().filter(|it| it.artifact.id != id && it.collected.is_none());
    if let Some(of) =
        has_files.find(|it| given(view, rows, it.artifact.ticket.element.job).contains(&tree))
    {
        return say(&format!("{} was made with them", of.artifact.id));
    }
    let mut live = view.all_live_jobs();
    let user = live.find(|(job, _)| given(view, rows, *job).contains(&tree));
    user.and_then(|(job, _)| say(&format!("job {job} was given them")))
}

fn given(view: &View<'_>, rows: &impl RowRead, job: JobId) -> BTreeSet<Digest> {
    let spec = view.job_rows(rows, job).map(|(submitted, _)| submitted.spec);
    let all = spec.iter().flat_map(|spec| spec.code.iter().chain(spec.datasets.values()));
    all.map(|it| it.tree).collect()
}

/// The job's own word, else that of the nearest queue.
fn time_of(view: &View<'_>, rows: &impl RowRead, found: &ArtifactView) -> Option<Retain> {
    let (submitted, _) = view.job_rows(rows, found.artifact.ticket.element.job)?;
    let queues = view.cluster_config().queues;
    let mut queue = queues.get(&submitted.spec.queue);
    let mut said = submitted.spec.retain;
    while let (None, Some(here)) = (said, queue) {
        said = here.retain;
        queue = here.parent.as_ref().and_then(|up| queues.get(up));
    }
    said
}

fn versions(view: &View<'_>, rows: &impl RowRead) -> Vec<ModelVersion> {
    let families = view.families(rows, "", ALL);
    let of = |family: &str| view.versions(rows, family, 1, ALL);
    families.iter().flat_map(|it| of(&it.family)).map(|it| it.version).collect()
}

fn in_use(view: &View<'_>, rows: &impl RowRead, version: &ModelVersion) -> bool {
    let families = view.families(rows, "", ALL);
    let family = families.iter().find(|it| it.family == version.model.family);
    let mut names = family.into_iter().flat_map(|it| it.aliases.values());
    matches!(version.stage, Stage::Staging | Stage::Prod)
        || names.any(|number| *number == version.model.version)
        || view
            .open_promotions()
            .any(|(id, _)| view.promotion(rows, id).is_some_and(|it| it.model == version.model))
}

/// What is in use, and all that it was made from.
fn needed_versions(
    view: &View<'_>,
    rows: &impl RowRead,
    all: &[ModelVersion],
) -> BTreeSet<ModelRef> {
    let used = all.iter().filter(|it| in_use(view, rows, it));
    let mut needed: BTreeSet<ModelRef> = used.map(|it| it.model.clone()).collect();
    loop {
        let kept = all.iter().filter(|it| needed.contains(&it.model));
        let parents: Vec<ModelRef> = kept.flat_map(|it| it.parents.clone()).collect();
        let before = needed.len();
        needed.extend(parents);
        if needed.len() == before {
            return needed;
        }
    }
}

/// A server has deleted a file: none that a kept result counts on that server for, none that is
/// the last of what a result or a seal needs, and none that a job was given, as far as the
/// server knew of it.
///
/// # Errors
/// When it is one.
pub fn deleted(world: &World, at: usize, file: Digest) -> Result<(), Broken> {
    let id = world.servers[at].id;
    let say = |why: String| Err(Broken::new(format!("needed_kept: {id} deletes a file: {why}")));
    if let Some(job) = given_here(&world.servers[at], file) {
        return say(format!("job {job} was given it"));
    }
    let replicas = world.servers.iter().filter_map(|server| server.replica.as_ref());
    let Some(newest) = replicas.max_by_key(|replica| replica.applied()) else { return Ok(()) };
    let (machine, rows) = newest.view();
    let view = machine.0.view();
    let left = world.blobs.get(&file).is_some_and(|holders| !holders.is_empty());
    for found in view.artifacts(rows, ArtifactId(0), ALL) {
        let artifact = &found.artifact;
        if found.collected.is_some() || file_of(artifact.ticket.output.tree) != file {
            continue;
        }
        if artifact.copies.contains(&id) {
            return say(format!("{} counts on it here", artifact.id));
        }
        if !left {
            return say(format!("it was the last of {}", artifact.id));
        }
    }
    let mut tickets = view.all_tickets();
    match tickets.find(|ticket| !left && file_of(ticket.output.tree) == file) {
        None => Ok(()),
        Some(ticket) => say(format!("it was the last of the seal of {}", ticket.lease)),
    }
}

/// A job that has not ended and was given the file, as far as a server knows.
fn given_here(server: &Server, file: Digest) -> Option<JobId> {
    let (machine, rows) = server.replica.as_ref()?.view();
    let view = machine.0.view();
    let uses = |job: JobId| given(&view, rows, job).into_iter().any(|tree| file_of(tree) == file);
    view.all_live_jobs().map(|(job, _)| job).find(|job| uses(*job))
}
