//! The recipe: everything in a submit that may decide the output.

use super::canonical;
use domain::{
    Digest,
    framework::Framework,
    isolation::{Isolation, Network},
    job::{Captured, JobSpec, Outputs},
};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;
use std::collections::BTreeMap;

/// What a recipe holds, in the order of the names, so that its JSON is canonical as it is written:
/// each submit is digested by it, and building a tree first costs more than all the rest.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Recipe<'a> {
    code: Option<Digest>,
    command: &'a [String],
    datasets: Sorted<'a, Captured>,
    element: Option<u32>,
    env: Sorted<'a, String>,
    // Said only where it was asked, as is all that may be absent: the recipe of a job that asks
    // for nothing stays what it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    framework: Option<&'static str>,
    gpu_model: Option<&'a str>,
    gpus_per_task: u32,
    hyperparameters: Sorted<'a, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    isolation: Option<&'static str>,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<&'static str>,
    outputs: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank_order: Option<&'static str>,
    // A string, since a seed may be beyond what every JSON reader keeps.
    seed: String,
    tasks: u32,
}

/// How ranks are laid out: ascending over the gang's nodes, and on each node over its GPUs by the
/// driver's index; the first node holds rank 0. A part of every gang's recipe, since sums over
/// ranks have one order only while ranks have one order.
const RANK_ORDER: &str = "node-major/v1";

impl<'a> Recipe<'a> {
    fn of(spec: &'a JobSpec, element: Option<u32>) -> Self {
        let asked = &spec.confinement;
        let isolated = asked.isolation != Isolation::None;
        Self {
            code: spec.code.as_ref().map(|code| code.tree),
            command: &spec.command,
            datasets: Sorted(&spec.datasets),
            element,
            env: Sorted(&spec.env),
            framework: spec.framework.map(Framework::word),
            gpu_model: spec.resources.gpu_model.as_deref(),
            gpus_per_task: spec.resources.gpus,
            hyperparameters: Sorted(&spec.hyperparameters),
            // Where it was had is not what it is.
            image: spec
                .image
                .as_ref()
                .filter(|_| isolated)
                .map(|image| format!("sha256:{}", image.digest())),
            isolation: isolated.then(|| asked.isolation.word()),
            kind: "assay-recipe/v1",
            network: asked.network.map(|network| match network {
                Network::None => "none",
                Network::Host => "host",
            }),
            outputs: match spec.outputs {
                Outputs::Required => "required",
                Outputs::None => "none",
            },
            rank_order: (spec.tasks > 1).then_some(RANK_ORDER),
            seed: spec.seed.to_string(),
            tasks: spec.tasks,
        }
    }
}

/// A map that is written in the canonical order, which is that of UTF-16.
struct Sorted<'a, T>(&'a BTreeMap<String, T>);

/// What a recipe says of a member of a map.
trait Told {
    type As: Serialize;
    fn told(&self) -> &Self::As;
}

impl Told for String {
    type As = Self;
    fn told(&self) -> &Self {
        self
    }
}

impl Told for Captured {
    type As = Digest;
    fn told(&self) -> &Digest {
        &self.tree
    }
}

impl<T: Told> Serialize for Sorted<'_, T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut map = out.serialize_map(Some(self.0.len()))?;
        if self.0.keys().all(|name| name.is_ascii()) {
            for (name, value) in self.0 {
                map.serialize_entry(name, value.told())?;
            }
        } else {
            let mut sorted: Vec<_> = self.0.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            for (name, value) in sorted {
                map.serialize_entry(name, value.told())?;
            }
        }
        map.end()
    }
}

/// The recipe of a job as a JSON object.
#[must_use]
pub fn recipe_value(spec: &JobSpec, element: Option<u32>) -> Value {
    serde_json::to_value(Recipe::of(spec, element)).expect(HOLDS)
}

/// What a recipe consists of is always JSON.
const HOLDS: &str = "a recipe holds strings and 32-bit integers only";

/// The canonical text of a job's recipe.
#[must_use]
pub fn recipe_json(spec: &JobSpec) -> String {
    text(spec, None)
}

fn text(spec: &JobSpec, element: Option<u32>) -> String {
    let text = serde_json::to_string(&Recipe::of(spec, element)).expect(HOLDS);
    debug_assert_eq!(
        Ok(&text),
        canonical::to_string(&recipe_value(spec, element)).as_ref(),
        "the fields are in the order of their names"
    );
    text
}

/// Digest of a job's recipe: SHA-256 of [`recipe_json`].
#[must_use]
pub fn recipe(spec: &JobSpec) -> Digest {
    Digest::of(recipe_json(spec).as_bytes())
}

/// Digest of the recipe of one element of an array.
#[must_use]
pub fn recipe_of_element(spec: &JobSpec, index: Option<u32>) -> Digest {
    Digest::of(text(spec, index).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_basic_plane_are_in_the_order_of_utf_16() {
        let names = ["\u{1f600}", "\u{ff5e}", "a"];
        let map: BTreeMap<_, _> = names.map(|name| (name.to_owned(), String::new())).into();
        let text = serde_json::to_string(&Sorted(&map)).unwrap();
        assert_eq!(text, "{\"a\":\"\",\"\u{1f600}\":\"\",\"\u{ff5e}\":\"\"}");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(canonical::to_string(&value), Ok(text));
    }
}
