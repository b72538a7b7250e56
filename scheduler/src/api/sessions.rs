//! Agents that are connected to this server.

use domain::NodeId;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};
use tokio::sync::Notify;

/// Each node's newest session by its number, and its signal.
type Open = BTreeMap<NodeId, (u64, Arc<Notify>)>;

/// One session for each node; a newer one replaces the older.
#[derive(Clone, Default)]
pub struct Sessions {
    open: Arc<Mutex<Open>>,
    serial: Arc<std::sync::atomic::AtomicU64>,
}

impl Sessions {
    /// Opens a session. The returned signal says that what the node is to hold has changed.
    #[must_use]
    pub fn open(&self, node: NodeId) -> (u64, Arc<Notify>) {
        let serial = self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let changed = Arc::new(Notify::new());
        let mut open = self.open.lock().expect("no holder of this lock can panic");
        if let Some((_, older)) = open.insert(node, (serial, changed.clone())) {
            older.notify_one();
        }
        (serial, changed)
    }

    /// Whether the session is still the node's newest.
    #[must_use]
    pub fn is_current(&self, node: NodeId, serial: u64) -> bool {
        let open = self.open.lock().expect("no holder of this lock can panic");
        open.get(&node).is_some_and(|(current, _)| *current == serial)
    }

    /// Closes a session, if it is still the node's newest.
    pub fn close(&self, node: NodeId, serial: u64) {
        let mut open = self.open.lock().expect("no holder of this lock can panic");
        if open.get(&node).is_some_and(|(current, _)| *current == serial) {
            open.remove(&node);
        }
    }

    /// Ends the node's session, so that its agent opens a new one.
    pub fn end(&self, node: NodeId) {
        let mut open = self.open.lock().expect("no holder of this lock can panic");
        if let Some((_, signal)) = open.remove(&node) {
            signal.notify_one();
        }
    }

    /// Says that what `node` is to hold has changed.
    pub fn changed(&self, node: NodeId) {
        let open = self.open.lock().expect("no holder of this lock can panic");
        if let Some((_, changed)) = open.get(&node) {
            changed.notify_one();
        }
    }

    /// Wakes every session, so that each sees that the leader has changed.
    pub fn wake_all(&self) {
        let open = self.open.lock().expect("no holder of this lock can panic");
        for (_, changed) in open.values() {
            changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_session_of_a_node_replaces_the_older() {
        let sessions = Sessions::default();
        let (first, woken) = sessions.open(NodeId(1));
        let (second, changed) = sessions.open(NodeId(1));
        woken.notified().await;
        assert!(!sessions.is_current(NodeId(1), first));
        sessions.close(NodeId(1), first);
        assert!(sessions.is_current(NodeId(1), second), "a stale close changes nothing");
        sessions.changed(NodeId(1));
        changed.notified().await;
        sessions.end(NodeId(1));
        changed.notified().await;
        assert!(!sessions.is_current(NodeId(1), second));
    }
}
