//! Keys of the rows of drift: table bytes 0x9d to 0x9f, then a byte for the kind.

use domain::{ArtifactId, Digest, EpisodeId, JobId, model::ModelRef};

/// Monitors, and what they compare with.
const MONITOR: u8 = 0x9d;
/// What was observed, and the episodes.
const SEEN: u8 = 0x9e;
/// Ways to an episode: from its job, a trigger, an artifact.
const WAY: u8 = 0x9f;

fn of_model(table: u8, kind: u8, model: &ModelRef) -> Vec<u8> {
    // No name holds the byte zero that ends it.
    [&[table, kind], model.family.as_bytes(), &[0], &model.version.to_be_bytes()].concat()
}

fn numbered(table: u8, kind: u8, number: u64) -> Vec<u8> {
    [&[table, kind], &number.to_be_bytes()[..]].concat()
}

pub fn monitor(model: &ModelRef) -> Vec<u8> {
    of_model(MONITOR, 0, model)
}

/// First and past-last key of the monitors after one; of all without.
pub fn monitors_after(model: Option<&ModelRef>) -> (Vec<u8>, Vec<u8>) {
    let from = model.map_or_else(|| vec![MONITOR, 0], |it| [monitor(it), vec![0]].concat());
    (from, vec![MONITOR, 1])
}

pub fn reference(model: &ModelRef) -> Vec<u8> {
    of_model(MONITOR, 1, model)
}

/// Number of monitors.
pub fn monitors() -> Vec<u8> {
    vec![MONITOR, 2]
}

pub fn observation(model: &ModelRef, number: u64) -> Vec<u8> {
    [of_model(SEEN, 0, model), number.to_be_bytes().to_vec()].concat()
}

pub fn episode(id: EpisodeId) -> Vec<u8> {
    numbered(SEEN, 1, id.0)
}

/// Number of episodes so far.
pub fn episodes() -> Vec<u8> {
    vec![SEEN, 2]
}

/// The episode that a job retrains for.
pub fn of_job(job: JobId) -> Vec<u8> {
    numbered(WAY, 0, job.0)
}

/// What a trigger has done.
pub fn trigger(model: &ModelRef, trigger: Digest) -> Vec<u8> {
    [of_model(WAY, 1, model), trigger.0.to_vec()].concat()
}

/// A monitor's trigger by its number.
pub fn trigger_number(model: &ModelRef, number: u64) -> Vec<u8> {
    [of_model(WAY, 2, model), number.to_be_bytes().to_vec()].concat()
}

/// The episode that an artifact was made for.
pub fn of_artifact(artifact: ArtifactId) -> Vec<u8> {
    numbered(WAY, 3, artifact.0)
}

/// The newest episode of a version whose retrain was sealed.
pub fn compared(model: &ModelRef) -> Vec<u8> {
    of_model(WAY, 4, model)
}
