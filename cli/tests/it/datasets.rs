//! Data sets with real processes: what is blocked is not trained with, until somebody else says so.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
    people::{Person, person},
};
use std::fs;

const FROM: [&str; 4] = ["--source", "https://example.org/reviews", "--licence", "CC-BY-4.0"];

/// A cluster with two folders of data: `plain` holds no personal data, `mails` does.
fn with_data() -> Cluster {
    let cluster = Cluster::start();
    for (folder, text) in [("plain", "a,b\n1,2\n"), ("mails", "name,mail\nada,ada@example.org\n")] {
        let dir = cluster.path(folder);
        fs::create_dir_all(dir.join("de")).unwrap();
        fs::write(dir.join("table.csv"), text).unwrap();
        fs::write(dir.join("de/more.csv"), "x\n").unwrap();
    }
    cluster
}

fn register(user: &User, cluster: &Cluster, name: &str, folder: &str, more: &[&str]) -> String {
    let path = cluster.path(folder).display().to_string();
    user.ok(&[&["dataset", "register", name, &path][..], &FROM, more].concat())
}

/// A job file that trains with a folder.
fn job(cluster: &Cluster, folder: &str) -> String {
    let text = format!(
        "name = \"{folder}\"\ncommand = [\"cat\", \"/dev/null\"]\noutputs = \"none\"\n\
         datasets.train = \"{}\"\n",
        cluster.path(folder).display()
    );
    let file = cluster.path(&format!("{folder}.toml"));
    fs::write(&file, text).unwrap();
    file.display().to_string()
}

fn approver(cluster: &Cluster, name: &str) -> Person {
    let it = person(cluster, name);
    cluster.user.ok(&["approver", "add", name, "--key", &it.public_key()]);
    it
}

#[test]
fn what_holds_personal_data_is_used_only_after_a_named_approver_cleared_it() {
    let mut cluster = with_data();
    let user = User { profile: cluster.user.profile.clone() };
    let user = &user;
    let free = register(user, &cluster, "plain", "plain", &["--slice", "german=de"]);
    assert!(free.contains("plain@1 is registered: 2 files"), "{free}");
    assert!(free.contains("no personal data found by assay-pii"), "{free}");
    let found = register(user, &cluster, "mails", "mails", &[]);
    assert!(found.contains("email 1 found") && found.contains("blocked"), "{found}");
    user.ok(&["submit", &job(&cluster, "plain"), "--wait"]);

    let mails = job(&cluster, "mails");
    let refused = user.fails(3, &["submit", &mails]);
    assert!(refused.contains("data set mails@1 is blocked: it holds personal data"), "{refused}");

    let [bob, eve] = ["bob", "eve"].map(|name| person(&cluster, name));
    user.ok(&["approver", "add", "bob", "--key", &bob.public_key()]);
    let clear = |who: &Person, key: &str| {
        let words = ["dataset", "clear", "mails@1", "--key", key, "--reason", "consent is filed"];
        who.user.assay(&words).status.code()
    };
    assert_eq!(clear(&eve, &eve.key()), Some(6), "eve is no approver");
    assert_eq!(clear(&bob, &eve.key()), Some(7), "bob's word under eve's key");
    // All of it is there after every server was killed.
    for name in SERVERS {
        cluster.kill(name);
    }
    for name in SERVERS {
        cluster.run(name);
    }
    user.status();
    assert_eq!(clear(&bob, &bob.key()), Some(0));
    assert_eq!(clear(&bob, &bob.key()), Some(3), "nothing is left to clear");
    user.ok(&["submit", &mails, "--wait"]);
    let shown = user.json(&["dataset", "show", "mails"]).unwrap();
    assert_eq!(shown["clearances"][0]["approver"], "bob");
    assert_eq!(shown["scan"]["files"]["table.csv"], 1);
    assert_eq!(shown["blocked"].as_array().unwrap().len(), 0);
    user.ok(&["audit", "verify"]);
}

#[test]
fn a_licence_decides_too_and_what_is_registered_stays_as_it_is() {
    let cluster = with_data();
    let user = &cluster.user;
    let path = cluster.path("plain").display().to_string();
    let with = |licence: &str| {
        let words = ["dataset", "register", "plain", &path, "--source", "s", "--licence", licence];
        words.map(str::to_owned)
    };
    let words = |licence: &str| with(licence).to_vec();
    let run = |code: i32, words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        user.fails(code, &words)
    };
    let refused = run(2, words("CC-BY"));
    assert!(refused.contains("is no SPDX licence identifier"), "{refused}");
    let all: Vec<String> = words("CC-BY-NC-4.0");
    let said = user.ok(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(said.contains("its licence is not known to allow training"), "{said}");
    // The same files are one version.
    assert!(run(3, words("CC-BY-4.0")).contains("these files are plain@1 already"));
    user.fails(3, &["submit", &job(&cluster, "plain")]);
    let [bob] = ["bob"].map(|name| approver(&cluster, name));
    bob.user.fails(6, &["dataset", "licence", "CC-BY-NC-4.0", "--allow"]);
    user.ok(&["dataset", "licence", "CC-BY-NC-4.0", "--allow"]);
    user.ok(&["submit", &job(&cluster, "plain"), "--wait"]);

    bob.user.fails(6, &["dataset", "hold", "plain@1", "--reason", "case 7"]);
    user.ok(&["dataset", "hold", "plain@1", "--reason", "case 7"]);
    user.fails(2, &["dataset", "hold", "plain@1", "--reason", "case 7"]);
    assert!(user.ok(&["dataset", "show", "plain"]).contains("case 7"));
    user.ok(&["dataset", "release", "plain@1", "--reason", "case 7 is closed"]);
    user.fails(4, &["dataset", "show", "plain@2"]);
    let slice = ["--slice", "x=nowhere"];
    let bad = [&["dataset", "register", "other", &path][..], &FROM, &slice].concat();
    assert!(user.fails(2, &bad).contains("the data set has no `nowhere`"));
}

#[test]
fn a_job_that_waits_is_not_started_with_data_that_was_blocked_meanwhile() {
    let cluster = with_data();
    let user = &cluster.user;
    // It waits for one that never ends by itself.
    user.ok(&["submit", "--outputs", "none", "--name", "first", "--", "sleep", "600"]);
    let mails = job(&cluster, "mails");
    user.ok(&["submit", &mails, "--after-any", "j1"]);
    register(user, &cluster, "mails", "mails", &[]);
    user.ok(&["cancel", "j1"]);
    let why = user.until("j2 waits for its data", |user| {
        let said = user.ok(&["why", "j2"]);
        said.contains("data set mails@1 is blocked").then_some(said)
    });
    assert!(why.contains("assay dataset clear mails@1"), "{why}");
    user.until("j2 is held", |user| (user.json(&["job", "j2"])?["state"] == "held").then_some(()));
    let bob = approver(&cluster, "bob");
    let words = ["dataset", "clear", "mails@1", "--key", &bob.key(), "--reason", "checked"];
    bob.user.ok(&words);
    user.ok(&["release", "j2"]);
    user.ok(&["wait", "j2"]);
}

#[test]
fn a_job_names_a_version_and_is_recorded_by_its_digest() {
    let cluster = with_data();
    let user = &cluster.user;
    register(user, &cluster, "reviews", "plain", &[]);
    let write = |name: &str, line: &str| {
        let text = format!(
            "name = \"{name}\"\ncommand = [\"sh\", \"-c\", \"cp $ASSAY_DATASET_TRAIN/table.csv \
             $ASSAY_OUTPUT_DIR/model\"]\n{line}\n"
        );
        let file = cluster.path(&format!("{name}.toml"));
        fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let named = write("named", "datasets.train = \"reviews@1\"");
    // The folder that it came from is not needed any more.
    let files = cluster.path("plain").display().to_string();
    let by_files = write("files", &format!("datasets.train = \"{files}\""));
    let dry = |file: &str| user.json(&["submit", file, "--dry-run"]).unwrap();
    let (one, other) = (dry(&named), dry(&by_files));
    assert_eq!(one["recipe"], other["recipe"], "the name is no part of the recipe");
    assert_eq!(one["spec"]["registered"]["train"], "reviews@1");
    fs::remove_dir_all(cluster.path("plain")).unwrap();
    let done = user.json(&["submit", &named, "--wait"]).unwrap();
    assert_eq!(done["spec"]["registered"]["train"], "reviews@1", "{done}");
    assert!(user.ok(&["job", "j1"]).contains("train is reviews@1"));
    // Known by its digest: under the newest's name it is the same, and nothing is to run.
    let newest = write("newest", "datasets.train = { dataset = \"reviews\" }");
    assert!(user.ok(&["submit", &newest]).contains("nothing to run: a1 has this recipe"));
    let flag = ["--dataset", "train=reviews@1", "--outputs", "none", "--wait"];
    user.ok(&[&["submit"][..], &flag, &["--", "test", "-d", "/"]].concat());
    assert!(user.ok(&["job", "j2"]).contains("train is reviews@1"));

    let refused = |code: i32, line: &str, part: &str| {
        let said = user.fails(code, &["submit", &write("bad", line)]);
        assert!(said.contains(part), "{part}: {said}");
    };
    refused(4, "datasets.train = \"reveiws@1\"", "did you mean `reviews`?");
    refused(4, "datasets.train = \"reviews@7\"", "`reviews` has version 1 alone");
    register(user, &cluster, "mails", "mails", &[]);
    let blocked = "datasets.train = \"mails@1\"";
    refused(3, blocked, "data set mails@1 is blocked: it holds personal data");
    refused(3, blocked, "nobody may clear it yet");
    approver(&cluster, "bob");
    refused(3, blocked, "ask bob");
}
