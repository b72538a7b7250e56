//! What a server's configuration says of where its blobs are: the table `[blobs]`.

use crate::{
    document::reader::{Field, Reader},
    quantity,
    s3::{LockMode, Place, ServerBucket},
};
use domain::{Millis, ReplicaId, retain::Retain};
use registry::blob::remote::Remote;
use std::{io, sync::Arc, time::Duration};

/// Keys of the table.
const KEYS: [&str; 3] = ["lock", "lock_mode", "place"];
/// The shortest and the longest lock: it is renewed once a third of it is over.
const LOCKS: (Millis, Millis) = (Millis(24 * 3_600_000), Millis(3_650 * 24 * 3_600_000));
const MODES: [(&str, LockMode); 2] =
    [("compliance", LockMode::Compliance), ("governance", LockMode::Governance)];

/// A bucket in the place of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blobs {
    /// Where; each server has a folder of its own in it.
    pub place: Place,
    /// For how long each object is locked at least.
    pub lock: Option<Millis>,
    /// Who may end such a lock early.
    pub lock_mode: LockMode,
}

impl Blobs {
    /// Reads the table.
    pub fn read(reader: &mut Reader, field: Field<'_>) -> Option<Self> {
        let (mut place, mut lock, mut lock_mode) = (None, None, LockMode::Compliance);
        for entry in reader.table(field) {
            let name = format!("blobs.{}", entry.key);
            let field = Field { name: &name, node: &entry.node };
            match entry.key.as_str() {
                "place" => place = reader.parsed(field, "write it like \"s3://bucket/prefix\""),
                "lock" => lock = read_lock(reader, field),
                "lock_mode" => lock_mode = reader.word(field, &MODES).unwrap_or(lock_mode),
                _ => reader.unknown(entry, "blobs.", &KEYS),
            }
        }
        Some(Self { place: reader.wanted("blobs.place", place)?, lock, lock_mode })
    }

    /// The table that says this.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut table = format!("\n[blobs]\nplace = \"{}\"\n", self.place);
        if let Some(lock) = self.lock {
            let mode = MODES.iter().find(|(_, mode)| *mode == self.lock_mode).map_or("", |it| it.0);
            table.push_str(&format!("lock = \"{}\"\nlock_mode = \"{mode}\"\n", Retain::For(lock)));
        }
        table
    }

    /// The folder of one server in the bucket. Who we are is told by the environment.
    ///
    /// # Errors
    /// When the environment says nothing that a client can be made of.
    pub fn open(&self, server: ReplicaId) -> io::Result<Arc<dyn Remote>> {
        let prefix = match self.place.prefix.as_str() {
            "" => server.to_string(),
            prefix => format!("{prefix}/{server}"),
        };
        let place = Place { prefix, ..self.place.clone() };
        let lock = self.lock.map(|time| (self.lock_mode, Duration::from_millis(time.0)));
        Ok(Arc::new(ServerBucket::open(place, lock)?))
    }
}

fn read_lock(reader: &mut Reader, field: Field<'_>) -> Option<Millis> {
    let remedy = "give a duration from \"1d\" to \"3650d\", such as \"30d\"";
    let time = reader.quantity(field, quantity::duration, remedy)?;
    if (LOCKS.0..=LOCKS.1).contains(&time) {
        return Some(time);
    }
    reader.fault(field.node.line, field.name, format!("is {} ms", time.0), remedy);
    None
}
