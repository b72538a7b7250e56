//! One run over a stream of pods: each is tried once, nothing leaves.

use super::{
    scorer::{NodeState, Scorer, size},
    stream::Stream,
};
use crate::chance::Chance;
use scheduler::planner::{mix::Mix, room::Room};
use std::collections::BTreeMap;

/// The score of a node on which a task does not fit.
const UNFIT: i64 = i64::MIN;

/// How things were when the requests reached a load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// Thousandths of GPUs asked for so far, in percent of all.
    pub asked_pct: f64,
    /// GPUs that are given to nobody, in percent of all.
    pub unallocated_pct: f64,
    /// What of the idle GPUs the usual tasks cannot use, in percent of all GPUs.
    pub fragmented_pct: f64,
    /// Pods that fitted nowhere.
    pub failed: usize,
}

/// Scores of all nodes for one kind of pod, brought up to date when that kind comes.
struct Scores {
    of: Vec<i64>,
    /// Changes of nodes that are in them.
    seen: usize,
}

struct Run<'a> {
    scorer: &'a dyn Scorer,
    stream: &'a Stream,
    nodes: Vec<NodeState>,
    scores: Vec<Option<Scores>>,
    /// Nodes in the order in which they changed.
    changed: Vec<usize>,
    chance: Chance,
}

/// Places the stream and says how things were at each of the loads, which grow.
#[must_use]
pub fn run(
    rooms: &[Room],
    stream: &Stream,
    scorer: &dyn Scorer,
    mix: &Mix,
    seed: u64,
    loads_pct: &[f64],
) -> Vec<Point> {
    let mut run = Run {
        scorer,
        stream,
        nodes: shuffled(rooms, seed),
        scores: stream.kinds.iter().map(|_| None).collect(),
        changed: Vec::new(),
        chance: Chance::new(seed).branch("places", 0),
    };
    let capacity = rooms.iter().map(Room::idle).sum::<u64>() as f64;
    let (mut asked, mut given, mut failed) = (0, 0, 0);
    let mut loads = loads_pct.iter().copied().peekable();
    let mut points = Vec::new();
    for kind in &stream.pods {
        let gpu = stream.kinds[*kind].gpu_total();
        let next_pct = 100.0 * (asked + gpu) as f64 / capacity;
        // A load is reached by the last pod that does not pass it.
        while loads.next_if(|load| next_pct > *load).is_some() {
            points.push(run.point(asked, given, failed, mix, capacity));
        }
        asked += gpu;
        if run.place(*kind) {
            given += gpu;
        } else {
            failed += 1;
        }
    }
    for _ in loads {
        points.push(run.point(asked, given, failed, mix, capacity));
    }
    points
}

/// Nodes in an order drawn by the seed. Of equal scores the first wins, so ties must not always
/// favour the same machines: the authors number their nodes anew for each seed.
fn shuffled(rooms: &[Room], seed: u64) -> Vec<NodeState> {
    let node = |room: &Room| NodeState { room: *room, sizes: BTreeMap::new() };
    let mut nodes: Vec<NodeState> = rooms.iter().map(node).collect();
    let mut chance = Chance::new(seed).branch("nodes", 0);
    for at in (1..nodes.len()).rev() {
        nodes.swap(at, chance.below(at as u64 + 1) as usize);
    }
    nodes
}

impl Run<'_> {
    fn point(&self, asked: u64, given: u64, failed: usize, mix: &Mix, capacity: f64) -> Point {
        let stranded: u64 = self.nodes.iter().map(|node| mix.stranded(&node.room)).sum();
        Point {
            asked_pct: 100.0 * asked as f64 / capacity,
            unallocated_pct: 100.0 * (1.0 - given as f64 / capacity),
            fragmented_pct: 100.0 * stranded as f64 / mix.total().max(1) as f64 / capacity,
            failed,
        }
    }

    fn place(&mut self, kind: usize) -> bool {
        self.update(kind);
        let Some(at) = self.select(kind) else { return false };
        let ask = &self.stream.kinds[kind];
        let Some(chosen) = self.scorer.choose(&self.nodes[at], ask, &mut self.chance) else {
            return false;
        };
        let node = &mut self.nodes[at];
        node.room = node.room.after(ask, &chosen);
        if ask.gpus > 0 {
            *node.sizes.entry(size(ask)).or_default() += 1;
        }
        self.changed.push(at);
        true
    }

    fn select(&mut self, kind: usize) -> Option<usize> {
        let scores = &self.scores[kind].as_ref()?.of;
        if self.scorer.is_random() {
            let open: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] != UNFIT).collect();
            let most = open.len() as u64;
            return (most > 0).then(|| open[self.chance.below(most) as usize]);
        }
        let mut best: Option<usize> = None;
        for (at, score) in scores.iter().enumerate() {
            if *score != UNFIT && best.is_none_or(|best| *score > scores[best]) {
                best = Some(at);
            }
        }
        best
    }

    /// Scores anew those nodes that changed since this kind of pod came last.
    fn update(&mut self, kind: usize) {
        let (ask, nodes, scorer) = (&self.stream.kinds[kind], &self.nodes, self.scorer);
        let score = |at: usize| {
            let node: &NodeState = &nodes[at];
            if node.room.fits(ask) { scorer.score(node, ask) } else { UNFIT }
        };
        let Some(scores) = &mut self.scores[kind] else {
            let of = (0..nodes.len()).map(score).collect();
            self.scores[kind] = Some(Scores { of, seen: self.changed.len() });
            return;
        };
        let mut changed = self.changed[scores.seen..].to_vec();
        changed.sort_unstable();
        changed.dedup();
        for at in changed {
            scores.of[at] = score(at);
        }
        scores.seen = self.changed.len();
    }
}
