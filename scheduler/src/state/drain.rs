//! Nodes that are taken out of service: for how long, and what becomes of what runs there. One that is
//! in quarantine comes back when an acceptance job has passed on it, or with somebody's word.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    preempt::tell,
    record::Kind,
    sched::Sched,
    step::{Step, absent},
};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{
    CheckId, Digest, Millis, NodeId,
    check::Finding,
    job::EndCause,
    lease::{Lease, Phase},
    node::DrainTerms,
    port::RowRead,
    version::ClusterVersion,
};
use serde_json::json;
use std::collections::BTreeSet;

/// The version since which nodes are drained together, and on terms.
pub(super) const TERMS: ClusterVersion = ClusterVersion(2);
/// In whose name time puts nodes back.
const ACTOR: &str = "clock";
/// Names in one command.
const NAMES_MAX: usize = 1_000;
/// Says that a word is a rack's name.
const RACK: &str = "rack:";

/// Take nodes out of service, or put them back. All or none.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DrainNodes {
    /// A node's name, or a rack's: `node-17`, `rack-3`, `rack:rack-3`, `rack:block-1/rack-3`.
    pub names: BTreeSet<String>,
    /// Why; none puts them back.
    pub reason: Option<String>,
    /// On which terms.
    pub terms: DrainTerms,
    /// Whether nodes in quarantine are put back without an acceptance job.
    pub vouch: bool,
}

impl Sched {
    /// Takes a node out of service, or puts it back.
    pub(super) fn drain<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        name: &str,
        reason: Option<String>,
    ) -> Reply {
        let Some(id) = self.names.get(name).copied() else {
            return absent(format!("node `{name}`"), "nodes");
        };
        if reason.is_none()
            && let Some(refusal) = self.quarantine_stands(id)
        {
            return Reply::Refused(refusal);
        }
        self.set_service(step, actor, id, reason, DrainTerms::default());
        step.effect(Effect::Plan);
        step.done()
    }

    /// The same with several nodes, and on terms.
    pub(super) fn drain_nodes<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        asked: DrainNodes,
    ) -> Reply {
        let DrainNodes { names, reason, terms, vouch } = asked;
        let wrong = match () {
            () if names.is_empty() => Some("no node is named; name one"),
            () if names.len() > NAMES_MAX => Some("more than 1,000 names; name racks, or fewer"),
            () if reason.is_none() && terms != DrainTerms::default() => {
                Some("its terms want a reason; say why, for others")
            }
            () if reason.is_some() && vouch => Some("nobody vouches for what is taken out"),
            () if terms.until.is_some_and(|until| until <= step.now) => {
                Some("it would be over before it begins; give a later time")
            }
            () if terms.quarantine && terms.until.is_some() => {
                Some("a quarantine ends when the acceptance job has passed; give no time")
            }
            () => None,
        };
        if let Some(why) = wrong {
            return Reply::Refused(Refusal::Spec(format!("drain: {why}")));
        }
        let mut nodes = BTreeSet::new();
        for name in &names {
            match self.nodes_named(name) {
                Ok(found) => nodes.extend(found),
                Err(refusal) => return Reply::Refused(refusal),
            }
        }
        // Neither does time put back what is in quarantine.
        let ends = reason.is_none() && !vouch || terms.until.is_some();
        let stands = |id| self.quarantine_stands(id).filter(|_| ends);
        if let Some(refusal) = nodes.iter().copied().find_map(stands) {
            return Reply::Refused(refusal);
        }
        for id in nodes {
            self.set_service(step, actor, id, reason.clone(), terms);
        }
        step.effect(Effect::Plan);
        step.done()
    }

    /// The node, or the nodes of the rack, that a word names.
    ///
    /// # Errors
    /// When it names none, or racks in several blocks.
    pub fn nodes_named(&self, word: &str) -> Result<BTreeSet<NodeId>, Refusal> {
        if let Some(id) = self.names.get(word) {
            return Ok([*id].into());
        }
        let rack = word.strip_prefix(RACK).unwrap_or(word);
        let place = |id: &NodeId| {
            let topology = &self.nodes[id].row.inventory.topology;
            (topology.block.as_str(), topology.rack.as_str())
        };
        let is = |id: &NodeId| {
            let (block, name) = place(id);
            let within = rack.strip_prefix(block).and_then(|rest| rest.strip_prefix('/'));
            !name.is_empty() && (name == rack || within == Some(name))
        };
        let found: BTreeSet<NodeId> = self.nodes.keys().copied().filter(is).collect();
        let blocks: BTreeSet<&str> = found.iter().map(|id| place(id).0).collect();
        match (found.is_empty(), blocks.len()) {
            (true, _) => {
                let what = format!("node or rack `{word}`");
                Err(Refusal::NotFound { what, list: "nodes".into() })
            }
            (false, 1) => Ok(found),
            (false, _) => {
                let all: Vec<String> =
                    blocks.iter().map(|block| format!("`{RACK}{block}/{rack}`")).collect();
                let all = all.join(", ");
                Err(Refusal::Spec(format!("rack `{rack}` is in several blocks; name one: {all}")))
            }
        }
    }

    /// Whether a node is in quarantine.
    pub(super) fn is_quarantined(&self, id: NodeId) -> bool {
        self.drains.get(&id).is_some_and(|terms| terms.quarantine)
    }

    fn quarantine_stands(&self, id: NodeId) -> Option<Refusal> {
        let name = &self.nodes.get(&id).filter(|_| self.is_quarantined(id))?.row.inventory.name;
        Some(Refusal::WrongState {
            what: format!("node `{name}`"),
            state: "in quarantine".into(),
            remedy: format!(
                "have it run the acceptance job: `assay node accept {name}`; your word alone: \
                 `assay node resume {name} --vouch`"
            ),
        })
    }

    /// A node is found to give wrong bits: nothing new comes until it was seen to give right ones.
    pub(super) fn quarantine_node<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        reason: &str,
    ) {
        // What passed before says nothing of what was found now.
        if let Some(check) = self.check_of_node(id) {
            let why = format!("since then it was {reason}");
            self.close_check(step, actor, check, Finding::GivenUp { why });
        }
        if !self.is_quarantined(id) {
            let stands = self.drains.get(&id).copied().unwrap_or_default();
            let terms = DrainTerms { quarantine: true, ..stands };
            self.set_service(step, actor, id, Some(reason.to_owned()), terms);
        }
    }

    /// Notes which check is the newest of a node in quarantine.
    pub(super) fn note_check<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        id: NodeId,
        check: CheckId,
    ) {
        if let Some(terms) = self.drains.get_mut(&id) {
            terms.check = Some(check);
            step.rows.put(key::drain(id), &*terms);
        }
    }

    /// A node gave the digest of its class: it takes work again.
    pub(super) fn node_passed<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        check: CheckId,
        digest: Option<Digest>,
    ) {
        let Some(node) = self.nodes.get(&id).filter(|_| self.is_quarantined(id)) else { return };
        let member = json!({
            "check": check.to_string(),
            "digest": digest.map(|it| it.to_string()),
            "name": node.row.inventory.name,
            "reason": node.row.drained.as_deref().unwrap_or(""),
        });
        step.events.add(Kind::NodeAccepted, actor, &member);
        self.set_service(step, actor, id, None, DrainTerms::default());
        step.effect(Effect::Plan);
    }

    fn set_service<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        reason: Option<String>,
        terms: DrainTerms,
    ) {
        let terms = match &reason {
            Some(_) => self.with_quarantine(id, terms),
            None => DrainTerms::default(),
        };
        if !terms.migrate {
            self.let_stay(step, id);
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let name = &node.row.inventory.name;
        let mut member = json!({ "name": name, "reason": reason.as_deref().unwrap_or("") });
        if let Some(until) = terms.until {
            member["untilMs"] = json!(until.0.to_string());
        }
        for (word, is) in [("migrate", terms.migrate), ("quarantine", terms.quarantine)] {
            if is {
                member[word] = json!("yes");
            }
        }
        step.events.add(Kind::NodeDrained, actor, &member);
        node.row.drained = reason;
        step.rows.put(key::node(id), &node.row);
        if terms != DrainTerms::default() {
            step.rows.put(key::drain(id), &terms);
            self.drains.insert(id, terms);
        } else if self.drains.remove(&id).is_some() {
            step.rows.remove(key::drain(id));
        }
        self.recount(id);
        if let Some(check) = self.check_of_node(id).filter(|_| !terms.quarantine) {
            let why = "the node takes work again".to_owned();
            self.close_check(step, actor, check, Finding::GivenUp { why });
        }
    }

    /// Only an acceptance ends a quarantine: other terms come beside it.
    fn with_quarantine(&self, id: NodeId, asked: DrainTerms) -> DrainTerms {
        let stands = self.drains.get(&id).copied().filter(|terms| terms.quarantine);
        let quarantine = asked.quarantine || stands.is_some();
        DrainTerms {
            until: asked.until.filter(|_| !quarantine),
            quarantine,
            check: stands.and_then(|terms| terms.check),
            ..asked
        }
    }

    /// Puts the nodes back whose time has come.
    pub(super) fn end_drains<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        let now = step.now;
        let over = self.drains.iter().filter(|(_, it)| it.until.is_some_and(|until| until <= now));
        let over: Vec<NodeId> = over.map(|(id, _)| *id).collect();
        for id in over {
            self.set_service(step, ACTOR, id, None, DrainTerms::default());
            step.effect(Effect::Plan);
        }
    }

    /// Has what runs on nodes go on elsewhere where that is asked. After all that may have taken a
    /// notice back.
    pub(super) fn move_out_of_drains<R: RowRead>(&mut self, step: &mut Step<'_, R>) {
        let moves = self.drains.iter().filter(|(_, terms)| terms.migrate);
        let moves: Vec<NodeId> = moves.map(|(id, _)| *id).collect();
        for id in moves {
            self.move_out(step, id);
        }
    }

    /// Has what runs on a node go on elsewhere: what may be stopped has notice, as with a
    /// preemption, and is stopped once that is over. What is not preemptible ends by itself.
    fn move_out<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: NodeId) {
        let Some(node) = self.nodes.get(&id).map(|it| it.row.inventory.name.clone()) else {
            return;
        };
        for id in self.leases_on(id) {
            let Some(lease) = self.leases.get(&id) else { continue };
            let Some(job) = self.jobs.get(&lease.element.job) else { continue };
            if matches!(lease.phase, Phase::Stopping { .. }) {
                continue;
            }
            if job.brief.check.is_some() {
                self.make_room(step, vec![id]);
                continue;
            }
            match &lease.notice {
                None if job.brief.interrupt.runs_for().is_some() => {
                    self.ask(step, id, EndCause::Drained { node: node.clone() });
                }
                Some(notice) if is_of(&notice.cause, &node) && notice.until() <= step.now => {
                    let cause = notice.cause.clone();
                    self.stop_lease(step, id, cause);
                }
                None | Some(_) => {}
            }
        }
    }

    /// Takes back what those were told who have not left a node.
    fn let_stay<R: RowRead>(&mut self, step: &mut Step<'_, R>, id: NodeId) {
        let Some(node) = self.nodes.get(&id).map(|it| it.row.inventory.name.clone()) else {
            return;
        };
        for id in self.leases_on(id) {
            let Some(lease) = self.leases.get_mut(&id) else { continue };
            if lease.notice.take_if(|notice| is_of(&notice.cause, &node)).is_some() {
                step.rows.put(key::lease(id), &*lease);
                tell(step, lease);
            }
        }
    }

    /// When the next node is put back, or the notice of one who has to leave is over.
    pub(super) fn next_drain(&self) -> Option<Millis> {
        let notices = self.drains.iter().filter(|(_, terms)| terms.migrate).flat_map(|(id, _)| {
            let leases = self.leases_on(*id).into_iter().filter_map(|id| self.leases.get(&id));
            let runs = leases.filter(|lease| !matches!(lease.phase, Phase::Stopping { .. }));
            runs.filter(|lease| self.leaves_a_drain(lease))
                .filter_map(|lease| lease.notice.as_ref())
        });
        let ends = notices.map(|notice| notice.until());
        self.drains.values().filter_map(|terms| terms.until).chain(ends).min()
    }

    /// Whether an attempt has notice because a node of it is taken out of service.
    pub(super) fn leaves_a_drain(&self, lease: &Lease) -> bool {
        let Some(EndCause::Drained { node }) = lease.notice.as_ref().map(|it| &it.cause) else {
            return false;
        };
        let id = self.names.get(node);
        id.is_some_and(|id| {
            self.drains.get(id).is_some_and(|terms| terms.migrate)
                && lease.members.iter().any(|member| member.node == *id)
        })
    }

    /// Terms are kept of drained nodes alone.
    pub(super) fn broken_drain(&self) -> Option<String> {
        let stray = self
            .drains
            .keys()
            .find(|id| self.nodes.get(id).is_none_or(|node| node.row.drained.is_none()));
        stray.map(|id| format!("drain: node {id} has terms and is in service"))
    }
}

/// Whether an attempt leaves this node.
fn is_of(cause: &EndCause, name: &str) -> bool {
    matches!(cause, EndCause::Drained { node } if node == name)
}
