//! Asks for retrains whose hold is over: a cool-down that has passed, a budget that is there anew.

use crate::state::{command::Command, view::View};
use domain::{EpisodeId, Millis};
use registry::ledger::drift::DriftCommand;
use std::collections::{BTreeMap, btree_map::Entry};

/// Time between two looks at what is held.
const LOOK_EVERY: Millis = Millis(1_000);
/// Time after which what was proposed and has changed nothing is proposed again.
const PATIENCE: Millis = Millis(5_000);
/// Retrains that one look asks for.
const AT_ONCE: usize = 8;

/// What was asked for.
#[derive(Clone, Debug)]
pub(super) struct Retraining {
    /// For which end of its hold each was asked for, and until when the answer may take.
    asked: BTreeMap<EpisodeId, (Millis, Millis)>,
    look: Millis,
}

impl Retraining {
    /// Looks at once: a hold may have ended while there was no leader.
    pub fn new(now: Millis) -> Self {
        Self { asked: BTreeMap::new(), look: now }
    }

    /// What to propose now. `wall` is the clock that proposals carry: where it runs behind the
    /// log's, nothing is asked for too early, since the log's clock decides.
    pub fn next(&mut self, view: &View<'_>, now: Millis, wall: Millis) -> Vec<Command> {
        if now < self.look {
            return Vec::new();
        }
        self.look = now.plus(LOOK_EVERY);
        let clock = wall.max(view.now());
        let due: BTreeMap<_, _> = view.held_retrains().filter(|(_, due)| *due <= clock).collect();
        self.asked.retain(|id, (end, until)| due.get(id) == Some(end) && now < *until);
        let mut commands = Vec::new();
        for (episode, end) in due {
            if commands.len() >= AT_ONCE {
                break;
            }
            if let Entry::Vacant(free) = self.asked.entry(episode) {
                free.insert((end, now.plus(PATIENCE)));
                commands.push(Command::Drift(DriftCommand::Resume { episode }));
            }
        }
        commands
    }
}
