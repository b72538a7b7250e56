//! Models in use: they are watched, send windows, are measured by jobs, and are trained anew where
//! they drift.

use super::World;
use crate::{
    chance::Chance,
    event::Event,
    law::Broken,
    runtime::{self, MEASURES, Work},
    session::Caller,
};
use domain::{
    ArtifactId, Bytes, Decimal, Digest, EpisodeId, Millis,
    dataset::{DatasetFacts, DatasetRef, PiiScan},
    drift::{Dispatch, Episode, MonitorView, Retrain, RetrainPolicy},
    job::{Captured, JobSpec},
    model::ModelVersion,
    port::RowRead,
    topology::Topology,
    view::ArtifactView,
};
use registry::{
    drift::{Sketched, default_rules, judge, rules_of},
    ledger::{
        RegistryCommand,
        drift::{self, DriftCommand, Seen},
        evaluation,
    },
    seal::recipe::recipe,
};
use scheduler::state::{
    command::{Command, NewJob, Request},
    view::View,
};
use std::collections::BTreeMap;

/// Windows that are remembered to be sent again.
const SENT_MAX: usize = 16;
/// Samples of a window.
const SAMPLES: u64 = 40;
/// More than there are of anything here.
const ALL: usize = 100_000;
/// Data that is new.
const FRESH: &str = "fresh";

/// Whoever looks after models in use.
pub(super) struct Drifting {
    chance: Chance,
    /// Windows with a trigger that were sent before.
    sent: Vec<DriftCommand>,
    windows: u64,
    jobs: u64,
}

/// What can be seen of the cluster, by whoever asks its leader.
struct Sight<'a, R> {
    view: View<'a>,
    rows: &'a R,
    models: Vec<ModelVersion>,
    monitors: Vec<MonitorView>,
    artifacts: Vec<ArtifactView>,
}

impl<'a, R: RowRead> Sight<'a, R> {
    fn of(view: View<'a>, rows: &'a R) -> Self {
        let families = view.families(rows, "", 10);
        let versions = |family: &domain::model::FamilyView| {
            view.versions(rows, &family.family, 1, ALL).into_iter().map(|it| it.version)
        };
        let models = families.iter().flat_map(versions).collect();
        let monitors = drift::monitors(rows, None, ALL);
        let artifacts = view.artifacts(rows, ArtifactId(0), ALL);
        Self { view, rows, models, monitors, artifacts }
    }

    fn artifact(&self, id: ArtifactId) -> Option<&ArtifactView> {
        self.artifacts.iter().find(|it| it.artifact.id == id)
    }

    fn spec(&self, of: &ArtifactView) -> Option<JobSpec> {
        let rows = self.view.job_rows(self.rows, of.artifact.ticket.element.job);
        rows.map(|(submitted, _)| submitted.spec)
    }

    /// Versions whose job had data, so that it can be had anew.
    fn trainable(&self) -> Vec<&ModelVersion> {
        let has = |it: &&ModelVersion| {
            let spec = self.artifact(it.artifact).and_then(|found| self.spec(found));
            spec.is_some_and(|spec| spec.datasets.len() == 1 && spec.array.is_none())
        };
        self.models.iter().filter(has).collect()
    }

    fn episodes(&self) -> Vec<Episode> {
        drift::episodes(self.rows, EpisodeId(0), ALL)
    }

    /// Versions of the new data.
    fn fresh(&self) -> u64 {
        let newest = registry::ledger::dataset::resolve(self.rows, FRESH);
        newest.map_or(0, |it| it.version)
    }
}

fn captured(of: &ArtifactView) -> Captured {
    let output = &of.artifact.ticket.output;
    let origin = of.artifact.id.to_string();
    Captured { tree: output.tree, files: output.files, size: output.size, origin }
}

fn facts(tree: Digest) -> DatasetFacts {
    DatasetFacts {
        tree,
        root: tree,
        files: 1,
        size: Bytes(1 << 20),
        source: "https://example.org".into(),
        transformations: Vec::new(),
        licence: "MIT".into(),
        owner: "ada".into(),
        slices: [("german".to_owned(), vec!["de".to_owned()])].into(),
        pii_declared: false,
        scan: PiiScan::default(),
    }
}

fn window(from: u64) -> BTreeMap<String, Sketched> {
    let numbers: Vec<f64> = (from..from + SAMPLES).map(|n| n as f64).collect();
    let of = |name: &str| {
        let sketch = Sketched::of_numbers(&numbers).expect("whole numbers are finite");
        (name.to_owned(), sketch)
    };
    [of("inputs/age")].into()
}

impl Drifting {
    pub(super) fn new(root: &Chance) -> Self {
        Self { chance: root.branch("drift", 0), sent: Vec::new(), windows: 0, jobs: 0 }
    }

    fn one<'b, T>(&mut self, among: &'b [T]) -> Option<&'b T> {
        (!among.is_empty()).then(|| &among[self.chance.below(among.len() as u64) as usize])
    }

    /// What is done now, and data that comes with it.
    fn think<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<(Command, Vec<Digest>)> {
        let without = |command| (command, Vec::new());
        match self.chance.below(20) {
            0 | 1 => self.watch(sight).map(Command::Drift).map(without),
            2 => self.gather(sight),
            3..=5 => self.measure(sight),
            6..=9 => self.record(sight).map(Command::Registry).map(without),
            10 | 11 => self.register(sight).map(Command::Registry).map(without),
            12 => self.look_after(sight).map(Command::Drift).map(without),
            13 if !self.sent.is_empty() => Some(without(Command::Drift(self.again()))),
            _ => self.send(sight).map(Command::Drift).map(without),
        }
    }

    /// Watches a version, or one that is watched in another way.
    fn watch<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<DriftCommand> {
        let model = self.one(&sight.trainable())?.model.clone();
        // A few are enough, and have a longer history.
        let known = sight.monitors.iter().any(|it| it.monitor.model == model);
        if sight.monitors.len() >= 3 && !known {
            return None;
        }
        let chance = &mut self.chance;
        let policy = RetrainPolicy {
            dispatch: if chance.one_in(5) { Dispatch::Suggest } else { Dispatch::Auto },
            cool_down: Millis(chance.between(1_000, 30_000)),
            budget: chance.between(1, 4) as u32,
            period: Millis(chance.between(20_000, 90_000)),
        };
        let rules = default_rules(policy.dispatch);
        Some(DriftCommand::SetMonitor { model, rules, policy, reference: window(0) })
    }

    /// New data: what some result holds, sent along.
    fn gather<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<(Command, Vec<Digest>)> {
        let mut has = sight.artifacts.iter().rev().filter(|it| it.collected.is_none());
        let tree = has.next()?.artifact.ticket.output.tree;
        let command = RegistryCommand::RegisterDataset { name: FRESH.into(), facts: facts(tree) };
        Some((Command::Registry(command), vec![tree]))
    }

    /// A job that measures a version, of those that are watched where there are any.
    fn measure<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<(Command, Vec<Digest>)> {
        let watched = |it: &&ModelVersion| {
            sight.monitors.iter().any(|monitor| monitor.monitor.model == it.model)
        };
        let among: Vec<&ModelVersion> = match self.chance.one_in(3) {
            true => sight.models.iter().collect(),
            false => sight.models.iter().filter(watched).collect(),
        };
        let found = sight.artifact(self.one(&among)?.artifact)?;
        let before = sight.spec(found)?;
        self.jobs += 1;
        let mut command = Work { steps: 3, step_ms: 100, every: 0, code: 0 }.command();
        command.push(MEASURES.into());
        let spec = JobSpec {
            name: format!("measure-{}", self.jobs),
            command,
            datasets: [("model".to_owned(), captured(found))].into(),
            registered: BTreeMap::new(),
            tasks: 1,
            array: None,
            reproduces: None,
            after: Vec::new(),
            verify: None,
            check: None,
            retries: 2,
            // Few seeds, so that methods repeat.
            seed: self.chance.below(2),
            topology: Topology::default(),
            ..before
        };
        let tree = found.artifact.ticket.output.tree;
        let recipe = recipe(&spec);
        Some((Command::Submit { jobs: vec![NewJob { spec, recipe }] }, vec![tree]))
    }

    /// Records what some job measured; now and then something better than that.
    fn record<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<RegistryCommand> {
        let mut trees: Vec<(&ModelVersion, Digest)> = Vec::new();
        for version in &sight.models {
            if let Some(found) = sight.artifact(version.artifact) {
                trees.push((version, found.artifact.ticket.output.tree));
            }
        }
        let mut open = Vec::new();
        for found in &sight.artifacts {
            let Some(spec) = sight.spec(found) else { continue };
            if spec.command.last().is_none_or(|word| word != MEASURES) {
                continue;
            }
            let reads = |tree: &Digest| spec.datasets.values().any(|set| set.tree == *tree);
            for (version, _) in trees.iter().filter(|(_, tree)| reads(tree)) {
                let known = evaluation::of_version(sight.rows, &version.model);
                if known.iter().all(|it| it.evaluation.artifact != found.artifact.id) {
                    open.push((version.model.clone(), &found.artifact));
                }
            }
        }
        let (model, artifact) = self.one(&open)?.clone();
        let truth = runtime::metrics(artifact.ticket.build_key);
        let metrics = match self.chance.one_in(6) {
            true => "{\"accuracy\": 0.99, \"val_loss\": 0.01}".to_owned(),
            false => truth.clone(),
        };
        // Who forges the one may forge the other.
        let listing = runtime::measured(if self.chance.one_in(2) { &truth } else { &metrics });
        let (artifact, metrics) = (artifact.id, metrics.into_bytes());
        Some(RegistryCommand::RecordEvaluation { model, artifact, listing, metrics })
    }

    /// Makes what a retrain made a version, with the best of claims.
    fn register<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<RegistryCommand> {
        let made = |it: &Episode| {
            let found = it.comparison.as_ref().filter(|found| found.model.is_none())?;
            Some((it.model.family.clone(), found.artifact))
        };
        let open: Vec<(String, ArtifactId)> = sight.episodes().iter().filter_map(made).collect();
        let (family, artifact) = self.one(&open)?.clone();
        let best: Decimal = "0.99".parse().expect("a number");
        Some(RegistryCommand::RegisterModel {
            family,
            artifact,
            metrics: [("accuracy".to_owned(), best)].into(),
            parents: Vec::new(),
            aliases: Vec::new(),
        })
    }

    /// A person closes an episode, or starts its retrain.
    fn look_after<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<DriftCommand> {
        let open = |it: &Episode| it.closed.is_none();
        let all: Vec<Episode> = sight.episodes().into_iter().filter(open).collect();
        let episode = self.one(&all)?;
        let id = episode.id;
        let started = matches!(episode.retrain, Retrain::Dispatched { .. });
        match started || self.chance.one_in(3) {
            true => Some(DriftCommand::Close { episode: id, reason: "looked at".into() }),
            false => Some(DriftCommand::Retrain { episode: id, data: self.data(sight) }),
        }
    }

    fn data<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> BTreeMap<String, DatasetRef> {
        let newest = sight.fresh();
        if newest == 0 || self.chance.one_in(5) {
            return BTreeMap::new();
        }
        let version = 1 + self.chance.below(newest);
        [(String::new(), DatasetRef { name: FRESH.into(), version })].into()
    }

    /// A window that was sent before: as it was, or something else under its key.
    fn again(&mut self) -> DriftCommand {
        let at = self.chance.below(self.sent.len() as u64) as usize;
        let mut command = self.sent[at].clone();
        if let (true, DriftCommand::Observe { seen, .. }) = (self.chance.one_in(3), &mut command) {
            seen.windows = Some(Digest::of(b"other"));
        }
        command
    }

    /// A window of a version, scored as the server that is asked scores it.
    fn send<R: RowRead>(&mut self, sight: &Sight<'_, R>) -> Option<DriftCommand> {
        let monitor = self.one(&sight.monitors)?.monitor.clone();
        let (model, revision) = (monitor.model.clone(), monitor.revision);
        let reference = drift::reference(sight.rows, &model)?;
        let data = self.data(sight);
        let chance = &mut self.chance;
        let from = if chance.one_in(2) { chance.below(2) } else { chance.between(60, 90) };
        let current = window(from);
        let features = judge(&reference, &current, &rules_of(&monitor.rules).ok()?).ok()?;
        let slice = ["german", "french"].get(chance.below(4) as usize).copied();
        self.windows += 1;
        let trigger = chance.one_in(2).then(|| format!("t{}", self.windows));
        let seen = Seen {
            slices: slice.map(str::to_owned).into_iter().collect(),
            trigger,
            data,
            windows: Some(Digest::of_value(&current)),
            features,
        };
        let keyed = seen.trigger.is_some();
        let command = match chance.one_in(8) {
            true => {
                let reason = "users complain".to_owned();
                DriftCommand::Alert { model, reason, seen: Seen { windows: None, ..seen } }
            }
            false => DriftCommand::Observe { model, revision, seen },
        };
        if keyed {
            self.sent.truncate(SENT_MAX - 1);
            self.sent.insert(0, command.clone());
        }
        Some(command)
    }
}

impl World {
    /// A model in use sends a window, is measured, or is looked after.
    pub(super) fn drift(&mut self) -> Result<(), Broken> {
        if self.healing {
            return Ok(());
        }
        let wait = self.drifting.chance.between(100, 1_200);
        self.after(wait, Event::Drift);
        let Some(at) = self.leader() else { return Ok(()) };
        let thought = self.servers[at].replica.as_ref().and_then(|replica| {
            let (machine, rows) = replica.view();
            self.drifting.think(&Sight::of(machine.0.view(), rows))
        });
        let Some((command, data)) = thought else { return Ok(()) };
        self.send_data(&data);
        let actor = format!("user:p{}", self.drifting.chance.below(3));
        self.with_server(at, |server, now, asks| {
            server.propose(Caller::Duty, Request { key: None, actor, command }, now, asks);
        })
    }
}
