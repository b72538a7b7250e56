//! Damaged disks under real servers: a damaged row, log entry or file of blobs stops the server,
//! which says how to replace it; a damaged blob is set aside and had from another server.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    cluster::{Cluster, SERVERS},
    said,
};
use domain::{
    ReplicaId,
    port::{RowChange, RowRead},
};
use scheduler::consensus::{Identity, Store, StoredEntry, WriteOp};
use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
};

/// A server that does not run, and its disk.
struct Victim {
    id: ReplicaId,
    data: PathBuf,
}

impl Victim {
    /// A follower that holds blobs.
    fn of(cluster: &Cluster) -> Self {
        let leader = cluster.user.leader();
        let servers = SERVERS.iter().zip(1..).map(|(name, id)| Self {
            id: ReplicaId(id),
            data: cluster.path(&format!("data/{name}")),
        });
        let mut followers = servers.filter(|server| server.id.to_string() != leader);
        followers.find(|server| server.pack().metadata().unwrap().len() > 0).unwrap()
    }

    fn name(&self) -> String {
        self.id.to_string().replace('r', "server-")
    }

    fn pack(&self) -> PathBuf {
        self.data.join("blobs/pack")
    }

    /// Writes below the replica, as a disk would that changes what it holds.
    fn write(&self, op: impl FnOnce(&Store) -> WriteOp) {
        let identity = Identity { cluster: "dev".into(), id: self.id };
        let store = Store::open(&self.data.join("log"), &identity, &WriteOp::default()).unwrap();
        let op = WriteOp { sync: true, ..op(&store) };
        store.write([&op]).unwrap();
    }
}

fn damage_a_row(victim: &Victim) {
    victim.write(|store| {
        let all = store.rows().range(&[0], &[0xff], 1_000);
        let (key, mut value) = all.into_iter().find(|(_, value)| value.len() > 8).unwrap();
        *value.last_mut().unwrap() ^= 1;
        WriteOp { rows: vec![RowChange { key, value: Some(value) }], ..WriteOp::default() }
    });
}

fn damage_an_entry(victim: &Victim) {
    victim.write(|store| {
        let index = store.boot().unwrap().last_index();
        let entries = vec![StoredEntry { index, bytes: vec![0x5a; 64] }];
        WriteOp { entries, ..WriteOp::default() }
    });
}

fn flip_in(path: &Path, at: impl FnOnce(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn damage_the_write_ahead_log(victim: &Victim) {
    let files = fs::read_dir(victim.data.join("log")).unwrap().flatten();
    let logs =
        files.map(|file| file.path()).filter(|path| path.extension().is_some_and(|e| e == "log"));
    let longest = logs.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    flip_in(&longest, |len| len / 2);
}

fn damage_the_small_blobs(victim: &Victim) {
    flip_in(&victim.pack(), |_| 0);
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    assert!(Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
}

#[test]
fn a_damaged_row_log_entry_or_file_stops_the_server_which_says_how_to_replace_it() {
    let mut cluster = Cluster::start();
    cluster.user.run_job("before");
    let victim = Victim::of(&cluster);
    let name = victim.name();
    cluster.stop(&name);
    let whole = cluster.path("whole");
    copy(&victim.data, &whole);
    type Damage = fn(&Victim);
    let cases: [(&str, Damage); 4] = [
        ("the rows at entry", damage_a_row),
        ("log entry", damage_an_entry),
        ("is damaged", damage_the_write_ahead_log),
        ("record at byte 0 is damaged", damage_the_small_blobs),
    ];
    for (what, damage) in cases {
        copy(&whole, &victim.data);
        damage(&victim);
        for start in ["first", "second"] {
            let output = cluster.run_to_end(&name);
            let words = said(&output);
            assert_eq!(output.status.code(), Some(1), "{what}, {start} start: {words}");
            assert!(words.contains(what), "{what}: {words}");
            assert!(words.contains("assay cluster remove"), "{what}: how to replace it: {words}");
        }
        cluster.user.run_job(&what.replace(' ', "-"));
    }
    copy(&whole, &victim.data);
    cluster.run(&name);
    cluster.user.until("the whole copy serves again", |user| {
        let status = user.json(&["cluster", "status"])?;
        let mut members = status["replicas"].as_array()?.iter();
        let own = members.find(|member| member["id"] == victim.id.to_string())?;
        (own["matched"].as_u64() >= status["commit"].as_u64()).then_some(())
    });
}

/// Tables of rows on a server's disk that hold these bytes. Each names its column family.
fn tables_with(victim: &Victim, wanted: &[u8]) -> Vec<PathBuf> {
    let files = fs::read_dir(victim.data.join("log")).unwrap().flatten().map(|file| file.path());
    let tables = files.filter(|path| path.extension().is_some_and(|e| e == "sst"));
    let holds = |path: &PathBuf| {
        // A table may be gone by now: another took its place.
        let bytes = fs::read(path).unwrap_or_default();
        find(&bytes, b"rows-").is_some() && find(&bytes, wanted).is_some()
    };
    tables.filter(holds).collect()
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[test]
fn a_byte_that_changes_on_the_disk_of_a_running_server_is_found_and_the_server_stops() {
    let mut cluster = Cluster::set_up();
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("scrub_every = \"1s\"\n{text}")).unwrap();
    }
    cluster.start_all();
    cluster.user.run_job("seldom-read");
    let victim = Victim::of(&cluster);
    let name = victim.name();
    cluster.user.until("whole rows are scrubbed", |_| {
        cluster.log(&name).contains("all as they were written").then_some(())
    });

    // Each scrub has what is in memory written to tables, which are merged now and then: the byte
    // is changed in every one that comes to hold it, once.
    let mut changed = BTreeSet::new();
    cluster.user.until("the scrub finds it", |_| {
        for path in tables_with(&victim, b"seldom-read") {
            if changed.insert(path.clone())
                && let Ok(bytes) = fs::read(&path)
                && let Some(at) = find(&bytes, b"seldom-read")
            {
                let file = fs::File::options().write(true).open(&path);
                // In place: the scrub's own copy is a link to the same file.
                file.and_then(|file| file.write_at(b"S", at as u64)).unwrap();
            }
        }
        cluster.log(&name).contains("must not serve").then_some(())
    });
    assert!(!cluster.wait(&name), "it ends, and not well");
    let words = cluster.log(&name);
    assert!(words.contains("assay cluster remove"), "how to replace it: {words}");
    let output = cluster.run_to_end(&name);
    assert!(!output.status.success(), "it stays down: {}", said(&output));
    cluster.user.run_job("after");
}

/// Every large blob of a server.
fn large_blobs(cluster: &Cluster, server: &str) -> Vec<PathBuf> {
    let blobs = cluster.path(&format!("data/{server}/blobs"));
    let folders = fs::read_dir(blobs).unwrap().flatten().map(|entry| entry.path());
    let folders = folders.filter(|path| path.is_dir() && !path.ends_with("tmp"));
    folders.flat_map(|dir| fs::read_dir(dir).unwrap().flatten()).map(|file| file.path()).collect()
}

#[test]
fn a_damaged_blob_is_set_aside_and_the_result_had_from_another_server() {
    let cluster = Cluster::start();
    let script = r#"head -c 300000 /dev/urandom > "$ASSAY_OUTPUT_DIR/weights""#;
    cluster.user.ok(&["submit", "--wait", "--", "sh", "-c", script]);
    // The server that a client asks first, among those that hold it.
    let holder = SERVERS.into_iter().find(|server| !large_blobs(&cluster, server).is_empty());
    let holder = holder.unwrap();
    let blob = large_blobs(&cluster, holder).remove(0);
    flip_in(&blob, |len| len / 2);

    let to = cluster.path("fetched");
    cluster.user.ok(&["fetch", "j1", to.to_str().unwrap()]);
    let fetched = fs::read(to.join("weights")).unwrap();
    assert_eq!(fetched.len(), 300_000);
    cluster.user.ok(&["verify", "j1"]);
    let aside = blob.with_extension("raw.damaged");
    // In its place a whole copy may stand again before anybody looks.
    cluster.user.until("it is set aside", |user| {
        user.assay(&["verify", "j1"]);
        aside.exists().then_some(())
    });
    let whole = || fs::read(&blob).is_ok_and(|bytes| bytes == fetched);
    cluster.user.until("a whole copy stands in its place", |_| whole().then_some(()));
}
