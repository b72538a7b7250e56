//! The recipe: everything in a submit that may decide the output.

use super::canonical;
use domain::{
    Digest,
    isolation::{Isolation, Network},
    job::{JobSpec, Outputs},
};
use serde_json::{Map, Value, json};

/// The recipe of a job as a JSON object.
#[must_use]
pub fn recipe_value(spec: &JobSpec, element: Option<u32>) -> Value {
    let datasets: Map<String, Value> = spec
        .datasets
        .iter()
        .map(|(name, set)| (name.clone(), set.tree.to_string().into()))
        .collect();
    let strings = |map: &std::collections::BTreeMap<String, String>| -> Map<String, Value> {
        map.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect()
    };
    let mut value = json!({
        "code": spec.code.as_ref().map(|code| code.tree.to_string()),
        "command": spec.command,
        "datasets": datasets,
        "element": element,
        "env": strings(&spec.env),
        "gpuModel": spec.resources.gpu_model,
        "gpusPerTask": spec.resources.gpus,
        "hyperparameters": strings(&spec.hyperparameters),
        "kind": "assay-recipe/v1",
        "outputs": match spec.outputs { Outputs::Required => "required", Outputs::None => "none" },
        // A string, since a seed may be beyond what every JSON reader keeps.
        "seed": spec.seed.to_string(),
        "tasks": spec.tasks,
    });
    // Said only where it was asked: what a job reaches may decide what it makes, and the recipe of
    // a job that asks for nothing stays what it was.
    let asked = &spec.confinement;
    match (asked.isolation, &spec.image) {
        (Isolation::None, _) => {}
        (isolation, None) => value["isolation"] = isolation.word().into(),
        // Where it was had is not what it is.
        (isolation, Some(image)) => {
            value["isolation"] = isolation.word().into();
            value["image"] = format!("sha256:{}", image.digest()).into();
        }
    }
    if let Some(network) = asked.network {
        let word = match network {
            Network::None => "none",
            Network::Host => "host",
        };
        value["network"] = word.into();
    }
    if let Some(framework) = spec.framework {
        value["framework"] = framework.word().into();
    }
    if spec.tasks > 1 {
        // Sums over ranks have one order only while ranks have one order.
        value["rankOrder"] = RANK_ORDER.into();
    }
    value
}

/// How ranks are laid out: ascending over the gang's nodes, and on each node over its GPUs by the
/// driver's index; the first node holds rank 0. A part of every gang's recipe.
const RANK_ORDER: &str = "node-major/v1";

/// The canonical text of a job's recipe.
#[must_use]
pub fn recipe_json(spec: &JobSpec) -> String {
    text(&recipe_value(spec, None))
}

fn text(value: &Value) -> String {
    canonical::to_string(value).expect("a recipe holds strings and 32-bit integers only")
}

/// Digest of a job's recipe: SHA-256 of [`recipe_json`].
#[must_use]
pub fn recipe(spec: &JobSpec) -> Digest {
    Digest::of(recipe_json(spec).as_bytes())
}

/// Digest of the recipe of one element of an array.
#[must_use]
pub fn recipe_of_element(spec: &JobSpec, index: Option<u32>) -> Digest {
    Digest::of(text(&recipe_value(spec, index)).as_bytes())
}
