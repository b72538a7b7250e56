//! An export in a folder of the disk.

use super::{tensors, walk};
use crate::seal::{place::Place, tensors::Marked};
use domain::tree::Tree;
use std::path::{Path, PathBuf};

/// A path within another; joined with nothing it would end in a slash.
fn at(path: &Path, name: &str) -> PathBuf {
    if name.is_empty() { path.to_owned() } else { path.join(name) }
}

impl<P: AsRef<Path> + ?Sized> Place for P {
    fn shown(&self, name: &str) -> String {
        at(self.as_ref(), name).display().to_string()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        std::fs::read(at(self.as_ref(), name))
            .map_err(|fault| format!("cannot read {}: {fault}", self.shown(name)))
    }

    fn tree(&self, name: &str) -> Result<Tree, String> {
        walk::hash_tree(&at(self.as_ref(), name)).map_err(|fault| fault.to_string())
    }

    fn tensors(&self, name: &str) -> Result<Vec<Marked>, String> {
        tensors::marks(&at(self.as_ref(), name))
    }
}
