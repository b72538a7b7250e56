//! Keys of the ledger's rows: table bytes 0x80 to 0x9f.

use domain::{ArtifactId, Digest, ElementId};

const META: u8 = 0x80;
const ARTIFACT: u8 = 0x81;
const OF_ELEMENT: u8 = 0x82;
const OF_BUILD: u8 = 0x83;
const EVENT: u8 = 0x84;
const LINEAGE: u8 = 0x85;
const TREE: u8 = 0x86;
const NODE: u8 = 0x87;

pub fn meta() -> Vec<u8> {
    vec![META]
}

pub fn artifact(id: ArtifactId) -> Vec<u8> {
    [&[ARTIFACT], &id.0.to_be_bytes()[..]].concat()
}

/// Past all artifacts.
pub fn artifacts_end() -> Vec<u8> {
    vec![ARTIFACT + 1]
}

pub fn of_element(element: ElementId) -> Vec<u8> {
    let index = element.index.map_or(0, |index| index.saturating_add(1));
    [&[OF_ELEMENT], &element.job.0.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

pub fn of_build(build_key: Digest, id: ArtifactId) -> Vec<u8> {
    [&[OF_BUILD], &build_key.0[..], &id.0.to_be_bytes()].concat()
}

/// First and past-last key of one build key's artifacts.
pub fn builds(build_key: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[OF_BUILD], &build_key.0[..]].concat();
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

pub fn event(seq: u64) -> Vec<u8> {
    [&[EVENT], &seq.to_be_bytes()[..]].concat()
}

/// Past all events.
pub fn events_end() -> Vec<u8> {
    vec![EVENT + 1]
}

pub fn lineage(source: Digest, id: ArtifactId) -> Vec<u8> {
    [&[LINEAGE], &source.0[..], &id.0.to_be_bytes()].concat()
}

/// First and past-last key of what was made from one source.
pub fn made_from(source: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[LINEAGE], &source.0[..]].concat();
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// The right edge of the tree over the events.
pub fn tree() -> Vec<u8> {
    vec![TREE]
}

/// A full subtree of the tree over the events.
pub fn node(level: u32, index: u64) -> Vec<u8> {
    let level = u8::try_from(level).expect("a tree of 64-bit size has at most 64 levels");
    [&[NODE, level], &index.to_be_bytes()[..]].concat()
}
