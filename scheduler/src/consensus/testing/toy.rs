//! A toy state machine.

use crate::{
    consensus::Machine,
    state::command::{Applied, Command, Effect, Entry, Reply},
};
use domain::{
    Digest, LogIndex, NodeId,
    port::RowRead,
    scratch::{self, Scratch, SetHash},
    version::ClusterVersion,
};

/// Remembers under its actor where each request landed, and its reply under its key.
pub(in crate::consensus) struct Toy(SetHash, ClusterVersion);

const TOY_VERSION: &[u8] = b"cluster";

impl Machine for Toy {
    fn stored_version(rows: &impl RowRead) -> ClusterVersion {
        let bytes = rows.get(TOY_VERSION);
        bytes.map(|bytes| scratch::decode(TOY_VERSION, &bytes)).unwrap_or_default()
    }

    fn load(rows: &impl RowRead) -> Self {
        Self(SetHash::of_rows(rows), Self::stored_version(rows))
    }

    fn apply(&mut self, rows: &impl RowRead, at: LogIndex, entry: Entry) -> Applied {
        let mut scratch = Scratch::new(rows);
        let mut replies = Vec::new();
        for request in &entry.members {
            if let Command::RaiseVersion(raise) = &request.command {
                self.1 = raise.to.max(self.1);
                scratch.put(TOY_VERSION.to_vec(), &self.1);
                replies.push(Reply::Done { at });
                continue;
            }
            let key = [b"k", &request.key.unwrap_or_default().0[..]].concat();
            let reply = scratch.read::<Reply>(&key).unwrap_or(Reply::Done { at });
            if request.key.is_some() {
                scratch.put(key, &reply);
            }
            scratch.put([b"v", request.actor.as_bytes()].concat(), &at);
            replies.push(reply);
        }
        let (rows, hash) = scratch.finish(self.0);
        self.0 = hash;
        Applied { replies, effects: vec![Effect::Wanted { node: NodeId(1) }], rows }
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }

    fn version(&self) -> ClusterVersion {
        self.1
    }
}
