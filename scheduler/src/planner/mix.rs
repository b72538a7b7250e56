//! What is usually asked for, with what of a node it cannot use.
//!
//! Weng et al., "Beware of Fragmentation" (ATC '23): of a node's idle GPUs, a task that does not
//! fit can use none, and a task that fits cannot use those that have too little free. The mean
//! over the usual tasks is what the node strands. All numbers are whole: counts of tasks times
//! thousandths of GPUs.

use super::room::{Ask, Room};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
};

/// Tasks that are alike but for their processors.
#[derive(Clone, Debug)]
struct Kind {
    gpus: u8,
    share: u16,
    models: u64,
    /// Tasks of this kind.
    count: u64,
    /// Processors asked for, growing, with the number of tasks that ask for no more.
    up_to: Vec<(u64, u64)>,
}

/// The usual tasks.
#[derive(Clone, Debug)]
pub struct Mix {
    kinds: Vec<Kind>,
    asks: Vec<(Ask, u64)>,
    total: u64,
}

impl Mix {
    /// The most frequent tasks that together are `percent` of all.
    ///
    /// Memory is no part of what makes tasks alike, as in the paper.
    #[must_use]
    pub fn of(tasks: impl IntoIterator<Item = Ask>, percent: u64) -> Self {
        let mut counts: BTreeMap<Ask, u64> = BTreeMap::new();
        for task in tasks {
            *counts.entry(Ask { memory: 0, ..task }).or_default() += 1;
        }
        let all: u64 = counts.values().sum();
        let mut asks: Vec<(Ask, u64)> = counts.into_iter().collect();
        asks.sort_by_key(|(ask, count)| Reverse((*count, ask.cpu, ask.share, ask.gpus)));
        let mut covered = 0;
        let mut kept = 0;
        while kept < asks.len() && covered * 100 < all * percent {
            covered += asks[kept].1;
            kept += 1;
        }
        asks.truncate(kept);
        Self { kinds: kinds(&asks), asks, total: covered }
    }

    /// The usual tasks with how often each was seen, the most frequent first.
    #[must_use]
    pub fn asks(&self) -> &[(Ask, u64)] {
        &self.asks
    }

    /// How many tasks it was made from.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Thousandths of idle GPUs that the usual tasks cannot use, summed over them: the mean is
    /// this divided by [`Mix::total`].
    #[must_use]
    pub fn stranded(&self, room: &Room) -> u64 {
        let idle = room.idle();
        if idle == 0 {
            return 0;
        }
        self.kinds.iter().map(|kind| kind.stranded(room, idle)).sum()
    }
}

impl Kind {
    fn stranded(&self, room: &Room, idle: u64) -> u64 {
        let ask = Ask { gpus: self.gpus, share: self.share, models: self.models, ..Ask::default() };
        if self.gpus == 0 || !room.has_gpus(&ask) {
            return idle * self.count;
        }
        let at = self.up_to.partition_point(|(cpu, _)| *cpu <= room.cpu);
        let fit = at.checked_sub(1).map_or(0, |at| self.up_to[at].1);
        let small = room.gpus().iter().filter(|free| **free < self.share);
        let lost: u64 = small.map(|free| u64::from(*free)).sum();
        idle * (self.count - fit) + lost * fit
    }
}

fn kinds(asks: &[(Ask, u64)]) -> Vec<Kind> {
    let mut kinds: BTreeMap<(u8, u16, u64), Kind> = BTreeMap::new();
    let mut by_cpu: Vec<&(Ask, u64)> = asks.iter().collect();
    by_cpu.sort_by_key(|(ask, _)| ask.cpu);
    for (ask, count) in by_cpu {
        let kind = match kinds.entry((ask.gpus, ask.share, ask.models)) {
            Entry::Occupied(kind) => kind.into_mut(),
            Entry::Vacant(place) => place.insert(Kind {
                gpus: ask.gpus,
                share: ask.share,
                models: ask.models,
                count: 0,
                up_to: Vec::new(),
            }),
        };
        kind.count += count;
        kind.up_to.push((ask.cpu, kind.count));
    }
    kinds.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(cpu: u64, gpus: u8, share: u16) -> Ask {
        Ask { cpu, memory: 7, gpus, share, models: 0 }
    }

    #[test]
    fn the_mix_is_the_most_frequent_that_cover_a_share_of_all() {
        let tasks = [vec![ask(1, 1, 500); 6], vec![ask(2, 1, 1000); 3], vec![ask(3, 0, 0)]];
        let mix = Mix::of(tasks.concat(), 90);
        assert_eq!((mix.asks().len(), mix.total()), (2, 9));
        assert_eq!(Mix::of(tasks.concat(), 91).total(), 10);
    }

    #[test]
    fn stranded_is_what_each_cannot_use() {
        let mix = Mix::of([ask(4, 1, 500), ask(9, 1, 1000), ask(1, 0, 0)], 100);
        let room = Room::empty(8, 8, 0, 2);
        // The second lacks processors, the third wants no GPU; each strands 2,000.
        assert_eq!(mix.stranded(&room), 4_000);
        let task = ask(1, 1, 600);
        let room = room.after(&task, &room.tightest(&task).unwrap());
        // The first can use one GPU but not the 400 left of the other.
        assert_eq!(mix.stranded(&room), 2 * 1_400 + 400);
    }
}
