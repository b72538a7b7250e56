//! What time does to windows: they open, those who are no members leave, and they are over.

use super::{Guest, WindowRow};
use crate::state::{command::Effect, key, preempt::tell, record::Kind, sched::Sched, step::Step};
use domain::{
    LeaseId, Millis,
    job::EndCause,
    lease::{Lease, Phase},
    port::RowRead,
};
use serde_json::json;

/// In whose name windows open and end.
const ACTOR: &str = "clock";

impl Sched {
    /// Goes on with every window, as far as time has come.
    pub(in crate::state) fn turn_windows<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        if self.windows.is_empty() {
            return;
        }
        let now = step.now;
        let named = |windows: &Self, due: fn(&WindowRow, Millis) -> bool| -> Vec<String> {
            let due = windows.windows.values().filter(|row| due(row, now));
            due.map(|row| row.name.clone()).collect()
        };
        for name in named(self, |row, now| row.until <= now) {
            step.events.add(Kind::ReservationEnded, ACTOR, &json!({ "name": name }));
            self.end_window(step, &name);
        }
        for name in named(self, |row, now| !row.opened && row.is_open(now)) {
            let Some(row) = self.windows.get_mut(&name) else { continue };
            row.opened = true;
            step.rows.put(key::window(&name), &*row);
            step.events.add(Kind::ReservationOpened, ACTOR, &json!({ "name": name }));
            step.effect(Effect::Plan);
        }
        for name in named(self, |row, now| row.is_open(now)) {
            self.clear(step, &name);
        }
    }

    /// Has those leave who are no members: what may be stopped has notice, as with a preemption,
    /// and is stopped once that is over. What is not preemptible ends by itself.
    fn clear<R: RowRead>(&mut self, step: &mut Step<'_, R>, name: &str) {
        for id in self.strangers(name) {
            let Some(lease) = self.leases.get(&id) else { continue };
            let Some(job) = self.jobs.get(&lease.element.job) else { continue };
            if job.brief.check.is_some() {
                self.make_room(step, vec![id]);
                continue;
            }
            match &lease.notice {
                None if job.brief.interrupt.runs_for().is_some() => {
                    self.ask(step, id, EndCause::Reserved { window: name.to_owned() });
                }
                Some(notice) if is_of(&notice.cause, name) && notice.until() <= step.now => {
                    let cause = notice.cause.clone();
                    self.stop_lease(step, id, cause);
                }
                None | Some(_) => {}
            }
        }
    }

    /// Attempts on a window's nodes that are no members' and are not being stopped.
    fn strangers(&self, name: &str) -> Vec<LeaseId> {
        let Some(row) = self.windows.get(name) else { return Vec::new() };
        let nodes = row.nodes.iter().filter_map(|id| self.nodes.get(id));
        let mut all: Vec<LeaseId> = nodes.flat_map(|node| node.leases.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|id| self.leases.get(id).is_some_and(|lease| self.is_stranger(row, lease)));
        all
    }

    fn is_stranger(&self, row: &WindowRow, lease: &Lease) -> bool {
        let job = self.jobs.get(&lease.element.job);
        !matches!(lease.phase, Phase::Stopping { .. })
            && job.is_some_and(|job| !self.admits(row, Guest::from(&job.brief)))
    }

    /// A window is over: those who have not left may stay, and others may come.
    pub(super) fn end_window<R: RowRead>(&mut self, step: &mut Step<'_, R>, name: &str) {
        let Some(row) = self.windows.remove(name) else { return };
        step.rows.remove(key::window(name));
        let nodes = row.nodes.iter().filter_map(|id| self.nodes.get(id));
        let leases: Vec<LeaseId> = nodes.flat_map(|node| node.leases.iter().copied()).collect();
        for id in leases {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            if lease.notice.take_if(|notice| is_of(&notice.cause, name)).is_some() {
                step.rows.put(key::lease(id), &*lease);
                tell(step, lease);
            }
        }
        step.effect(Effect::Plan);
    }

    /// When the next window begins or is over, or the notice of one who has to leave.
    pub(in crate::state) fn next_window(&self) -> Option<Millis> {
        let bound = |row: &WindowRow| {
            if !row.opened {
                return row.from;
            }
            let leases = self.strangers(&row.name).into_iter();
            let notices = leases.filter_map(|id| self.leases.get(&id)?.notice.as_ref());
            let ends = notices.filter(|it| is_of(&it.cause, &row.name)).map(|it| it.until());
            ends.chain([row.until]).min().unwrap_or(row.until)
        };
        self.windows.values().map(bound).min()
    }

    /// Whether an attempt has notice for the sake of its nodes, and not of another gang.
    pub(in crate::state) fn leaves_its_nodes(&self, lease: &Lease) -> bool {
        self.leaves_a_window(lease) || self.leaves_a_drain(lease)
    }

    /// Whether an attempt has notice because a window is open on a node of it.
    fn leaves_a_window(&self, lease: &Lease) -> bool {
        let Some(EndCause::Reserved { window }) = lease.notice.as_ref().map(|it| &it.cause) else {
            return false;
        };
        let row = self.windows.get(window).filter(|row| row.opened);
        row.is_some_and(|row| lease.members.iter().any(|it| row.nodes.contains(&it.node)))
    }
}

/// Whether an attempt leaves its nodes to this window.
fn is_of(cause: &EndCause, name: &str) -> bool {
    matches!(cause, EndCause::Reserved { window } if window == name)
}
