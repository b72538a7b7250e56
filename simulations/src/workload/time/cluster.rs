//! Whole GPUs on nodes, given to gangs.

use std::collections::BTreeSet;

/// Where a gang runs: nodes with the GPUs taken on each.
pub type Place = Vec<(usize, u32)>;

/// Nodes with what is free on them.
#[derive(Clone, Debug)]
pub struct Cluster {
    size: Vec<u32>,
    free: Vec<u32>,
    /// Nodes by what is free: the tightest fit is the first of a range.
    by_free: BTreeSet<(u32, usize)>,
    largest: u32,
    total: u32,
    left: u32,
}

impl Cluster {
    /// Nodes of these sizes, all free.
    #[must_use]
    pub fn new(size: Vec<u32>) -> Self {
        let by_free = size.iter().enumerate().map(|(node, free)| (*free, node)).collect();
        let total = size.iter().sum();
        let largest = size.iter().copied().max().unwrap_or(0);
        Self { free: size.clone(), size, by_free, largest, total, left: total }
    }

    /// All GPUs.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.total
    }

    /// GPUs that are free.
    #[must_use]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// Whether a gang fits when nothing else runs.
    #[must_use]
    pub fn could_hold(&self, gpus: u32) -> bool {
        let mut empty = Self::new(self.size.clone());
        empty.first_fit(gpus).is_some()
    }

    /// Frees everything.
    pub fn clear(&mut self) {
        self.by_free.clear();
        self.free.clone_from(&self.size);
        self.by_free.extend(self.size.iter().enumerate().map(|(node, free)| (*free, node)));
        self.left = self.total;
    }

    /// Takes a count of GPUs, wherever they are. For rules that do not look at nodes.
    pub fn count(&mut self, gpus: u32) -> bool {
        let fits = gpus <= self.left;
        if fits {
            self.left -= gpus;
        }
        fits
    }

    /// Takes the first node with room, or whole free nodes in order for what no node can hold.
    pub fn first_fit(&mut self, gpus: u32) -> Option<Place> {
        if gpus > self.left {
            return None;
        }
        let place = if gpus <= self.largest {
            vec![(self.free.iter().position(|free| *free >= gpus)?, gpus)]
        } else {
            self.whole_nodes(gpus)?
        };
        self.take(&place);
        Some(place)
    }

    /// Takes `wanted` if it is free, or else the best fit.
    pub fn keep_or_best_fit(&mut self, gpus: u32, wanted: &Place) -> Option<Place> {
        let kept =
            !wanted.is_empty() && wanted.iter().all(|(node, count)| self.free[*node] >= *count);
        if !kept {
            return self.best_fit(gpus);
        }
        self.take(wanted);
        Some(wanted.clone())
    }

    /// Takes the tightest node, or else whole free nodes.
    pub fn best_fit(&mut self, gpus: u32) -> Option<Place> {
        if gpus > self.left {
            return None;
        }
        let place = if gpus <= self.largest {
            vec![(self.by_free.range((gpus, 0)..).next()?.1, gpus)]
        } else {
            self.whole_nodes(gpus)?
        };
        self.take(&place);
        Some(place)
    }

    /// Free nodes, the largest first, until the rest fits on one node that has room.
    fn whole_nodes(&self, gpus: u32) -> Option<Place> {
        let mut empty: Vec<usize> =
            (0..self.size.len()).filter(|node| self.free[*node] == self.size[*node]).collect();
        empty.sort_by_key(|node| std::cmp::Reverse(self.size[*node]));
        let mut place = Place::new();
        let mut rest = gpus;
        for node in empty {
            if rest < self.size[node] || rest == 0 {
                break;
            }
            place.push((node, self.size[node]));
            rest -= self.size[node];
        }
        if rest > 0 {
            let taken = |node: usize| place.iter().any(|(used, _)| *used == node);
            let mut rooms = self.by_free.range((rest, 0)..);
            place.push((rooms.find(|(_, node)| !taken(*node))?.1, rest));
        }
        Some(place)
    }

    /// Takes what is known to be free.
    pub fn take(&mut self, place: &Place) {
        for (node, count) in place {
            self.set(*node, self.free[*node] - count);
            self.left -= count;
        }
    }

    /// Gives back.
    pub fn release(&mut self, place: &Place) {
        for (node, count) in place {
            self.set(*node, self.free[*node] + count);
            self.left += count;
        }
    }

    fn set(&mut self, node: usize, free: u32) {
        self.by_free.remove(&(self.free[node], node));
        self.free[node] = free;
        self.by_free.insert((free, node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gang_has_one_node_or_whole_ones() {
        let mut cluster = Cluster::new(vec![8, 8, 8]);
        assert_eq!(cluster.first_fit(3), Some(vec![(0, 3)]));
        assert_eq!(cluster.first_fit(6), Some(vec![(1, 6)]));
        assert_eq!(cluster.first_fit(16), None);
        assert_eq!(cluster.first_fit(12), Some(vec![(2, 8), (0, 4)]));
        assert_eq!(cluster.left(), 3);
    }

    #[test]
    fn a_gang_stays_where_it_was_or_fits_tightly() {
        let mut cluster = Cluster::new(vec![8, 8, 4]);
        assert_eq!(cluster.keep_or_best_fit(2, &vec![(1, 2)]), Some(vec![(1, 2)]));
        assert_eq!(cluster.keep_or_best_fit(2, &vec![]), Some(vec![(2, 2)]));
        assert!(!cluster.could_hold(21) && cluster.could_hold(20));
    }
}
