//! Triggers: one key, one effect, however often it is sent.

use super::{super::command::Act, MonitorRow, Seen, invalid, key};
use borsh::{BorshDeserialize, BorshSerialize};
use domain::{Digest, limit, model::ModelRef, port::RowRead, refusal::RegistryRefusal};

/// What a trigger has done.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct TriggerRow {
    /// Digest of what was sent with it.
    content: Digest,
    /// The observation that it made.
    observation: u64,
}

/// Digest of what was sent. Scores of windows follow from the windows and are left out: the same
/// windows are the same trigger, also after the monitor was set anew.
fn content(seen: &Seen, reason: Option<&str>) -> Digest {
    let scored = seen.windows.is_none().then_some(&seen.features);
    Digest::of_value(&(&seen.slices, &seen.data, seen.windows, scored, reason))
}

fn name(trigger: &str) -> Digest {
    Digest::of(trigger.as_bytes())
}

/// The observation that a trigger has made already.
///
/// # Errors
/// When the key is none, or stands for something else.
pub(super) fn known<R: RowRead>(
    act: &Act<'_, '_, R>,
    model: &ModelRef,
    seen: &Seen,
    reason: Option<&str>,
) -> Result<Option<u64>, RegistryRefusal> {
    let Some(trigger) = &seen.trigger else { return Ok(None) };
    if trigger.is_empty()
        || trigger.len() > limit::TRIGGER_MAX
        || trigger.contains(char::is_control)
    {
        let most = limit::TRIGGER_MAX;
        return Err(invalid(format!("a trigger's key has 1 to {most} bytes and no line breaks")));
    }
    let Some(row) = act.rows.read::<TriggerRow>(&key::trigger(model, name(trigger))) else {
        return Ok(None);
    };
    match row.content == content(seen, reason) {
        true => Ok(Some(row.observation)),
        false => {
            let (model, trigger) = (model.clone(), trigger.clone());
            Err(RegistryRefusal::TriggerReused { model, trigger })
        }
    }
}

/// Notes what a trigger has done, and forgets the oldest of too many.
pub(super) fn keep<R: RowRead>(
    act: &mut Act<'_, '_, R>,
    row: &mut MonitorRow,
    seen: &Seen,
    reason: Option<&str>,
) {
    let Some(trigger) = &seen.trigger else { return };
    let model = &row.monitor.model;
    row.triggers += 1;
    let made = TriggerRow { content: content(seen, reason), observation: row.observations };
    act.rows.put(key::trigger(model, name(trigger)), &made);
    act.rows.put(key::trigger_number(model, row.triggers), &name(trigger));
    if let Some(old) = row.triggers.checked_sub(limit::TRIGGERS_KEPT) {
        forget(act, model, old);
    }
}

fn forget<R: RowRead>(act: &mut Act<'_, '_, R>, model: &ModelRef, number: u64) {
    let at = key::trigger_number(model, number);
    if let Some(name) = act.rows.read::<Digest>(&at) {
        act.rows.remove(key::trigger(model, name));
        act.rows.remove(at);
    }
}

/// Forgets the triggers of a monitor that goes.
pub(super) fn forget_all<R: RowRead>(act: &mut Act<'_, '_, R>, model: &ModelRef, newest: u64) {
    let oldest = newest.saturating_sub(limit::TRIGGERS_KEPT) + 1;
    for number in oldest..=newest {
        forget(act, model, number);
    }
}
