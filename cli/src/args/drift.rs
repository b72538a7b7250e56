//! Arguments of `assay drift`.

use super::{debug::DriftScore, user::Live};
use crate::quantity;
use clap::{Args, Subcommand};
use domain::{
    Decimal, EpisodeId, Millis,
    drift::{CorrectionRule, Dispatch},
};
use std::path::PathBuf;

// `assay drift` with its verbs; alone it lists the monitors.
#[derive(Debug, Args)]
pub struct Words {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: Option<Drift>,
}

// `assay drift`.
#[derive(Debug, Subcommand)]
pub enum Drift {
    /// Score how far current samples are from reference samples, without a cluster
    Score(DriftScore),
    /// Watch a version of a model, or watch it no more
    Monitor(super::Noun<Monitor>),
    /// Compare a window of now with the reference; drift opens an episode
    Observe(Observe),
    /// Say on behalf of another system that a model drifts
    Alert(Alert),
    /// List monitors, each with its newest window
    List(Page),
    /// List episodes of drift, newest first, with their retrains
    Alerts(Page),
    /// Show a monitor or an episode in full
    Show {
        /// A monitor's version (digits@3, digits@prod, digits) or an episode (e7)
        what: String,
    },
    /// Start the retrain of an episode: the model's recipe with the new data
    Retrain {
        /// The episode
        episode: EpisodeId,
        /// Data to train with: NAME=DATASET, or DATASET where the job has only one
        #[arg(long, value_name = "NAME=DATASET", value_parser = data)]
        data: Vec<(String, String)>,
    },
    /// End an episode
    Close {
        /// The episode
        episode: EpisodeId,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
}

// A list.
#[derive(Args, Debug)]
pub struct Page {
    /// At most so many
    #[arg(long, default_value_t = 50)]
    pub limit: u32,
    /// Once, or again and again.
    #[command(flatten)]
    pub live: Live,
}

// `assay drift monitor`.
#[derive(Debug, Subcommand)]
pub enum Monitor {
    /// Watch a version: what it was made with, what counts as drift, and what follows
    Set(Box<SetMonitor>),
    /// Watch a version no more; an open episode ends
    Remove {
        /// digits@3, digits@prod, or digits for the newest
        model: String,
        /// Why, for others
        #[arg(long)]
        reason: String,
    },
}

// `assay drift monitor set`.
#[derive(Args, Debug)]
pub struct SetMonitor {
    /// digits@3, digits@prod, or digits for the newest
    pub model: String,
    /// What it was made with: JSON, arrays of samples by feature, or such objects under inputs,
    /// outputs and quality; several files add up. Without, others alone raise alerts
    #[arg(long, value_name = "FILE")]
    pub reference: Vec<PathBuf>,
    /// What follows an alert: off, suggest, or auto, which starts the retrain itself
    #[arg(long, default_value = "suggest")]
    pub dispatch: Dispatch,
    /// Time after a retrain within which no other is started by itself
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "1d")]
    pub cool_down: Millis,
    /// Retrains within the period that are started by themselves
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub budget: u32,
    /// The budget's period
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "30d")]
    pub period: Millis,
    /// Samples that each window must have
    #[arg(long, default_value_t = 30)]
    pub min_samples: u64,
    /// Significance, after the correction
    #[arg(long, default_value = "0.05")]
    pub alpha: Decimal,
    /// benjamini-hochberg, holm or none; holm where retrains start by themselves
    #[arg(long)]
    pub correction: Option<CorrectionRule>,
    /// Population stability index from which on it is drift
    #[arg(long, default_value = "0.1")]
    pub psi: Decimal,
    /// Jensen-Shannon distance from which on it is drift
    #[arg(long, default_value = "0.1")]
    pub jensen_shannon: Decimal,
    /// Wasserstein distance, in standard deviations of the reference, from which on it is drift
    #[arg(long, default_value = "0.1")]
    pub wasserstein: Decimal,
}

// What a window or an alert is of.
#[derive(Args, Debug)]
pub struct About {
    /// A slice of the data that it is of; all data without
    #[arg(long = "slice", value_name = "NAME")]
    pub slices: Vec<String>,
    /// Data to train with: NAME=DATASET, or DATASET where the job has only one
    #[arg(long, value_name = "NAME=DATASET", value_parser = data)]
    pub data: Vec<(String, String)>,
}

// `assay drift observe`.
#[derive(Args, Debug)]
pub struct Observe {
    /// digits@3, digits@prod, or digits for the newest
    pub model: String,
    /// The window, as the monitor's reference; several files add up
    #[arg(long, value_name = "FILE", required = true)]
    pub current: Vec<PathBuf>,
    /// What it is of.
    #[command(flatten)]
    pub about: About,
    /// A key under which it has one effect, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub trigger: Option<String>,
}

// `assay drift alert`.
#[derive(Args, Debug)]
pub struct Alert {
    /// digits@3, digits@prod, or digits for the newest
    pub model: String,
    /// A key under which it has one effect, however often it is sent
    #[arg(long, value_name = "KEY")]
    pub trigger: String,
    /// What the other system says
    #[arg(long)]
    pub reason: String,
    /// A feature that has drifted, with a score: inputs/age:psi=0.31
    #[arg(long = "feature", value_name = "NAME:SCORE=VALUE", value_parser = feature)]
    pub features: Vec<(String, Option<(String, Decimal)>)>,
    /// What it is of.
    #[command(flatten)]
    pub about: About,
}

fn data(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        None if !text.is_empty() => Ok((String::new(), text.to_owned())),
        Some((name, dataset)) if !name.is_empty() && !dataset.is_empty() => {
            Ok((name.to_owned(), dataset.to_owned()))
        }
        _ => Err("write NAME=DATASET, such as train=reviews@4".to_owned()),
    }
}

type Scored = (String, Option<(String, Decimal)>);

fn feature(text: &str) -> Result<Scored, String> {
    let Some((feature, score)) = text.split_once(':') else {
        return Ok((text.to_owned(), None));
    };
    let (name, value) =
        score.split_once('=').ok_or("write NAME:SCORE=VALUE, such as inputs/age:psi=0.31")?;
    let value: Decimal =
        value.parse().map_err(|fault: domain::decimal::DecimalError| fault.to_string())?;
    Ok((feature.to_owned(), Some((name.to_owned(), value))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_features_are_read_as_they_are_written() {
        let own = |name: &str, word: &str| Ok((name.to_owned(), word.to_owned()));
        assert_eq!(data("reviews@4"), own("", "reviews@4"));
        assert_eq!(data("train=reviews"), own("train", "reviews"));
        assert!(data("=x").is_err() && data("x=").is_err() && data("").is_err());
        let psi = Some(("psi".to_owned(), "0.31".parse().unwrap()));
        assert_eq!(feature("inputs/age:psi=0.31"), Ok(("inputs/age".to_owned(), psi)));
        assert_eq!(feature("inputs/age"), Ok(("inputs/age".to_owned(), None)));
        assert!(feature("a:b").is_err() && feature("a:psi=NaN").is_err());
    }
}
