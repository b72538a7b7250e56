//! GPUs that are held back, as their nodes tell, with the operator's word for one.

use super::{
    command::{Effect, Refusal, Reply},
    key,
    record::Kind,
    row::HealthRow,
    sched::{Node, Sched},
    step::{Step, absent},
};
use domain::{
    NodeId,
    health::{HeldGpu, HeldState},
    limit,
    port::RowRead,
};
use serde_json::json;
use std::collections::BTreeSet;

impl Sched {
    /// A node tells which of its GPUs are held back.
    ///
    /// An operator's word stays until the node has refused it, or the GPU had a symptom since.
    pub(super) fn health<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        id: NodeId,
        gpus: Vec<HeldGpu>,
    ) -> Reply {
        let Some(node) = self.nodes.get_mut(&id) else {
            return absent(format!("node {id}"), "nodes");
        };
        if let Err(refusal) = check(&gpus) {
            return Reply::Refused(refusal);
        }
        let before = std::mem::take(&mut node.health);
        let mut accepted = before.accepted.clone();
        accepted.retain(|uuid, at| {
            let old = before.gpus.iter().find(|gpu| gpu.uuid == *uuid);
            let new = gpus.iter().find(|gpu| gpu.uuid == *uuid);
            old.zip(new).is_some_and(|(old, new)| old.since == new.since && new.refused < *at)
        });
        // What the node holds back by itself it need not be told any more.
        let held = |uuid: &str| {
            let mut names = gpus.iter().flat_map(|gpu| {
                gpu.offers.iter().map(|it| it.uuid.as_str()).chain([gpu.uuid.as_str()])
            });
            names.any(|name| name == uuid)
        };
        let mut accused = before.accused.clone();
        accused.retain(|uuid, _| !held(uuid));
        let mut checks = before.checks.clone();
        checks.retain(|uuid, _| held(uuid));
        node.health = HealthRow { gpus, accepted, accused, checks };
        node.classify();
        if node.health == before {
            return step.done();
        }
        tell_changes(step, actor, &node.row.inventory.name, &before, &node.health);
        match node.health.is_empty() {
            true => step.rows.remove(key::health(id)),
            false => step.rows.put(key::health(id), &node.health),
        }
        self.void_checks(step, actor, id);
        step.done()
    }

    /// A GPU of a node, if it is in quarantine.
    pub(super) fn in_quarantine(
        &self,
        id: NodeId,
        name: &str,
        word: &str,
    ) -> Result<HeldGpu, Reply> {
        match self.nodes.get(&id) {
            Some(node) => quarantined(node, name, word),
            None => Err(absent(format!("node `{name}`"), "nodes")),
        }
    }

    /// An operator's word that a GPU in quarantine is well again: passed on to its node.
    pub(super) fn accept_gpu<R: RowRead>(
        &mut self,
        step: &mut Step<'_, R>,
        actor: &str,
        name: &str,
        word: &str,
    ) -> Reply {
        let found = self.names.get(name).and_then(|id| self.nodes.get_mut(id).map(|n| (*id, n)));
        let Some((id, node)) = found else {
            return absent(format!("node `{name}`"), "nodes");
        };
        let gpu = match quarantined(node, name, word) {
            Ok(gpu) => gpu,
            Err(reply) => return reply,
        };
        if node.health.accepted.contains_key(&gpu.uuid) {
            return step.done();
        }
        let member = json!({
            "gpu": gpu.uuid, "name": name, "symptom": gpu.symptom,
            "since": gpu.since.0.to_string(), "vouched": "yes",
        });
        step.events.add(Kind::GpuAccepted, actor, &member);
        node.health.accepted.insert(gpu.uuid.clone(), step.at);
        step.rows.put(key::health(id), &node.health);
        step.effect(Effect::Wanted { node: id });
        step.done()
    }
}

/// A node's GPU by index or unique name, if it is in quarantine.
fn quarantined(node: &Node, name: &str, word: &str) -> Result<HeldGpu, Reply> {
    let named = |index: u32, uuid: &str| uuid == word || index.to_string() == word;
    let what = format!("GPU {word} of node `{name}`");
    let wrong = |what, state: &str, remedy| {
        Err(Reply::Refused(Refusal::WrongState { what, state: state.into(), remedy }))
    };
    let Some(gpu) = node.health.gpus.iter().find(|gpu| named(gpu.index, &gpu.uuid)) else {
        let mut served = node.row.inventory.gpus.iter();
        if served.any(|gpu| named(gpu.index, &gpu.uuid)) {
            return wrong(what, "serving", "there is nothing to accept".to_owned());
        }
        return Err(absent(what, &format!("node show {name}")));
    };
    if gpu.state == HeldState::Draining {
        let remedy = format!("accept it when `assay node show {name}` says quarantined");
        return wrong(what, "draining, so that what runs on it can end", remedy);
    }
    Ok(gpu.clone())
}

/// Adds the events of record: GPUs that are held back anew or otherwise, and those that serve.
fn tell_changes<R: RowRead>(
    step: &mut Step<'_, R>,
    actor: &str,
    name: &str,
    before: &HealthRow,
    after: &HealthRow,
) {
    let same = |a: &HeldGpu, b: &HeldGpu| a.uuid == b.uuid && a.state == b.state;
    for gpu in &after.gpus {
        if !before.gpus.iter().any(|old| same(old, gpu)) {
            let member = json!({
                "gpu": gpu.uuid, "name": name, "state": gpu.state.to_string(),
                "symptom": gpu.symptom,
            });
            step.events.add(Kind::GpuHeldBack, actor, &member);
        }
    }
    for gpu in &before.gpus {
        if !after.gpus.iter().any(|new| new.uuid == gpu.uuid) {
            let member = json!({ "gpu": gpu.uuid, "name": name });
            step.events.add(Kind::GpuReleased, actor, &member);
        }
    }
}

fn check(gpus: &[HeldGpu]) -> Result<(), Refusal> {
    let most = limit::NODE_GPUS_MAX;
    let offers: usize = gpus.iter().map(|gpu| gpu.offers.len()).sum();
    if gpus.len() > most || offers > most {
        return Err(Refusal::Limit {
            what: "the number of GPUs of a node".to_owned(),
            limit: most as u64,
            remedy: "split the machine into several nodes".to_owned(),
        });
    }
    let texts = gpus.iter().flat_map(|gpu| [&gpu.uuid, &gpu.symptom, &gpu.advice]);
    if let Some(long) = texts.map(String::len).find(|len| *len > limit::HELD_TEXT_MAX) {
        let most = limit::HELD_TEXT_MAX;
        return Err(Refusal::Spec(format!("a GPU's health: a text has {long} bytes, of {most}")));
    }
    let uuids: BTreeSet<&str> = gpus.iter().map(|gpu| gpu.uuid.as_str()).collect();
    if uuids.len() < gpus.len() {
        return Err(Refusal::Spec("a GPU's health: two GPUs have one name".to_owned()));
    }
    Ok(())
}
