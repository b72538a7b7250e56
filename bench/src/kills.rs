//! The leader is killed in mid-burst, again and again: what was acknowledged is there afterwards,
//! and the pause between acknowledged writes is short. etcd's leader is killed in the same way.

use crate::{
    assay::{self, Assay},
    burst::{self, Ack, Writer},
    crew,
    etcd::{self, Etcd, Kv, Wire},
    load,
    report::{self, Figure, Quantity, Target},
    slurm::{Slurm, Tuning},
};
use anyhow::{Result, bail};
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

/// Clients that submit.
const CLIENTS: usize = 16;
/// Kills of one cluster before a fresh one takes over, so that the job table stays bounded.
const EACH: usize = 50;
/// Jobs that Slurm acknowledges before its controller is killed, and those of one worker.
const SLURM_JOBS: u64 = 200;
const SLURM_EACH: u64 = 25;
/// Rows of one page when what was acknowledged is read back.
const PAGE: u32 = 1_000;

/// A client that submits one job at a time, under the same key until it is acknowledged.
struct Submitter {
    servers: Vec<assay::Client>,
    number: usize,
    turn: u64,
    pending: Option<proto::v1::SubmitRequest>,
}

impl Writer for Submitter {
    /// The job's number and the name that was given to it.
    type Receipt = (u64, String);

    async fn write(&mut self, server: usize) -> Option<Self::Receipt> {
        if self.pending.is_none() {
            let mut request = assay::request(1);
            request.jobs[0].name = format!("burst-{}-{}", self.number, self.turn);
            self.pending = Some(request);
        }
        let request = self.pending.clone()?;
        let name = request.jobs[0].name.clone();
        let server = server % self.servers.len();
        let reply = self.servers[server].submit(request).await.ok()?.into_inner();
        self.pending = None;
        self.turn += 1;
        reply.jobs.first().map(|job| (*job, name))
    }
}

/// A client that puts one key at a time.
struct Putter {
    members: Vec<Kv>,
    turn: u64,
}

impl Writer for Putter {
    type Receipt = ();

    async fn write(&mut self, server: usize) -> Option<()> {
        let server = server % self.members.len();
        self.members[server].put(etcd::put(self.turn)).await.ok()?;
        self.turn += 1;
        Some(())
    }
}

/// What all kills gave.
#[derive(Default)]
struct Tally {
    gaps: Vec<Duration>,
    acknowledged: u64,
    lost: u64,
}

/// Kills the leader `kills` times on one cluster.
async fn ours(dir: &Path, kills: usize, tally: &mut Tally) -> Result<()> {
    let assay = Assay::start(dir).await?;
    for round in 0..kills {
        let writers = (0..CLIENTS).map(|client| {
            let servers =
                (0..assay.servers()).map(|n| assay.client(n)).collect::<Result<Vec<_>>>()?;
            let turn = round as u64 * 1_000_000;
            Ok(Submitter { servers, number: client, turn, pending: None })
        });
        let writers = writers.collect::<Result<Vec<_>>>()?;
        let (leader, _) = assay.leader().await?;
        let old = assay.pid(leader).unwrap_or_default();
        let (acks, killed) = burst::around(writers, async || assay.kill(leader)).await?;
        tally.gaps.push(burst::gap(&acks, killed));
        tally.acknowledged += acks.len() as u64;
        tally.lost += lost(&assay, (leader + 1) % assay.servers(), &acks).await?;
        assay.back(leader, old).await?;
    }
    Ok(())
}

/// How many acknowledged jobs a linearizable read does not show under their names.
async fn lost(assay: &Assay, server: usize, acks: &[Ack<(u64, String)>]) -> Result<u64> {
    let Some(oldest) = acks.iter().map(|ack| ack.receipt.0).min() else {
        bail!("no submit was acknowledged");
    };
    let mut there = BTreeMap::new();
    let mut before = 0;
    loop {
        let page = read(assay, server, before).await?;
        there.extend(page.iter().map(|line| (line.id.0, line.name.clone())));
        match page.last() {
            Some(last) if last.id.0 > oldest => before = last.id.0,
            _ => break,
        }
    }
    let lost = missing(acks.iter().map(|ack| &ack.receipt), &there);
    for (id, name) in lost.iter().take(3) {
        println!("    LOST: j{id} `{name}` was acknowledged and is not there");
    }
    Ok(lost.len() as u64)
}

/// Acknowledged jobs that are not there under the name that was acknowledged.
fn missing<'a>(
    acknowledged: impl Iterator<Item = &'a (u64, String)>,
    there: &BTreeMap<u64, String>,
) -> Vec<&'a (u64, String)> {
    acknowledged.filter(|(id, name)| there.get(id) != Some(name)).collect()
}

/// A page, from any server that answers: an election may be under way.
async fn read(assay: &Assay, server: usize, before: u64) -> Result<Vec<domain::view::JobLine>> {
    let mut last = None;
    for turn in 0..100 {
        match assay.jobs((server + turn) % assay.servers(), "", before, PAGE).await {
            Ok(page) => return Ok(page),
            Err(why) => last = Some(why),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no server was asked")))
}

/// etcd's gaps, measured in the same way.
async fn peer(dir: &Path, kills: usize) -> Result<Vec<Duration>> {
    let mut etcd = Etcd::start(dir, Wire::Plain).await?;
    let mut gaps = Vec::new();
    for round in 0..kills {
        let writers = (0..CLIENTS).map(|client| {
            let members = (0..3).map(|member| etcd.client(member)).collect::<Result<Vec<_>>>()?;
            Ok(Putter { members, turn: ((round * CLIENTS + client) as u64) << 32 })
        });
        let writers = writers.collect::<Result<Vec<_>>>()?;
        let mut victim = 0;
        let (acks, killed) = burst::around(writers, async || -> Result<Instant> {
            let (member, at) = etcd.kill_leader().await?;
            victim = member;
            Ok(at)
        })
        .await?;
        gaps.push(burst::gap(&acks, killed));
        etcd.restart(victim).await?;
    }
    Ok(gaps)
}

/// Slurm's controller is killed once, right after it acknowledged jobs: how many are gone.
fn slurm_lost(dir: &Path) -> Result<u64> {
    let mut slurm = Slurm::start(dir, Tuning::Installed)?;
    let work = crew::run(SLURM_JOBS / SLURM_EACH, SLURM_EACH, |_| {
        let mut sbatch = slurm.command("sbatch");
        sbatch.args(["-Q", "-H", "-o", "/dev/null"]).arg(slurm.script());
        sbatch
    })?;
    slurm.crash()?;
    let there = slurm.answer("squeue", &["-h"])?.lines().count() as u64;
    Ok(work.done.saturating_sub(there))
}

/// Runs the benchmark.
///
/// # Errors
/// When a cluster does not come up, or an acknowledged job is lost.
pub async fn run(kills: usize, peer_kills: usize) -> Result<()> {
    report::section("The leader is killed with SIGKILL in mid-burst; 16 clients submit");
    let mut tally = Tally::default();
    let mut left = kills;
    while left > 0 {
        let dir = tempfile::tempdir()?;
        let now = left.min(EACH);
        if let Err(why) = ours(dir.path(), now, &mut tally).await {
            let kept = dir.keep();
            return Err(why.context(format!("the cluster's files are kept in {}", kept.display())));
        }
        left -= now;
        if left > 0 {
            println!("    {} kills, {} lost so far", kills - left, tally.lost);
        }
    }
    let dir = tempfile::tempdir()?;
    let slurm = tokio::task::block_in_place(|| slurm_lost(dir.path()));
    let slurm = slurm.inspect_err(|why| report::failed("kills: Slurm", why)).ok();
    let mut theirs = match peer(dir.path(), peer_kills).await {
        Ok(gaps) => gaps,
        Err(why) => {
            report::failed("kills: etcd", &why);
            Vec::new()
        }
    };
    show(kills, &mut tally, &mut theirs, slurm);
    if tally.lost > 0 {
        bail!("{} acknowledged jobs were lost", tally.lost);
    }
    Ok(())
}

fn show(kills: usize, tally: &mut Tally, theirs: &mut [Duration], slurm: Option<u64>) {
    let none = Quantity::Count(0);
    let name = format!("acknowledged jobs lost in {kills} kills");
    let mut figure = Figure::new(name, Quantity::Count(tally.lost))
        .target(Target::AtMost(none, none))
        .note(format!("{} acknowledged, each read back under its name", tally.acknowledged));
    if let Some(lost) = slurm {
        figure = figure
            .beside(format!("Slurm, 1 kill, of {SLURM_JOBS}:"), Quantity::Count(lost))
            .note("issue, quiet machine: Slurm lost 198 of 200");
    }
    figure.print();
    let (median, their_median) = (load::median(&mut tally.gaps), load::median(theirs));
    let worst = |gaps: &[Duration]| gaps.iter().max().copied().unwrap_or_default();
    let (most, their_most) = (worst(&tally.gaps), worst(theirs));
    for (name, ours, peer, at_most) in [
        ("longest gap between submits, median", median, their_median, 0.6),
        ("longest gap between submits, worst", most, their_most, 1.0),
    ] {
        let target = Quantity::Time(Duration::from_secs_f64(at_most));
        let mut figure =
            Figure::new(name, Quantity::Time(ours)).target(Target::AtMost(target, target));
        if !theirs.is_empty() {
            figure = figure
                .beside(format!("etcd, {} kills", theirs.len()), Quantity::Time(peer))
                .note("issue, quiet machine: etcd 1.11 s");
        }
        figure.print();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_gone_or_has_another_name_is_lost() {
        let job = |id: u64, name: &str| (id, name.to_owned());
        let acknowledged = [job(1, "a"), job(2, "b"), job(3, "c"), job(3, "d")];
        let there = [job(1, "a"), job(3, "c"), job(4, "e")].into();
        let lost: Vec<_> = missing(acknowledged.iter(), &there).into_iter().cloned().collect();
        assert_eq!(lost, [job(2, "b"), job(3, "d")]);
    }
}
