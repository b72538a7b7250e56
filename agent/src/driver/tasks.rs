//! The agent's hold on its supervisor: orders go out in order, also over a supervisor's death.

use super::{
    contract::Placement,
    dirs::{LeaseDirs, NodeDirs},
    house::House,
    image::LaidImage,
    prepare::{blocking, io_cause},
    sandbox::{ImageRoot, Walls},
    state,
    supervisor::{Ask, Client, ClientError, LeaseView, Reader, Said, TaskCommand, Writer},
};
use domain::{
    LeaseId, Millis, NodeId, image::ImageRef, isolation::Network, job::EndCause, lease::TaskPlace,
    link::WantedLease, resource::Gpu,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    process::Child,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// Orders that wait for the supervisor; more mean that it hangs.
pub const ORDERS_AHEAD: usize = 65_536;
/// Messages of the supervisor that wait for the agent.
const SAID_AHEAD: usize = 1_024;
/// Where the ranks of a lease meet that reach nothing but each other.
const LOOPBACK: &str = "127.0.0.1";
/// Time between two tries to reach it.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// What the supervisor is to do.
#[derive(Debug)]
pub enum Order {
    /// Start a lease's tasks on this node.
    Start {
        /// The lease.
        wanted: Box<WantedLease>,
        /// This node.
        node: NodeId,
        /// Its place in the gang.
        node_rank: u32,
        /// Its tasks.
        tasks: Vec<TaskPlace>,
        /// When to kill them.
        deadline: Option<Millis>,
    },
    /// Kill later.
    Renew {
        /// The lease.
        lease: LeaseId,
        /// When.
        deadline: Option<Millis>,
    },
    /// End all of a lease.
    Kill {
        /// The lease.
        lease: LeaseId,
        /// Time from SIGTERM to SIGKILL.
        grace: Millis,
    },
    /// Its exit codes are used.
    Forget {
        /// The lease.
        lease: LeaseId,
    },
    /// The node has these GPUs from now on.
    Gpus(Vec<Gpu>),
    /// Find or fetch an image, and mount it.
    LayOut {
        /// The image.
        image: ImageRef,
        /// Who waits for it.
        answer: Laying,
    },
    /// Look what ranks have done: heard as [`Said::Looked`].
    Look {
        /// Each with its lease.
        ranks: Vec<(LeaseId, u32)>,
    },
    /// Add to what a rank printed: heard as [`Said::Noted`].
    Note {
        /// The lease.
        lease: LeaseId,
        /// The rank.
        rank: u32,
        /// What is added.
        text: String,
        /// Whether what its threads wait for is added, too.
        dump: bool,
    },
}

/// Who waits for an image.
pub type Laying = oneshot::Sender<Result<LaidImage, EndCause>>;

/// Has the supervisor lay an image out.
///
/// # Errors
/// When it cannot be had, or the supervisor is lost meanwhile.
pub async fn lay_out(
    orders: &mpsc::Sender<Order>,
    image: &ImageRef,
) -> Result<LaidImage, EndCause> {
    let (answer, laid) = oneshot::channel();
    let order = Order::LayOut { image: image.clone(), answer };
    let lost = || EndCause::NodeLost;
    orders.send(order).await.map_err(|_| lost())?;
    laid.await.map_err(|_| lost())?
}

/// What is heard of tasks.
#[derive(Debug)]
pub enum Heard {
    /// News.
    Said(Said),
    /// A lease's tasks cannot be started, or were lost with their supervisor.
    Fault {
        /// The lease.
        lease: LeaseId,
        /// Why.
        cause: EndCause,
    },
}

/// The tasks' commands, the walls around them, and the root that they are to have.
type Start = (Vec<TaskCommand>, Option<Walls>, Option<Box<ImageRoot>>);

/// Carries orders to the supervisor.
pub struct Tasks {
    dirs: NodeDirs,
    command: Vec<String>,
    gpus: Vec<Gpu>,
    house: House,
    heard: mpsc::Sender<Heard>,
    /// Leases whose start was ordered, to be missed in what the next supervisor lists.
    started: BTreeSet<LeaseId>,
    /// Kills without an answer, to be asked again of the next supervisor.
    killing: BTreeMap<LeaseId, Millis>,
    /// Supervisors that we started, to be reaped when they end.
    children: Vec<Child>,
    /// Who waits for which image.
    laying: BTreeMap<ImageRef, Vec<Laying>>,
}

/// Whether the supervisor is to say what there is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// It did.
    Known,
    /// It is another one.
    Wanted,
}

/// Why a connection ended.
enum End {
    /// The agent ends.
    Ours,
    /// The supervisor is gone.
    Theirs,
}

impl Tasks {
    /// A hold on the supervisor of `dirs`, which `command` starts.
    #[must_use]
    pub fn new(
        dirs: NodeDirs,
        command: Vec<String>,
        gpus: Vec<Gpu>,
        house: House,
        heard: mpsc::Sender<Heard>,
    ) -> Self {
        Self {
            dirs,
            command,
            gpus,
            house,
            heard,
            started: BTreeSet::new(),
            killing: BTreeMap::new(),
            children: Vec::new(),
            laying: BTreeMap::new(),
        }
    }

    /// Takes note of leases that an earlier life of the agent started.
    pub fn adopt(&mut self, leases: impl Iterator<Item = LeaseId>) {
        self.started.extend(leases);
    }

    /// Connects for the first time.
    ///
    /// # Errors
    /// When no supervisor can be had.
    pub async fn connect(&mut self) -> Result<Client, ClientError> {
        let (client, child) = Client::ensure(&self.dirs.root, &self.command).await?;
        self.children.retain_mut(|child| !matches!(child.try_wait(), Ok(Some(_))));
        self.children.extend(child);
        Ok(client)
    }

    /// Carries `orders` over `client`, and over its successors, until they end.
    ///
    /// An agent that has given its rights up reaches no successor: it ends, and whoever starts it
    /// again starts one.
    pub async fn run(mut self, mut client: Client, mut orders: mpsc::Receiver<Order>) {
        let mut listing = Listing::Known;
        loop {
            match self.serve(client, &mut orders, listing).await {
                Ok(End::Ours) => return,
                Ok(End::Theirs) => tracing::warn!("supervisor is gone"),
                Err(why) => tracing::warn!(%why, "supervisor is lost"),
            }
            // Whoever waits is told by this: the next supervisor knows of no errand.
            self.laying.clear();
            if self.command.is_empty() {
                return;
            }
            client = loop {
                match self.connect().await {
                    Ok(client) => break client,
                    Err(fault) => tracing::error!(%fault, "no supervisor"),
                }
                tokio::time::sleep(TRY_AGAIN).await;
            };
            listing = Listing::Wanted;
        }
    }

    async fn serve(
        &mut self,
        client: Client,
        orders: &mut mpsc::Receiver<Order>,
        listing: Listing,
    ) -> io::Result<End> {
        let Client { mut writer, reader } = client;
        let (said, mut news) = mpsc::channel(SAID_AHEAD);
        let mut reading = tokio::task::JoinSet::new();
        reading.spawn(read(reader, said));
        if listing == Listing::Wanted {
            writer.ask(&Ask::List).await?;
        }
        for (lease, grace) in &self.killing {
            writer.ask(&Ask::Kill { lease: *lease, grace: *grace }).await?;
        }
        writer.flush().await?;
        loop {
            // Both arms are cancel-safe.
            tokio::select! {
                order = orders.recv() => {
                    let Some(order) = order else { return Ok(End::Ours) };
                    self.obey(order, &mut writer).await?;
                    while let Ok(order) = orders.try_recv() {
                        self.obey(order, &mut writer).await?;
                    }
                    writer.flush().await?;
                }
                said = news.recv() => {
                    let Some(said) = said else { return Ok(End::Theirs) };
                    if !self.hear(said).await {
                        return Ok(End::Ours);
                    }
                }
            }
        }
    }

    /// Hands news on. False when nobody listens.
    async fn hear(&mut self, said: Said) -> bool {
        let heard: Vec<_> = match said {
            Said::All(all) => self.missed(&all).chain(ends(&all)).collect(),
            Said::Killed { lease } => {
                self.killing.remove(&lease);
                vec![Heard::Said(said)]
            }
            Said::LaidOut { image, laid } => {
                let laid = laid.and_then(|laid| {
                    let failed =
                        |why: serde_json::Error| io_cause("the image's record", &why.into());
                    serde_json::from_str::<LaidImage>(&laid).map_err(failed)
                });
                for waiting in self.laying.remove(&image).unwrap_or_default() {
                    // Its lease may have ended meanwhile.
                    let _ = waiting.send(laid.clone());
                }
                Vec::new()
            }
            said => vec![Heard::Said(said)],
        };
        for heard in heard {
            if self.heard.send(heard).await.is_err() {
                return false;
            }
        }
        true
    }

    /// The leases that a new supervisor does not know: their tasks died with the old one.
    fn missed(&self, all: &[LeaseView]) -> impl Iterator<Item = Heard> + use<> {
        let known: BTreeSet<_> = all.iter().map(|view| view.lease).collect();
        let lost: Vec<_> = self.started.difference(&known).copied().collect();
        lost.into_iter().map(|lease| Heard::Fault { lease, cause: EndCause::NodeLost })
    }

    async fn obey(&mut self, order: Order, writer: &mut Writer) -> io::Result<()> {
        match order {
            Order::Start { wanted, node, node_rank, tasks, deadline } => {
                let lease = wanted.lease.id;
                match self.commands(wanted, node, node_rank, tasks).await {
                    Ok((tasks, walls, image)) => {
                        self.started.insert(lease);
                        let ask = match (walls, image) {
                            (None, _) => Ask::Start { lease, deadline, tasks },
                            (Some(walls), None) => Ask::Confine { lease, deadline, tasks, walls },
                            (Some(walls), Some(image)) => {
                                Ask::Contain { lease, deadline, tasks, walls, image }
                            }
                        };
                        writer.ask(&ask).await
                    }
                    Err(cause) => {
                        // Without a listener the agent is ending.
                        let _ = self.heard.send(Heard::Fault { lease, cause }).await;
                        Ok(())
                    }
                }
            }
            Order::Renew { lease, deadline } => writer.ask(&Ask::Renew { lease, deadline }).await,
            Order::Kill { lease, grace } => {
                self.killing.insert(lease, grace);
                writer.ask(&Ask::Kill { lease, grace }).await
            }
            Order::Gpus(gpus) => {
                self.gpus = gpus;
                Ok(())
            }
            Order::LayOut { image, answer } => {
                let waiting = self.laying.entry(image.clone()).or_default();
                waiting.push(answer);
                match waiting.len() {
                    1 => writer.ask(&Ask::LayOut { image }).await,
                    _ => Ok(()),
                }
            }
            Order::Look { ranks } => writer.ask(&Ask::Look { ranks }).await,
            Order::Note { lease, rank, text, dump } => {
                writer.ask(&Ask::Note { lease, rank, text, dump }).await
            }
            Order::Forget { lease } => {
                self.started.remove(&lease);
                writer.ask(&Ask::Forget { lease }).await
            }
        }
    }

    /// The tasks' commands, after the lease is on record as started.
    async fn commands(
        &self,
        wanted: Box<WantedLease>,
        node: NodeId,
        node_rank: u32,
        tasks: Vec<TaskPlace>,
    ) -> Result<Start, EndCause> {
        let dirs = self.dirs.lease(wanted.lease.id);
        let gpus = self.gpus.clone();
        let house = self.house.clone();
        blocking(move || {
            let walls = house.walls(&wanted, &tasks, &gpus)?;
            let laid = match &wanted.spec.image {
                None => None,
                Some(_) => Some(laid_image(&dirs)?),
            };
            let image = laid.as_ref().map(|laid| house.image_root(laid, &tasks, &gpus));
            let (root, devices) = image.transpose()?.unzip();
            let devices = devices.unwrap_or_default();
            let alone = walls.as_ref().is_some_and(|walls| walls.network == Network::None);
            let placement = Placement {
                wanted: &wanted,
                dirs: &dirs,
                node_rank,
                gpus: &gpus,
                master_addr: if alone { LOOPBACK } else { &wanted.master_addr },
                image: laid.as_ref().map(|laid| (laid, devices.as_slice())),
            };
            let commands = placement.commands(&tasks)?;
            state::write(&dirs, node, &wanted)
                .map_err(|why| io_cause("the lease's record", &why))?;
            Ok((commands, walls, root.map(Box::new)))
        })
        .await
    }
}

/// The image of a lease, as it was laid out when the lease was prepared.
fn laid_image(dirs: &LeaseDirs) -> Result<LaidImage, EndCause> {
    let failed = |why: io::Error| io_cause("the image's record", &why);
    let bytes = std::fs::read(dirs.image()).map_err(failed)?;
    serde_json::from_slice(&bytes).map_err(|why| failed(why.into()))
}

/// The ends that were told on no connection, or on a broken one.
fn ends(all: &[LeaseView]) -> impl Iterator<Item = Heard> + '_ {
    all.iter().flat_map(|view| {
        view.tasks.iter().filter_map(|task| {
            let (exit, ended) = task.exit?;
            let (lease, rank) = (view.lease, task.rank);
            Some(Heard::Said(Said::Exited { lease, rank, exit, ended, alone: false }))
        })
    })
}

/// Reads in a task of its own, since reading is not cancel-safe.
async fn read(mut reader: Reader, said: mpsc::Sender<Said>) {
    while let Ok(Some(message)) = reader.next().await {
        if said.send(message).await.is_err() {
            return;
        }
    }
}
