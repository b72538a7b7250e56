//! Strangers, garbage and oversized messages at the public port of real servers: each gets an
//! answer where the protocol allows one, none costs much, and the cluster goes on.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, set_up},
    process, until,
    wire::{address, call, channel, document},
};
use proto::v1::{self, assay_client::AssayClient};
use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};
use tonic::Code;

/// Connections of each kind.
const CROWD: usize = 150;
/// Memory that a crowd may cost.
const COST_MAX: u64 = 48 << 20;
/// Longest life of a connection that says nothing.
const GREETING: Duration = Duration::from_secs(5);

fn connect(address: &str, words: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(words).unwrap();
    stream
}

/// What comes until the server ends the connection.
fn heard(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(3 * GREETING)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => bytes,
        Err(fault) if fault.kind() == ErrorKind::ConnectionReset => bytes,
        Err(fault) => panic!("the server keeps a stranger's connection: {fault}"),
    }
}

#[test]
fn strangers_and_the_silent_are_shown_out_and_cost_little() {
    let cluster = Cluster::start();
    let at = address(&cluster, "server-1");
    let pid = cluster.pid("server-1");
    let before = process::resident(pid);
    let start = Instant::now();

    // The first half of a TLS greeting, nothing at all, and noise.
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let noise: Vec<u8> = (0..4_096_u32).map(|n| (n * 37 % 251) as u8 | 0x80).collect();
    let mut crowd = Vec::new();
    for words in [&[][..], &hello, &noise] {
        crowd.extend((0..CROWD).map(|_| connect(&at, words)));
    }
    cluster.user.run_job("among-strangers");
    assert!(start.elapsed() < 3 * GREETING, "the crowd holds nobody up");
    let cost = process::resident(pid).saturating_sub(before);
    assert!(cost < COST_MAX, "{cost} bytes for {} connections", crowd.len());
    for stream in &mut crowd {
        heard(stream);
    }

    let mut plain = connect(&at, b"GET /metrics HTTP/1.1\r\nHost: assay\r\n\r\n");
    let answer = String::from_utf8(heard(&mut plain)).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("gRPC over TLS") && answer.contains("`assay` command"), "{answer}");
    assert_eq!(cluster.pid("server-1"), pid);
    cluster.user.run_job("after-strangers");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_of_this_cluster_is_refused_by_name() {
    let cluster = Cluster::start();
    let at = address(&cluster, "server-1");
    let nobody = channel(&at, &cluster.path("tls"), None);
    let refused = call(&nobody, "Assay/Query", Vec::new()).await.unwrap_err();
    // As the client's library tells of a connection that the other side closed at some moment.
    let closed = [Code::Unavailable, Code::Unknown, Code::Cancelled];
    assert!(closed.contains(&refused.code()), "{refused:?}");

    // A node's certificate is of this cluster, and still does not make a user.
    let node = channel(&at, &cluster.path("tls"), Some("node-a"));
    let refused = call(&node, "Assay/Submit", Vec::new()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("node:node-a"), "{refused:?}");

    let other = tempfile::tempdir().unwrap();
    set_up(other.path());
    let here = std::fs::read_to_string(cluster.path("profile.toml")).unwrap();
    std::fs::write(other.path().join("profile.toml"), here).unwrap();
    let stranger = User { profile: other.path().to_owned() };
    let said = stranger.fails(6, &["jobs"]);
    assert!(said.contains("do not trust each other"), "{said}");
    assert!(said.contains("`ca`, `cert` and `key`"), "what to do: {said}");
    // Now it trusts the servers, but they do not trust it.
    std::fs::copy(cluster.path("tls/ca.pem"), other.path().join("tls/ca.pem")).unwrap();
    let said = stranger.fails(6, &["jobs"]);
    assert!(said.contains("do not trust each other"), "{said}");
}

/// A job whose specification takes about `bytes`.
fn job(bytes: usize) -> v1::Job {
    v1::Job {
        name: "sized".into(),
        queue: "default".into(),
        tasks: 1,
        cpu_millis: 1_000,
        memory_bytes: 1 << 20,
        command: vec!["echo".into(), "x".repeat(bytes)],
        outputs: "none".into(),
        ..v1::Job::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_what_is_too_large_get_an_answer_that_says_what_to_do() {
    let cluster = Cluster::start();
    let channel = channel(&address(&cluster, "server-1"), &cluster.path("tls"), Some("user"));

    let garbage = call(&channel, "Assay/Submit", vec![0xff; 100]).await.unwrap_err();
    let said = document(&garbage);
    assert_eq!(said["code"], "invalid");
    assert!(said["hint"].as_str().unwrap().contains("this cluster's release"), "{said}");

    let unknown = call(&channel, "Assay/Frobnicate", Vec::new()).await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
    assert!(document(&unknown)["hint"].as_str().unwrap().contains("release"));

    // Over the limit of the wire.
    let large = call(&channel, "Assay/Submit", vec![0; 5 << 20]).await.unwrap_err();
    let said = document(&large);
    let (detail, hint) = (said["detail"].as_str().unwrap(), said["hint"].as_str().unwrap());
    assert!(detail.contains("5242880") && detail.contains("4194304"), "{said}");
    assert!(hint.contains("fewer jobs"), "{said}");

    // Over the limit of one specification, and of jobs in a request.
    let mut client = AssayClient::new(channel.clone()).max_encoding_message_size(8 << 20);
    let key = |n: u8| vec![n; 16].into();
    for (n, jobs, words) in [
        (2, vec![job(70_000)], &["65536", "code folder"][..]),
        (3, vec![job(10); 1_001], &["1001 jobs"]),
    ] {
        let request = v1::SubmitRequest { key: key(n), jobs, reuse: false, ties: Vec::new() };
        let said = document(&client.submit(request).await.unwrap_err());
        let text = format!("{} {}", said["detail"], said["hint"]);
        assert!(words.iter().all(|word| text.contains(word)), "{words:?}: {text}");
        assert_eq!(said["retry_safe"], false);
    }

    // Through the command: the same limit, found before anything is sent.
    let file = cluster.path("huge.toml");
    let text = format!(
        "command = [\"true\"]\noutputs = \"none\"\n[env]\nX = \"{}\"\n",
        "x".repeat(5 << 20)
    );
    std::fs::write(&file, text).unwrap();
    let said = cluster.user.fails(2, &["submit", file.to_str().unwrap()]);
    assert!(said.contains("65536 bytes") && said.contains("code folder"), "{said}");
    until("nothing of it was taken in", || cluster.user.states().is_empty().then_some(()));

    // Over the limit of a proposal: cut into parts, and taken in whole.
    let request = v1::SubmitRequest {
        key: key(1),
        jobs: vec![job(60_000); 20],
        reuse: false,
        ties: Vec::new(),
    };
    assert_eq!(client.submit(request).await.unwrap().into_inner().jobs.len(), 20);
    cluster.user.run_job("after-garbage");
}
