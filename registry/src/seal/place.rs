//! Where an export lies: the port through which a verification reads it.

use super::tensors::Marked;
use domain::tree::Tree;

/// A folder or a file of an export, wherever it is. A name leads to what lies in it, the empty one
/// to itself. What it cannot give it explains.
pub trait Place {
    /// How messages call it.
    fn shown(&self, name: &str) -> String;

    /// All bytes of a file.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    fn read(&self, name: &str) -> Result<Vec<u8>, String>;

    /// The digests of all files in a folder.
    ///
    /// # Errors
    /// Names the first file that cannot be read.
    fn tree(&self, name: &str) -> Result<Tree, String>;

    /// What the safetensors files in a folder say of themselves.
    ///
    /// # Errors
    /// Names the first file that cannot be read.
    fn tensors(&self, name: &str) -> Result<Vec<Marked>, String>;
}
