//! What the seal says of an output, in the registry's forms.
use super::seal::Sealing;
use domain::{Bytes, Digest, job::EndCause, tree::{Tree, TreeFile}};
use std::path::Path;

pub(super) fn hash(folder: &Path) -> Result<Tree, EndCause> {
    let mut files = vec![];
    for e in walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().flatten() {
        if e.file_type().is_file() {
            let b = std::fs::read(e.path()).unwrap();
            files.push(TreeFile { digest: Digest::of(&b), executable: false, path: e.path().strip_prefix(folder).unwrap().to_str().unwrap().into(), size: Bytes(b.len() as u64) });
        }
    }
    Ok(Tree { files })
}
pub(super) fn model(s: &Sealing, _tree: &Tree) -> Vec<u8> { s.wanted.spec.name.clone().into() }
pub(super) fn provenance(s: &Sealing, _tree: &Tree, _log: Digest) -> Vec<u8> { super::seal::last_metrics(s).into() }
