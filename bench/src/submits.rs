//! Acknowledged durable submits on three replicas, beside etcd's puts, in the clear and with TLS.

use crate::{
    assay::{self, Assay},
    bare,
    etcd::{Etcd, Wire},
    load::{self, Outcome},
    report::{self, Figure, Quantity, Target},
};
use anyhow::Result;
use proto::v1::{JobsQuery, QueryRequest, query_request::What};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// What the issue quotes for etcd in the clear on a quiet machine: clients, puts a second.
const QUOTED: [(usize, &str); 4] =
    [(1, "0.81 ms median"), (16, "4.8 k/s"), (128, "10 k/s"), (512, "13 k/s")];

/// One load of each system at one number of clients.
struct Round {
    ours: Outcome,
    plain: Outcome,
    tls: Outcome,
}

/// Ours without its peers.
async fn show_alone(clients: &[usize], time: Duration) -> Result<()> {
    for count in clients {
        let dir = tempfile::tempdir()?;
        let assay = Assay::start(dir.path()).await?;
        let before = assay.cluster(0).await?.applied;
        let outcome = submits(&assay, *count, time).await?;
        let entries = assay.cluster(0).await?.applied.0 - before.0;
        let all = outcome.rate() * time.as_secs_f64();
        println!(
            "{count:>5} clients: {}  jobs an entry {:.1}",
            details("assay", &outcome),
            all / entries as f64
        );
    }
    Ok(())
}

/// Runs the benchmark, `alone` without etcd.
///
/// # Errors
/// When a cluster does not come up.
pub async fn run(clients: &[usize], time: Duration, alone: bool) -> Result<()> {
    if alone {
        return show_alone(clients, time).await;
    }
    report::section(
        "Durable submits, one job a request, persistent clients, three replicas. Assay speaks \
         mutual TLS; etcd is measured in the clear (the issue's peer) and with mutual TLS",
    );
    for count in clients {
        let round = round(*count, time).await?;
        show(*count, &round);
        show_bounds(*count, &round, time / 2).await?;
    }
    Ok(())
}

/// The same libraries with less to do: what stops a figure that is missed.
async fn show_bounds(count: usize, round: &Round, time: Duration) -> Result<()> {
    let (ours, name) = (&round.ours, figure_name(count));
    let quantity = |it: &Outcome| match count {
        1 => Quantity::ms(it.median_ms()),
        _ => Quantity::Rate(it.rate()),
    };
    let dir = tempfile::tempdir()?;
    let trip = trips(&Assay::start(dir.path()).await?, count, time).await?;
    if count == 1 {
        Figure::new(&name, quantity(ours))
            .beside("bound: two round trips", Quantity::ms(2.0 * trip.median_ms()))
            .cpu_beside(ours.cpu_each(), trip.cpu_each() * 2)
            .note(
                "a round trip: one row read from one server, by the same client; a submit goes \
                 to the leader and from there to a follower, and is synced on both",
            )
            .print();
    } else {
        Figure::new(&name, quantity(ours))
            .beside("bound: round trips", quantity(&trip))
            .cpu_beside(ours.cpu_each(), trip.cpu_each())
            .note("one row read by the same clients, each from its server, and nothing written")
            .note(details("trips", &trip))
            .print();
    }
    let bare = bare::writes(count, time).await?;
    Figure::new(&name, quantity(ours))
        .beside("bound: bare replicated writes", quantity(&bare))
        .cpu_beside(ours.cpu_each(), bare.cpu_each())
        .note(
            "tonic, mutual TLS, a synced append on each of three processes that all who wait \
             share, no client at a follower, and nothing else",
        )
        .note(details("bare", &bare))
        .note(format!("beside etcd in the clear: {:.2}x", times(count, &bare, &round.plain)))
        .print();
    Ok(())
}

fn figure_name(clients: usize) -> String {
    match clients {
        1 => "submit, 1 client, median".to_owned(),
        many => format!("submits, {many} clients"),
    }
}

/// How many times `ours` is better than `peer` in the figure of so many clients.
fn times(clients: usize, ours: &Outcome, peer: &Outcome) -> f64 {
    match clients {
        1 => peer.median_ms() / ours.median_ms(),
        _ => ours.rate() / peer.rate(),
    }
}

/// Round trips: a read of one row that a server answers by itself.
async fn trips(assay: &Assay, clients: usize, time: Duration) -> Result<Outcome> {
    let query = JobsQuery { limit: 1, ..JobsQuery::default() };
    let request = QueryRequest { stale: true, what: Some(What::Jobs(query)) };
    let all = (0..clients).map(|n| assay.client(n)).collect::<Result<_>>()?;
    Ok(load::run(all, time, &assay.pids(), move |mut client, _| {
        let request = request.clone();
        async move {
            let answer = client.query(request).await;
            (client, answer.is_ok())
        }
    })
    .await)
}

/// Each twice, the second time in the opposite order, so that none is always the first or last,
/// and each on a new cluster that is the only one up: an idle one takes its share of two cores.
async fn round(clients: usize, time: Duration) -> Result<Round> {
    let half = time / 2;
    let first = Round {
        plain: etcd(Wire::Plain, clients, half).await?,
        tls: etcd(Wire::Tls, clients, half).await?,
        ours: ours(clients, half).await?,
    };
    Ok(Round {
        ours: ours(clients, half).await?.and(&first.ours),
        tls: etcd(Wire::Tls, clients, half).await?.and(&first.tls),
        plain: etcd(Wire::Plain, clients, half).await?.and(&first.plain),
    })
}

async fn etcd(wire: Wire, clients: usize, time: Duration) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    Etcd::start(dir.path(), wire).await?.puts(clients, time).await
}

async fn ours(clients: usize, time: Duration) -> Result<Outcome> {
    let dir = tempfile::tempdir()?;
    submits(&Assay::start(dir.path()).await?, clients, time).await
}

/// Submits of one job each by `clients` persistent clients that begin at all servers.
///
/// # Errors
/// When a client cannot be made.
pub async fn submits(assay: &Assay, clients: usize, time: Duration) -> Result<Outcome> {
    let all = (0..clients).map(|n| assay.changer(n)).collect::<Result<_>>()?;
    let told = Arc::new(AtomicBool::new(false));
    Ok(load::run(all, time, &assay.pids(), move |mut client, _| {
        let told = told.clone();
        async move {
            let answer = client.submit(assay::request(1)).await;
            if let Err(status) = &answer
                && !told.swap(true, Ordering::Relaxed)
            {
                println!("    first failure: {}", status.message());
            }
            (client, answer.is_ok())
        }
    })
    .await)
}

fn details(name: &str, outcome: &Outcome) -> String {
    format!(
        "{name:<8} {:>6.0}/s  p50 {:.2} ms  p99 {:.2} ms  CPU {:.0} us  failed {}",
        outcome.rate(),
        outcome.median_ms(),
        outcome.p99_ms(),
        outcome.cpu_each().as_secs_f64() * 1e6,
        outcome.failed,
    )
}

fn show(clients: usize, round: &Round) {
    let Round { ours, plain, tls } = round;
    let quoted = QUOTED.iter().find(|(count, _)| *count == clients).map(|(_, text)| *text);
    for (name, peer) in [("etcd", plain), ("etcd TLS", tls)] {
        let cpu = (ours.cpu_each(), peer.cpu_each());
        let figure = if clients == 1 {
            Figure::new(figure_name(clients), Quantity::ms(ours.median_ms()))
                .beside(name, Quantity::ms(peer.median_ms()))
                .target(Target::Times(1.2, 1.7))
        } else {
            Figure::new(figure_name(clients), Quantity::Rate(ours.rate()))
                .beside(name, Quantity::Rate(peer.rate()))
                .target(Target::Times(1.3, 1.6))
        };
        let mut figure = figure.cpu_beside(cpu.0, cpu.1).note(details(name, peer));
        if name == "etcd" {
            figure = figure.note(details("assay", ours));
            if let Some(quoted) = quoted {
                figure = figure.note(format!("issue, quiet machine: etcd {quoted}"));
            }
        }
        figure.print();
    }
}
