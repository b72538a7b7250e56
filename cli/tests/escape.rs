//! Hostile jobs in a sandbox, given to a real cluster as root: each must fail at what it tries, and
//! what became of it is looked at from outside.
//!
//! The system calls are made with Perl, which is a part of every Debian; by number, for x86-64.
#![expect(clippy::unwrap_used, reason = "a failed step fails the test")]
#![cfg(target_arch = "x86_64")]

mod harness;

use harness::{User, cluster::Cluster, process, said, until};
use serde_json::Value;
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What is tried, as shell that ends well only if it got through. `$VICTIM` is a process of another
/// job, `$NODE` the folder of the node, `$PORT` a port that listens on the machine, `$SECRET` the
/// path of another job's output.
const TRIES: &[(&str, &str)] = &[
    ("read another job's output", "cat $SECRET"),
    ("find another job's output", "ls $NODE/leases | grep -v \"^$MINE\\$\" | grep ."),
    ("read the agent's folder", "ls $NODE/cache || ls $NODE/../../tls"),
    ("read the agent's state", "cat $NODE/leases/$MINE/state"),
    ("read the agent's key", "cat $NODE/../../tls/node-a.key"),
    ("reach the supervisor", "ls $NODE/supervisor.sock"),
    ("read the shadow file", "cat /etc/shadow"),
    ("write to its code", "echo x >> main.sh || rm main.sh || mv main.sh other"),
    ("make its code its own", "chmod 777 main.sh || chown $(id -u) main.sh"),
    ("write to its data", "echo x >> $ASSAY_DATASET_ROWS || rm $ASSAY_DATASET_ROWS"),
    ("replace its log", "rm $NODE/leases/$MINE/log/rank-0.log"),
    ("write to the system", "touch /usr/x || touch /etc/x || touch /x || touch /run/x"),
    ("see another process", "ls /proc/$VICTIM || grep -l victim /proc/*/environ"),
    ("kill another process", "kill -9 $VICTIM"),
    ("end its room", "kill -9 1 && sleep 1 && [ ! -e /proc/1 ]"),
    (
        "look into its room's first process",
        "cat /proc/1/environ || cat /proc/1/mem || ls /proc/1/root/",
    ),
    ("trace a process", "sleep 9 & perl -e 'exit(syscall(101,16,$ARGV[0],0,0)!=0)' $!"),
    (
        "read another's memory",
        "sleep 9 & perl -e '$b=\"x\"x16; exit(syscall(310,$ARGV[0],$b,1,$b,1,0)<0)' $!",
    ),
    (
        "mount",
        "mount -t tmpfs none /tmp || perl -e 'exit(syscall(165,\"none\",\"/tmp\",\"tmpfs\",0,0)!=0)'",
    ),
    ("mount the new way", "perl -e 'exit(syscall(430,\"tmpfs\",0)<0)'"),
    ("change its root", "perl -e 'exit(syscall(161,\"/tmp\")!=0)'"),
    ("make a user namespace", "unshare -U true || perl -e 'exit(syscall(272,0x10000000)!=0)'"),
    ("make one with clone", "perl -e '$p=syscall(56,0x10000011,0,0,0,0); exit 1 if $p<0; exit 0'"),
    ("make one with clone3", "perl -e 'exit(syscall(435,\"\\0\"x88,88)<0)'"),
    (
        "go back to the machine's namespaces",
        "nsenter -t 1 -m true || perl -e 'open(F,\"/proc/1/ns/mnt\") or exit 1; exit(syscall(308,fileno(F),0)!=0)'",
    ),
    ("load a program into the kernel", "perl -e 'exit(syscall(321,0,\"\\0\"x64,64)<0)'"),
    ("count events of the machine", "perl -e 'exit(syscall(298,\"\\0\"x112,0,-1,-1,0)<0)'"),
    ("load a module", "perl -e 'exit(syscall(313,0,\"\",0)!=0)'"),
    ("use the keyring", "perl -e 'exit(syscall(250,0,-3,0)<0)'"),
    ("use io_uring", "perl -e 'exit(syscall(425,8,\"\\0\"x120)<0)'"),
    ("call by the x32 interface", "perl -e 'exit(syscall(0x40000000+39)<0)'"),
    ("open a file by handle", "perl -e 'exit(syscall(304,3,\"\\0\"x128,0)<0)'"),
    ("set the clock", "date -s 2001-01-01 || perl -e 'exit(syscall(227,0,\"\\0\"x16)!=0)'"),
    ("make a device file", "mknod $ASSAY_OUTPUT_DIR/vda b 254 0 || mknod /tmp/mem c 1 1"),
    (
        "open a raw device",
        "cat /dev/vda /dev/mem /dev/kmsg /dev/sda /dev/loop0 | head -c 1 | grep .",
    ),
    ("open a GPU of another", "ls /dev/nvidia0 || ls /dev/nvidiactl || ls /dev/dri"),
    (
        "reach the machine's loopback",
        "perl -MIO::Socket::INET -e 'exit(!IO::Socket::INET->new(PeerAddr=>\"127.0.0.1:$ENV{PORT}\",Timeout=>3))'",
    ),
    (
        "reach the network",
        "perl -MIO::Socket::INET -e 'exit(!IO::Socket::INET->new(PeerAddr=>\"192.0.2.1:80\",Timeout=>3))' || [ $(ls /sys/class/net | wc -l) -gt 1 ]",
    ),
    ("reach the machine below", "perl -e 'exit(syscall(41,40,1,0)<0)'"),
    (
        "open a raw socket",
        "perl -e 'exit(syscall(41,17,3,0)<0)' || perl -e 'exit(syscall(41,2,3,1)<0)'",
    ),
    (
        "become root by a set-user-id program",
        "su root -c true || [ $(cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && /tmp/id -u) = 0 ]",
    ),
    ("become root by asking", "perl -e '$<=0; $>=0; exit($> != 0)'"),
    ("raise its limits", "ulimit -c unlimited"),
    (
        "leave its control group",
        "echo 0 > /sys/fs/cgroup/memory/cgroup.procs || echo 0 > /sys/fs/cgroup/cgroup.procs",
    ),
];

/// What sandboxed jobs must still be able to do, as shell that ends well.
const NEEDS: &[(&str, &str)] = &[
    ("write its output", "echo x > $ASSAY_OUTPUT_DIR/x"),
    (
        "write a checkpoint",
        "mkdir $ASSAY_CHECKPOINT_DIR/new && mv $ASSAY_CHECKPOINT_DIR/new $ASSAY_CHECKPOINT_DIR/step-1",
    ),
    ("write metrics", "echo '{}' >> $ASSAY_METRICS"),
    ("read its data", "grep -q 1,2 $ASSAY_DATASET_ROWS"),
    (
        "run what it wrote",
        "printf '#!/bin/sh\\ntrue\\n' > $TMPDIR/it && chmod 755 $TMPDIR/it && $TMPDIR/it",
    ),
    ("use shared memory", "echo x > /dev/shm/x"),
    ("print by name", "echo named > /dev/stderr"),
    ("have a name", "[ $(id -un) = job ]"),
    (
        "meet over loopback",
        "perl -MIO::Socket::INET -e '$l=IO::Socket::INET->new(Listen=>1,LocalAddr=>$ENV{MASTER_ADDR}) or die; exit(!IO::Socket::INET->new(PeerAddr=>$ENV{MASTER_ADDR},PeerPort=>$l->sockport))'",
    ),
];

/// A cluster whose nodes put every job into a sandbox.
fn sandboxed() -> Cluster {
    let mut cluster = Cluster::set_up();
    for node in ["node-a", "node-b"] {
        let path = cluster.path(&format!("config/{node}.toml"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "isolation = \"sandbox\"\n").unwrap();
    }
    cluster.start_all();
    for node in ["node-a", "node-b"] {
        let shown = cluster.user.json(&["node", "show", node]).unwrap();
        let isolation = &shown["inventory"]["isolation"];
        assert_eq!(isolation["lacks"], Value::Array(vec![]), "not enforced here: {isolation}");
    }
    cluster
}

/// Runs a shell script as a job to its end: the command's exit code, and all that it said.
fn run(user: &User, flags: &[&str], script: &str) -> (Option<i32>, String) {
    let words = [&["submit", "--wait", "--cpus", "0.5"], flags, &["--", "sh", "-c", script]];
    let output = user.assay(&words.concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
    (output.status.code(), text)
}

/// The folder of the lease of a job that runs, once it wrote `flag` to its output.
fn lease_dir(cluster: &Cluster, flag: &str) -> PathBuf {
    until(&format!("a job writes {flag}"), || {
        let leases = ["node-a", "node-b"].map(|node| cluster.path(&format!("data/{node}/leases")));
        let all = leases.iter().flat_map(|leases| fs::read_dir(leases).into_iter().flatten());
        let mut dirs = all.flatten().map(|entry| entry.path());
        dirs.find(|dir| dir.join("out").join(flag).exists())
    })
}

/// The process whose working folder, in whatever view, is a lease's code, with that argument.
fn pid_of(mark: &str) -> u32 {
    until("the process is there", || process::named(&[mark]).into_iter().min())
}

fn hostile(victim: u32, secret: &Path, port: u16) -> String {
    let mut script = format!(
        "export VICTIM={victim} SECRET={} PORT={port}\n\
         export NODE=${{ASSAY_OUTPUT_DIR%/leases/*}}\n\
         MINE=${{ASSAY_OUTPUT_DIR%/out}}; export MINE=${{MINE##*/}}\n",
        secret.display()
    );
    let mut tell = |kind: &str, name: &str, what: &str| {
        script += &format!(
            "if ( {what} ) > /tmp/said 2>&1; then r=yes; else r=no; fi\n\
             echo \"{kind} $r {name}: $(tail -n 1 /tmp/said | tr -dc '[:print:]')\"\n"
        );
    };
    for (name, what) in TRIES {
        tell("try", name, what);
    }
    for (name, what) in NEEDS {
        tell("need", name, what);
    }
    script
        + "touch $ASSAY_OUTPUT_DIR/tried\nwhile [ ! -e $ASSAY_CHECKPOINT_DIR/go ]; do sleep 0.1; done\n"
}

#[test]
fn no_hostile_job_gets_at_what_is_not_its_own() {
    let cluster = sandboxed();
    let user = &cluster.user;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();

    let victim = "echo hidden-words > $ASSAY_OUTPUT_DIR/victim; sleep 86399; true";
    user.ok(&["submit", "--name", "victim", "--cpus", "0.5", "--", "sh", "-c", victim]);
    let secret = lease_dir(&cluster, "victim").join("out/victim");
    let victim = pid_of("sleep 86399");

    fs::create_dir(cluster.path("code")).unwrap();
    fs::write(cluster.path("code/main.sh"), hostile(victim, &secret, port)).unwrap();
    fs::write(cluster.path("rows"), "1,2\n").unwrap();
    let (code, rows) = (cluster.path("code"), cluster.path("rows"));
    let rows = format!("rows={}", rows.display());
    let words = ["submit", "--name", "hostile", "--cpus", "0.5", "--code", code.to_str().unwrap()];
    user.ok(&[&words[..], &["--dataset", &rows, "--", "sh", "main.sh"]].concat());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let lease = lease_dir(&cluster, "tried");
    let log = fs::read_to_string(lease.join("log/rank-0.log")).unwrap();

    let told = |line: &str| log.lines().any(|it| it.starts_with(&format!("{line}:")));
    for (name, _) in TRIES {
        assert!(told(&format!("try no {name}")), "ESCAPED, it could {name}:\n{log}");
    }
    for (name, _) in NEEDS {
        assert!(told(&format!("need yes {name}")), "it could not {name}:\n{log}");
    }
    // And what became of it, from outside.
    assert!(!log.contains("hidden-words"), "{log}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "hidden-words\n");
    assert!(process::signal(victim, "-0"), "the other job lives");
    let ours = fs::read_to_string(cluster.path("code/main.sh")).unwrap();
    assert_eq!(fs::read_to_string(lease.join("code/main.sh")).unwrap(), ours);
    assert_eq!(fs::read_to_string(lease.join("data/rows/rows")).unwrap(), "1,2\n");
    assert_eq!(fs::read_to_string("/proc/self/mounts").unwrap(), mounts, "no mount leaks");
    assert!(listener.accept().is_err(), "nothing connected");
    assert_eq!(fs::metadata(lease.join("state")).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(lease.join("ckpt/go"), "").unwrap();
    user.until("the hostile job ends", |user| {
        (user.states()["hostile"] == "completed").then_some(())
    });
    assert_eq!(user.states()["victim"], "running");
    user.ok(&["cancel", "j1"]);
    until("the victim ends", || (!process::signal(victim, "-0")).then_some(()));
}

#[test]
fn each_limit_ends_the_job_and_only_the_job_with_a_cause_of_its_own() {
    let cluster = sandboxed();
    let user = &cluster.user;
    let other = "touch $ASSAY_OUTPUT_DIR/other; sleep 86397; true";
    user.ok(&["submit", "--name", "other", "--cpus", "0.5", "--", "sh", "-c", other]);
    lease_dir(&cluster, "other");

    let eat = "perl -e 'push @a, \"x\" x (1<<20) while 1'";
    let (code, text) = run(user, &["--memory", "64MiB"], eat);
    assert_eq!(code, Some(1), "{text}");
    let cause = "out of memory: rank 0 used 64 MiB of 64 MiB; ask for more with --memory";
    assert!(text.contains(cause), "{text}");
    // One that goes on after a child was ended for it.
    let (_, text) = run(user, &["--memory", "64MiB"], &format!("{eat}; sleep 86396"));
    assert!(text.contains(cause), "{text}");

    let (_, text) = run(user, &["--memory", "2GiB"], "f() { f | f & }; f; sleep 86395");
    assert!(text.contains("too many processes: rank 0 reached 4096"), "{text}");

    let fill =
        "cd $ASSAY_OUTPUT_DIR; i=0; while :; do i=$((i+1)); head -c 1048576 /dev/zero > f$i; done";
    let (_, text) = run(user, &["--disk", "32MiB"], fill);
    assert!(text.contains("disk quota: its folders hold") && text.contains("of 32 MiB"), "{text}");

    let (_, text) = run(user, &["--time-limit", "1s"], "setsid sleep 86394 & sleep 86393");
    assert!(text.contains("ran longer than its time_limit"), "{text}");

    // What leaves group and session, with no variable to be known by, ends with its job.
    let stray = "(setsid env -i /bin/sleep 86392 > /dev/null 2>&1 &) ; \
                 echo x > $ASSAY_OUTPUT_DIR/x; sleep 1";
    let (code, text) = run(user, &[], stray);
    assert_eq!(code, Some(0), "{text}");
    for mark in ["sleep 86396", "sleep 86395", "sleep 86394", "sleep 86393", "sleep 86392"] {
        assert_eq!(process::named(&[mark]), [0; 0], "{mark} lives");
    }
    assert_eq!(user.states()["other"], "running");
    assert_eq!(process::named(&["sleep 86397"]).len().min(1), 1, "the other job lives");
    user.run_job("among-them");
}
