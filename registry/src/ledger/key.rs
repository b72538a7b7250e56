//! Keys of the ledger's rows: table bytes 0x80 to 0x9f, 0xa8 to 0xaa, and 0xb4.

use domain::{ArtifactId, Digest, ElementId, PromotionId, dataset::DatasetRef, model::ModelRef};

const META: u8 = 0x80;
pub const ARTIFACT: u8 = 0x81;
const OF_ELEMENT: u8 = 0x82;
const OF_BUILD: u8 = 0x83;
pub const EVENT: u8 = 0x84;
const LINEAGE: u8 = 0x85;
const TREE: u8 = 0x86;
const NODE: u8 = 0x87;
pub const FAMILY: u8 = 0x88;
pub const MODEL: u8 = 0x89;
const MODEL_OF: u8 = 0x8a;
const CHILD: u8 = 0x8b;
const REVOKED: u8 = 0x8c;
const OF_TREE: u8 = 0x8d;
const APPROVER: u8 = 0x8e;
const APPROVER_KEY: u8 = 0x8f;
const QUORUM: u8 = 0x90;
const PROMOTIONS: u8 = 0x91;
pub const PROMOTION: u8 = 0x92;
const OPEN: u8 = 0x93;
const OPEN_OF: u8 = 0x94;
const DATASET: u8 = 0x98;
const DATASETS: u8 = 0x99;
const DATASET_OF: u8 = 0x9a;
const LICENCE: u8 = 0x9b;
const OF_RECIPE: u8 = 0x9c;
const SIGNING_KEY: u8 = 0x95;
const SEALS_NOW: u8 = 0x96;
const SIGNING_KEYS: u8 = 0x97;
const EVALUATION: u8 = 0xb4;
const COLLECTED: u8 = 0xa8;
const COLLECTION: u8 = 0xa9;
const ARTIFACT_HOLD: u8 = 0xaa;

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

/// What an output's tree is the output of.
pub fn of_tree(tree: Digest, id: ArtifactId) -> Vec<u8> {
    [&[OF_TREE], &tree.0[..], &id.0.to_be_bytes()].concat()
}

/// First and past-last key of the artifacts with one tree.
pub fn trees(tree: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[OF_TREE], &tree.0[..]].concat();
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// That an artifact was revoked.
pub fn revoked(id: ArtifactId) -> Vec<u8> {
    [&[REVOKED], &id.0.to_be_bytes()[..]].concat()
}

/// A model family.
pub fn family(name: &str) -> Vec<u8> {
    [&[FAMILY], name.as_bytes()].concat()
}

/// The first key that a family after this name can have.
pub fn family_after(name: &str) -> Vec<u8> {
    [&family(name)[..], &[0]].concat()
}

/// Past all families.
pub fn families_end() -> Vec<u8> {
    vec![FAMILY + 1]
}

/// A name and a number within a longer key: no name holds the byte zero that ends it.
fn numbered(table: u8, name: &str, number: u64) -> Vec<u8> {
    [&[table], name.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

/// The name and the number at the end of a key that ends with them.
fn numbered_in(tail: &[u8]) -> Option<(String, u64)> {
    let (name, number) = tail.split_last_chunk::<8>()?;
    let name = std::str::from_utf8(name.strip_suffix(&[0])?).ok()?.to_owned();
    Some((name, u64::from_be_bytes(*number)))
}

fn version(table: u8, model: &ModelRef) -> Vec<u8> {
    numbered(table, &model.family, model.version)
}

/// A version of a family.
pub fn model(model: &ModelRef) -> Vec<u8> {
    version(MODEL, model)
}

/// Past all versions of a family.
pub fn models_end(family: &str) -> Vec<u8> {
    [&[MODEL], family.as_bytes(), &[1]].concat()
}

/// The version of a family that an artifact is.
pub fn model_of(id: ArtifactId, family: &str) -> Vec<u8> {
    [&[MODEL_OF], &id.0.to_be_bytes()[..], family.as_bytes()].concat()
}

/// First and past-last key of the versions that an artifact is.
pub fn models_of(id: ArtifactId) -> (Vec<u8>, Vec<u8>) {
    (model_of(id, ""), model_of(ArtifactId(id.0.saturating_add(1)), ""))
}

/// That a version was made from another.
pub fn child(parent: &ModelRef, child: &ModelRef) -> Vec<u8> {
    let tail = [child.family.as_bytes(), &[0], &child.version.to_be_bytes()].concat();
    [version(CHILD, parent), tail].concat()
}

/// First and past-last key of the versions made from one.
pub fn children(parent: &ModelRef) -> (Vec<u8>, Vec<u8>) {
    let from = version(CHILD, parent);
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// The version at the end of a key that ends with one.
pub fn version_in(tail: &[u8]) -> Option<ModelRef> {
    numbered_in(tail).map(|(family, version)| ModelRef { family, version })
}

/// An approver.
pub fn approver(name: &str) -> Vec<u8> {
    [&[APPROVER], name.as_bytes()].concat()
}

/// First and past-last key of all approvers.
pub fn approvers() -> (Vec<u8>, Vec<u8>) {
    (vec![APPROVER], vec![APPROVER + 1])
}

/// Whose key this is.
pub fn approver_key(key: &[u8; 32]) -> Vec<u8> {
    [&[APPROVER_KEY], &key[..]].concat()
}

/// How many of how many approvers have to agree.
pub fn quorum() -> Vec<u8> {
    vec![QUORUM]
}

/// Number of promotions so far.
pub fn promotions() -> Vec<u8> {
    vec![PROMOTIONS]
}

/// A promotion.
pub fn promotion(id: PromotionId) -> Vec<u8> {
    [&[PROMOTION], &id.0.to_be_bytes()[..]].concat()
}

/// A promotion that something may still happen to.
pub fn open(id: PromotionId) -> Vec<u8> {
    [&[OPEN], &id.0.to_be_bytes()[..]].concat()
}

/// First and past-last key of all open promotions.
pub fn all_open() -> (Vec<u8>, Vec<u8>) {
    (vec![OPEN], vec![OPEN + 1])
}

/// The promotion in a key of the table of open ones.
pub fn open_in(key: &[u8]) -> PromotionId {
    let tail = key.last_chunk().expect("keys of open promotions end with their id");
    PromotionId(u64::from_be_bytes(*tail))
}

/// The open promotion of a version.
pub fn open_of(model: &ModelRef) -> Vec<u8> {
    version(OPEN_OF, model)
}

/// A version of a data set.
pub fn dataset(dataset: &DatasetRef) -> Vec<u8> {
    numbered(DATASET, &dataset.name, dataset.version)
}

/// First and past-last key of the versions of a data set from a number on.
pub fn dataset_versions(name: &str, first: u64) -> (Vec<u8>, Vec<u8>) {
    (numbered(DATASET, name, first), [&[DATASET], name.as_bytes(), &[1]].concat())
}

/// Number of a data set's newest version.
pub fn dataset_newest(name: &str) -> Vec<u8> {
    [&[DATASETS], name.as_bytes()].concat()
}

/// First and past-last key of the data sets after a name.
pub fn datasets_after(name: &str) -> (Vec<u8>, Vec<u8>) {
    ([&dataset_newest(name)[..], &[0]].concat(), vec![DATASETS + 1])
}

/// What a tree is a version of.
pub fn dataset_of(tree: Digest, dataset: &DatasetRef) -> Vec<u8> {
    let tail = [dataset.name.as_bytes(), &[0], &dataset.version.to_be_bytes()].concat();
    [&[DATASET_OF], &tree.0[..], &tail].concat()
}

/// First and past-last key of what a tree is.
pub fn datasets_of(tree: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[DATASET_OF], &tree.0[..]].concat();
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// First and past-last key of what any tree is.
pub fn all_dataset_trees() -> (Vec<u8>, Vec<u8>) {
    (vec![DATASET_OF], vec![DATASET_OF + 1])
}

/// The tree in a key of what it is.
pub fn dataset_tree_in(key: &[u8]) -> Option<Digest> {
    key.get(1..33)?.try_into().ok().map(Digest)
}

/// The version at the end of a key that ends with one.
pub fn dataset_in(tail: &[u8]) -> Option<DatasetRef> {
    numbered_in(tail).map(|(name, version)| DatasetRef { name, version })
}

/// Whether a licence allows training.
pub fn licence(id: &str) -> Vec<u8> {
    [&[LICENCE], id.as_bytes()].concat()
}

/// First and past-last key of all licences.
pub fn licences() -> (Vec<u8>, Vec<u8>) {
    (vec![LICENCE], vec![LICENCE + 1])
}

/// What was made by a recipe.
pub fn of_recipe(recipe: Digest, id: ArtifactId) -> Vec<u8> {
    [&[OF_RECIPE], &recipe.0[..], &id.0.to_be_bytes()].concat()
}

/// First and past-last key of what was made by one recipe.
pub fn recipes(recipe: Digest) -> (Vec<u8>, Vec<u8>) {
    let from = [&[OF_RECIPE], &recipe.0[..]].concat();
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// A key that signs for the cluster.
pub fn signing_key(kid: &str) -> Vec<u8> {
    [&[SIGNING_KEY], kid.as_bytes()].concat()
}

/// First and past-last key of all keys that sign for the cluster.
pub fn all_signing_keys() -> (Vec<u8>, Vec<u8>) {
    (vec![SIGNING_KEY], vec![SIGNING_KEY + 1])
}

/// Id of the model key that seals now.
pub fn seals_now() -> Vec<u8> {
    vec![SEALS_NOW]
}

/// Number of keys that sign for the cluster.
pub fn signing_keys() -> Vec<u8> {
    vec![SIGNING_KEYS]
}

/// What an artifact says of a version.
pub fn evaluation(model: &ModelRef, id: ArtifactId) -> Vec<u8> {
    [version(EVALUATION, model), id.0.to_be_bytes().to_vec()].concat()
}

/// First and past-last key of the evaluations of a version.
pub fn evaluations(model: &ModelRef) -> (Vec<u8>, Vec<u8>) {
    let from = version(EVALUATION, model);
    let to = [&from[..], &[0xff; 9]].concat();
    (from, to)
}

/// That an artifact's files went.
pub fn collected(id: ArtifactId) -> Vec<u8> {
    [&[COLLECTED], &id.0.to_be_bytes()[..]].concat()
}

/// The artifact whose files went with an event.
pub fn collection(seq: u64) -> Vec<u8> {
    [&[COLLECTION], &seq.to_be_bytes()[..]].concat()
}

/// First and past-last key of the artifacts whose files went after an event.
pub fn collected_after(seq: u64) -> (Vec<u8>, Vec<u8>) {
    (collection(seq.saturating_add(1)), vec![COLLECTION + 1])
}

/// The event in a key of the artifacts whose files went.
pub fn collected_in(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|tail| u64::from_be_bytes(*tail))
}

/// That an artifact is under legal hold.
pub fn artifact_hold(id: ArtifactId) -> Vec<u8> {
    [&[ARTIFACT_HOLD], &id.0.to_be_bytes()[..]].concat()
}
