//! Windows: nodes that are kept for some, or from all, for a time.
//!
//! What runs on a node when a window begins there and is no member's has to leave. So an attempt
//! that is no member's is granted only where it ends by its time limit before the window begins;
//! without a limit, only on nodes that no such window waits for.

mod change;
mod turn;

use super::{row::Brief, sched::Sched};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    LogIndex, Millis, NodeId,
    job::JobSpec,
    lease::Member,
    reservation::{Reservation, WindowKind},
};
use std::collections::BTreeSet;

/// The nodes of a window that is not open, or not there.
static NOWHERE: BTreeSet<NodeId> = BTreeSet::new();

/// A change of the windows.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum WindowCommand {
    /// Make one.
    Create(Reservation),
    /// End one, or take it back before it begins.
    Delete {
        /// Its name.
        name: String,
    },
}

/// A window that is not over.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct WindowRow {
    /// Its name.
    pub name: String,
    /// Its nodes.
    pub nodes: BTreeSet<NodeId>,
    /// When it begins.
    pub from: Millis,
    /// When it is over.
    pub until: Millis,
    /// Users whose jobs are members.
    pub users: BTreeSet<String>,
    /// Queues whose jobs, and those of their parts, are members.
    pub queues: BTreeSet<String>,
    /// Who runs there.
    pub kind: WindowKind,
    /// Why.
    pub reason: String,
    /// Who made it.
    pub by: String,
    /// The entry that made it.
    pub at: LogIndex,
    /// Whether it was seen to begin.
    pub opened: bool,
}

/// What of a job decides on which side of a window it is.
#[derive(Clone, Copy, Debug)]
pub struct Guest<'a> {
    /// Who submitted it.
    pub user: &'a str,
    /// Where it waits.
    pub queue: &'a str,
    /// The window in which alone it runs.
    pub reservation: Option<&'a str>,
    /// Longest time an attempt may run.
    pub limit: Option<Millis>,
}

impl<'a> From<&'a Brief> for Guest<'a> {
    fn from(job: &'a Brief) -> Self {
        let (user, queue, reservation) = (&*job.user, &*job.queue, job.reservation.as_deref());
        Self { user, queue, reservation, limit: job.time_limit }
    }
}

impl<'a> From<&'a JobSpec> for Guest<'a> {
    fn from(spec: &'a JobSpec) -> Self {
        let (user, queue) = (spec.user.as_str(), spec.queue.as_str());
        Self { user, queue, reservation: spec.reservation.as_deref(), limit: spec.time_limit }
    }
}

/// Windows that keep a job from starting on their nodes.
#[derive(Clone, Debug)]
pub struct Barred<'a> {
    /// The windows, by name.
    pub windows: Vec<&'a WindowRow>,
    /// Nodes on which alone it may start, where it names a window.
    only: Option<&'a BTreeSet<NodeId>>,
}

impl Barred<'_> {
    /// Whether it may not start on a node.
    #[must_use]
    pub fn has(&self, node: NodeId) -> bool {
        self.only.is_some_and(|only| !only.contains(&node))
            || self.windows.iter().any(|window| window.nodes.contains(&node))
    }

    /// Whether windows leave it every node.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.windows.is_empty() && self.only.is_none()
    }

    /// Whether it may start on no node that is not open to `other` too.
    #[must_use]
    pub fn bars_no_less(&self, other: &Self) -> bool {
        let same = match (self.only, other.only) {
            (_, None) => true,
            (Some(ours), Some(theirs)) => std::ptr::eq(ours, theirs),
            (None, Some(_)) => false,
        };
        let has = |window: &&WindowRow| self.windows.iter().any(|it| it.name == window.name);
        same && other.windows.iter().all(has)
    }
}

impl WindowRow {
    /// Whether it has begun and is not over.
    #[must_use]
    pub fn is_open(&self, now: Millis) -> bool {
        self.from <= now && now < self.until
    }

    /// One word for where it stands.
    #[must_use]
    pub fn word(&self, now: Millis) -> &'static str {
        if self.is_open(now) { "open" } else { "coming" }
    }

    /// Whether a job is a member. Its queue's `line` is the queue, and those above it.
    fn admits<'a>(&self, guest: Guest<'_>, mut line: impl Iterator<Item = &'a str>) -> bool {
        if self.kind == WindowKind::Maintenance {
            return false;
        }
        // One that names nobody is for those who name it.
        let any = self.users.is_empty() && self.queues.is_empty();
        any && guest.reservation == Some(self.name.as_str())
            || self.users.contains(guest.user)
            || line.any(|queue| self.queues.contains(queue))
    }
}

impl Sched {
    /// Whether a job is a member of a window.
    pub(super) fn admits(&self, window: &WindowRow, guest: Guest<'_>) -> bool {
        let above = self.queues.get(guest.queue).into_iter().flat_map(|queue| &queue.above);
        window.admits(guest, std::iter::once(guest.queue).chain(above.map(|up| &**up)))
    }

    /// Windows that keep an attempt from starting now.
    #[must_use]
    pub fn barred(&self, guest: Guest<'_>, now: Millis) -> Barred<'_> {
        let only = guest.reservation.map(|name| {
            let window = self.windows.get(name).filter(|window| window.is_open(now));
            window.filter(|it| self.admits(it, guest)).map_or(&NOWHERE, |window| &window.nodes)
        });
        let ends = |window: &WindowRow| guest.limit.is_some_and(|it| now.plus(it) <= window.from);
        let windows = self
            .windows
            .values()
            .filter(|window| now < window.until && !ends(window) && !self.admits(window, guest));
        Barred { windows: windows.collect(), only }
    }

    /// Whether windows keep an attempt from starting now on one of these nodes.
    pub(super) fn is_kept_out(&self, guest: Guest<'_>, members: &[Member], now: Millis) -> bool {
        let barred = self.barred(guest, now);
        members.iter().any(|member| barred.has(member.node))
    }
}
