//! One window, or one alert of another system, through its rules.

use super::{
    super::{
        Ledger,
        command::{Act, check_text},
    },
    Drifted, MonitorRow, Seen, invalid, key, monitored, trigger,
};
use crate::drift::check_name;
use domain::{
    dataset::DatasetRef,
    drift::Observation,
    limit,
    model::{ModelRef, check_family},
    port::RowRead,
    refusal::RegistryRefusal,
};
use std::collections::BTreeMap;

/// Scores and effects of one feature.
const SCORES_MAX: usize = 16;

fn check(row: &MonitorRow, seen: &Seen, revision: Option<u64>) -> Result<(), RegistryRefusal> {
    let model = &row.monitor.model;
    if let Some(scored) = revision.filter(|scored| *scored != row.monitor.revision) {
        let (model, is) = (model.clone(), row.monitor.revision);
        return Err(RegistryRefusal::MonitorChanged { model, scored, is });
    }
    if seen.slices.len() > limit::SLICES_MAX {
        return Err(RegistryRefusal::Full {
            what: "the number of slices of one observation".into(),
            most: limit::SLICES_MAX as u64,
            remedy: "send several".into(),
        });
    }
    seen.slices.iter().try_for_each(|slice| check_family(slice)).map_err(invalid)?;
    if seen.features.len() > limit::FEATURES_MAX {
        return Err(RegistryRefusal::Full {
            what: "the number of features of one observation".into(),
            most: limit::FEATURES_MAX as u64,
            remedy: "name those that have drifted".into(),
        });
    }
    for finding in &seen.features {
        check_name(&finding.feature).map_err(invalid)?;
        let longest = finding.scores.len().max(finding.effects.len());
        let names = finding.scores.keys().chain(&finding.effects);
        if longest > SCORES_MAX || names.map(String::len).max().unwrap_or_default() > 64 {
            let why = "has more than 16 scores, or one with a name of more than 64 bytes";
            return Err(invalid(format!("feature `{}` {why}", finding.feature)));
        }
        // What was scored here was scored against the monitor's own features.
        if revision.is_some() && !row.monitor.features.contains_key(&finding.feature) {
            return Err(invalid(format!("{model} has no feature `{}`", finding.feature)));
        }
    }
    Ok(())
}

/// Checks that data sets are there.
pub(super) fn check_data<R: RowRead>(
    act: &Act<'_, '_, R>,
    data: &BTreeMap<String, DatasetRef>,
) -> Result<(), RegistryRefusal> {
    if data.len() > limit::SLICES_MAX || data.keys().any(|name| name.len() > 64) {
        return Err(invalid("at most 64 data sets are named, each by a name of at most 64 bytes"));
    }
    let absent = |dataset: &DatasetRef| RegistryRefusal::NotFound {
        what: format!("data set {dataset}"),
        list: format!("dataset list {}", dataset.name),
    };
    let missing = data.values().find(|it| super::super::dataset::version(&*act.rows, it).is_none());
    missing.map_or(Ok(()), |dataset| Err(absent(dataset)))
}

impl Ledger {
    /// Records an observation. Gives its number, and a job to be submitted where the policy says.
    pub(super) fn observe<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        model: &ModelRef,
        revision: Option<u64>,
        reason: Option<String>,
        mut seen: Seen,
    ) -> Result<Drifted, RegistryRefusal> {
        seen.slices.sort_unstable();
        seen.slices.dedup();
        let mut row = monitored(act, model)?;
        if let Some(reason) = &reason {
            check_text("the reason", reason)?;
        }
        if let Some(number) = trigger::known(act, model, &seen, reason.as_deref())? {
            return Ok(number.into());
        }
        check(&row, &seen, revision)?;
        check_data(act, &seen.data)?;
        row.observations += 1;
        trigger::keep(act, &mut row, &seen, reason.as_deref());
        let mut observation = Observation {
            number: row.observations,
            revision: row.monitor.revision,
            since: act.now,
            by: act.user().to_owned(),
            slices: seen.slices,
            trigger: seen.trigger,
            reason,
            data: seen.data,
            windows: seen.windows,
            features: seen.features,
            episode: row.open,
        };
        let wanted = self.follow(act, &mut row, &mut observation);
        keep(act, &row, &observation);
        Ok(Drifted { number: row.observations, wanted })
    }
}

/// Writes an observation and its monitor, and forgets the oldest of too many.
fn keep<R: RowRead>(act: &mut Act<'_, '_, R>, row: &MonitorRow, observation: &Observation) {
    let model = &row.monitor.model;
    act.rows.put(key::observation(model, observation.number), observation);
    if let Some(old) = observation.number.checked_sub(limit::OBSERVATIONS_KEPT) {
        act.rows.remove(key::observation(model, old));
    }
    act.rows.put(key::monitor(model), row);
}
