//! Nodes that are only played: each speaks the agents' protocol over a stream of its own, with a
//! certificate of its own, has room for whatever is placed on it, and runs nothing.

use crate::planner;
use anyhow::{Context as _, Result, bail};
use domain::{
    Bytes, CpuMillis,
    limit::HEARTBEAT,
    link::{Down, LINK_HEADER, LINK_VERSION, Up},
    node::Inventory,
};
use proto::{
    frame,
    v1::{AgentFrame, agents_client::AgentsClient},
};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use std::{fs, path::Path, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};

/// Frames that wait for the network.
const AHEAD: usize = 16;
/// Longest wait for a node to be welcome.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where the kind of a message stands in its body, behind the version.
const KIND: usize = 1;
/// The kinds of messages that are not read: what the node is to hold, and what is new of it.
const WANTED: [u8; 2] = [3, 9];

/// Signs the certificates of nodes, as the cluster's own authority.
pub struct Authority {
    ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// That of a cluster which `assay dev` has set up.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn of(cluster: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = cluster.join("tls").join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        let (ca, key) = (read("ca.pem")?, KeyPair::from_pem(&read("ca.key")?)?);
        let issuer = Issuer::from_ca_cert_pem(&ca, key)?;
        Ok(Self { ca, issuer })
    }

    fn identity(&self, node: &str) -> Result<ClientTlsConfig> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, format!("node:{node}"));
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&self.ca))
            .identity(Identity::from_pem(cert.pem(), key.serialize_pem())))
    }
}

/// Played nodes; they leave with their value.
pub struct Deaf(JoinSet<Result<()>>);

impl Deaf {
    /// Has so many nodes, each with room for so many jobs of one core, join at the leader.
    ///
    /// # Errors
    /// When one is not welcome.
    pub async fn join(
        authority: &Authority,
        leader: &str,
        nodes: usize,
        room: usize,
    ) -> Result<Self> {
        let mut playing = JoinSet::new();
        let mut welcomes = Vec::with_capacity(nodes);
        for number in 0..nodes {
            let inventory = inventory(number, room);
            let tls = authority.identity(&inventory.name)?;
            let endpoint = Endpoint::from_shared(format!("https://{leader}"))?;
            let endpoint = endpoint.tls_config(tls)?.tcp_nodelay(true);
            let (welcome, welcomed) = oneshot::channel();
            playing.spawn(play(endpoint, inventory, welcome));
            welcomes.push(welcomed);
        }
        let mut deaf = Self(playing);
        for welcome in welcomes {
            if !matches!(tokio::time::timeout(PATIENCE, welcome).await, Ok(Ok(()))) {
                deaf.check()?;
                bail!("a played node is not welcome within {PATIENCE:?}");
            }
        }
        Ok(deaf)
    }

    /// Whether all still play.
    ///
    /// # Errors
    /// Why one does not.
    pub fn check(&mut self) -> Result<()> {
        match self.0.try_join_next() {
            None => Ok(()),
            Some(ended) => {
                ended??;
                bail!("the server ended the stream of a played node")
            }
        }
    }
}

fn inventory(number: usize, room: usize) -> Inventory {
    let room = room as u64;
    let own = planner::node(number);
    Inventory { cpu: CpuMillis(room * 1_000), memory: Bytes(room << 30), ..own }
}

/// One node's stream, until it ends.
async fn play(endpoint: Endpoint, own: Inventory, welcome: oneshot::Sender<()>) -> Result<()> {
    let channel: Channel = endpoint.connect().await?;
    let mut client = AgentsClient::new(channel)
        .max_decoding_message_size(proto::MESSAGE_MAX)
        .max_encoding_message_size(proto::MESSAGE_MAX);
    let (up, frames) = mpsc::channel(AHEAD);
    up.send(framed(&Up::Register { inventory: own, held: Vec::new() })).await?;
    let mut request = tonic::Request::new(ReceiverStream::new(frames));
    request.metadata_mut().insert(LINK_HEADER, LINK_VERSION.into());
    let mut down = client.session(request).await?.into_inner();
    let (mut welcome, mut seq) = (Some(welcome), 0);
    let mut beat = tokio::time::interval(Duration::from_millis(HEARTBEAT.0));
    loop {
        // Both arms are cancel-safe: a tick and a stream's message are not lost.
        tokio::select! {
            _ = beat.tick() => {
                seq += 1;
                up.send(framed(&Up::Heartbeat { seq, held: Vec::new() })).await?;
            }
            heard = hear(&mut down) => match heard? {
                Heard::Welcome => {
                    if let Some(welcome) = welcome.take() {
                        // Whoever waited for it may have given up.
                        let _ = welcome.send(());
                    }
                }
                Heard::Other => {}
                Heard::End => return Ok(()),
            },
        }
    }
}

fn framed(up: &Up) -> AgentFrame {
    AgentFrame { body: frame::encode(up) }
}

enum Heard {
    Welcome,
    Other,
    End,
}

async fn hear(down: &mut Streaming<AgentFrame>) -> Result<Heard> {
    let Some(message) = down.message().await? else { return Ok(Heard::End) };
    if message.body.get(KIND).is_some_and(|kind| WANTED.contains(kind)) {
        return Ok(Heard::Other);
    }
    match frame::decode::<Down>(&message.body)? {
        Down::Welcome { .. } => Ok(Heard::Welcome),
        Down::Redirect { leader } => bail!("sent to another leader: `{leader}`"),
        Down::Refused { why } => bail!("a played node is refused: {why}"),
        _ => Ok(Heard::Other),
    }
}
