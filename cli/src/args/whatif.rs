//! Arguments of `assay whatif`.

use crate::{
    complete,
    moment::{self, Moment},
    quantity,
};
use clap::Args;
use domain::Millis;
use std::path::PathBuf;

/// Another guarantee of a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The queue.
    pub queue: String,
    /// By so many GPUs, or to so many.
    pub gpus: Gpus,
}

/// A number of GPUs, or a change of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpus {
    /// More, or fewer.
    By(i64),
    /// So many.
    To(u64),
}

// `assay whatif`.
#[derive(Args, Debug)]
pub struct Whatif {
    /// `drain` with names of nodes or racks: as --drain
    #[arg(value_name = "drain NODE", add = complete::nodes())]
    pub words: Vec<String>,
    /// Take nodes or racks out of service; names with commas between them, may be repeated
    #[arg(long, value_name = "NODE", value_delimiter = ',', add = complete::nodes())]
    pub drain: Vec<String>,
    /// When they are taken out: now, +2h30m, 18:00 (the next, in UTC), 2026-01-31T18:00Z
    #[arg(long, value_name = "TIME", value_parser = moment::read)]
    pub at: Option<Moment>,
    /// What runs on them is to go on elsewhere, rather than finish
    #[arg(long)]
    pub migrate: bool,
    /// Guarantee a queue more GPUs (ml=+32), fewer (ml=-8) or so many (ml=64); may be repeated
    #[arg(long, value_name = "QUEUE=GPUS", value_parser = quota)]
    pub quota: Vec<Quota>,
    /// Submit this job
    #[arg(long, value_name = "FILE")]
    pub submit: Option<PathBuf>,
    /// Put this configuration into force, such as cluster.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// How far to look ahead; at most 31d
    #[arg(long, value_name = "TIME", value_parser = quantity::duration, default_value = "24h")]
    pub horizon: Millis,
}

fn quota(text: &str) -> Result<Quota, String> {
    let fault = || format!("`{text}` is no QUEUE=GPUS; give `ml=+32`, `ml=-8` or `ml=64`");
    let (queue, gpus) =
        text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(fault)?;
    let gpus = match gpus.strip_prefix(['+', '-']) {
        Some(number) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            Gpus::By(gpus.parse().map_err(|_| fault())?)
        }
        Some(_) => return Err(fault()),
        None => Gpus::To(gpus.parse().map_err(|_| fault())?),
    };
    Ok(Quota { queue: queue.to_owned(), gpus })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_changed_by_some_or_to_some() {
        let gpus = |text: &str| quota(text).map(|quota| quota.gpus);
        assert_eq!(gpus("ml=+32"), Ok(Gpus::By(32)));
        assert_eq!(gpus("ml=-8"), Ok(Gpus::By(-8)));
        assert_eq!(gpus("ml=64"), Ok(Gpus::To(64)));
        for wrong in ["ml", "=3", "ml=", "ml=+", "ml=+-3", "ml=3.5"] {
            assert!(gpus(wrong).is_err(), "{wrong}");
        }
    }
}
