//! Windows, scores and data sets as they come over the wire.

use super::{super::error, Context, invalid, read};
use domain::{Decimal, dataset::DatasetRef, drift::FeatureFinding, limit};
use proto::v1;
use registry::{
    drift::{Sketch, Sketched, bound, check_set},
    ledger::dataset,
};
use std::{collections::BTreeMap, fmt, str::FromStr};
use tonic::Status;

/// Windows that say something, but not what is needed.
pub fn refused(fault: impl fmt::Display) -> Status {
    error::status("refused", fault.to_string(), "correct the windows", false)
}

/// A word, where one is given.
pub fn word<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<Option<T>, Status> {
    match text.is_empty() {
        true => Ok(None),
        false => text.parse().map(Some).map_err(invalid),
    }
}

fn window(asked: v1::DriftWindow) -> Result<Sketched, String> {
    let given = [!asked.numbers.is_empty(), !asked.names.is_empty(), asked.sketch.is_some()];
    match given.into_iter().filter(|it| *it).count() {
        0 => return Err("the window is empty; send at least one sample".into()),
        1 => {}
        _ => return Err("a window has numbers, or names, or a sketch, and not two of them".into()),
    }
    if let Some(sketch) = asked.sketch {
        if sketch.keys.len() != sketch.counts.len() {
            let (keys, counts) = (sketch.keys.len(), sketch.counts.len());
            return Err(format!("the sketch has {keys} keys and {counts} counts"));
        }
        let buckets = sketch.keys.into_iter().zip(sketch.counts);
        let sketch = Sketch::of_parts(sketch.shift, buckets).map_err(|fault| fault.to_string())?;
        return Ok(Sketched::Numbers(sketch));
    }
    match asked.names.is_empty() {
        true => Sketched::of_numbers(&asked.numbers).map_err(|fault| fault.to_string()),
        false => Ok(Sketched::Names(asked.names)),
    }
}

/// Windows by feature, each within its bounds.
///
/// # Errors
/// The first that is no window, or when they are too many or too large.
pub fn windows(
    asked: BTreeMap<String, v1::DriftWindow>,
) -> Result<BTreeMap<String, Sketched>, Status> {
    if asked.len() > limit::FEATURES_MAX {
        let (count, most) = (asked.len(), limit::FEATURES_MAX);
        return Err(refused(format!("{count} features, {most} are the most")));
    }
    let mut all = BTreeMap::new();
    for (feature, asked) in asked {
        let window =
            window(asked).map_err(|fault| refused(format!("feature `{feature}`: {fault}")))?;
        all.insert(feature, window);
    }
    bound(&mut all);
    check_set(&all).map_err(refused)?;
    Ok(all)
}

/// Data sets by the job's name for each.
///
/// # Errors
/// When a word names no version.
pub async fn data(
    context: &Context,
    asked: BTreeMap<String, String>,
) -> Result<BTreeMap<String, DatasetRef>, Status> {
    let mut all = BTreeMap::new();
    for (name, word) in asked {
        let of = word.clone();
        let found = match word.parse() {
            Ok(dataset) => Some(dataset),
            Err(_) => read(context, move |_, rows| dataset::resolve(rows, &of)).await?,
        };
        let absent = || super::absent(&format!("data set `{word}`"), "dataset list");
        all.insert(name, found.ok_or_else(absent)?);
    }
    Ok(all)
}

/// What another system has found.
///
/// # Errors
/// When a score is no decimal number.
pub fn claimed(features: BTreeMap<String, v1::DriftScores>) -> Result<Vec<FeatureFinding>, Status> {
    let finding = |(feature, scores): (String, v1::DriftScores)| {
        let score = |(name, text): (String, String)| {
            let value: Decimal = text
                .parse()
                .map_err(|fault| invalid(format!("score `{name}` of `{feature}`: {fault}")))?;
            Ok((name, value))
        };
        let scores: Result<_, Status> = scores.scores.into_iter().map(score).collect();
        let scores = scores?;
        Ok(FeatureFinding { feature, drifted: true, samples: 0, effects: Vec::new(), scores })
    };
    features.into_iter().map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(window: v1::DriftWindow) -> Result<BTreeMap<String, Sketched>, String> {
        let all = windows([("inputs/age".to_owned(), window)].into());
        all.map_err(|status| status.message().to_owned())
    }

    fn numbers(numbers: &[f64]) -> v1::DriftWindow {
        v1::DriftWindow { numbers: numbers.to_vec(), ..Default::default() }
    }

    #[test]
    fn samples_and_their_sketch_are_one_window() {
        let samples = one(numbers(&[1.0, 2.0, 2.0])).unwrap();
        let Sketched::Numbers(sketch) = &samples["inputs/age"] else { panic!("numbers") };
        let (shift, buckets) = sketch.parts();
        let (keys, counts) = buckets.iter().map(|(key, count)| (*key, *count)).unzip();
        let sketch = Some(v1::DriftSketch { shift, keys, counts });
        assert_eq!(one(v1::DriftWindow { sketch, ..Default::default() }), Ok(samples));
    }

    #[test]
    fn what_is_no_window_is_refused_with_its_feature() {
        let mut both = numbers(&[1.0]);
        both.names.insert("a".into(), 1);
        let keys = v1::DriftSketch { shift: 0, keys: vec![1], counts: Vec::new() };
        let lame = v1::DriftWindow { sketch: Some(keys), ..Default::default() };
        for (bad, why) in [
            (numbers(&[]), "the window is empty"),
            (numbers(&[1.0, f64::NAN]), "sample 1 is NaN"),
            (numbers(&[f64::INFINITY]), "sample 0 is inf"),
            (both, "not two of them"),
            (lame, "1 keys and 0 counts"),
        ] {
            let fault = one(bad).unwrap_err();
            assert!(fault.starts_with("feature `inputs/age`: ") && fault.contains(why), "{fault}");
        }
    }
}
