//! Windows of many features in files: counted once, of a bounded size, ready to be sent.

use super::{
    not_a_window,
    samples::{Samples, load_as, samples},
};
use crate::fault::{Fault, Kind};
use domain::drift::PARTS;
use proto::v1;
use registry::drift::{Sketched, WindowFault, bound, check_set};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use std::{collections::BTreeMap, fmt, path::PathBuf};

/// A value of a file's object: samples of a feature, or features of a part.
enum Entry {
    Samples(Samples),
    Features(BTreeMap<String, Samples>),
}

/// A file.
struct Windows(BTreeMap<String, Entry>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of samples, or an object of such arrays")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Entry, A::Error> {
                samples(items).map(Entry::Samples)
            }

            fn visit_map<A: MapAccess<'de>>(self, items: A) -> Result<Entry, A::Error> {
                unique(items).map(Entry::Features)
            }
        }
        input.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Windows {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Windows;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object: arrays of samples by feature")
            }

            fn visit_map<A: MapAccess<'de>>(self, items: A) -> Result<Windows, A::Error> {
                unique(items).map(Windows)
            }
        }
        input.deserialize_any(Object)
    }
}

/// An object's members, none of which stands twice.
fn unique<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    mut items: A,
) -> Result<BTreeMap<String, T>, A::Error> {
    let mut all = BTreeMap::new();
    while let Some((name, value)) = items.next_entry::<String, T>()? {
        if all.insert(name.clone(), value).is_some() {
            return Err(de::Error::custom(format!("feature `{name}` stands twice")));
        }
    }
    Ok(all)
}

fn sketched(samples: Samples) -> Result<Sketched, WindowFault> {
    match samples {
        Samples::Numbers(numbers) => Sketched::of_numbers(&numbers),
        Samples::Names(names) => Sketched::of_names(&names),
    }
}

/// Features by the name that a monitor gives them; what says not what it is of is an input.
fn named(file: Windows) -> BTreeMap<String, Samples> {
    let mut all = BTreeMap::new();
    for (name, entry) in file.0 {
        match entry {
            Entry::Samples(samples) => {
                let part = name.split_once('/').map(|(part, _)| part);
                let full = part.is_some_and(|part| PARTS.contains(&part));
                all.insert(if full { name } else { format!("inputs/{name}") }, samples);
            }
            Entry::Features(features) => {
                let of = |(feature, samples)| (format!("{name}/{feature}"), samples);
                all.extend(features.into_iter().map(of));
            }
        }
    }
    all
}

/// Reads the windows of several files, which add up.
///
/// # Errors
/// When a file cannot be read, or holds no windows.
pub fn load(files: &[PathBuf]) -> Result<BTreeMap<String, Sketched>, Fault> {
    let mut all: BTreeMap<String, Sketched> = BTreeMap::new();
    for file in files {
        for (feature, samples) in named(load_as(file)?) {
            let place = || format!("{}: feature `{feature}`", file.display());
            let window = sketched(samples).map_err(|fault| not_a_window(&fault, &place()))?;
            let alike = match all.get_mut(&feature) {
                None => all.insert(feature.clone(), window).is_none(),
                Some(sum) => sum.merge(&window),
            };
            if !alike {
                let why = format!("{}: numbers in one file, names in another", place());
                return Err(Fault::new(Kind::Refused, "kinds_differ", why));
            }
        }
    }
    bound(&mut all);
    check_set(&all).map_err(|fault| Fault::new(Kind::Refused, "windows", fault.to_string()))?;
    Ok(all)
}

/// As they are sent.
#[must_use]
pub fn wire(windows: BTreeMap<String, Sketched>) -> BTreeMap<String, v1::DriftWindow> {
    let one = |(feature, window): (String, Sketched)| {
        let mut wire = v1::DriftWindow::default();
        match window {
            Sketched::Names(names) => wire.names = names,
            Sketched::Numbers(sketch) => {
                let (shift, buckets) = sketch.parts();
                let (keys, counts) = buckets.iter().map(|(key, count)| (*key, *count)).unzip();
                wire.sketch = Some(v1::DriftSketch { shift, keys, counts });
            }
        }
        (feature, wire)
    };
    windows.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        named(serde_json::from_str(text).unwrap()).into_keys().collect()
    }

    #[test]
    fn what_says_not_what_it_is_of_is_an_input() {
        assert_eq!(names(r#"{"age": [1], "a/b": ["x"]}"#), ["inputs/a/b", "inputs/age"]);
        assert_eq!(names(r#"{"quality/accuracy": [1]}"#), ["quality/accuracy"]);
        let grouped = r#"{"inputs": {"age": [1]}, "outputs": {"label": ["a"]}}"#;
        assert_eq!(names(grouped), ["inputs/age", "outputs/label"]);
    }

    #[test]
    fn what_holds_no_windows_is_refused() {
        for (text, wanted) in [
            ("[1, 2]", "an object: arrays of samples by feature"),
            (r#"{"a": 7}"#, "an array of samples, or an object"),
            (r#"{"a": [1], "a": [2]}"#, "feature `a` stands twice"),
        ] {
            let fault = serde_json::from_str::<Windows>(text).err().unwrap().to_string();
            assert!(fault.contains(wanted), "{text}: {fault}");
        }
    }

    #[test]
    fn files_add_up_to_one_window() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let all = load(&[file("a", r#"{"x": [1, 2]}"#), file("b", r#"{"x": [2, 3]}"#)]).unwrap();
        let whole = load(&[file("c", r#"{"inputs": {"x": [3, 2, 1, 2]}}"#)]).unwrap();
        assert_eq!(all, whole);
        let differ = load(&[file("a", r#"{"x": [1]}"#), file("b", r#"{"x": ["a"]}"#)]);
        assert_eq!(differ.unwrap_err().reason, "kinds_differ");
        assert_eq!(load(&[file("d", r#"{"x": [NaN]}"#)]).unwrap_err().reason, "not_finite");
        assert_eq!(load(&[file("e", r#"{"x": []}"#)]).unwrap_err().reason, "empty_window");
        assert_eq!(load(&[file("f", "{}")]).unwrap_err().reason, "windows");
    }
}
