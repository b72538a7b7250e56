//! Servers whose blobs are in S3: results are sealed, locked, read and repaired there. The store is
//! an emulator: it proves our code over real HTTP, not AWS.

#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
    s3::Store,
    said,
};
use std::{fs, path::Path};

/// A file beyond what is put whole and read in one piece, one within, a small one, and an empty one.
const WRITE: &str = "cd \"$ASSAY_OUTPUT_DIR\"; head -c 20000000 /dev/urandom > weights; \
                     head -c 1000000 /dev/urandom > bias; echo small > notes; touch empty";

/// Adds the table to the configuration of every server.
fn configure(cluster: &Cluster, table: &str) {
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{text}\n[blobs]\n{table}\n")).unwrap();
    }
}

/// The longest file of a server's store, but for the pack of small blobs.
fn longest(dir: &Path) -> u64 {
    let folders = fs::read_dir(dir).unwrap().flatten().map(|it| it.path());
    let files = folders.filter(|it| it.is_dir()).flat_map(|it| fs::read_dir(it).unwrap().flatten());
    files.map(|it| it.metadata().unwrap().len()).max().unwrap_or(0)
}

#[test]
fn results_stand_in_a_bucket_locked_and_are_read_and_repaired_from_there() {
    let mut cluster = Cluster::set_up();
    let store = Store::start();
    store.bucket("models");
    for (name, value) in store.environment() {
        cluster.set_env(name, &value);
    }
    configure(
        &cluster,
        "place = \"s3://models/assay\"\nlock = \"30d\"\nlock_mode = \"governance\"",
    );
    cluster.start_all();
    let user = &cluster.user;
    user.ok(&["submit", "--wait", "--name", "one", "--cpus", "0.5", "--", "sh", "-c", WRITE]);
    let artifact = user.json(&["artifact", "show", "a1"]).unwrap();
    let files = artifact["files"].as_array().unwrap();
    let digest = |path: &str| {
        let file = files.iter().find(|it| it["path"] == path).unwrap();
        file["digest"].as_str().unwrap().to_owned()
    };
    let (weights, bias, notes) = (digest("weights"), digest("bias"), digest("notes"));
    let large = |id| format!("/models/assay/r{id}/{}/{weights}.raw", &weights[..2]);
    let small = |id| format!("/models/assay/r{id}/small/{}/{notes}", &notes[..2]);
    let head = |object: &str| store.call("HEAD", object, "", b"").to_lowercase();
    let holders: Vec<u32> = (1..=3).filter(|id| head(&large(*id)).contains(" 200 ")).collect();
    assert!(holders.len() >= 2, "two servers have it: {holders:?}");
    for id in &holders {
        // The emulator keeps no lock of an object that was put in parts.
        let whole = format!("/models/assay/r{id}/{}/{bias}.raw", &bias[..2]);
        for object in [whole, small(*id)] {
            let head = head(&object);
            assert!(head.contains("x-amz-object-lock-mode: governance"), "{object}: {head}");
        }
    }
    for name in SERVERS {
        let longest = longest(&cluster.path(&format!("data/{name}/blobs")));
        assert!(longest < 1_000, "{name} has a file of {longest} bytes on its disk");
    }

    // All but one of the copies change: each is found, set aside, and had from the one that did not.
    let (whole, changed) = holders.split_last().unwrap();
    for id in changed {
        let put = store.call("PUT", &large(*id), "", b"other bytes");
        assert!(put.starts_with("HTTP/1.1 200"), "{put}");
    }
    let to = cluster.path("fetched");
    user.ok(&["fetch", "j1", to.to_str().unwrap()]);
    assert_eq!(fs::metadata(to.join("weights")).unwrap().len(), 20_000_000);
    let changed = changed[0];
    user.until("the changed one is set aside", |user| {
        user.assay(&["verify", "j1"]);
        head(&format!("{}.damaged", large(changed))).contains(" 200 ").then_some(())
    });
    user.until("a whole one stands in its place", |_| {
        head(&large(changed)).contains("content-length: 20000000").then_some(())
    });

    // A server that starts again finds all; one that is told of another place says where all is.
    let name = SERVERS[*whole as usize - 1];
    cluster.stop(name);
    let path = cluster.path(&format!("config/{name}.toml"));
    let right = fs::read_to_string(&path).unwrap();
    fs::write(&path, right.replace("s3://models/assay", "s3://models/other")).unwrap();
    let ended = cluster.run_to_end(name);
    let place = format!("are in s3://models/assay/r{whole}");
    assert!(!ended.status.success() && said(&ended).contains(&place), "{}", said(&ended));
    fs::write(&path, right).unwrap();
    cluster.run(name);
    cluster.user.run_job("two");
    cluster.user.ok(&["verify", "j2"]);
}

#[test]
fn what_is_on_a_disk_moves_to_the_bucket_that_is_named_later() {
    let mut cluster = Cluster::start();
    let store = Store::start();
    store.bucket("models");
    let user = &cluster.user;
    user.ok(&["submit", "--wait", "--name", "one", "--cpus", "0.5", "--", "sh", "-c", WRITE]);
    for name in SERVERS {
        cluster.stop(name);
    }
    configure(&cluster, "place = \"s3://models\"");
    // Where the environment names no store, nothing is begun.
    cluster.set_env("AWS_ENDPOINT_URL", "http://");
    let ended = cluster.run_to_end(SERVERS[0]);
    assert!(!ended.status.success() && said(&ended).contains("names no store"), "{}", said(&ended));
    for (name, value) in store.environment() {
        cluster.set_env(name, &value);
    }
    for name in SERVERS {
        cluster.run(name);
    }
    let verified = |user: &User| user.assay(&["verify", "j1"]).status.success().then_some(());
    cluster.user.until("it verifies", verified);
    for name in SERVERS {
        assert!(longest(&cluster.path(&format!("data/{name}/blobs"))) < 1_000, "{name} kept it");
    }
    let to = cluster.path("fetched");
    cluster.user.ok(&["fetch", "j1", to.to_str().unwrap()]);
    cluster.user.run_job("two");
}
