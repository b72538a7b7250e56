//! Goes through the log from rows of the past, and makes every plan on the way again.

use crate::{
    consensus::{
        StoreError,
        store::{Fork, PastLog},
    },
    planner::{Plan, Recorded, ReplayFault, remake},
    state::{
        Cluster,
        command::{Command, Entry, Request},
    },
};
use domain::{
    Digest, LogIndex, limit,
    replay::{DecisionKind, DecisionView, ReplayEnd, Verdict},
    version::Understood,
};
use raft::eraftpb;
use std::collections::BTreeMap;

/// A walk that cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum WalkError {
    /// The disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry of another release, or a damaged one.
    #[error("log entry {index} cannot be read: {why}")]
    Entry {
        /// Which.
        index: u64,
        /// Why.
        why: String,
    },
    /// The rows are not those that were frozen.
    #[error("the kept rows as of entry {at} have digest {found}, they were kept as {kept}")]
    Rows {
        /// As of which entry.
        at: u64,
        /// When they were kept.
        kept: Digest,
        /// Now.
        found: Digest,
    },
    /// More than fits into memory.
    #[error("entries {from} to {to} hold more than {} decisions", limit::REPLAY_DECISIONS_MAX)]
    TooMany {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// Whoever asked has gone, or there was not time enough.
    #[error("nobody waits for the rest any more")]
    Left,
}

/// A decision as the log holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decision {
    entry: LogIndex,
    member: u32,
    kind: DecisionKind,
    recorded: Recorded,
    gangs: u32,
    /// Whether what is recorded is what its digest says.
    whole: bool,
}

impl Decision {
    /// The entry that it was made on.
    pub(super) fn base(&self) -> LogIndex {
        self.recorded.base
    }

    fn of(entry: LogIndex, member: usize, request: &Request) -> Option<Self> {
        let (kind, recorded, gangs, whole) = match &request.command {
            Command::Place { plan } => {
                (DecisionKind::Place, plan.into(), plan.placements.len(), plan.is_whole())
            }
            Command::Preempt { plan } => {
                (DecisionKind::Preempt, Recorded::from(plan), 1, plan.is_whole())
            }
            _ => return None,
        };
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (member, gangs) = (small(member), small(gangs));
        Some(Self { entry, member, kind, recorded, gangs, whole })
    }

    /// The digest that the same planner gives now.
    fn digest_in(&self, made: &Plan) -> Digest {
        match self.kind {
            DecisionKind::Place => made.record.plan,
            DecisionKind::Preempt => {
                made.preempt.as_ref().map_or(Digest::default(), |preempt| preempt.plan)
            }
        }
    }

    fn told(&self, verdict: Verdict, made: Option<Digest>, why: Option<String>) -> DecisionView {
        let Recorded { base, now, budget_steps, policy_version, view, plan } = self.recorded;
        DecisionView {
            entry: self.entry,
            member: self.member,
            kind: self.kind,
            verdict,
            base,
            now,
            budget_steps,
            policy_version,
            view,
            gangs: self.gangs,
            recorded: plan,
            made,
            why,
        }
    }

    /// How it compares with what was made again.
    fn compared(&self, made: &Result<Plan, ReplayFault>) -> DecisionView {
        if !self.whole {
            let why = format!("what entry {} holds is not what its digest says", self.entry);
            return self.told(Verdict::Record, None, Some(why));
        }
        let made = match made {
            Ok(made) => made,
            Err(fault) => return self.told(verdict(fault), None, Some(fault.to_string())),
        };
        let digest = self.digest_in(made);
        if digest == self.recorded.plan {
            return self.told(Verdict::Equal, Some(digest), None);
        }
        let (base, recorded) = (self.recorded.base, self.recorded.plan);
        let fault = ReplayFault::Plan { base, recorded, made: digest };
        self.told(Verdict::Plan, Some(digest), Some(fault.to_string()))
    }
}

fn verdict(fault: &ReplayFault) -> Verdict {
    match fault {
        ReplayFault::Base { .. } => Verdict::Base,
        ReplayFault::View { .. } => Verdict::View,
        ReplayFault::Policy { .. } => Verdict::Policy,
        ReplayFault::Plan { .. } => Verdict::Plan,
    }
}

/// The requests of an entry; none of one that is Raft's own.
fn requests(entry: &eraftpb::Entry) -> Result<Option<Entry>, WalkError> {
    if entry.get_entry_type() != eraftpb::EntryType::EntryNormal || entry.data.is_empty() {
        return Ok(None);
    }
    Entry::decode(&entry.data, Understood::BUILD)
        .map(Some)
        .map_err(|fault| WalkError::Entry { index: entry.index, why: fault.to_string() })
}

/// All decisions that these entries hold.
///
/// # Errors
/// When they cannot be read, or are too many.
pub(super) fn on_record(log: &PastLog<'_>, from: u64, to: u64) -> Result<Vec<Decision>, WalkError> {
    let mut all = Vec::new();
    for entry in log.entries(from, to) {
        let entry = entry?;
        let Some(held) = requests(&entry)? else { continue };
        let at = LogIndex(entry.index);
        let members = held.members.iter().enumerate();
        all.extend(members.filter_map(|(member, request)| Decision::of(at, member, request)));
        if all.len() > limit::REPLAY_DECISIONS_MAX {
            return Err(WalkError::TooMany { from, to });
        }
    }
    Ok(all)
}

/// The state that a fork's rows hold, if they are those that were kept.
///
/// # Errors
/// When they are others.
pub(super) fn load(fork: &Fork) -> Result<Cluster, WalkError> {
    let cluster = Cluster::load(fork.rows());
    let kept = fork.mark()?;
    let found = cluster.digest();
    match kept.digest {
        Some(kept_as) if kept_as != found => {
            Err(WalkError::Rows { at: kept.index, kept: kept_as, found })
        }
        Some(_) | None => Ok(cluster),
    }
}

/// Applies the entries after a fork's, and makes each of the decisions again where it was made.
/// `tell` says whether to go on.
///
/// # Errors
/// When an entry cannot be read, the disk refuses, or nobody waits any more.
pub(super) fn walk(
    (fork, cluster): (&Fork, Cluster),
    log: &PastLog<'_>,
    decisions: Vec<Decision>,
    tell: &mut dyn FnMut(Option<DecisionView>) -> bool,
) -> Result<ReplayEnd, WalkError> {
    let mut walk = Walk { cluster, due: BTreeMap::new(), end: ReplayEnd::default(), tell };
    let last = decisions.iter().map(|decision| decision.entry.0).max().unwrap_or(0);
    for decision in decisions {
        walk.due.entry(decision.base()).or_default().push(decision);
    }
    let first = fork.mark()?.index + 1;
    walk.remake()?;
    for entry in log.entries(first, last.saturating_sub(1)) {
        if walk.due.is_empty() {
            break;
        }
        let entry = entry?;
        walk.go_on()?;
        let Some(requests) = requests(&entry)? else { continue };
        let at = LogIndex(entry.index);
        let applied = walk.cluster.apply(fork.rows(), at, requests);
        fork.change(&applied.rows)?;
        walk.end.entries += 1;
        walk.remake()?;
    }
    walk.rest()?;
    Ok(walk.end)
}

struct Walk<'a> {
    cluster: Cluster,
    /// What is to be made again, by the entry that it was made on.
    due: BTreeMap<LogIndex, Vec<Decision>>,
    end: ReplayEnd,
    tell: &'a mut dyn FnMut(Option<DecisionView>) -> bool,
}

impl Walk<'_> {
    /// Makes again what was made on the state as it is now. A plan and the preemption beside it
    /// come out of one pass.
    fn remake(&mut self) -> Result<(), WalkError> {
        let view = self.cluster.view();
        let Some(due) = self.due.remove(&view.applied()) else { return Ok(()) };
        let mut last: Option<(Recorded, Result<Plan, ReplayFault>)> = None;
        let mut told = Vec::new();
        for decision in due {
            let asked = Recorded { plan: Digest::default(), ..decision.recorded };
            let made = match last.take().filter(|(of, _)| *of == asked) {
                Some((_, made)) => made,
                None => remake(&view, &asked),
            };
            told.push(decision.compared(&made));
            last = Some((asked, made));
        }
        told.into_iter().try_for_each(|view| self.told(view))
    }

    /// What names a moment that never was.
    fn rest(&mut self) -> Result<(), WalkError> {
        for decision in std::mem::take(&mut self.due).into_values().flatten() {
            let base = decision.base();
            let why = format!("no entry before {} left the state as of {base}", decision.entry);
            self.told(decision.told(Verdict::Base, None, Some(why)))?;
        }
        Ok(())
    }

    fn told(&mut self, view: DecisionView) -> Result<(), WalkError> {
        self.end.decisions += 1;
        self.end.equal += u64::from(view.verdict == Verdict::Equal);
        if (self.tell)(Some(view)) { Ok(()) } else { Err(WalkError::Left) }
    }

    fn go_on(&mut self) -> Result<(), WalkError> {
        if (self.tell)(None) { Ok(()) } else { Err(WalkError::Left) }
    }
}
