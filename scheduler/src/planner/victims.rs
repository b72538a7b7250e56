//! The cheapest attempts whose room lets a gang fit, whole.
//!
//! A victim costs the GPU time since its last committed checkpoint. Attempts that end anyway cost
//! nothing. A set is looked for one by one in the order of cost, then node by node; a bounded
//! search tells whether there is a cheaper one. No victim is left that is not needed: without any
//! one of them the gang would not fit.

use super::{free::FreeNode, sites};
use crate::state::{
    claim::Claims,
    preemption::Victim,
    row::Brief,
    sched::{Job, Shape},
    view::View,
};
use domain::{
    Millis, NodeId,
    lease::{Lease, Phase},
    limit,
    resource::TaskResources,
    topology::{Level, Zone},
};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// Sets that the search looks at. A part of the policy.
const SETS_MAX: u32 = 4_096;
/// Attempts that are looked at, the cheapest first.
const CANDIDATES_MAX: usize = 4_096;

/// A node as far as one shape is concerned, or a clique or NUMA node of it.
#[derive(Clone, Copy)]
struct Site {
    gpus: u64,
    cpu: u64,
    memory: u64,
    /// Its hardware class, and its rack or block where one of those is required.
    class: usize,
    /// Its clique or NUMA node, where one of those is required: then it is a part of a node.
    inside: Option<u32>,
    /// Whether it may hold a part of a gang over several nodes.
    shared: bool,
    /// Tasks that fit, up to the whole gang.
    room: u32,
}

/// What an attempt leaves on a site: GPUs that suit, processor time, memory.
#[derive(Clone, Copy)]
struct Leaves {
    site: usize,
    gpus: u64,
    cpu: u64,
    memory: u64,
}

/// An attempt that may be asked, or that ends anyway.
struct Candidate<'a> {
    lease: &'a Lease,
    job: &'a Job,
    ends: bool,
    cost: u64,
    leaves: Vec<Leaves>,
}

/// What a set costs, and how many are asked.
type Cost = (u64, usize);

/// Looks for a set of victims.
pub struct Search<'a> {
    wanted: &'a TaskResources,
    /// The clique or NUMA node that is required.
    near: Option<Level>,
    tasks: u32,
    sites: Vec<Site>,
    candidates: Vec<Candidate<'a>>,
    claims: Claims<'a>,
    /// Tasks that fit on all shared sites of each class.
    totals: Vec<u64>,
    /// Sites that hold the whole gang.
    whole: usize,
    chosen: Vec<usize>,
    cost: Cost,
    left: u32,
    best: Option<(Cost, Vec<usize>)>,
}

/// Attempts that may be asked to make room: one job of each queue and priority, which alone
/// decide for whom.
pub struct Yielding<'a>(BTreeMap<(&'a str, i32), &'a Brief>);

impl<'a> Yielding<'a> {
    /// Those of now.
    pub fn now(view: &View<'a>, now: Millis) -> Self {
        let mut jobs = BTreeMap::new();
        for lease in view.all_leases() {
            let Some(job) = view.live_job(lease.element.job) else { continue };
            let kind = (&*job.brief.queue, job.brief.priority);
            if !jobs.contains_key(&kind) && view.may_yield(lease, now) {
                jobs.insert(kind, &job.brief);
            }
        }
        Self(jobs)
    }

    /// Whether one of them would have to make room for a job.
    pub fn any_for(&self, view: &View<'a>, job: &'a Job) -> bool {
        let claims = view.claims(job);
        self.0.values().any(|brief| claims.allows(brief))
    }
}

/// The victims, in the order in which they have to yield, with their leases; none where no set
/// makes the gang fit, or where it needs none but those that end anyway.
pub fn find<'a>(
    view: &View<'a>,
    now: Millis,
    nodes: &[FreeNode<'a>],
    job: &'a Job,
    shape: &'a Shape,
) -> Option<Vec<(Victim, &'a Lease)>> {
    let mut search = Search::new(view, now, nodes, job, shape);
    let set = search.cheapest()?;
    let asked = set.iter().any(|at| !search.candidates[*at].ends);
    let victim = |at: &usize| {
        let it = &search.candidates[*at];
        (Victim { lease: it.lease.id, lost_gpu_ms: it.cost }, it.lease)
    };
    (asked && set.len() <= limit::VICTIMS_MAX).then(|| set.iter().map(victim).collect())
}

impl<'a> Search<'a> {
    fn new(
        view: &View<'a>,
        now: Millis,
        nodes: &[FreeNode<'a>],
        job: &'a Job,
        shape: &'a Shape,
    ) -> Self {
        let require = shape.topology.require;
        let mut places: BTreeMap<NodeId, Range<usize>> = BTreeMap::new();
        let mut classes: BTreeMap<(&str, Option<Zone<'_>>), usize> = BTreeMap::new();
        let mut sites = Vec::new();
        for node in nodes {
            let fits_class = shape.class.as_ref().is_none_or(|class| class == node.class);
            if !fits_class || !node.isolation.takes(&shape.confinement, false) {
                continue;
            }
            let zone = require.and_then(|level| node.topology.zone(level));
            let next = classes.len();
            let together = require.is_none() || zone.is_some();
            let site = Site {
                gpus: node.suiting(&shape.resources),
                cpu: node.cpu,
                memory: node.memory,
                class: *classes.entry((node.class, zone)).or_insert(next),
                inside: None,
                shared: together && node.isolation.takes(&shape.confinement, true),
                room: 0,
            };
            let first = sites.len();
            match require.filter(|level| level.is_inside_a_node()) {
                None => sites.push(site),
                Some(level) => sites.extend(parts(node, &shape.resources, level, site)),
            }
            places.insert(node.id, first..sites.len());
        }
        let mut search = Self {
            wanted: &shape.resources,
            near: require.filter(|level| level.is_inside_a_node()),
            tasks: shape.tasks,
            totals: vec![0; classes.len()],
            sites,
            candidates: Vec::new(),
            claims: view.claims(job),
            whole: 0,
            chosen: Vec::new(),
            cost: (0, 0),
            left: SETS_MAX,
            best: None,
        };
        for at in 0..search.sites.len() {
            search.measure(at);
        }
        search.candidates = search.candidates(view, now, &places);
        search
    }

    fn candidates(
        &self,
        view: &View<'a>,
        now: Millis,
        places: &BTreeMap<NodeId, Range<usize>>,
    ) -> Vec<Candidate<'a>> {
        let mut all = Vec::new();
        for lease in view.all_leases() {
            let ends = matches!(lease.phase, Phase::Stopping { .. }) && !view.is_ceding(lease.id);
            let Some(job) = view.live_job(lease.element.job) else { continue };
            let yields = view.may_yield(lease, now) && self.claims.allows(&job.brief);
            if !ends && !yields {
                continue;
            }
            let leaves = self.leaves(view, lease, job, places);
            if !leaves.is_empty() {
                let cost = if ends { 0 } else { view.unsaved_gpu_ms(lease, now) };
                all.push(Candidate { lease, job, ends, cost, leaves });
            }
        }
        all.sort_by_key(|it| (!it.ends, it.cost, Reverse(it.lease.granted), it.lease.id));
        all.truncate(CANDIDATES_MAX);
        all
    }

    fn cheapest(&mut self) -> Option<Vec<usize>> {
        let all: Vec<usize> = (0..self.candidates.len()).collect();
        self.gather(&all);
        let mut by_site: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, candidate) in self.candidates.iter().enumerate() {
            for leaves in &candidate.leaves {
                by_site.entry(leaves.site).or_default().push(at);
            }
        }
        for on_site in by_site.into_values() {
            self.gather(&on_site);
        }
        self.search(0);
        self.best.take().map(|(_, set)| set)
    }

    /// Takes one after the other until the gang fits, then gives back what is not needed.
    fn gather(&mut self, from: &[usize]) {
        for at in from {
            if self.fits() {
                break;
            }
            if self.allows(*at) {
                self.take(*at);
            }
        }
        self.settle();
        while let Some(at) = self.chosen.last().copied() {
            self.give_back(at);
        }
    }

    /// Notes the chosen set, less what is not needed of it, if it is the best so far. Leaves it
    /// as it is.
    fn settle(&mut self) {
        if !self.fits() {
            return;
        }
        let mut spare = Vec::new();
        for at in self.chosen.clone().into_iter().rev() {
            self.give_back(at);
            match self.fits() {
                true => spare.push(at),
                false => self.take(at),
            }
        }
        let better = self.best.as_ref().is_none_or(|(cost, _)| self.cost < *cost);
        if better {
            let mut set = self.chosen.clone();
            set.sort_unstable();
            self.best = Some((self.cost, set));
        }
        for at in spare {
            self.take(at);
        }
    }

    /// Looks at sets of what follows `from`, beside what is chosen, while they may be cheaper.
    fn search(&mut self, from: usize) {
        if self.fits() {
            self.settle();
            return;
        }
        for at in from..self.candidates.len() {
            let next = self.with(at);
            let bound = self.best.as_ref().is_some_and(|(best, _)| next >= *best);
            if bound || self.left == 0 || self.chosen.len() >= limit::VICTIMS_MAX {
                return;
            }
            self.left -= 1;
            if self.allows(at) {
                self.take(at);
                self.search(at + 1);
                self.give_back(at);
            }
        }
    }

    fn fits(&self) -> bool {
        self.whole > 0 || self.totals.iter().any(|total| *total >= u64::from(self.tasks))
    }

    fn allows(&self, at: usize) -> bool {
        let it = &self.candidates[at];
        it.ends || self.claims.allows(&it.job.brief)
    }

    fn with(&self, at: usize) -> Cost {
        let it = &self.candidates[at];
        (self.cost.0.saturating_add(it.cost), self.cost.1 + usize::from(!it.ends))
    }

    fn take(&mut self, at: usize) {
        self.cost = self.with(at);
        self.chosen.push(at);
        self.claims.take(&self.candidates[at].job.brief);
        self.count(at, u64::saturating_add);
    }

    fn give_back(&mut self, at: usize) {
        let it = &self.candidates[at];
        self.cost = (self.cost.0.saturating_sub(it.cost), self.cost.1 - usize::from(!it.ends));
        self.chosen.retain(|other| *other != at);
        self.claims.give_back(&self.candidates[at].job.brief);
        self.count(at, u64::saturating_sub);
    }

    /// Counts what a candidate leaves.
    fn count(&mut self, at: usize, sum: fn(u64, u64) -> u64) {
        for place in 0..self.candidates[at].leaves.len() {
            let leaves = self.candidates[at].leaves[place];
            let site = &mut self.sites[leaves.site];
            site.gpus = sum(site.gpus, leaves.gpus);
            site.cpu = sum(site.cpu, leaves.cpu);
            site.memory = sum(site.memory, leaves.memory);
            self.measure(leaves.site);
        }
    }

    /// What an attempt leaves where the gang could run.
    fn leaves(
        &self,
        view: &View<'_>,
        lease: &Lease,
        job: &Job,
        places: &BTreeMap<NodeId, Range<usize>>,
    ) -> Vec<Leaves> {
        let (each, wanted) = (&job.brief.resources, self.wanted);
        let mut all = Vec::new();
        for member in &lease.members {
            let Some(places) = places.get(&member.node) else { continue };
            let Some(node) = view.node(member.node) else { continue };
            let has = &node.inventory;
            let suits = |index: &&u32| {
                let gpu = has.gpus.iter().find(|gpu| gpu.index == **index);
                gpu.is_some_and(|gpu| wanted.suits(&gpu.model, gpu.memory))
            };
            let tasks = member.tasks.len() as u64;
            let (cpu, memory) =
                (each.cpu.0.saturating_mul(tasks), each.memory.0.saturating_mul(tasks));
            for site in places.clone() {
                let inside = self.sites[site].inside;
                let here = |index: &&u32| match self.near {
                    None => true,
                    Some(level) => has.topology.site(level, **index) == inside,
                };
                let gpus = member.tasks.iter().flat_map(|task| &task.gpus);
                let gpus = gpus.filter(suits).filter(here).count() as u64;
                let helps = gpus > 0 && wanted.gpus > 0
                    || cpu > 0 && wanted.cpu.0 > 0
                    || memory > 0 && wanted.memory.0 > 0;
                if helps {
                    all.push(Leaves { site, gpus, cpu, memory });
                }
            }
        }
        all
    }

    /// Counts anew how many tasks fit on a site.
    fn measure(&mut self, at: usize) {
        let (tasks, wanted) = (self.tasks, self.wanted);
        let site = &mut self.sites[at];
        let most = |has: u64, each: u64| has.checked_div(each).unwrap_or(u64::MAX);
        let room = most(site.gpus, wanted.gpus.into())
            .min(most(site.cpu, wanted.cpu.0))
            .min(most(site.memory, wanted.memory.0));
        // No more than the gang, which is a u32.
        let room = u32::try_from(room).unwrap_or(tasks).min(tasks);
        let before = std::mem::replace(&mut site.room, room);
        if site.shared {
            let total = &mut self.totals[site.class];
            *total = total.saturating_sub(before.into()) + u64::from(room);
        }
        self.whole -= usize::from(before >= tasks);
        self.whole += usize::from(room >= tasks);
    }
}

/// The cliques or NUMA nodes of a node, each with its own GPUs.
fn parts(
    node: &FreeNode<'_>,
    wanted: &TaskResources,
    level: Level,
    site: Site,
) -> impl Iterator<Item = Site> {
    let free: BTreeMap<u32, u64> = sites::suiting(node, wanted, level).collect();
    let known = node.topology.gpus.iter();
    let all: BTreeSet<u32> = known.filter_map(|gpu| node.topology.site(level, gpu.index)).collect();
    all.into_iter().map(move |inside| {
        let gpus = free.get(&inside).copied().unwrap_or(0);
        Site { gpus, inside: Some(inside), ..site }
    })
}
