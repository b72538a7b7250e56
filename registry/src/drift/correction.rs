//! Correction of p-values for the number of features that were tested.

use serde::Serialize;

/// Which errors are kept rare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Correction {
    /// Benjamini & Hochberg (1995): of the features that are named, at most the share `alpha` is
    /// named wrongly, as long as they do not work against each other. For alerts.
    #[default]
    BenjaminiHochberg,
    /// Holm (1979): the chance that any feature is named wrongly is at most `alpha`, whatever
    /// they have to do with each other. For what acts by itself, such as a retrain.
    Holm,
    /// None: for one feature alone.
    None,
}

impl Correction {
    /// P-values to be compared with `alpha`, in the given order.
    #[must_use]
    pub fn adjust(self, p_values: &[f64]) -> Vec<f64> {
        let m = p_values.len() as f64;
        let mut order: Vec<usize> = (0..p_values.len()).collect();
        order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
        let mut adjusted = p_values.to_vec();
        match self {
            Self::None => {}
            Self::Holm => {
                let mut above = 0.0_f64;
                for (rank, at) in order.into_iter().enumerate() {
                    above = above.max((p_values[at] * (m - rank as f64)).min(1.0));
                    adjusted[at] = above;
                }
            }
            Self::BenjaminiHochberg => {
                let mut below = 1.0_f64;
                for (rank, at) in order.into_iter().enumerate().rev() {
                    below = below.min(p_values[at] * m / (rank as f64 + 1.0));
                    adjusted[at] = below;
                }
            }
        }
        adjusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adjusted(correction: Correction) -> Vec<f64> {
        let rounded = |p: &f64| libm::round(p * 1e6) / 1e6;
        correction.adjust(&[0.04, 0.005, 0.03, 0.01]).iter().map(rounded).collect()
    }

    #[test]
    fn corrections_give_what_their_authors_say() {
        assert_eq!(adjusted(Correction::Holm), [0.06, 0.02, 0.06, 0.03]);
        assert_eq!(adjusted(Correction::BenjaminiHochberg), [0.04, 0.02, 0.04, 0.02]);
        assert_eq!(adjusted(Correction::None), [0.04, 0.005, 0.03, 0.01]);
        assert_eq!(Correction::Holm.adjust(&[]), Vec::<f64>::new());
    }
}
