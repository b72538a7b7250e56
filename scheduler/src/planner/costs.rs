//! What it costs others where a gang is placed on a node of the cluster: GPUs that are starved or
//! sought ([`Demand`]), by what the jobs ask for that have not ended ([`crate::state::usual`]).
//!
//! GPUs that usual tasks cannot use at all, the measure of Weng et al. (ATC '23), are left to best
//! fit: decision 91 has the figures. A node's GPUs are whole, slices or shares, each of which is
//! used by one task and not parted further.

use super::{
    demand::{Demand, MODELS},
    free::{FreeNode, GpuKind, kind},
    room::{Ask, WHOLE},
};
use crate::state::{sched::Shape, view::View};
use domain::{hardware::share::shares_of, resource::TaskResources};
use std::{cmp::Reverse, collections::BTreeMap};

/// Thousandths of a GPU within which costs are equal. Source: decision 91.
const STEP: i64 = 100;
/// Kinds of tasks that are counted, the most frequent ones.
const USUAL_MAX: usize = 1_024;
/// No node has more processor time, in thousandths of a core.
const CPU_MAX: u64 = 1 << 32;

/// Costs by what is usual in one view.
pub struct Costs<'a> {
    demand: Demand,
    offers: Offers<'a>,
}

/// Kinds of GPUs that nodes which take work have, used or not.
type Offers<'a> = BTreeMap<GpuKind<'a>, Offer>;

#[derive(Clone, Copy, Default)]
struct Offer {
    /// Its place among the kinds: those beyond the last place share it.
    model: u8,
    /// Thousandths of a GPU that one of it is.
    size: u16,
    /// How many there are.
    count: u64,
    /// The most GPUs of any kind, and the most processor time, of a node that has one of it.
    node_gpus: u64,
    node_cpu: u64,
}

/// What a gang asks for, as nodes are asked for it.
pub struct Asked<'c, 'a> {
    costs: &'c Costs<'a>,
    ask: Ask,
    /// GPUs of all its tasks, and thousandths of cores.
    gpus: u64,
    cpu: u64,
}

impl<'a> Costs<'a> {
    /// By what the jobs of `view` ask for; none where one place is as good as another, since no job
    /// asks for GPUs that there are.
    #[must_use]
    pub fn new(view: &View<'a>) -> Option<Self> {
        let mut usual: Vec<(&TaskResources, u64)> = view.usual().kinds().collect();
        if usual.is_empty() {
            return None;
        }
        usual.sort_by_key(|(wanted, count)| Reverse(u64::from(wanted.gpus) * count));
        usual.truncate(USUAL_MAX);
        let offers = offers(view);
        let held = usual.into_iter().filter(|(wanted, _)| could_hold(&offers, wanted));
        let tasks: Vec<(Ask, u64)> =
            held.filter_map(|(wanted, count)| Some((ask(&offers, wanted)?, count))).collect();
        let supply = offers.values().map(|offer| (offer.model, offer.count));
        let demand = Demand::new(&tasks, supply);
        (!tasks.is_empty()).then_some(Self { demand, offers })
    }

    /// What a gang asks for; none if no GPU suits it.
    #[must_use]
    pub fn asked(&self, shape: &Shape) -> Option<Asked<'_, 'a>> {
        let (wanted, tasks) = (&shape.resources, u64::from(shape.tasks));
        let ask = ask(&self.offers, wanted)?;
        let gpus = u64::from(wanted.gpus) * tasks;
        let cpu = wanted.cpu.0.saturating_mul(tasks);
        Some(Asked { costs: self, ask, gpus, cpu })
    }
}

impl Asked<'_, '_> {
    /// Steps of cost that the gang has on a node on which it fits.
    #[must_use]
    pub fn on(&self, node: &FreeNode<'_>) -> i64 {
        let demand = &self.costs.demand;
        let (mut idle, mut taken, mut sought, mut left) = (0, 0, 0, self.gpus);
        for (kind, indices) in &node.gpus {
            let Offer { model, size, .. } =
                self.costs.offers.get(kind).copied().unwrap_or_default();
            let (free, size) = (indices.len() as u64, u64::from(size));
            let take = if self.ask.takes(model) { free.min(left) } else { 0 };
            left -= take;
            idle += free * size;
            taken += take * size;
            sought += demand.sought(model, take * size);
        }
        let before = demand.starved(node.cpu, idle);
        let after = demand.starved(node.cpu.saturating_sub(self.cpu), idle - taken);
        let thousandths = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX / 4);
        (thousandths(after) - thousandths(before) + thousandths(sought)).div_euclid(STEP)
    }
}

/// GPUs of each kind on nodes that take work.
fn offers<'a>(view: &View<'a>) -> Offers<'a> {
    let mut offers = Offers::new();
    for (_, node) in view.all_nodes().filter(|(_, node)| node.row.takes_work()) {
        let cpu = node.row.inventory.cpu.0.min(CPU_MAX);
        let all = node.serving().count() as u64;
        let mut gpus = node.serving().map(kind).peekable();
        while let Some(kind) = gpus.next() {
            // A node's GPUs are mostly alike.
            let mut run = 1;
            while gpus.next_if_eq(&kind).is_some() {
                run += 1;
            }
            let offer = offers.entry(kind).or_default();
            offer.count += run;
            offer.node_gpus = offer.node_gpus.max(all);
            offer.node_cpu = offer.node_cpu.max(cpu);
        }
    }
    for (at, (kind, offer)) in offers.iter_mut().enumerate() {
        // Below MODELS.
        offer.model = at.min(MODELS - 1) as u8;
        offer.size = size(kind);
    }
    offers
}

fn suiting<'o>(offers: &'o Offers<'_>, wanted: &TaskResources) -> impl Iterator<Item = &'o Offer> {
    let suits = |(model, memory): &GpuKind<'_>| wanted.suits(model, *memory);
    offers.iter().filter(move |(kind, _)| suits(kind)).map(|(_, offer)| offer)
}

/// Whether some node could hold a task if nothing ran, its memory aside: for what waits in vain
/// nothing is kept. Its processors may be rounded up by a sixteenth.
fn could_hold(offers: &Offers<'_>, wanted: &TaskResources) -> bool {
    let gpus = u64::from(wanted.gpus);
    let cpu = wanted.cpu.0.min(CPU_MAX * 2);
    let holds = |offer: &Offer| {
        gpus <= offer.node_gpus && cpu <= offer.node_cpu + offer.node_cpu.div_ceil(16)
    };
    suiting(offers, wanted).any(holds)
}

/// What a task asks for; none if no GPU suits it.
fn ask(offers: &Offers<'_>, wanted: &TaskResources) -> Option<Ask> {
    let cpu = wanted.cpu.0.min(CPU_MAX);
    if wanted.gpus == 0 {
        return Some(Ask { cpu, ..Ask::default() });
    }
    let (mut models, mut kinds, mut count, mut sum) = (0, 0, 0, 0);
    for offer in suiting(offers, wanted) {
        models |= 1_u64 << offer.model;
        kinds += 1;
        count += offer.count;
        sum += offer.count * u64::from(offer.size);
    }
    // What one of them is on average, which is at most a whole one.
    let share = u16::try_from(sum.checked_div(count)?).unwrap_or(WHOLE);
    let gpus = u8::try_from(wanted.gpus).unwrap_or(u8::MAX);
    let models = if kinds == offers.len() { 0 } else { models };
    Some(Ask { cpu, memory: 0, gpus, share, models })
}

/// Thousandths of a GPU that one of a kind is.
fn size((model, _): &GpuKind<'_>) -> u16 {
    // Compute slices of a whole one. Source: NVIDIA's MIG user guide, tables of profiles of the
    // A30, A100, H100, H200 and B200; slices of others are taken for as small.
    let slices = if model.contains("A30") { 4 } else { 7 };
    let sliced = || {
        let profile = model.rsplit_once("MIG ")?.1;
        let part: u32 = profile.split_once('g')?.0.parse().ok()?;
        (1..=slices).contains(&part).then_some((part, slices))
    };
    let (part, of) = sliced().unwrap_or((1, shares_of(model)));
    u16::try_from(u32::from(WHOLE) * part / of.max(1)).unwrap_or(WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Bytes;

    #[test]
    fn slices_and_shares_are_parts_of_a_gpu() {
        let cases = [
            ("NVIDIA H100 80GB HBM3", 1_000),
            ("NVIDIA L40S (1/4)", 250),
            ("NVIDIA A100 MIG 1g.5gb", 142),
            ("NVIDIA A100 MIG 3g.20gb", 428),
            ("NVIDIA A100 MIG 7g.40gb", 1_000),
            ("NVIDIA A30 MIG 4g.24gb", 1_000),
            ("MIG 9g", 1_000),
            ("MIG", 1_000),
        ];
        for (model, thousandths) in cases {
            assert_eq!(size(&(model, Bytes(1))), thousandths, "{model}");
        }
    }
}
