//! Gangs that were chosen by their number of GPUs, put on nodes so that all of them fit.
//!
//! What runs stays where it is if all others fit around it. If not, some move: the largest gangs
//! are placed first, each where it was if that is still free. A move costs a start; GPUs left
//! idle because what is free is scattered cost as long as the jobs around them run.

use super::cluster::{Cluster, Place};

/// A gang to be placed.
#[derive(Clone, Debug)]
pub struct Gang<'a> {
    /// Its size.
    pub gpus: u32,
    /// Where it runs; empty when it does not.
    pub place: &'a Place,
}

/// Places gangs on a cluster, which is cleared first. None for those that did not fit.
pub fn pack(cluster: &mut Cluster, gangs: &[Gang<'_>]) -> Vec<Option<Place>> {
    let around = keep(cluster, gangs);
    if around.iter().all(Option::is_some) {
        return around;
    }
    let mut order: Vec<usize> = (0..gangs.len()).collect();
    // Of one size, those that run first: they may stay.
    order.sort_by_key(|at| (std::cmp::Reverse(gangs[*at].gpus), gangs[*at].place.is_empty()));
    cluster.clear();
    let mut places = vec![None; gangs.len()];
    for at in order {
        places[at] = cluster.keep_or_best_fit(gangs[at].gpus, gangs[at].place);
    }
    places
}

/// Leaves what runs where it is and puts the others around it, the largest first.
fn keep(cluster: &mut Cluster, gangs: &[Gang<'_>]) -> Vec<Option<Place>> {
    let mut order: Vec<usize> = (0..gangs.len()).collect();
    order.sort_by_key(|at| (gangs[*at].place.is_empty(), std::cmp::Reverse(gangs[*at].gpus)));
    cluster.clear();
    let mut places = vec![None; gangs.len()];
    for at in order {
        places[at] = cluster.keep_or_best_fit(gangs[at].gpus, gangs[at].place);
        if places[at].is_none() {
            return places;
        }
    }
    places
}
