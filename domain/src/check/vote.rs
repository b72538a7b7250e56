//! Who is outvoted: two equal digests of three name the third.

use crate::digest::Digest;

/// What digests of runs that should be equal say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One more run is needed.
    Open,
    /// All are equal.
    Equal,
    /// All but the one at this place are equal.
    Outvoted(usize),
    /// All three differ.
    Undecided,
}

/// The verdict of up to three digests. Two that are equal suffice; of two that differ nobody can
/// say which one is wrong, so that a third decides.
#[must_use]
pub fn vote(digests: &[Digest]) -> Verdict {
    match digests {
        [] | [_] => Verdict::Open,
        [a, b] => {
            if a == b {
                Verdict::Equal
            } else {
                Verdict::Open
            }
        }
        [a, b, c, ..] => match (a == b, a == c, b == c) {
            (true, true, _) => Verdict::Equal,
            (true, false, _) => Verdict::Outvoted(2),
            (false, true, _) => Verdict::Outvoted(1),
            (false, false, true) => Verdict::Outvoted(0),
            (false, false, false) => Verdict::Undecided,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn digest(of: u8) -> Digest {
        Digest::of(&[of])
    }

    fn of(runs: &[u8]) -> Verdict {
        vote(&runs.iter().copied().map(digest).collect::<Vec<_>>())
    }

    #[test]
    fn two_equal_suffice_two_that_differ_need_a_third_and_three_that_differ_name_nobody() {
        assert_eq!((of(&[]), of(&[1])), (Verdict::Open, Verdict::Open));
        assert_eq!((of(&[1, 1]), of(&[1, 2])), (Verdict::Equal, Verdict::Open));
        assert_eq!((of(&[1, 2, 1]), of(&[1, 2, 2])), (Verdict::Outvoted(1), Verdict::Outvoted(0)));
        assert_eq!(of(&[1, 2, 3]), Verdict::Undecided);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn one_liar_is_named_wherever_it_sits_and_nobody_without_one(
            truth in any::<u8>(), lie in any::<u8>(), place in 0usize..4
        ) {
            prop_assume!(truth != lie);
            let honest = [truth; 3];
            prop_assert_eq!(of(&honest[..2]), Verdict::Equal);
            let mut runs = honest;
            if let Some(run) = runs.get_mut(place) {
                *run = lie;
                prop_assert_eq!(of(&runs), Verdict::Outvoted(place));
                // Before the third run, only two that agree are believed.
                let early = of(&runs[..2]);
                prop_assert_eq!(early, if place < 2 { Verdict::Open } else { Verdict::Equal });
            } else {
                prop_assert_eq!(of(&runs), Verdict::Equal);
            }
        }

        #[test]
        fn whoever_is_outvoted_differs_from_two_that_agree(runs in prop::array::uniform3(0u8..3)) {
            if let Verdict::Outvoted(at) = of(&runs) {
                let others: Vec<u8> =
                    runs.iter().enumerate().filter(|(i, _)| *i != at).map(|(_, it)| *it).collect();
                prop_assert!(others[0] == others[1] && others[0] != runs[at]);
            }
        }
    }
}
