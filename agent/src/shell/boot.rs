//! How an agent starts: what an earlier life left, and the parts that run beside the machine.

use super::{
    AgentError, Config, DONE_AHEAD, Local, Mailboxes, ORDERS_AHEAD, Shell,
    local::Followed,
    tail::{self, TAIL_AHEAD, Tail},
    ward::Node,
};
use crate::{
    driver::{
        checkpoints::{self, CheckpointWatch},
        clock,
        dirs::NodeDirs,
        house::House,
        pool::FolderPool,
        state,
        supervisor::{Ask, Client, LeaseView, Said},
        tasks::{Order, Tasks},
    },
    link::LinkEvent,
    machine::{self, AgentMachine, Boot, HeldLease, HeldTask, Input},
    store::{Cache, Stores},
};
use domain::{LeaseId, NodeId, link::WantedLease, node::Inventory};
use std::{collections::BTreeMap, io, sync::Arc};
use tokio::{sync::mpsc, task::JoinSet};

/// News of tasks that wait for the machine.
const HEARD_AHEAD: usize = 1_024;

/// Sets up everything that runs in `parts`, and the shell with its mailboxes.
pub(super) async fn boot<B: Stores>(
    config: Config,
    node: Node,
    blobs: Arc<B>,
    link: mpsc::Receiver<LinkEvent>,
    parts: &mut JoinSet<()>,
) -> Result<(Shell<B>, Mailboxes), AgentError> {
    let Node { inventory, hardware, ward, heard: news, supervisor } = node;
    let dirs = NodeDirs { root: config.dir.clone() };
    let failed = |why: io::Error| AgentError::Folder { path: dirs.root.display().to_string(), why };
    state::forget_other_boots(&dirs, &inventory.boot_id).map_err(failed)?;
    let pool = Arc::new(FolderPool::open(&dirs).map_err(failed)?);
    let cache = Arc::new(Cache::open(dirs.cache()).map_err(failed)?);
    trim(&cache, config.cache_max.0, parts);
    let node_key = config.node_key()?;
    let (watch, seen) = CheckpointWatch::new(&dirs)?;
    let (heard_out, heard) = mpsc::channel(HEARD_AHEAD);
    let (house, gpus) = (house(&config, &inventory), inventory.gpus.clone());
    let mut tasks = Tasks::new(dirs.clone(), config.supervisor, gpus, house, heard_out);
    let mut client = match supervisor {
        Some(stream) => Client::over(stream).map_err(failed)?,
        None => tasks.connect().await?,
    };
    let known = list(&mut client).await.map_err(failed)?;
    let kept = state::read_all(&dirs).map_err(failed)?;
    tasks.adopt(kept.iter().map(|(_, wanted)| wanted.lease.id));
    let (orders, inbox) = mpsc::channel(ORDERS_AHEAD);
    let (tail, requests) = mpsc::channel(TAIL_AHEAD);
    let (done_out, done) = mpsc::channel(DONE_AHEAD);
    parts.spawn(tail::run(requests, done_out.clone()));
    let mut shell = Shell {
        machine: machine(&inventory, &kept, &known),
        inventory,
        hardware,
        ward,
        told: super::care::Told::default(),
        vigil: super::vigil::Vigil::default(),
        quotas: super::quota::Quotas::default(),
        aheads: super::ahead::Aheads::default(),
        notices: super::notice::Notices::default(),
        dirs,
        pool,
        cache,
        blobs,
        node_key,
        watch,
        up: None,
        orders,
        tail,
        done: done_out,
        leases: BTreeMap::new(),
        sweeping: JoinSet::new(),
        apart: config.user.is_some(),
        forgotten: BTreeMap::new(),
        overrun: false,
    };
    shell.adopt(&kept, &known);
    parts.spawn(tasks.run(client, inbox));
    Ok((shell, Mailboxes { link, heard, seen, done, news }))
}

fn house(config: &Config, inventory: &Inventory) -> House {
    House {
        isolation: inventory.isolation.clone(),
        memory: inventory.memory,
        readable: config.readable.iter().map(|it| it.display().to_string()).collect(),
        cdi: config.containers.cdi.clone(),
    }
}

fn trim(cache: &Arc<Cache>, max: u64, parts: &mut JoinSet<()>) {
    let cache = Arc::clone(cache);
    parts.spawn_blocking(move || {
        if let Err(why) = cache.trim(max) {
            tracing::warn!(%why, "the cache of blobs could not be trimmed");
        }
    });
}

async fn list(client: &mut Client) -> io::Result<Vec<LeaseView>> {
    client.writer.ask(&Ask::List).await?;
    client.writer.flush().await?;
    while let Some(said) = client.reader.next().await? {
        if let Said::All(all) = said {
            return Ok(all);
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the supervisor ended"))
}

fn view(known: &[LeaseView], lease: LeaseId) -> Option<&LeaseView> {
    known.iter().find(|view| view.lease == lease)
}

fn machine(
    inventory: &Inventory,
    kept: &[(NodeId, WantedLease)],
    known: &[LeaseView],
) -> AgentMachine {
    let now = clock::boot_now();
    let mut config = machine::Config::new(inventory.clone());
    // No earlier life on this boot sent a thousand reports in each millisecond of it.
    config.first_report = now.0.saturating_mul(1_000);
    let held = kept.iter().map(|(node, wanted)| {
        let view = view(known, wanted.lease.id);
        let member = wanted.lease.member(*node);
        let tasks = member.into_iter().flat_map(|member| &member.tasks).map(|task| {
            let known = view.and_then(|view| view.tasks.iter().find(|it| it.rank == task.rank));
            let held = known.map_or(HeldTask::Lost, |task| {
                task.exit.map_or(HeldTask::Running, |(exit, _)| HeldTask::Exited(exit))
            });
            (task.rank, held)
        });
        HeldLease {
            wanted: wanted.clone(),
            tasks: tasks.collect(),
            started: view.map_or(now, |view| view.started),
            deadline: view.and_then(|view| view.deadline),
        }
    });
    let held = held.collect();
    AgentMachine::new(config, Boot { node: kept.first().map(|(node, _)| *node), held })
}

impl<B: Stores> Shell<B> {
    /// Follows again what an earlier life followed; forgets what nobody has a record of.
    fn adopt(&mut self, kept: &[(NodeId, WantedLease)], known: &[LeaseView]) {
        for (node, wanted) in kept {
            let lease = wanted.lease.id;
            let view = view(known, lease);
            let ended = view.into_iter().flat_map(|view| &view.tasks).filter_map(|it| it.exit);
            let local = Local {
                started: view.map(|view| view.started_wall),
                ended: ended.map(|(_, at)| at).max(),
                ..Local::default()
            };
            self.leases.insert(lease, local);
            let tasks = wanted.lease.member(*node).map(|member| member.tasks.as_slice());
            self.follow(wanted, *node, tasks.unwrap_or_default());
            tracing::info!(%lease, "lease taken over");
            // After the watch began: what comes from here on is seen by it.
            let dirs = self.dirs.lease(lease);
            let stands = [checkpoints::begun(&dirs), checkpoints::renamed_unseen(&dirs)];
            for step in stands.into_iter().flatten() {
                self.feed(Input::CheckpointSeen { lease, step });
            }
        }
        let mine = |lease: LeaseId| kept.iter().any(|(_, wanted)| wanted.lease.id == lease);
        for view in known.iter().filter(|view| !mine(view.lease)) {
            let lease = view.lease;
            self.order(Order::Kill { lease, grace: domain::Millis(0) });
            self.order(Order::Forget { lease });
        }
    }

    /// Follows a lease's logs, and on the lead its checkpoints.
    pub(super) fn follow(
        &mut self,
        wanted: &WantedLease,
        node: NodeId,
        tasks: &[domain::lease::TaskPlace],
    ) {
        let lease = wanted.lease.id;
        self.watch_disk(wanted);
        let dirs = self.dirs.lease(lease);
        let ranks: Vec<_> = tasks.iter().map(|task| task.rank).collect();
        let local = self.leases.entry(lease).or_default();
        local.left = ranks.iter().copied().collect();
        local.ranks.clone_from(&ranks);
        local.framework = wanted.spec.framework;
        local.ahead = (wanted.lease.lead() == node).then(|| Followed(Arc::default()));
        self.tell(Tail::Add { lease, dirs: dirs.clone(), ranks });
        if wanted.lease.lead() == node
            && let Err(fault) = self.watch.add(&dirs)
        {
            tracing::warn!(%lease, %fault, "checkpoints are seen only when the job ends");
        }
    }
}
