//! `state_digest`: equal applied index means equal state digest, also after a restart.

use super::Broken;
use crate::server::Server;
use domain::Digest;
use std::collections::BTreeMap;

/// The digest after each entry, by whoever came there first.
#[derive(Default)]
pub struct StateDigest {
    seen: BTreeMap<u64, Digest>,
}

impl StateDigest {
    /// Compares a server with those before it.
    pub fn check(&mut self, server: &Server) -> Result<Digest, Broken> {
        let Some(replica) = &server.replica else { return Ok(Digest::default()) };
        let index = replica.applied().0;
        let digest = replica.view().0.0.digest();
        self.compare(server.id, index, digest)?;
        Ok(digest)
    }

    fn compare(&mut self, id: domain::ReplicaId, index: u64, digest: Digest) -> Result<(), Broken> {
        let first = *self.seen.entry(index).or_insert(digest);
        if first == digest {
            return Ok(());
        }
        Err(Broken::new(format!(
            "state_digest: {id} has {} after entry {index}, others {}",
            digest.short(),
            first.short()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::ReplicaId;

    #[test]
    fn another_digest_at_the_same_entry_breaks_it() {
        let mut law = StateDigest::default();
        assert!(law.compare(ReplicaId(1), 7, Digest::of(b"a")).is_ok());
        assert!(law.compare(ReplicaId(2), 7, Digest::of(b"a")).is_ok());
        assert!(law.compare(ReplicaId(3), 7, Digest::of(b"b")).is_err());
    }
}
