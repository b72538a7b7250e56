//! Does what the machine asks for.

use super::{Local, Shell, Tail};
use crate::{
    driver::{
        answers, checkpoints, clock,
        pool::Reuse::{AtOnce, Rest},
        prepare::{self, blocking},
        tasks::Order,
    },
    machine::{Input, Output},
    store::{
        Stores,
        seal::{self, Sealing},
    },
};
use domain::{LeaseId, NodeId, job::EndCause, lease::TaskPlace, link::WantedLease};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Longest wait for the supervisor to hand a lease's folders back.
const HANDED_BACK: Duration = Duration::from_secs(60);

impl<B: Stores> Shell<B> {
    pub(super) fn obey(&mut self, output: Output) {
        match output {
            Output::Send(up) => self.send(up),
            Output::Prepare { wanted } => self.prepare(wanted),
            Output::Start { wanted, node_rank, tasks, deadline } => {
                self.start(wanted, node_rank, tasks, deadline);
            }
            Output::RenewDeadline { lease, deadline } => {
                self.order(Order::Renew { lease, deadline });
            }
            Output::AskCheckpoint { lease, cause } => self.notice(lease, &cause),
            Output::UnaskCheckpoint { lease } => self.unnotice(lease),
            Output::Kill { lease, grace } => {
                tracing::info!(%lease, "lease's tasks are ended");
                self.order(Order::Kill { lease, grace });
            }
            Output::StoreCheckpoint { lease, step } => self.store_checkpoint(lease, step),
            Output::StoreOutput { wanted } => self.store_output(wanted),
            Output::StoreLog { wanted, node } => self.store_log(wanted, node),
            Output::Forget { lease } => self.forget(lease),
        }
    }

    /// Runs `work` for a lease until the lease is forgotten, and hands its outcome on.
    pub(super) fn work(
        &mut self,
        lease: LeaseId,
        work: impl Future<Output = Input> + Send + 'static,
    ) {
        let done = self.done.clone();
        let local = self.leases.entry(lease).or_default();
        while local.work.try_join_next().is_some() {}
        local.work.spawn(async move {
            let input = work.await;
            // Without a listener the agent is ending.
            let _ = done.send(input).await;
        });
    }

    fn prepare(&mut self, wanted: Box<WantedLease>) {
        let lease = wanted.lease.id;
        let (dirs, pool) = (self.dirs.lease(lease), Arc::clone(&self.pool));
        let cache = Arc::clone(&self.cache);
        let orders = self.inventory.isolation.can_contain().then(|| self.orders.clone());
        let blobs = Arc::clone(&self.blobs);
        self.leases.insert(lease, Local::default());
        self.work(lease, async move {
            let store = prepare::Store { pool: &pool, cache: &cache, images: orders.as_ref() };
            let result = prepare::prepare(&wanted, &dirs, &store, &*blobs).await;
            if let Err(cause) = &result {
                tracing::warn!(%lease, %cause, "lease not prepared");
            }
            Input::Prepared { lease, result }
        });
    }

    fn start(
        &mut self,
        wanted: Box<WantedLease>,
        node_rank: u32,
        tasks: Vec<TaskPlace>,
        deadline: Option<domain::Millis>,
    ) {
        let members = &wanted.lease.members;
        let place = usize::try_from(node_rank).ok().and_then(|place| members.get(place));
        let Some(node) = place.map(|member| member.node) else { return };
        self.follow(&wanted, node, &tasks);
        self.order(Order::Start { wanted, node, node_rank, tasks, deadline });
    }

    fn store_checkpoint(&mut self, lease: LeaseId, step: u64) {
        let dirs = self.dirs.lease(lease);
        let folder = dirs.checkpoint(step);
        let blobs = Arc::clone(&self.blobs);
        if let Err(why) = checkpoints::begin(&dirs, step) {
            tracing::warn!(%lease, step, %why, "checkpoint not noted");
        }
        let local = self.leases.entry(lease).or_default();
        let (framework, ranks) = (local.framework, local.ranks.clone());
        let meter = local.meter.clone();
        self.work(lease, async move {
            // What was learned under other settings is not to be gone on from.
            let of = dirs.clone();
            let asked = blocking(move || answers::check(framework, &of, &ranks)).await;
            if let Err(cause) = asked {
                tracing::warn!(%lease, step, %cause, "checkpoint refused");
                checkpoints::end(&dirs);
                return Input::Faulted { lease, cause };
            }
            let stored = seal::checkpoint(lease, step, folder, &*blobs);
            let result = meter.over(stored).await;
            checkpoints::end(&dirs);
            match &result {
                Ok(stored) => {
                    tracing::info!(%lease, step, root = %stored.root, "checkpoint stored")
                }
                Err(cause) => tracing::warn!(%lease, step, %cause, "checkpoint left out"),
            }
            Input::CheckpointStored { lease, step, result }
        });
    }

    fn store_output(&mut self, wanted: Box<WantedLease>) {
        let lease = wanted.lease.id;
        let now = clock::wall_now();
        let local = self.leases.entry(lease).or_default();
        let sealing = Sealing {
            wanted: *wanted,
            dirs: self.dirs.lease(lease),
            inventory: self.inventory.clone(),
            started: local.started.unwrap_or(now),
            ended: local.ended.unwrap_or(now),
            node_key: self.node_key.clone(),
            facts: local.facts(),
            ahead: local.ahead.as_ref().map(|it| Arc::clone(&it.0)).unwrap_or_default(),
        };
        let blobs = Arc::clone(&self.blobs);
        self.work(lease, async move {
            let result: Result<_, EndCause> = seal::output(sealing, &*blobs).await;
            match &result {
                Ok(stored) => tracing::info!(%lease, root = %stored.root, "output stored"),
                Err(cause) => tracing::warn!(%lease, %cause, "output not stored"),
            }
            Input::OutputStored { lease, result }
        });
    }

    fn store_log(&mut self, wanted: Box<WantedLease>, node: NodeId) {
        let lease = wanted.lease.id;
        let dirs = self.dirs.lease(lease);
        let blobs = Arc::clone(&self.blobs);
        let local = self.leases.entry(lease).or_default();
        let (framework, ranks) = (local.framework, local.ranks.clone());
        let asked = dirs.clone();
        self.work(lease, async move {
            let asked = blocking(move || answers::check(framework, &asked, &ranks)).await;
            if let Err(cause) = asked {
                return Input::LogStored { lease, result: Err(cause) };
            }
            let result = seal::log(wanted.lease, node, dirs, &*blobs).await;
            if let Err(cause) = &result {
                tracing::warn!(%lease, %cause, "log not stored");
            }
            Input::LogStored { lease, result }
        });
    }

    fn forget(&mut self, lease: LeaseId) {
        // Dropping it ends its work.
        let alone = self.leases.remove(&lease).is_some_and(|local| local.alone);
        let dirs = self.dirs.lease(lease);
        self.watch.remove(&dirs);
        let (closed, is_closed) = oneshot::channel();
        self.tell(Tail::Remove { lease, closed });
        self.order(Order::Forget { lease });
        let pool = Arc::clone(&self.pool);
        let leaving = pool.leaving(lease);
        let handed_back = self.apart.then(|| {
            let (told, handed_back) = oneshot::channel();
            self.forgotten.insert(lease, told);
            handed_back
        });
        self.sweeping.spawn(async move {
            if let Some(handed_back) = handed_back {
                // Not for ever: what cannot be removed then is a line in the log.
                let _ = tokio::time::timeout(HANDED_BACK, handed_back).await;
            }
            let after = if alone && is_closed.await.is_ok() { AtOnce } else { Rest };
            let given = tokio::task::spawn_blocking(move || pool.give_back(&dirs, after)).await;
            if let Ok(Err(why)) = given {
                tracing::warn!(%lease, %why, "folders not removed; the next start removes them");
            }
            drop(leaving);
        });
    }
}
