//! Checkpoints: written whole under another name, then renamed into place.

use crate::{math::Random, model::State};
use std::{fs::File, io::Write, path::Path};

const FILE: &str = "state.bin";
const MARK: &[u8; 8] = b"DIGITS01";

/// Saves `step-N` in `folder`.
pub fn save(folder: &Path, state: &State) -> Result<(), String> {
    let temporary = folder.join(format!(".tmp-step-{}", state.step));
    let name = folder.join(format!("step-{}", state.step));
    let write = || -> std::io::Result<()> {
        if name.exists() {
            return Ok(());
        }
        let _ = std::fs::remove_dir_all(&temporary);
        std::fs::create_dir_all(&temporary)?;
        let mut file = File::create(temporary.join(FILE))?;
        file.write_all(&encode(state))?;
        file.sync_all()?;
        File::open(&temporary)?.sync_all()?;
        std::fs::rename(&temporary, &name)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|why| format!("cannot save {}: {why}", name.display()))
}

fn encode(state: &State) -> Vec<u8> {
    let mut bytes = MARK.to_vec();
    for number in [state.step, state.random.0, state.hidden as u64, state.order.len() as u64] {
        bytes.extend(number.to_le_bytes());
    }
    for value in state.weights.iter().chain(&state.velocity) {
        bytes.extend(value.to_le_bytes());
    }
    for row in &state.order {
        bytes.extend(row.to_le_bytes());
    }
    bytes
}

/// Loads what [`save`] saved.
pub fn load(folder: &Path, hidden: usize) -> Result<State, String> {
    let path = folder.join(FILE);
    let bytes =
        std::fs::read(&path).map_err(|why| format!("cannot read {}: {why}", path.display()))?;
    decode(&bytes, hidden).ok_or_else(|| {
        format!("{} is damaged, or of another width than --hidden {hidden}", path.display())
    })
}

fn decode(bytes: &[u8], hidden: usize) -> Option<State> {
    let rest = bytes.strip_prefix(MARK)?;
    let number =
        |at: usize| Some(u64::from_le_bytes(rest.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    let (step, random, width, rows) = (number(0)?, number(1)?, number(2)?, number(3)?);
    let size = State::size(hidden);
    let body = rest.get(32..)?;
    if width != hidden as u64 || body.len() as u64 != (size as u64 * 2 + rows) * 4 {
        return None;
    }
    let words: Vec<[u8; 4]> = body.chunks_exact(4).filter_map(|w| w.try_into().ok()).collect();
    let floats = |part: &[[u8; 4]]| part.iter().map(|w| f32::from_le_bytes(*w)).collect();
    Some(State {
        step,
        random: Random(random),
        hidden,
        weights: floats(&words[..size]),
        velocity: floats(&words[size..2 * size]),
        order: words[2 * size..].iter().map(|w| u32::from_le_bytes(*w)).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_and_a_torn_one_does_not() {
        let mut state = State::new(3, 4);
        state.shuffle(5);
        let bytes = encode(&state);
        assert_eq!(encode(&decode(&bytes, 4).unwrap()), bytes);
        assert!(decode(&bytes[..bytes.len() - 1], 4).is_none());
        assert!(decode(&bytes, 5).is_none());
    }
}
