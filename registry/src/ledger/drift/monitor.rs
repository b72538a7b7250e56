//! Monitors: set, set anew, removed.

use super::{
    super::{
        Ledger,
        command::{Act, check_text},
        model::wanted,
    },
    MonitorRow, invalid, key, monitored,
};
use crate::drift::{Sketched, check_set, rules_of};
use domain::{
    Digest,
    drift::{Feature, Monitor, MonitorRules, RetrainPolicy},
    limit,
    model::{ModelRef, Stage},
    port::RowRead,
    refusal::RegistryRefusal,
};
use serde_json::json;
use std::collections::BTreeMap;

/// What is to be watched, and how.
pub(super) struct NewMonitor {
    pub model: ModelRef,
    pub rules: MonitorRules,
    pub policy: RetrainPolicy,
    pub reference: BTreeMap<String, Sketched>,
}

fn check(new: &NewMonitor) -> Result<(), RegistryRefusal> {
    if !new.reference.is_empty() {
        check_set(&new.reference).map_err(invalid)?;
    }
    rules_of(&new.rules).map_err(invalid)?;
    let policy = &new.policy;
    if policy.budget == 0 || policy.budget > limit::RETRAINS_MAX {
        return Err(invalid(format!(
            "`budget` is {}, give 1 to {} retrains a period; `dispatch = off` starts none",
            policy.budget,
            limit::RETRAINS_MAX
        )));
    }
    let longest = policy.cool_down.max(policy.period);
    match longest > limit::RETRAIN_PERIOD_MAX || policy.period.0 == 0 {
        true => {
            Err(invalid("`cool_down` and `period` are at most ten years, a period at least 1 ms"))
        }
        false => Ok(()),
    }
}

fn features(reference: &BTreeMap<String, Sketched>) -> BTreeMap<String, Feature> {
    let feature = |(name, window): (&String, &Sketched)| {
        (name.clone(), Feature { kind: window.kind().to_owned(), samples: window.count() })
    };
    reference.iter().map(feature).collect()
}

impl Ledger {
    /// Watches a version. What was observed before stays, and so does an open episode.
    pub(super) fn set_monitor<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        new: NewMonitor,
    ) -> Result<u64, RegistryRefusal> {
        check(&new)?;
        let version = wanted(act, &new.model)?;
        if version.stage == Stage::Deprecated {
            let (model, stage) = (new.model, version.stage);
            let remedy = "watch a version that is in use".into();
            return Err(RegistryRefusal::Stage { model, stage, remedy });
        }
        let before: Option<MonitorRow> = act.rows.read(&key::monitor(&new.model));
        if before.is_none() {
            let count: u64 = act.rows.read(&key::monitors()).unwrap_or_default();
            if count >= limit::MONITORS_MAX as u64 {
                return Err(RegistryRefusal::Full {
                    what: "the number of monitors".into(),
                    most: limit::MONITORS_MAX as u64,
                    remedy: "remove one: `assay drift monitor remove MODEL`".into(),
                });
            }
            act.rows.put(key::monitors(), &(count + 1));
        }
        let revision = before.as_ref().map_or(0, |row| row.monitor.revision) + 1;
        let reference = Digest::of_value(&new.reference);
        let audit_seq = self.event(act, "drift.monitor.set", set(&new, revision, reference));
        let monitor = Monitor {
            features: features(&new.reference),
            model: new.model,
            revision,
            rules: new.rules,
            policy: new.policy,
            reference,
            since: act.now,
            set_by: act.user().to_owned(),
            audit_seq,
        };
        act.rows.put(key::reference(&monitor.model), &new.reference);
        let row = match before {
            Some(row) => MonitorRow { monitor, ..row },
            None => MonitorRow {
                monitor,
                open: None,
                observations: 0,
                retrains: Vec::new(),
                triggers: 0,
            },
        };
        act.rows.put(key::monitor(&row.monitor.model), &row);
        self.reconsider(act, &row);
        Ok(revision)
    }

    /// Watches a version no more. Its episodes stay; one that is open is closed.
    pub(super) fn remove_monitor<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        model: &ModelRef,
        reason: String,
    ) -> Result<u64, RegistryRefusal> {
        check_text("the reason", &reason)?;
        let mut row = monitored(act, model)?;
        let body = json!({ "model": model.to_string(), "reason": reason });
        self.event(act, "drift.monitor.removed", body);
        if let Some(id) = row.open.take() {
            self.close(act, id, format!("its monitor was removed: {reason}"));
        }
        let oldest = row.observations.saturating_sub(limit::OBSERVATIONS_KEPT) + 1;
        for number in oldest..=row.observations {
            act.rows.remove(key::observation(model, number));
        }
        super::trigger::forget_all(act, model, row.triggers);
        act.rows.remove(key::reference(model));
        act.rows.remove(key::monitor(model));
        let count: u64 = act.rows.read(&key::monitors()).unwrap_or_default();
        act.rows.put(key::monitors(), &count.saturating_sub(1));
        Ok(row.monitor.revision)
    }
}

fn set(new: &NewMonitor, revision: u64, reference: Digest) -> serde_json::Value {
    let policy = &new.policy;
    json!({
        "budget": policy.budget,
        "coolDownMs": policy.cool_down.0.to_string(),
        "dispatch": policy.dispatch.word(),
        "features": new.reference.len(),
        "model": new.model.to_string(),
        "periodMs": policy.period.0.to_string(),
        "reference": reference.to_string(),
        "revision": revision,
        "rules": {
            "alpha": new.rules.alpha.to_string(),
            "correction": new.rules.correction.word(),
            "jensenShannon": new.rules.jensen_shannon.to_string(),
            "psi": new.rules.psi.to_string(),
            "samplesMin": new.rules.samples_min.to_string(),
            "wasserstein": new.rules.wasserstein.to_string(),
        },
    })
}
