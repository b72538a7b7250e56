//! Whose turn it is to stand for election when a leader is silent.

use domain::limit::ELECTION_TICKS;

/// Turns that fit between the least and the longest election time.
const TURNS: usize = 3;
/// Ticks from one turn to the next: one is drawn, two are left for the votes of the turn before.
const TURN_TICKS: usize = ELECTION_TICKS.div_ceil(TURNS);
/// Ticks of a turn of which one is drawn.
const DRAWN: u64 = TURN_TICKS as u64 - 1;

/// Ticks without a leader after which `id` stands for election.
///
/// Voters, without the `leader` that they wait for (0 where none is known), take turns by their
/// ids, so that two hardly ever split the vote: a split costs a whole election time more. From the
/// fourth on they share turns, and chance parts them, as it does in Raft (section 5.2 of the paper).
pub(super) fn timeout(
    id: u64,
    leader: u64,
    voters: impl IntoIterator<Item = u64>,
    draw: u64,
) -> usize {
    let before = voters.into_iter().filter(|voter| *voter != leader && *voter < id).count();
    ELECTION_TICKS + before % TURNS * TURN_TICKS + (draw % DRAWN) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Up to three that wait never stand within the same tick or the next.
        #[test]
        fn those_who_wait_for_a_leader_stand_one_after_another(
            voters in prop::collection::btree_set(1..20_u64, 2..=4),
            of in any::<prop::sample::Index>(),
            draws in prop::array::uniform4(any::<u64>()),
        ) {
            let leader = *voters.iter().nth(of.index(voters.len())).unwrap();
            let waiting = voters.iter().filter(|voter| **voter != leader);
            let mut times: Vec<_> = waiting
                .zip(draws)
                .map(|(id, draw)| timeout(*id, leader, voters.iter().copied(), draw))
                .collect();
            times.sort_unstable();
            prop_assert!(times.is_sorted_by(|one, next| one + 1 < *next), "{times:?}");
        }

        /// What raft-rs accepts: at least the least, less than twice that.
        #[test]
        fn a_turn_is_within_the_bounds_of_election_times(
            id in 1..20_u64,
            leader in 0..20_u64,
            voters in prop::collection::btree_set(1..20_u64, 0..10),
            draw: u64,
        ) {
            let ticks = timeout(id, leader, voters, draw);
            prop_assert!((ELECTION_TICKS..2 * ELECTION_TICKS).contains(&ticks), "{ticks}");
        }
    }
}
