//! Retrains whose hold is over: they start by themselves, as soon as the policy allows it.

use super::{
    super::{Ledger, command::Act},
    Drifted, MonitorRow, RetrainWanted,
    episode::found,
    key,
    retrain::due,
};
use domain::{
    EpisodeId, Millis,
    drift::{Dispatch, Episode, Retrain},
    limit,
    port::RowRead,
    refusal::RegistryRefusal,
    scratch,
};
use std::collections::BTreeMap;

/// When the hold of an episode's retrain is over, if it is a matter of time.
fn held_until(episode: &Episode) -> Option<Millis> {
    match episode.retrain {
        Retrain::Held { due, .. } if episode.closed.is_none() => due,
        Retrain::Held { .. } | Retrain::Off | Retrain::Suggested | Retrain::Dispatched { .. } => {
            None
        }
    }
}

/// Holds as the rows have them: an episode that is open is that of a monitor.
pub(in crate::ledger) fn load_held(rows: &impl RowRead) -> BTreeMap<EpisodeId, Millis> {
    let (from, to) = key::monitors_after(None);
    let page = rows.range(&from, &to, limit::MONITORS_MAX);
    let held = |(key, value): &(Vec<u8>, Vec<u8>)| {
        let row: MonitorRow = scratch::decode(key, value);
        let episode = super::view::episode(rows, row.open?)?;
        Some((episode.id, held_until(&episode)?))
    };
    page.iter().filter_map(held).collect()
}

impl Ledger {
    /// Writes an episode, and keeps in mind until when its retrain is held.
    pub(super) fn put_episode<R: RowRead>(&mut self, act: &mut Act<'_, '_, R>, episode: &Episode) {
        match held_until(episode) {
            Some(due) => self.held.insert(episode.id, due),
            None => self.held.remove(&episode.id),
        };
        act.rows.put(key::episode(episode.id), episode);
    }

    /// A hold is over by the log's clock: the policy decides anew, by the same rules as with a
    /// window of drift. It may start the retrain, or hold it for longer.
    pub(super) fn resume<R: RowRead>(
        &mut self,
        act: &mut Act<'_, '_, R>,
        id: EpisodeId,
    ) -> Result<Drifted, RegistryRefusal> {
        let mut episode = found(act, id)?;
        let refuse = |state: String| RegistryRefusal::Episode {
            episode: id,
            state,
            remedy: "nothing is to be started by itself now".into(),
        };
        let until = held_until(&episode)
            .ok_or_else(|| refuse("has no retrain that is held for a time".into()))?;
        if until > act.now {
            return Err(refuse(format!("is held until {} ms", until.0)));
        }
        let row: Option<MonitorRow> = act.rows.read(&key::monitor(&episode.model));
        let row = row.ok_or_else(|| refuse("has no monitor any more".into()))?;
        let wanted = Self::decide(act, &row, &mut episode);
        self.put_episode(act, &episode);
        Ok(Drifted { number: id.0, wanted })
    }

    /// Lets the policy decide on the retrain of an episode that has none yet.
    pub(super) fn decide<R: RowRead>(
        act: &Act<'_, '_, R>,
        row: &MonitorRow,
        episode: &mut Episode,
    ) -> Option<RetrainWanted> {
        episode.retrain = Retrain::Suggested;
        if row.monitor.policy.dispatch != Dispatch::Auto {
            return None;
        }
        match due(act, row, episode) {
            Ok(wanted) => Some(wanted),
            Err(held) => {
                episode.retrain = held;
                None
            }
        }
    }

    /// The monitor was set anew: what its old policy held is to be decided on at once.
    pub(super) fn reconsider<R: RowRead>(&mut self, act: &mut Act<'_, '_, R>, row: &MonitorRow) {
        let episode: Option<Episode> = row.open.and_then(|id| act.rows.read(&key::episode(id)));
        let Some(mut episode) = episode else { return };
        if let (true, Retrain::Held { due, .. }) =
            (self.held.contains_key(&episode.id), &mut episode.retrain)
        {
            *due = Some(act.now);
            self.put_episode(act, &episode);
        }
    }
}
