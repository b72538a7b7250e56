//! `gate_before_stage`: no model is in a stage without evaluation, clearance, signature and,
//! where risk asks, a quorum of distinct approvers whose own signatures verify. None comes there
//! whose job was given data that is blocked.

use super::{Broken, leader};
use crate::world::World;
use domain::{
    JobId, PromotionId,
    dataset::DatasetRef,
    model::{ModelRef, Stage},
    port::RowRead,
    promotion::{GateResult, Promotion, PromotionState},
    version::ClusterVersion,
};
use registry::{
    ledger::{dataset, view as ledger},
    seal::manifest,
};
use scheduler::state::{Cluster, view::View};
use std::collections::{BTreeMap, BTreeSet};

/// Promotions that were applied, with what they led to.
#[derive(Default)]
pub struct Gates {
    applied: BTreeSet<PromotionId>,
    cleared: BTreeSet<(ModelRef, Stage)>,
    /// What the cluster ran at before the entry.
    ran_at: ClusterVersion,
}

impl Gates {
    /// Looks at promotions that an entry has changed, and at all models if it changed any.
    pub fn look(
        &mut self,
        machine: &Cluster,
        rows: &impl RowRead,
        promotions: &[PromotionId],
        models: bool,
    ) -> Result<(), Broken> {
        let view = &machine.view();
        for promotion in promotions.iter().filter_map(|id| view.promotion(rows, *id)) {
            if applied(&promotion) && self.applied.insert(promotion.id) {
                clear(&promotion, &keys(view, rows))?;
                if self.ran_at > ClusterVersion::FIRST {
                    free(&promotion, view, rows)?;
                }
                self.cleared.insert((promotion.model, promotion.to));
            }
        }
        self.ran_at = machine.version();
        if models { staged(view, rows, &self.cleared) } else { Ok(()) }
    }

    /// `fail_closed`, of a job that an attempt was made of.
    pub fn tried(view: &View<'_>, rows: &impl RowRead, job: JobId) -> Result<(), Broken> {
        match view.training_decision(rows, job).is_some_and(|it| !it.allows()) {
            true => Err(Broken::new(format!("fail_closed: {job} was denied, and runs"))),
            false => Ok(()),
        }
    }
}

/// Looks at every promotion, every version and every alias.
pub fn check(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    let keys = keys(&view, rows);
    let mut cleared: BTreeSet<(ModelRef, Stage)> = BTreeSet::new();
    for promotion in view.promotions(rows, PromotionId(0), 100_000) {
        if applied(&promotion) {
            clear(&promotion, &keys)?;
            cleared.insert((promotion.model.clone(), promotion.to));
        }
    }
    staged(&view, rows, &cleared)?;
    fail_closed(world)
}

fn applied(promotion: &Promotion) -> bool {
    matches!(promotion.state, PromotionState::Applied | PromotionState::Unratified { .. })
}

fn keys(view: &View<'_>, rows: &impl RowRead) -> BTreeMap<String, String> {
    view.approvers(rows).approvers.into_iter().map(|it| (it.name, it.key)).collect()
}

/// Whatever is in a stage was cleared for it, and each alias names what is in its stage.
fn staged(
    view: &View<'_>,
    rows: &impl RowRead,
    cleared: &BTreeSet<(ModelRef, Stage)>,
) -> Result<(), Broken> {
    for family in view.families(rows, "", 1_000) {
        for found in view.versions(rows, &family.family, 1, 100_000) {
            let version = found.version;
            let staged = matches!(version.stage, Stage::Staging | Stage::Prod);
            if staged && !cleared.contains(&(version.model.clone(), version.stage)) {
                let (model, stage) = (version.model, version.stage);
                return Err(broken(format!("{model} is in {stage}, and no promotion led there")));
            }
        }
        for stage in [Stage::Staging, Stage::Prod] {
            let Some(version) = family.aliases.get(stage.word()) else { continue };
            let model = ModelRef { family: family.family.clone(), version: *version };
            let found = view.model(rows, &model.to_string()).map(|it| it.version.stage);
            if found != Some(stage) {
                return Err(broken(format!("alias {stage} names {model}, which is in {found:?}")));
            }
        }
    }
    Ok(())
}

fn broken(what: String) -> Broken {
    Broken::new(format!("gate_before_stage: {what}"))
}

/// What a promotion's version was trained with may be used, as it is applied: what the same entry
/// registers after it comes too late.
fn free(promotion: &Promotion, view: &View<'_>, rows: &impl RowRead) -> Result<(), Broken> {
    let made_by = ledger::made_by(rows, promotion.artifact);
    let spec = made_by.and_then(|element| view.job(rows, element.job)).map(|job| job.spec);
    let data = spec.iter().flat_map(|spec| spec.datasets.values());
    let applied = promotion.history.iter().rfind(|step| step.state == promotion.state.word());
    let before = |of: &DatasetRef| {
        let registered = dataset::version(rows, of).map(|version| version.audit_seq);
        registered < applied.map(|step| step.audit_seq)
    };
    let mut blocked = data.into_iter().filter_map(|set| dataset::blocked(rows, set.tree));
    let blocked = blocked.find(|(dataset, _)| before(dataset));
    blocked.map_or(Ok(()), |(dataset, _)| {
        let id = promotion.id;
        Err(broken(format!("{id} is applied, and {dataset}, which it came of, is blocked")))
    })
}

/// Everything that an applied promotion has to have.
fn clear(promotion: &Promotion, keys: &BTreeMap<String, String>) -> Result<(), Broken> {
    let id = promotion.id;
    if promotion.gates.is_empty() || promotion.gates.iter().any(|gate| !gate.passed) {
        return Err(broken(format!("{id} passed no evaluation")));
    }
    let believed = |gate: &GateResult| gate.evaluation.is_some() || gate.gate.claimed;
    if !promotion.gates.iter().all(believed) {
        return Err(broken(format!("{id} passed a gate on a claim that it does not take")));
    }
    if !promotion.policy.as_ref().is_some_and(|policy| policy.allows()) {
        return Err(broken(format!("{id} has no clearance")));
    }
    let signed = promotion.manifest.as_ref().map(|signed| signed.manifest);
    if signed != Some(manifest::digest(promotion)) {
        return Err(broken(format!("{id} has no signature of its manifest")));
    }
    let mut people = BTreeSet::new();
    for word in &promotion.approvals {
        let mut raw = [0; 32];
        let known = keys.get(&word.approver).is_some_and(|key| {
            domain::Digest::of(&decode(key)) == word.key
                && decode(key).try_into().map(|key: [u8; 32]| raw = key).is_ok()
        });
        let verifies = manifest::verify_approval(promotion, &raw, &decode(&word.signature));
        if !known || !verifies || word.approver == promotion.requested_by {
            return Err(broken(format!("{id} counts a word of {} that is none", word.approver)));
        }
        people.insert((&word.approver, word.key));
    }
    let required = match promotion.state {
        PromotionState::Unratified { .. } => 1,
        _ => promotion.required,
    };
    if people.len() != promotion.approvals.len() || (people.len() as u32) < required {
        return Err(broken(format!("{id} has {} of {required} people", people.len())));
    }
    Ok(())
}

fn decode(hex: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    (0..hex.len()).step_by(2).filter_map(byte).collect()
}

/// `fail_closed`: a job that a policy did not allow has no artifact.
fn fail_closed(world: &World) -> Result<(), Broken> {
    let server = leader(world)?;
    let Some(replica) = &server.replica else { return Ok(()) };
    let (machine, rows) = replica.view();
    let view = machine.0.view();
    for client in &world.clients {
        for job in client.acked.values() {
            let denied = view.training_decision(rows, *job).is_some_and(|it| !it.allows());
            let placed =
                |job: JobId| view.job(rows, job).is_some_and(|it| !attempts(&it).is_empty());
            if denied && placed(*job) {
                return Err(Broken::new(format!("fail_closed: {job} was denied, and has run")));
            }
        }
    }
    Ok(())
}

fn attempts(job: &domain::view::JobView) -> Vec<domain::AttemptNo> {
    job.parts.iter().flat_map(|part| part.attempts.iter().map(|it| it.attempt)).collect()
}
