//! The order of free nodes finds what a look at all of them finds.

use super::{
    fit::place_outside,
    free::{FreeNode, GpuKind},
    stock::Stock,
};
use crate::state::sched::Shape;
use domain::{
    Bytes, CpuMillis, NodeId,
    isolation::{Confinement, NodeIsolation},
    resource::TaskResources,
    topology::{NodeTopology, Topology},
};
use proptest::prelude::*;
use std::{collections::BTreeSet, sync::LazyLock};

static OPEN: LazyLock<NodeIsolation> = LazyLock::new(NodeIsolation::default);
static NOWHERE: LazyLock<NodeTopology> = LazyLock::new(NodeTopology::default);
const CLASSES: [&str; 2] = ["class-a", "class-b"];
const KINDS: [GpuKind<'static>; 2] =
    [("NVIDIA A100", Bytes(40 << 30)), ("NVIDIA H100", Bytes(80 << 30))];

/// Class, GPUs of each model, cores, leases.
type Drawn = (usize, u32, u32, u64, usize);

fn free((class, a100, h100, cores, leases): Drawn, id: usize) -> FreeNode<'static> {
    let indices = |from: u32, count: u32| (from..from + count).collect::<Vec<_>>();
    let gpus = [(KINDS[0], indices(0, a100)), (KINDS[1], indices(a100, h100))];
    FreeNode {
        id: NodeId(id as u32 + 1),
        class: CLASSES[class],
        gpus: gpus.into_iter().filter(|(_, gpus)| !gpus.is_empty()).collect(),
        cpu: cores * 1_000,
        memory: 1 << 40,
        leases,
        isolation: &OPEN,
        topology: &NOWHERE,
    }
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let model = prop_oneof![3 => Just(None), 1 => Just(Some("h100".to_owned()))];
    let least = prop_oneof![3 => Just(None), 1 => Just(Some(Bytes(64 << 30)))];
    let class = prop_oneof![3 => Just(None), 1 => Just(Some(CLASSES[1].to_owned()))];
    let asked = (1..12_u32, 0..5_u32, 0..6_u64, model, least, class);
    asked.prop_map(|(tasks, gpus, cores, model, gpu_memory, class)| {
        let resources = TaskResources {
            gpus,
            gpu_model: model,
            cpu: CpuMillis(cores * 1_000),
            memory: Bytes(1 << 30),
            gpu_memory,
            gpu_share: Default::default(),
        };
        Shape {
            tasks,
            resources,
            class,
            confinement: Confinement::default(),
            topology: Topology::default(),
        }
    })
}

proptest! {
    #[test]
    fn a_gang_goes_where_a_look_at_every_node_puts_it(
        drawn in prop::collection::vec((0..2_usize, 0..5_u32, 0..5_u32, 0..20_u64, 0..3_usize), 0..12),
        wanted in prop::collection::vec(any_shape(), 1..12),
        away in prop::collection::btree_set(1..13_u32, 0..3),
        barred in prop::collection::btree_set(1..13_u32, 0..3),
        gone in 0..13_u32,
    ) {
        let free = |(at, drawn)| free(drawn, at);
        let mut nodes: Vec<FreeNode<'_>> = drawn.into_iter().enumerate().map(free).collect();
        let mut stock = Stock::new(nodes.clone(), None);
        let away: BTreeSet<NodeId> = away.into_iter().map(NodeId).collect();
        for (turn, shape) in wanted.iter().enumerate() {
            // Every other gang avoids nothing: only then is the order made use of.
            let away = if turn % 2 == 0 { BTreeSet::new() } else { away.clone() };
            let barred = |node: NodeId| barred.contains(&node.0);
            let expected = place_outside(&mut nodes, shape, &away, barred);
            prop_assert_eq!(stock.place(shape, &away, barred), expected);
            if turn == wanted.len() / 2 {
                let out = stock.take_out(|node| node.id.0 == gone);
                if turn % 2 == 0 {
                    stock.put_back(out);
                } else {
                    nodes.retain(|node| node.id.0 != gone);
                }
            }
        }
        let sorted = |nodes: &[FreeNode<'static>]| {
            let mut nodes = nodes.to_vec();
            nodes.sort_by_key(|node| node.id);
            nodes
        };
        prop_assert_eq!(sorted(stock.nodes()), sorted(&nodes));
    }
}
