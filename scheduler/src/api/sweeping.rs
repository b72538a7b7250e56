//! Removes checkpoints' bytes that nothing needs any more from this server's disk, and has
//! checkpoints of which too few servers hold the bytes copied.

use super::context::Context;
use crate::state::keeping::{self, KeptList};
use domain::{ReplicaId, limit};
use proto::chunks as wire;
use registry::blob::chunks::Pinned;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::Status;

/// Pause between two sweeps of this server.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);
/// Lists that are looked at together.
const PAGE: usize = 256;
/// Time for which chunks wait for the list that names them: far longer than the longest pause in
/// an upload. One that takes longer sends them again.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// Pause between two rounds over all kept checkpoints.
const ROUND_PAUSE: Duration = Duration::from_millis(limit::COPY_CHECK_ROUND.0);

/// Sweeps this server's disk until the replica ends. Every server does; the leader also looks at
/// the copies of kept checkpoints, one page after each sweep.
pub async fn run(context: Arc<Context>) {
    let mut round = Round::default();
    loop {
        tokio::time::sleep(SWEEP_PAUSE).await;
        let status = context.node.status();
        let members: BTreeSet<ReplicaId> = status.members.keys().copied().collect();
        if round.is_due(status.is_leader(), members, Instant::now()) {
            let (last, copied) = check(&context, round.after.take()).await;
            round.looked(last, copied, Instant::now());
        }
        match sweep(&context).await {
            Ok((0, 0)) => {}
            Ok((lists, bytes)) => tracing::info!(lists, bytes, "checkpoints' bytes removed"),
            Err(status) => tracing::warn!(why = status.message(), "disk not swept"),
        }
    }
}

/// Where the round over all kept checkpoints stands.
#[derive(Default)]
struct Round {
    after: Option<Vec<u8>>,
    /// Until when there is nothing to do, while the members are these.
    rest: Option<Instant>,
    members: BTreeSet<ReplicaId>,
}

impl Round {
    fn is_due(&mut self, leads: bool, members: BTreeSet<ReplicaId>, now: Instant) -> bool {
        if !leads {
            *self = Self::default();
            return false;
        }
        if self.members != members {
            // Servers have joined or left.
            *self = Self { members, ..Self::default() };
        }
        self.rest.is_none_or(|until| until <= now)
    }

    /// A page was looked at. A round that copied nothing is followed by a pause.
    fn looked(&mut self, last: Option<Vec<u8>>, copied: bool, now: Instant) {
        self.rest = (last.is_none() && !copied).then(|| now + ROUND_PAUSE);
        self.after = last;
    }
}

/// One look at every list that is here. Gives how many went, and the bytes that came free.
async fn sweep(context: &Context) -> Result<(usize, u64), Status> {
    let mut went = 0;
    let mut after = None;
    loop {
        let store = context.chunks.store().clone();
        let page = store.pinned(after, PAGE);
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        let doomed = context.node.read_local(move |cluster, rows| {
            let view = cluster.view();
            let unneeded = |(list, pins): &Pinned| !view.needs_list(rows, *list, pins);
            page.into_iter().filter(unneeded).collect::<Vec<_>>()
        });
        let doomed = doomed.await.map_err(|fault| super::query::unreadable(&fault))?;
        if !doomed.is_empty() {
            went += blocking(move || store.forget(&doomed)).await?;
        }
    }
    let store = context.chunks.store().clone();
    let freed = blocking(move || store.reclaim(PATIENCE)).await?;
    Ok((went, freed))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, registry::blob::chunks::ChunkFault> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|why| Status::internal(why.to_string()))?;
    done.map_err(|why| Status::unavailable(why.to_string()))
}

/// What a member says of a checkpoint's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Holds,
    Lacks,
    /// It does not answer. What it held it may still hold.
    Silent,
}

/// Looks at the kept checkpoints of one page and has copied what too few members hold. Gives the
/// place of the last one, none at the end, and whether anything was copied.
async fn check(context: &Context, after: Option<Vec<u8>>) -> (Option<Vec<u8>>, bool) {
    let read = context.node.read_local(move |_, rows| keeping::page(rows, after, PAGE));
    let Ok(page) = read.await else { return (None, false) };
    let words = words(context, &page).await;
    let mut copied = false;
    for (at, kept) in page.iter().enumerate() {
        let said = words.iter().map(|(id, words)| (*id, words[at])).collect();
        let Some((from, to)) = short(&said) else { continue };
        match copy(context, kept, from, to).await {
            Ok(()) => {
                copied = true;
                tracing::info!(list = %kept.list, %from, %to, "checkpoint copied");
            }
            Err(why) => {
                tracing::warn!(list = %kept.list, %from, %to, why = why.message(), "not copied");
            }
        }
    }
    let last = page.last().filter(|_| page.len() == PAGE);
    (last.map(|kept| kept.key.clone()), copied)
}

async fn words(context: &Context, page: &[KeptList]) -> BTreeMap<ReplicaId, Vec<Word>> {
    let lists: Vec<_> = page.iter().map(|kept| kept.list).collect();
    let word = |holds: &bool| if *holds { Word::Holds } else { Word::Lacks };
    let mut words = BTreeMap::new();
    for (id, member) in &context.node.status().members {
        let said: Vec<Word> = if *id == context.me {
            let own = lists.iter().map(|list| context.chunks.store().holds(list));
            own.map(|holds| word(&holds)).collect()
        } else {
            let asked = match context.channels.to(&member.address) {
                Ok(channel) => wire::holds(&channel, &lists).await.ok(),
                Err(_) => None,
            };
            asked.filter(|said| said.len() == lists.len()).map_or_else(
                || vec![Word::Silent; lists.len()],
                |said| said.iter().map(word).collect(),
            )
        };
        words.insert(*id, said);
    }
    words
}

/// Who is to give a list to whom, if too few hold it. One that is silent may hold it: a server that
/// is down for an hour is no reason to copy all that it holds. One that left never counts.
fn short(said: &BTreeMap<ReplicaId, Word>) -> Option<(ReplicaId, ReplicaId)> {
    let of = |word: Word| said.iter().filter(move |(_, it)| **it == word).map(|(id, _)| *id);
    let (holders, silent) = (of(Word::Holds).count(), of(Word::Silent).count());
    if holders + silent >= limit::BLOB_COPIES.min(said.len()) {
        return None;
    }
    Some((of(Word::Holds).next()?, of(Word::Lacks).next()?))
}

async fn copy(
    context: &Context,
    kept: &KeptList,
    from: ReplicaId,
    to: ReplicaId,
) -> Result<(), Status> {
    let status = context.node.status();
    let address = |id| {
        let member = status.members.get(&id);
        member.map(|it| it.address.clone()).ok_or_else(|| Status::unavailable("it has left"))
    };
    let giver = address(from)?;
    if to == context.me {
        return context.chunks.copy_from(kept.list, kept.by, &giver).await;
    }
    let channel = context.channels.to(&address(to)?);
    let channel = channel.map_err(|why| Status::unavailable(why.to_string()))?;
    let copied = wire::copy(&channel, kept.list, kept.by, &giver).await;
    copied.map_err(|why| Status::unavailable(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Word::{Holds, Lacks, Silent};

    fn verdict(said: &[Word]) -> Option<(u64, u64)> {
        let said = (1..).map(ReplicaId).zip(said.iter().copied()).collect();
        short(&said).map(|(from, to)| (from.0, to.0))
    }

    #[test]
    fn a_checkpoint_is_copied_when_a_holder_is_gone_and_not_when_it_is_only_silent() {
        assert_eq!(verdict(&[Holds, Holds, Lacks]), None);
        assert_eq!(verdict(&[Holds, Silent, Lacks]), None);
        assert_eq!(verdict(&[Lacks, Holds, Lacks]), Some((2, 1)));
        assert_eq!(verdict(&[Holds]), None, "a cluster of one has one copy");
        assert_eq!(verdict(&[Lacks, Lacks]), None, "nobody has it to give");
    }

    #[test]
    fn a_round_is_paged_rests_at_its_end_and_begins_anew_when_servers_come_or_go() {
        let three: BTreeSet<_> = [1, 2, 3].map(ReplicaId).into();
        let (mut round, now) = (Round::default(), Instant::now());
        assert!(!round.is_due(false, three.clone(), now), "who does not lead does not look");
        assert!(round.is_due(true, three.clone(), now));
        round.looked(Some(vec![7]), false, now);
        assert!(round.is_due(true, three.clone(), now));
        assert_eq!(round.after, Some(vec![7]));
        round.looked(None, false, now);
        assert!(!round.is_due(true, three.clone(), now));
        assert!(round.is_due(true, three.clone(), now + ROUND_PAUSE));
        let two: BTreeSet<_> = [1, 2].map(ReplicaId).into();
        assert!(round.is_due(true, two, now), "one left");
    }
}
