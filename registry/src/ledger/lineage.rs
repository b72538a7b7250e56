//! Lineage: what a version was made of, and what was made of it.

use super::{key, model, seal::ArtifactRow, view};
use domain::{
    ArtifactId, Digest, ElementId, limit,
    model::{LineageEdge, LineageKind, LineageNode, LineageView, ModelRef},
    port::RowRead,
    scratch,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Artifacts with the same files that are shown as the origin of one data set, and that a promotion
/// looks at: to change it takes a new version of the cluster, as to change the order of a walk does.
const ORIGINS_MAX: usize = 4;

/// What a job was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The job's name.
    pub name: String,
    /// Digest of its code.
    pub code: Option<Digest>,
    /// Digests of its data sets by name.
    pub datasets: BTreeMap<String, Digest>,
}

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Steps from the version: from version to version, from artifact to the artifact it was
    /// made of.
    pub depth: u32,
    /// Things in all.
    pub nodes: usize,
}

impl Bounds {
    /// What was asked for, within what is allowed; 0 asks for the most.
    #[must_use]
    pub fn asked(depth: u32, nodes: u32) -> Self {
        let within = |asked: u32, most: u32| if asked == 0 { most } else { asked.min(most) };
        let most = u32::try_from(limit::LINEAGE_NODES_MAX).unwrap_or(u32::MAX);
        Self { depth: within(depth, limit::LINEAGE_DEPTH_MAX), nodes: within(nodes, most) as usize }
    }
}

/// A thing in a lineage. Its text is made when it is shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Model(ModelRef),
    Artifact(ArtifactId),
    Job(ElementId),
    Dataset(Digest),
    Code(Digest),
}

/// The way in which a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// To what was used.
    Up,
    /// To what was made.
    Down,
}

struct Walk<'a, R: RowRead> {
    rows: &'a R,
    sources: &'a dyn Fn(ElementId) -> Option<Sources>,
    bounds: Bounds,
    places: BTreeMap<Thing, usize>,
    nodes: Vec<LineageNode>,
    edges: BTreeSet<LineageEdge>,
    truncated: bool,
}

/// The lineage of a version; none when there is no such version.
///
/// Each thing is met once and each way is walked once, so data that leads back to itself (a job
/// whose output equals its input) ends the walk rather than keeps it going.
pub fn lineage<R: RowRead>(
    rows: &R,
    of: &ModelRef,
    bounds: Bounds,
    sources: &dyn Fn(ElementId) -> Option<Sources>,
) -> Option<LineageView> {
    let version = model::version(rows, of)?;
    let mut walk = Walk::new(rows, bounds, sources);
    let root = walk.meet(Thing::Model(of.clone()), String::new(), 0)?;
    walk.run(Thing::Model(of.clone()), Way::Up);
    walk.run(Thing::Model(of.clone()), Way::Down);
    if let Some(place) = walk.meet(Thing::Artifact(version.artifact), String::new(), 0) {
        walk.edges.insert(LineageEdge { from: place, to: root });
        walk.run(Thing::Artifact(version.artifact), Way::Down);
    }
    Some(LineageView {
        model: of.clone(),
        nodes: walk.nodes,
        edges: walk.edges.into_iter().collect(),
        truncated: walk.truncated,
    })
}

/// Trees that an artifact came of, the nearest first: code and data of its job, and of the jobs
/// whose results that one was given, within bounds. Which version a person says that it follows
/// counts for nothing here.
pub fn came_of<R: RowRead>(
    rows: &R,
    of: ArtifactId,
    bounds: Bounds,
    sources: &dyn Fn(ElementId) -> Option<Sources>,
) -> Vec<Digest> {
    let mut walk = Walk::new(rows, bounds, sources);
    walk.meet(Thing::Artifact(of), String::new(), 0);
    walk.run(Thing::Artifact(of), Way::Up);
    let tree = |(thing, place)| match thing {
        Thing::Dataset(tree) | Thing::Code(tree) => Some((place, tree)),
        Thing::Model(_) | Thing::Artifact(_) | Thing::Job(_) => None,
    };
    let nearest: BTreeMap<usize, Digest> = walk.places.into_iter().filter_map(tree).collect();
    nearest.into_values().collect()
}

impl<'a, R: RowRead> Walk<'a, R> {
    fn new(rows: &'a R, bounds: Bounds, sources: &'a dyn Fn(ElementId) -> Option<Sources>) -> Self {
        Self {
            rows,
            sources,
            bounds,
            places: BTreeMap::new(),
            nodes: Vec::new(),
            edges: BTreeSet::new(),
            truncated: false,
        }
    }

    /// The place of a thing in the list; none when the list is full.
    fn meet(&mut self, thing: Thing, name: String, depth: u32) -> Option<usize> {
        if let Some(place) = self.places.get(&thing) {
            return Some(*place);
        }
        let place = self.nodes.len();
        if place >= self.bounds.nodes {
            self.truncated = true;
            return None;
        }
        let (kind, id) = match &thing {
            Thing::Model(model) => (LineageKind::Model, model.to_string()),
            Thing::Artifact(id) => (LineageKind::Artifact, id.to_string()),
            Thing::Job(id) => (LineageKind::Job, id.to_string()),
            Thing::Dataset(digest) => (LineageKind::Dataset, digest.to_string()),
            Thing::Code(digest) => (LineageKind::Code, digest.to_string()),
        };
        self.nodes.push(LineageNode { kind, id, name, depth });
        self.places.insert(thing, place);
        Some(place)
    }

    fn run(&mut self, start: Thing, way: Way) {
        let mut met = BTreeSet::from([start.clone()]);
        let mut queue = VecDeque::from([(start, 0)]);
        while let Some((thing, depth)) = queue.pop_front() {
            let Some(place) = self.places.get(&thing).copied() else { continue };
            for (next, name) in self.next(&thing, way) {
                let further = depth + u32::from(is_step(&thing, &next));
                if further > self.bounds.depth {
                    self.truncated = true;
                    continue;
                }
                let Some(other) = self.meet(next.clone(), name, further) else { return };
                let (from, to) = if way == Way::Up { (other, place) } else { (place, other) };
                self.edges.insert(LineageEdge { from, to });
                if met.insert(next.clone()) {
                    queue.push_back((next, further));
                }
            }
        }
    }

    fn next(&mut self, thing: &Thing, way: Way) -> Vec<(Thing, String)> {
        match way {
            Way::Up => self.used_by(thing),
            Way::Down => self.made_of(thing),
        }
    }

    fn artifact(&self, id: ArtifactId) -> Option<ArtifactRow> {
        let key = key::artifact(id);
        self.rows.get(&key).map(|bytes| scratch::decode(&key, &bytes))
    }

    /// What a thing was made of.
    fn used_by(&self, thing: &Thing) -> Vec<(Thing, String)> {
        let plain = |thing| (thing, String::new());
        match thing {
            Thing::Model(of) => {
                let Some(version) = model::version(self.rows, of) else { return Vec::new() };
                let artifact = Thing::Artifact(version.artifact);
                let parents = version.parents.into_iter().map(Thing::Model);
                std::iter::once(artifact).chain(parents).map(plain).collect()
            }
            Thing::Artifact(id) => {
                let row = self.artifact(*id);
                row.map(|row| (Thing::Job(row.artifact.ticket.element), row.name))
                    .into_iter()
                    .collect()
            }
            Thing::Job(element) => {
                let Some(sources) = (self.sources)(*element) else { return Vec::new() };
                let code = sources.code.map(|code| (Thing::Code(code), String::new()));
                let datasets = sources.datasets.into_iter();
                let datasets = datasets.map(|(name, digest)| (Thing::Dataset(digest), name));
                code.into_iter().chain(datasets).collect()
            }
            Thing::Dataset(tree) => {
                let origins = view::of_tree(self.rows, *tree, ORIGINS_MAX);
                origins.into_iter().map(Thing::Artifact).map(plain).collect()
            }
            Thing::Code(_) => Vec::new(),
        }
    }

    /// What was made of a thing.
    fn made_of(&mut self, thing: &Thing) -> Vec<(Thing, String)> {
        let most = limit::PAGE_MAX;
        let plain = |thing| (thing, String::new());
        let found: Vec<_> = match thing {
            Thing::Model(of) => {
                let children = model::children(self.rows, of, most);
                children.into_iter().map(Thing::Model).map(plain).collect()
            }
            Thing::Artifact(id) => {
                let models = model::models_of(self.rows, *id, most).into_iter().map(Thing::Model);
                let tree = self.artifact(*id).map(|row| row.artifact.ticket.output.tree);
                let used = tree.filter(|tree| !view::made_from(self.rows, *tree, 1).is_empty());
                models.chain(used.map(Thing::Dataset)).map(plain).collect()
            }
            Thing::Dataset(tree) | Thing::Code(tree) => {
                let made = view::made_from(self.rows, *tree, most).into_iter();
                let rows = made.filter_map(|id| self.artifact(id));
                rows.map(|row| (Thing::Job(row.artifact.ticket.element), row.name)).collect()
            }
            Thing::Job(element) => {
                let key = key::of_element(*element);
                let made = self.rows.get(&key).map(|bytes| scratch::decode(&key, &bytes));
                made.map(Thing::Artifact).map(plain).into_iter().collect()
            }
        };
        self.truncated |= found.len() >= most;
        found
    }
}

/// Whether the way from one thing to the next counts as a step.
fn is_step(thing: &Thing, next: &Thing) -> bool {
    matches!(
        (thing, next),
        (Thing::Model(_), Thing::Model(_))
            | (Thing::Dataset(_), Thing::Artifact(_) | Thing::Job(_))
            | (Thing::Code(_), Thing::Job(_))
    )
}
