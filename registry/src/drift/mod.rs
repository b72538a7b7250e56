//! Drift: how far the samples of now are from those that a model was made with.
//!
//! Scores are floats of the `libm` crate, summed in a fixed order, so that every machine gets the
//! same bits. They are never computed by `apply`: what enters the log is their fixed point
//! ([`Nano`]).

mod chi_square;
mod correction;
mod ecdf;
mod fixed;
mod judge;
mod ks;
mod ks_limit;
mod rules;
mod score;
mod shares;
mod sketch;
mod sketched;
mod window;

pub use chi_square::{ChiSquare, chi_square};
pub use correction::Correction;
pub use fixed::Nano;
pub use judge::{JudgeFault, default_rules, judge, rules_of};
pub use ks::{Ks, KsMethod, ks};
pub use rules::{Rules, RulesFault};
pub use score::{
    CategoricalScore, Effect, FeatureScore, NumericScore, ScoreFault, Tested, score, verdicts,
};
pub use shares::{Shares, jensen_shannon, psi};
pub use sketch::{Sketch, SketchFault};
pub use sketched::{SetFault, Sketched, bound, check_name, check_set};
pub use window::{Categorical, Numeric, Window, WindowFault};

pub use ecdf::wasserstein;

#[cfg(test)]
mod laws;
