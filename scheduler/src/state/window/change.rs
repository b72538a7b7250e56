//! Making windows, and taking them back.

use super::{Guest, WindowCommand, WindowRow};
use crate::state::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    sched::{Node, Sched},
    step::{Step, absent},
};
use domain::{
    Millis, NodeId,
    job::JobSpec,
    limit,
    port::RowRead,
    reservation::{Reservation, WantedNodes, WindowKind},
    resource::gpu_matches,
};
use serde_json::json;
use std::collections::BTreeSet;

impl Sched {
    /// Changes the windows.
    pub(in crate::state) fn reserve<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        command: WindowCommand,
    ) -> Reply {
        match command {
            WindowCommand::Create(asked) => self.create_window(step, actor, asked),
            WindowCommand::Delete { name } => {
                let Some(row) = self.windows.get(&name) else {
                    return absent(format!("reservation `{name}`"), "reservation list");
                };
                let member = json!({ "name": row.name });
                step.events.add(Kind::ReservationDeleted, actor, &member);
                self.end_window(step, &name);
                step.done()
            }
        }
    }

    fn create_window<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        asked: Reservation,
    ) -> Reply {
        let row = match self.settle_window(step, actor, asked) {
            Ok(row) => row,
            Err(reply) => return reply,
        };
        let nodes: Vec<_> = row.nodes.iter().map(ToString::to_string).collect();
        let member = json!({
            "fromMs": row.from.0.to_string(),
            "kind": row.kind.word(),
            "name": row.name,
            "nodes": nodes,
            "queues": row.queues,
            "reason": row.reason,
            "untilMs": row.until.0.to_string(),
            "users": row.users,
        });
        step.events.add(Kind::ReservationCreated, actor, &member);
        step.rows.put(key::window(&row.name), &row);
        self.windows.insert(row.name.clone(), row);
        step.effect(Effect::Plan);
        step.done()
    }

    /// The window that is asked for, with its nodes.
    fn settle_window<R: RowRead>(
        &self,
        step: &Step<'_, R>,
        actor: &str,
        asked: Reservation,
    ) -> Result<WindowRow, Reply> {
        let name = &asked.name;
        let refuse = |fault: String| {
            Err(Reply::Refused(Refusal::Spec(format!("reservation `{name}`: {fault}"))))
        };
        if let Err(fault) = asked.check() {
            return refuse(fault.to_string());
        }
        if self.windows.contains_key(name) {
            return Err(Reply::Refused(Refusal::WrongState {
                what: format!("reservation `{name}`"),
                state: "there already".into(),
                remedy: format!("use another name, or `assay reservation delete {name}`"),
            }));
        }
        if self.windows.len() >= limit::WINDOWS_MAX {
            return Err(Reply::Refused(Refusal::Limit {
                what: "the number of reservations".into(),
                limit: limit::WINDOWS_MAX as u64,
                remedy: "delete one".into(),
            }));
        }
        let known = |queue: &&String| !self.queues.contains_key(queue.as_str());
        if let Some(queue) = asked.queues.iter().find(known) {
            return refuse(format!("there is no queue `{queue}`; see `assay queue list`"));
        }
        let from = asked.start.max(step.now);
        let until = from.plus(asked.duration);
        let nodes = self.wanted_nodes(&asked, from, until)?;
        let row = WindowRow {
            name: asked.name,
            nodes,
            from,
            until,
            users: asked.users,
            queues: asked.queues,
            kind: asked.kind,
            reason: asked.reason,
            by: actor.to_owned(),
            at: step.at,
            opened: false,
        };
        self.check_overlap(&row)?;
        Ok(row)
    }

    /// The nodes that a window is to have.
    fn wanted_nodes(
        &self,
        asked: &Reservation,
        from: Millis,
        until: Millis,
    ) -> Result<BTreeSet<NodeId>, Reply> {
        let (count, model) = match &asked.nodes {
            WantedNodes::Named(names) => return self.named_nodes(names),
            WantedNodes::Count { count, gpu_model } => (*count, gpu_model.as_deref()),
        };
        self.some_nodes(count as usize, model, from, until).map_err(|found| {
            let of = model.map_or(String::new(), |it| format!(" with `{it}` GPUs"));
            Reply::Refused(Refusal::Spec(format!(
                "reservation `{}`: count: {count} nodes{of} are asked for, {found} are in service \
                 and in no other window then; lower it to {found}",
                asked.name
            )))
        })
    }

    fn named_nodes(&self, names: &BTreeSet<String>) -> Result<BTreeSet<NodeId>, Reply> {
        let id = |name: &String| {
            let found = self.names.get(name).copied();
            found.ok_or_else(|| absent(format!("node `{name}`"), "nodes"))
        };
        names.iter().map(id).collect()
    }

    /// So many nodes, first those that will soonest be free; or how many there are.
    fn some_nodes(
        &self,
        count: usize,
        model: Option<&str>,
        from: Millis,
        until: Millis,
    ) -> Result<BTreeSet<NodeId>, usize> {
        let suits = |node: &Node| {
            let gpus = &node.row.inventory.gpus;
            node.row.takes_work()
                && (model.is_none() || gpus.iter().any(|gpu| gpu_matches(&gpu.model, model)))
        };
        let taken = |id: NodeId| {
            self.windows.values().any(|it| it.overlaps(from, until) && it.nodes.contains(&id))
        };
        let mut found: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| suits(node) && !taken(**id))
            .map(|(id, node)| (self.outlast(node, from), node.leases.len(), *id))
            .collect();
        if found.len() < count {
            return Err(found.len());
        }
        found.sort_unstable();
        Ok(found.into_iter().take(count).map(|(.., id)| id).collect())
    }

    /// Attempts on a node that may still run then.
    fn outlast(&self, node: &Node, then: Millis) -> usize {
        let leases = node.leases.iter().filter_map(|id| self.leases.get(id));
        let outlasts = |granted: Millis, limit: Option<Millis>| {
            limit.is_none_or(|limit| granted.plus(limit) > then)
        };
        leases
            .filter_map(|lease| Some((lease.granted, self.jobs.get(&lease.element.job)?)))
            .filter(|(granted, job)| outlasts(*granted, job.brief.time_limit))
            .count()
    }

    /// Two reservations never have one node at one time. Maintenance may come over one: then
    /// nobody is let in.
    fn check_overlap(&self, row: &WindowRow) -> Result<(), Reply> {
        if row.kind == WindowKind::Maintenance {
            return Ok(());
        }
        let others = self.windows.values().filter(|it| it.overlaps(row.from, row.until));
        let both = others.filter_map(|it| Some((it, row.nodes.intersection(&it.nodes).next()?)));
        let Some((other, node)) = both.min_by_key(|(it, _)| (it.from, &it.name)) else {
            return Ok(());
        };
        let (node, name) = (self.nodes.get(node), &other.name);
        let node = node.map_or("", |node| &node.row.inventory.name);
        let see = format!("see `assay reservation show {name}`");
        Err(Reply::Refused(Refusal::WrongState {
            what: format!("node `{node}`"),
            state: format!("in the {} `{name}` then", other.kind.word()),
            remedy: format!("choose other nodes or another time; {see}"),
        }))
    }

    /// Whether a job may name the window that it names.
    pub(in crate::state) fn check_window(&self, spec: &JobSpec) -> Result<(), Refusal> {
        let Some(name) = &spec.reservation else { return Ok(()) };
        let refuse = |fault: String| {
            Err(Refusal::Spec(format!("job `{}`: reservation: {fault}", spec.name)))
        };
        let Some(window) = self.windows.get(name) else {
            return refuse(format!("there is no `{name}`; see `assay reservation list`"));
        };
        if window.kind == WindowKind::Maintenance {
            return refuse(format!("`{name}` is maintenance, which lets nobody in; leave it out"));
        }
        if !self.admits(window, Guest::from(spec)) {
            let users = window.users.iter().map(|user| format!("user {user}"));
            let queues = window.queues.iter().map(|queue| format!("queue {queue}"));
            let members: Vec<_> = users.chain(queues).take(NAMED_MAX).collect();
            let members = members.join(", ");
            return refuse(format!("`{name}` is for {members}; leave it out, or be one of them"));
        }
        Ok(())
    }
}

/// Members that a refusal names.
const NAMED_MAX: usize = 8;

impl WindowRow {
    fn overlaps(&self, from: Millis, until: Millis) -> bool {
        self.from < until && from < self.until
    }
}
