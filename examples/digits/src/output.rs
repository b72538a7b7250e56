//! The result: weights as safetensors, and what they are worth.

use crate::model::State;
use std::path::Path;

/// Writes `model.safetensors`, `config.json` and `metrics.json`.
pub fn write(folder: &Path, state: &State, right: usize, of: usize) -> Result<(), String> {
    let files = [
        ("model.safetensors", safetensors(state)),
        (
            "config.json",
            format!("{{\"classes\":10,\"hidden\":{},\"inputs\":64}}\n", state.hidden).into_bytes(),
        ),
        (
            "metrics.json",
            format!("{{\"held_out\":{of},\"right\":{right},\"steps\":{}}}\n", state.step)
                .into_bytes(),
        ),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::write(&path, bytes)
            .map_err(|why| format!("cannot write {}: {why}", path.display()))?;
    }
    Ok(())
}

/// The format of <https://huggingface.co/docs/safetensors>: header length, JSON header, tensors.
fn safetensors(state: &State) -> Vec<u8> {
    let hidden = state.hidden;
    let shapes = [
        ("b1", vec![hidden], 64 * hidden, hidden),
        ("b2", vec![10], 75 * hidden, 10),
        ("w1", vec![hidden, 64], 0, 64 * hidden),
        ("w2", vec![10, hidden], 65 * hidden, 10 * hidden),
    ];
    let mut header = String::from("{\"__metadata__\":{\"format\":\"pt\"}");
    let mut body = Vec::new();
    for (name, shape, start, len) in shapes {
        let from = body.len();
        for value in &state.weights[start..start + len] {
            body.extend(value.to_le_bytes());
        }
        let to = body.len();
        header.push_str(&format!(
            ",\"{name}\":{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{from},{to}]}}"
        ));
    }
    header.push('}');
    while header.len() % 8 != 0 {
        header.push(' ');
    }
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.into_bytes());
    bytes.extend(body);
    bytes
}
