//! Results whose time is over lose their files, and nothing else; what is needed keeps them.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]

use crate::harness::{
    User,
    cluster::{Cluster, SERVERS},
};
use serde_json::Value;
use std::{fs, path::Path};

/// A large file of its own and a small one that every job writes.
fn write(of: &str) -> String {
    format!(
        "seq -f '{of}%.0f' 1 60000 > \"$ASSAY_OUTPUT_DIR/weights\"; \
         echo same > \"$ASSAY_OUTPUT_DIR/notes\""
    )
}

fn train(user: &User, name: &str, more: &[&str]) {
    let script = write(name);
    let words = [&["submit", "--wait", "--name", name, "--cpus", "0.5"][..], more].concat();
    user.ok(&[&words[..], &["--", "sh", "-c", &script]].concat());
}

/// Servers that hold a blob in a file of its own.
fn holders(cluster: &Cluster, digest: &str) -> usize {
    let holds = |name: &&&str| {
        let dir = cluster.path(&format!("data/{name}/blobs/{}", &digest[..2]));
        ["raw", "zst"].iter().any(|form| dir.join(format!("{digest}.{form}")).exists())
    };
    SERVERS.iter().filter(holds).count()
}

fn weights(user: &User, artifact: &str) -> String {
    let view = user.json(&["artifact", "show", artifact]).unwrap();
    let file = view["files"].as_array().unwrap().iter().find(|it| it["path"] == "weights");
    file.unwrap()["digest"].as_str().unwrap().to_owned()
}

fn kinds(plan: &Value) -> Vec<(&str, &str)> {
    let kept = plan["kept"].as_array().unwrap().iter();
    kept.map(|it| (it["artifact"].as_str().unwrap(), it["kept"]["kind"].as_str().unwrap()))
        .collect()
}

fn collected_soon(cluster: &Cluster) {
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("collect_after = \"1s\"\n{text}")).unwrap();
    }
}

#[test]
fn files_go_when_their_time_is_over_and_what_is_needed_stays() {
    let mut cluster = Cluster::set_up();
    collected_soon(&cluster);
    cluster.start_all();
    let user = User { profile: cluster.dir().to_owned() };
    train(&user, "gone", &["--retain", "1s"]);
    train(&user, "named", &["--retain", "1s"]);
    train(&user, "held", &["--retain", "1s"]);
    train(&user, "long", &["--retain", "90d"]);
    train(&user, "kept", &[]);
    user.ok(&["model", "register", "digits", "--artifact", "name=named", "--alias", "best"]);
    user.ok(&["artifact", "hold", "name=held", "--reason", "case 7"]);

    // Their time is over, and what keeps them is what is left to be told.
    let why = [("a2", "alias"), ("a3", "hold"), ("a4", "time"), ("a5", "no_rule")];
    let plan = user.until("the time of a1 to a3 is over", |user| {
        let plan = user.json(&["gc", "plan"])?;
        (kinds(&plan) == why).then_some(plan)
    });
    assert_eq!(plan["schema"], "gc_plan/v1");
    assert_eq!(plan["going"][0]["artifact"], "a1");
    let said = user.ok(&["gc", "plan"]);
    for part in [
        "`retain = 1s` of job j1",
        "alias `best` names digits@1",
        "it is under legal hold: case 7",
        "`retain = 90d` of job j4: its time is not over",
        "neither its job nor its queue says `retain`",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (gone, named) = (weights(&user, "a1"), weights(&user, "a2"));
    assert!(holders(&cluster, &gone) >= 2 && holders(&cluster, &named) >= 2);

    let ran: Value = serde_json::from_str(&user.ok(&["--json", "gc", "run"])).unwrap();
    assert_eq!((&ran["collected"], &ran["kept"]), (&serde_json::json!(["a1"]), &4.into()));
    let again = user.ok(&["gc", "run"]);
    assert!(again.contains("nothing may go: the files of 4 artifacts are kept"), "{again}");
    user.until("every server has deleted the file", |_| {
        (holders(&cluster, &gone) == 0).then_some(())
    });

    let dir = cluster.path("out").display().to_string();
    for words in
        [&["fetch", "a1", &dir][..], &["artifact", "export", "a1", &dir], &["verify", "a1"]]
    {
        let said = user.fails(4, words);
        for part in ["the files of a1 were collected on", "by `retain = 1s` of job j1, as `"] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert!(said.contains("assay reproduce j1"), "{said}");
    }
    assert!(!Path::new(&dir).exists(), "nothing is left half-done");
    let shown = user.json(&["artifact", "show", "a1"]).unwrap();
    assert_eq!(shown["collected"]["files"], 2, "{shown}");
    assert_eq!(shown["files"].as_array().unwrap().len(), 2, "its manifest is kept");
    user.ok(&["audit", "verify"]);
    // The small file is the same in all of them.
    for artifact in ["a2", "a3", "a4", "a5"] {
        user.ok(&["verify", artifact]);
    }

    // The recipe is known, and its files are not: it is run again, and its files stay.
    train(&user, "gone", &["--retain", "90d"]);
    assert_eq!(weights(&user, "a6"), gone);
    user.ok(&["artifact", "release", "a3", "--reason", "closed"]);
    let ran: Value = serde_json::from_str(&user.ok(&["--json", "gc", "run"])).unwrap();
    assert_eq!(ran["collected"], serde_json::json!(["a3"]));
    for name in SERVERS {
        cluster.stop(name);
        cluster.run(name);
    }
    user.ready(2);
    let held = weights(&user, "a3");
    user.until("the files of a3 go after a restart too", |_| {
        (holders(&cluster, &held) == 0).then_some(())
    });
    user.ok(&["verify", "a6"]);
    assert!(holders(&cluster, &gone) >= 2);
}

#[test]
fn only_an_admin_lets_files_go() {
    let cluster = Cluster::set_up();
    for name in SERVERS {
        let path = cluster.path(&format!("config/{name}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("admins")).collect();
        fs::write(&path, format!("admins = [\"somebody-else\"]\n{}", kept.join("\n"))).unwrap();
    }
    let mut cluster = cluster;
    cluster.start_all();
    let user = User { profile: cluster.dir().to_owned() };
    train(&user, "one", &["--retain", "1s"]);
    user.until("its time is over", |user| {
        let plan = user.json(&["gc", "plan"])?;
        (plan["going"].as_array()?.len() == 1).then_some(())
    });
    assert!(user.fails(6, &["gc", "run"]).contains("is no admin"));
    assert!(user.fails(6, &["artifact", "hold", "a1", "--reason", "x"]).contains("is no admin"));
    user.ok(&["verify", "a1"]);
}
