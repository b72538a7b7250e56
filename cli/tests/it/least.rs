//! An agent with an account of its own: what it may still do, that jobs do not notice, and what
//! becomes of it when the part with the rights of root is gone. Needs root to start it.
#![cfg(target_arch = "x86_64")]

use crate::harness::{
    cluster::Cluster,
    hostile::{LEAST, Sweep, lease_dir, run, walled},
    process, said, until,
};
use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path};

fn least() -> (Sweep, Cluster) {
    walled(LEAST)
}

/// What the kernel says of a process.
fn status(pid: u32) -> BTreeMap<String, String> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// The agent, which runs as `assay agent` and becomes `assay-agent agent`.
fn agent(cluster: &Cluster) -> u32 {
    cluster.pid("node-a")
}

fn owner(path: &Path) -> u32 {
    path.symlink_metadata().expect("it is there").uid()
}

#[test]
fn an_agent_keeps_one_right_and_jobs_do_not_notice() {
    let (_sweep, cluster) = least();
    let user = &cluster.user;
    let pid = agent(&cluster);
    let status = status(pid);
    let daemon = "1\t1\t1\t1";
    assert_eq!((status["Uid"].as_str(), status["Gid"].as_str()), (daemon, daemon));
    // CAP_DAC_READ_SEARCH is the right with number 2. Source: linux/capability.h.
    for set in ["CapEff", "CapPrm"] {
        assert_eq!(status[set], format!("{:016x}", 1 << 2), "{set}");
    }
    for set in ["CapBnd", "CapAmb", "CapInh"] {
        assert_eq!(status[set], "0".repeat(16), "{set}");
    }
    assert_eq!((status["NoNewPrivs"].as_str(), status["Seccomp"].as_str()), ("1", "2"));
    // Every thread: rights are a thread's own.
    for thread in fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten() {
        let text = fs::read_to_string(thread.path().join("status")).unwrap();
        assert!(text.contains("CapEff:\t0000000000000004"), "{text}");
        assert!(text.contains("Seccomp:\t2"), "{text}");
    }

    // Checkpoints and results that no other user can read or enter, as some programs write them.
    let script = "cd $ASSAY_CHECKPOINT_DIR; mkdir new; echo weights > new/w; \
                  chmod 600 new/w; chmod 700 new; mv new step-1; mkdir -p $ASSAY_OUTPUT_DIR/deep/er; echo model > $ASSAY_OUTPUT_DIR/deep/er/m; \
                  chmod 400 $ASSAY_OUTPUT_DIR/deep/er/m; chmod 500 $ASSAY_OUTPUT_DIR/deep/er; \
                  ln -s m $TMPDIR/link; mkfifo $TMPDIR/pipe; touch $ASSAY_OUTPUT_DIR/private; \
                  while [ ! -e $ASSAY_CHECKPOINT_DIR/go ]; do sleep 0.1; done";
    user.ok(&["submit", "--name", "private", "--cpus", "0.5", "--", "sh", "-c", script]);
    let lease = lease_dir(&cluster, "private");
    assert!(owner(&lease.join("out")) >= 0x7000_0000, "the job's while it runs");
    assert_eq!(owner(&lease), 0, "nobody else replaces what is in it");
    until("the checkpoint is committed", || {
        let job = user.json(&["job", "j1"]).unwrap();
        (job["parts"][0]["checkpoints"][0]["step"] == 1).then_some(())
    });
    fs::write(lease.join("ckpt/go"), "").unwrap();
    user.until("the job completes", |user| {
        assert_ne!(user.states()["private"], "failed", "{}", user.ok(&["job", "j1"]));
        (user.states()["private"] == "completed").then_some(())
    });
    let out = cluster.path("exported");
    user.ok(&["artifact", "export", "last", out.to_str().unwrap()]);
    assert_eq!(fs::read_to_string(out.join("model/deep/er/m")).unwrap(), "model\n");
    assert!(user.ok(&["verify", "last"]).contains("verified"));
    until("its folders are gone", || (!lease.exists()).then_some(()));

    // One that is still being stored when its task has ended is stored whole.
    let script = "cd $ASSAY_CHECKPOINT_DIR; mkdir new; head -c 67108864 /dev/urandom > new/w; \
                  chmod 600 new/w; echo x > $ASSAY_OUTPUT_DIR/x; mv new step-7";
    let (code, text) = run(user, &["--name", "parting"], script);
    assert_eq!(code, Some(0), "{text}");
    let job = user.json(&["job", "j2"]).unwrap();
    assert_eq!(job["parts"][0]["checkpoints"][0]["step"], 7, "{job}");
    assert!(!cluster.log("node-a").contains("checkpoint left out"), "{}", cluster.log("node-a"));

    // Deeper than any path: removed, and said.
    let script =
        "perl -e 'for (1..700) { mkdir \"d\"; chdir \"d\" }'; echo x > $ASSAY_OUTPUT_DIR/x";
    let (code, text) = run(user, &[], &format!("cd $TMPDIR; {script}"));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("nested deeper than 512 levels"), "{text}");
    let leases = cluster.path("data/node-a/leases");
    until("nothing is left", || (fs::read_dir(&leases).unwrap().count() == 0).then_some(()));
}

#[test]
fn an_agent_without_its_supervisor_ends_and_the_next_start_goes_on() {
    let (_sweep, mut cluster) = least();
    let script = "touch $ASSAY_OUTPUT_DIR/on; [ $ASSAY_ATTEMPT != 1 ] || sleep 86389";
    cluster.user.ok(&["submit", "--name", "on", "--cpus", "0.5", "--", "sh", "-c", script]);
    lease_dir(&cluster, "on");
    // An agent that is killed comes back to what runs.
    cluster.kill("node-a");
    cluster.run("node-a");
    until("the agent takes it over", || cluster.log("node-a").contains("taken over").then_some(()));
    let dir = cluster.path("data/node-a").display().to_string();
    let supervisor = process::named(&["supervisor", "--dir", &dir])[0];
    assert!(process::signal(supervisor, "-KILL"));
    assert!(!cluster.wait("node-a"), "it cannot go on");
    let log = cluster.log("node-a");
    assert!(log.contains("start the agent again, or let its unit do so"), "{log}");
    cluster.run("node-a");
    cluster.user.until("the job completes", |user| {
        assert_ne!(user.states()["on"], "failed", "{}", user.ok(&["job", "j1"]));
        (user.states()["on"] == "completed").then_some(())
    });
}

#[test]
fn an_account_that_cannot_be_had_is_refused_by_name() {
    let cluster = Cluster::set_up();
    let path = cluster.path("config/node-a.toml");
    let text = fs::read_to_string(&path).unwrap();
    let cases = [
        ("user = \"daemon\"\n", "set `isolation = \"sandbox\"` as well"),
        ("isolation = \"sandbox\"\nuser = \"no-such\"\n", "useradd --system"),
        ("isolation = \"sandbox\"\nuser = \"root\"\n", "`root` has the rights of root"),
    ];
    for (lines, expected) in cases {
        fs::write(&path, text.clone() + lines).unwrap();
        let output = cluster.run_to_end("node-a");
        assert!(!output.status.success(), "{lines}");
        assert!(said(&output).contains(expected), "{lines}: {}", said(&output));
    }
}
