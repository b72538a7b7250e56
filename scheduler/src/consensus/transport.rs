//! Links to the other servers: one stream each, bounded, reconnected for ever.

mod link;

use super::{
    codec::PeerMessage,
    membership::Membership,
    shell::{Peers, Reports},
    snapshot,
    store::Checkpointed,
};
use bytes::Bytes;
use domain::ReplicaId;
use link::Link;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// Bytes that may be under way on one connection.
const WINDOW: u32 = 16 << 20;

/// Who this server is, and how it reaches others.
struct Shared {
    me: ReplicaId,
    cluster: String,
    tls: Option<ClientTlsConfig>,
    runtime: tokio::runtime::Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    reports: Option<Reports>,
    own: String,
    members: BTreeMap<ReplicaId, String>,
    told: BTreeMap<ReplicaId, String>,
    links: BTreeMap<ReplicaId, Link>,
}

/// All links of one server. Clones share them.
#[derive(Clone)]
pub struct Transport(Arc<Shared>);

impl Transport {
    /// Without links yet. To be called within the runtime that is to carry them.
    #[must_use]
    pub fn new(me: ReplicaId, cluster: String, tls: impl Into<Option<ClientTlsConfig>>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        Self(Arc::new(Shared { me, cluster, tls: tls.into(), runtime, state: Mutex::default() }))
    }

    /// This server.
    #[must_use]
    pub fn me(&self) -> ReplicaId {
        self.0.me
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.0.cluster
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection of its own to another server.
    pub(super) fn channel(&self, to: ReplicaId) -> Option<Channel> {
        let address = self.state().links.get(&to)?.address.clone();
        self.connect(&address)
    }

    fn connect(&self, address: &str) -> Option<Channel> {
        let scheme = if self.0.tls.is_some() { "https" } else { "http" };
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}")).ok()?;
        if let Some(tls) = &self.0.tls {
            endpoint = endpoint.tls_config(tls.clone()).ok()?;
        }
        Some(
            endpoint
                .tcp_nodelay(true)
                .connect_timeout(Duration::from_secs(1))
                .http2_keep_alive_interval(Duration::from_secs(1))
                .keep_alive_timeout(Duration::from_secs(2))
                .initial_stream_window_size(WINDOW)
                .initial_connection_window_size(WINDOW)
                .connect_lazy(),
        )
    }

    /// Opens and closes links as the known addresses say.
    ///
    /// What a server says of itself goes before what the members' list says. Before there is a
    /// list, on a server that has just joined, it is all there is.
    fn relink(&self, state: &mut State) {
        let mut wanted = state.members.clone();
        for (id, address) in &state.told {
            if state.members.is_empty() || state.members.contains_key(id) {
                wanted.insert(*id, address.clone());
            }
        }
        wanted.remove(&self.0.me);
        state.links.retain(|id, link| wanted.get(id) == Some(&link.address));
        for (id, address) in wanted {
            let hello = PeerMessage::Hello { address: state.own.clone() }.encode();
            let reports = state.reports.clone();
            state
                .links
                .entry(id)
                .or_insert_with(|| Link::open(self.clone(), id, address, hello, reports));
        }
    }
}

impl Peers for Transport {
    fn attach(&self, reports: Reports, address: &str) {
        let mut state = self.state();
        state.reports = Some(reports);
        address.clone_into(&mut state.own);
    }

    fn members(&self, members: &Membership) {
        let mut state = self.state();
        state.members.clone_from(&members.addresses);
        self.relink(&mut state);
    }

    fn learn(&self, from: ReplicaId, address: &str) {
        let mut state = self.state();
        if state.told.get(&from).is_none_or(|known| known != address) {
            state.told.insert(from, address.to_owned());
            self.relink(&mut state);
        }
    }

    fn send(&self, to: ReplicaId, bytes: Bytes) {
        if let Some(link) = self.state().links.get(&to) {
            link.send(bytes);
        }
    }

    fn send_snapshot(&self, to: ReplicaId, copy: Checkpointed, message: Bytes) {
        let Some(reports) = self.state().reports.clone() else { return };
        let transport = self.clone();
        self.0.runtime.spawn(async move {
            let sent = snapshot::send(&transport, to, message, copy).await;
            if let Err(fault) = &sent {
                tracing::warn!(peer = %to, error = %fault, "snapshot not delivered");
            }
            reports.snapshot(to, sent.is_ok());
        });
    }
}
