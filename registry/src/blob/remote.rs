//! A store elsewhere, such as a bucket of S3, that holds a server's blobs in the place of its disk.

use std::{
    fmt,
    io::{self, Read},
    path::Path,
    time::Duration,
};

/// What holds objects by name. Each server has a place of its own in it, so that what one deletes
/// no other misses.
///
/// All calls block until they are done. A fault that says nothing of an object itself, such as a
/// broken connection, is a `ConnectionAborted`: others may count as damage.
pub trait Remote: fmt::Debug + Send + Sync {
    /// The place, for people.
    fn place(&self) -> String;

    /// Puts a file under a name; durable when it returns.
    ///
    /// # Errors
    /// When it cannot be put.
    fn put(&self, name: &str, file: &Path) -> io::Result<()>;

    /// Puts small objects, all durable when it returns.
    ///
    /// # Errors
    /// When one of them cannot be put.
    fn put_bytes(&self, objects: Vec<(String, Vec<u8>)>) -> io::Result<()>;

    /// Begins to read an object.
    ///
    /// # Errors
    /// `NotFound` where there is none, else when it cannot be read.
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>>;

    /// Deletes an object. One that is not there is no fault.
    ///
    /// # Errors
    /// When it cannot be deleted.
    fn delete(&self, name: &str) -> io::Result<()>;

    /// Gives an object another name.
    ///
    /// # Errors
    /// When it cannot.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Names of all objects.
    ///
    /// # Errors
    /// When they cannot be listed.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Time after which locks on what is kept are to be renewed; none where nothing is locked.
    fn renew_after(&self) -> Option<Duration>;

    /// Locks objects that are there for as long as new ones: each, whatever becomes of the others.
    /// Gives how many were locked, and the first fault.
    fn renew(&self, names: Vec<String>) -> (usize, Option<io::Error>);
}
