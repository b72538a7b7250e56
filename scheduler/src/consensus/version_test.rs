//! Releases that stand in one cluster: what all understand is what the cluster runs at.

use super::{testing::*, *};
use crate::state::command::{Command, RaiseVersion, Request};
use domain::{
    LogIndex, ReplicaId,
    version::{ClusterVersion, Understood},
};

const OLD: Understood = range(1);
const NEW: Understood = range(2);

const fn range(newest: u8) -> Understood {
    Understood { oldest: ClusterVersion::FIRST, newest: ClusterVersion(newest) }
}

/// Three servers, of which the last so many are of the older release.
fn cluster(seed: u64, old: usize, config: fn(ReplicaId) -> ReplicaConfig) -> Cluster {
    let mut cluster = Cluster::new(seed, 3, config);
    for (at, server) in cluster.servers.iter_mut().enumerate() {
        server.understands = if at < 3 - old { NEW } else { OLD };
    }
    cluster
}

fn small(id: ReplicaId) -> ReplicaConfig {
    ReplicaConfig { log_kept: 20, digest_every: 8, ..ReplicaConfig::new(id) }
}

/// What each server that is up runs at.
fn versions(cluster: &Cluster) -> Vec<u8> {
    let up = cluster.servers.iter().filter_map(|server| server.replica.as_ref());
    up.map(|replica| replica.view().0.version().0).collect()
}

/// The process ends, and is started with another release after a while.
fn install(cluster: &mut Cluster, at: usize, release: Understood) {
    cluster.crash(at, 100);
    cluster.servers[at].understands = release;
    cluster.servers[at].stopped = None;
}

/// Something that only the newer release can read.
fn newer(cluster: &mut Cluster, at: usize) -> Output {
    let members = [(ReplicaId(1), NEW)].into();
    let command = Command::RaiseVersion(RaiseVersion { to: ClusterVersion(2), members });
    let request = Request { key: None, actor: "a".into(), command };
    let token = cluster.call(at, |token| Input::Propose { token, request });
    cluster.answer(token)
}

#[test]
fn servers_of_one_release_run_at_its_newest_version_by_themselves() {
    let mut cluster = cluster(1, 0, small);
    cluster.settle();
    cluster.run(3_000);
    assert_eq!(versions(&cluster), [2, 2, 2]);
    let heads = cluster.servers.iter().map(|it| it.replica.as_ref().unwrap().applied().0);
    assert!(heads.max() <= Some(6), "it is raised once and not again and again");
}

#[test]
fn servers_are_upgraded_one_by_one_and_the_last_one_raises_the_cluster() {
    for seed in 0..8 {
        let mut cluster = cluster(seed, 3, small);
        for at in 0..3 {
            let leader = cluster.settle();
            cluster.run(4_000);
            assert!(versions(&cluster).iter().all(|version| *version == 1), "{at} are upgraded");
            // Work goes on all the while.
            let leader = cluster.leader().unwrap_or(leader);
            let token = cluster.propose(leader, at as u64, "a");
            assert!(matches!(cluster.answer(token), Output::Reply { .. }));
            install(&mut cluster, at, NEW);
            cluster.run(300);
        }
        cluster.settle();
        cluster.run(4_000);
        assert_eq!(versions(&cluster), [2, 2, 2], "seed {seed}");
    }
}

#[test]
fn what_is_newer_than_the_cluster_is_refused_with_who_is_in_the_way() {
    let mut cluster = cluster(3, 1, small);
    let leader = cluster.settle();
    cluster.run(4_000);
    let leader = cluster.leader().unwrap_or(leader);
    let behind = cluster.servers[2].id;
    let Output::Rejected { error, .. } = newer(&mut cluster, leader) else { panic!("taken in") };
    let expected = ProposeError::Newer {
        needs: ClusterVersion(2),
        runs: ClusterVersion(1),
        behind: vec![behind],
    };
    assert_eq!(error, expected);
    assert!(error.to_string().contains(&format!("upgrade, start or remove {behind}")), "{error}");
}

#[test]
fn a_member_that_is_not_there_to_say_what_it_understands_keeps_the_cluster_where_it_is() {
    let mut cluster = cluster(4, 0, small);
    cluster.crash(2, 20_000);
    cluster.settle();
    cluster.run(10_000);
    assert_eq!(versions(&cluster), [1, 1]);
    cluster.run(15_000);
    assert_eq!(versions(&cluster), [2, 2, 2]);
}

/// A server of which all know that it understands the newer version, and which does not hear that
/// the cluster runs at it before it is started with the older release.
fn downgraded(seed: u64, config: fn(ReplicaId) -> ReplicaConfig) -> (Cluster, usize) {
    let mut cluster = cluster(seed, 1, config);
    let leader = cluster.settle();
    cluster.run(4_000);
    let late = 2;
    if leader == late {
        let to = cluster.servers[0].id;
        cluster.input(late, Input::Transfer { to });
        cluster.run(1_000);
    }
    install(&mut cluster, late, NEW);
    let id = cluster.servers[late].id;
    for other in 0..2 {
        let from = cluster.servers[other].id;
        cluster.cut.insert((from, id));
    }
    cluster.run(8_000);
    assert_eq!(versions(&cluster)[..2], [2, 2], "it has said so before it was cut off");
    for key in 0..30 {
        let at = cluster.leader().expect("two are a majority");
        let token = cluster.propose(at, key, "a");
        cluster.answer(token);
    }
    install(&mut cluster, late, OLD);
    cluster.cut.clear();
    cluster.run(5_000);
    (cluster, late)
}

#[test]
fn an_older_release_stops_before_an_entry_that_it_cannot_read_and_a_newer_one_goes_on_there() {
    let config = |id| ReplicaConfig { log_kept: 1_000, ..small(id) };
    let (mut cluster, late) = downgraded(5, config);
    let stopped = cluster.servers[late].stopped.clone();
    let Some(StopReason::Version { index, needs, understands }) = stopped else {
        panic!("{stopped:?}")
    };
    assert_eq!((needs, understands), (ClusterVersion(2), OLD));
    assert!(index > LogIndex(0));
    cluster.servers[late].down_until = 0;
    cluster.servers[late].stopped = None;
    cluster.servers[late].understands = NEW;
    cluster.converge();
    assert_eq!(versions(&cluster), [2, 2, 2]);
}

#[test]
fn an_older_release_takes_in_no_snapshot_that_it_cannot_read() {
    let config = |id| ReplicaConfig { log_kept: 2, ..small(id) };
    let (mut cluster, late) = downgraded(6, config);
    assert!(cluster.snapshots > 0);
    let stopped = cluster.servers[late].stopped.clone();
    assert!(matches!(stopped, Some(StopReason::Version { .. })), "{stopped:?}");
    // The snapshot is on its disk now: this release does not start with that, a newer one does.
    cluster.servers[late].down_until = 0;
    cluster.run(100);
    let refused = BootError::Version { stored: ClusterVersion(2), understands: OLD };
    assert_eq!(cluster.servers[late].refused, Some(refused.clone()));
    assert!(refused.to_string().contains("start another release on the same directory"));
    cluster.servers[late].down_until = 0;
    cluster.servers[late].understands = NEW;
    cluster.converge();
    assert_eq!(versions(&cluster), [2, 2, 2]);
}
