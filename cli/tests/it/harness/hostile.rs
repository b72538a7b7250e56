//! Hostile jobs: what they try, what they must still be able to do, and what becomes of them. For
//! every kind of walls the same.
//!
//! The system calls are made with Perl, which is a part of every Debian; by number, for x86-64.

use super::{
    User,
    cluster::{Cluster, SERVERS},
    process, said, until,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// What is tried, as shell that ends well only if it got through. `$VICTIM` is a process of another
/// job, `$NODE` the folder of the node, `$PORT` a port that listens on the machine, `$SECRET` the
/// path of another job's output.
pub const TRIES: &[(&str, &str)] = &[
    ("read another job's output", "cat $SECRET"),
    ("find another job's output", "ls $NODE/leases | grep -v \"^$MINE\\$\" | grep ."),
    ("read the agent's folder", "ls $NODE/cache || ls $NODE/../../tls"),
    ("read the agent's records", "cat $NODE/agent/boot"),
    ("read the agent's state", "cat $NODE/leases/$MINE/state"),
    ("read the agent's key", "cat $NODE/../../tls/node-a.key"),
    ("reach the supervisor", "ls $NODE/supervisor.sock"),
    ("read the shadow file", "cat /etc/shadow"),
    ("write to its code", "echo x >> main.sh || rm main.sh || mv main.sh other"),
    ("make its code its own", "chmod 777 main.sh || chown $(id -u) main.sh"),
    ("write to its data", "echo x >> $ASSAY_DATASET_ROWS || rm $ASSAY_DATASET_ROWS"),
    ("replace its log", "rm $NODE/leases/$MINE/log/rank-0.log"),
    ("write to the system", "touch /usr/x || touch /etc/x || touch /x || touch /run/x"),
    ("see another process", "ls /proc/$VICTIM"),
    ("see more than its own", "[ $(ls /proc | grep -c '^[0-9]') -gt 12 ]"),
    ("kill another process", "kill -9 $VICTIM"),
    ("end its room", "kill -9 1; sleep 0.2; [ ! -e /proc/1 ]"),
    ("look into its room", "cat /proc/1/environ || cat /proc/1/mem || ls /proc/1/root/"),
    ("mount", "mount -t tmpfs none /tmp"),
    ("make a user namespace", "unshare -U true"),
    ("go back to the machine", "nsenter -t 1 -m true"),
    ("make a device file", "mknod $ASSAY_OUTPUT_DIR/vda b 254 0 || mknod /tmp/mem c 1 1"),
    ("open a raw device", "cat /dev/vda /dev/mem /dev/kmsg /dev/sda /dev/loop0 | grep -c ."),
    ("open a GPU of another", "ls /dev/nvidia0 || ls /dev/nvidiactl || ls /dev/dri"),
    ("reach the machine's loopback", "perl connect.pl 127.0.0.1:$PORT"),
    ("reach a server", "perl connect.pl $SERVER"),
    ("reach the network", "perl connect.pl 192.0.2.1:80 || [ $(ls /sys/class/net | wc -l) -gt 1 ]"),
    ("become root by su", "su root -c true < /dev/null"),
    (
        "become root by a program of its own",
        "cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id && [ $(/tmp/id -u) = 0 ]",
    ),
    ("become root by asking", "perl -e '$<=0; $>=0; exit($> != 0)'"),
    ("raise its limits", "ulimit -c unlimited"),
    (
        "leave its control group",
        "echo 0 > /sys/fs/cgroup/memory/cgroup.procs || echo 0 > /sys/fs/cgroup/cgroup.procs",
    ),
];

/// System calls that are tried, with their arguments: a number, `z:N` for N bytes of zero, or
/// `s:TEXT`. Each must be refused by the filter, with its word for it.
pub const CALLS: &[(&str, &str)] = &[
    ("trace a process", "101 16 $$ 0 0"),
    ("read another's memory", "310 $$ z:64 1 z:64 1 0"),
    ("take another's descriptor", "438 0 0 0"),
    ("mount by call", "165 s:none s:/tmp s:tmpfs 0 0"),
    ("mount the new way", "430 s:tmpfs 0"),
    ("change its root", "161 s:/tmp"),
    ("make a user namespace by call", "272 268435456"),
    ("make one with clone", "56 268435473 0 0 0 0"),
    ("make one with clone3", "435 z:88 88"),
    ("join a namespace", "308 0 0"),
    ("load a program into the kernel", "321 0 z:64 64"),
    ("count events of the machine", "298 z:112 0 -1 -1 0"),
    ("load a module", "313 0 s: 0"),
    ("start another kernel", "246 0 0 0 0"),
    ("use the keyring", "250 0 -3 0 0 0"),
    ("use io_uring", "425 8 z:120"),
    ("handle page faults", "323 0"),
    ("call by the x32 interface", "1073741863"),
    ("open a file by handle", "304 3 z:128 0"),
    ("set the clock", "227 0 z:16"),
    ("reach the machine below", "41 40 1 0"),
    ("open a packet socket", "41 17 3 0"),
    ("use the kernel's ciphers", "41 38 5 0"),
    ("type into another's terminal", "16 0 21522 z:1"),
];

/// Makes one of [`CALLS`].
pub const CALL: &str = r#"
my @all = map {
    if (/^z:(\d+)$/) { my $b = "\0" x $1; \$b } elsif (/^s:(.*)$/) { my $t = $1; \$t }
    else { my $n = $_ + 0; \$n }
} @ARGV;
my $done = @all == 1 ? syscall(${$all[0]})
    : @all == 2 ? syscall(${$all[0]}, ${$all[1]})
    : @all == 3 ? syscall(${$all[0]}, ${$all[1]}, ${$all[2]})
    : @all == 4 ? syscall(${$all[0]}, ${$all[1]}, ${$all[2]}, ${$all[3]})
    : @all == 5 ? syscall(${$all[0]}, ${$all[1]}, ${$all[2]}, ${$all[3]}, ${$all[4]})
    : @all == 6 ? syscall(${$all[0]}, ${$all[1]}, ${$all[2]}, ${$all[3]}, ${$all[4]}, ${$all[5]})
    : @all == 7
    ? syscall(${$all[0]}, ${$all[1]}, ${$all[2]}, ${$all[3]}, ${$all[4]}, ${$all[5]}, ${$all[6]})
    : die "too many";
exit 0 if $done != -1;
print "$!\n";
exit 1;
"#;

/// Connects to an address.
pub const CONNECT: &str = r#"
use IO::Socket::INET;
my $open = IO::Socket::INET->new(PeerAddr => $ARGV[0], Timeout => 3);
print $open ? "open\n" : "$!\n";
exit !$open;
"#;

/// What sandboxed jobs must still be able to do, as shell that ends well.
pub const NEEDS: &[(&str, &str)] = &[
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

/// Has every job run in a sandbox, and the agent be a user of its own: one that every Debian has.
pub const LEAST: &str = "isolation = \"sandbox\"\nuser = \"daemon\"\n";

/// A cluster with one node whose configuration has these lines more.
pub fn walled(lines: &str) -> (Sweep, Cluster) {
    let mut cluster = Cluster::set_up();
    let sweep = Sweep(homes());
    let path = cluster.path("config/node-a.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text + lines).unwrap();
    // What the simulated GPUs are is read by the agent, which may see no more than its own folder.
    let gpus = cluster.path("data/node-a/agent/gpus.json");
    fs::create_dir_all(cluster.path("data/node-a/agent")).unwrap();
    fs::copy(cluster.path("config/node-a.gpus.json"), &gpus).unwrap();
    cluster.set_env("FAKE_NVML_STATE", gpus.to_str().unwrap());
    // Nor does it load a library that others than root may change, as a folder of builds may be.
    let library = cluster.path("lib/libnvidia-ml.so.1");
    let built = library.canonicalize().unwrap();
    fs::remove_file(&library).unwrap();
    fs::copy(built, &library).unwrap();
    for name in SERVERS.iter().chain(&["node-a"]) {
        cluster.run(name);
    }
    cluster.user.ready(1);
    let shown = cluster.user.json(&["node", "show", "node-a"]).unwrap();
    let isolation = &shown["inventory"]["isolation"];
    assert_eq!(isolation["lacks"], Value::Array(vec![]), "not enforced here: {isolation}");
    (sweep, cluster)
}

/// Runs a shell script as a job to its end: the command's exit code, and all that it said.
pub fn run(user: &User, flags: &[&str], script: &str) -> (Option<i32>, String) {
    let words = [&["submit", "--wait", "--cpus", "0.5"], flags, &["--", "sh", "-c", script]];
    let output = user.assay(&words.concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &said(&output);
    (output.status.code(), text)
}

/// The folder of the lease of a job that runs, once it wrote `flag` to its output.
pub fn lease_dir(cluster: &Cluster, flag: &str) -> PathBuf {
    let leases = cluster.path("data/node-a/leases");
    until(&format!("a job writes {flag}"), || {
        let all = fs::read_dir(&leases).into_iter().flatten();
        let mut dirs = all.flatten().map(|entry| entry.path());
        dirs.find(|dir| dir.join("out").join(flag).exists())
    })
}

/// The oldest process with those words in its command line.
pub fn pid_of(mark: &str) -> u32 {
    until("the process is there", || process::named(&[mark]).into_iter().min())
}

pub fn hostile(victim: u32, secret: &Path, port: u16, server: &str) -> String {
    let mut script = format!(
        "export VICTIM={victim} SECRET={} PORT={port} SERVER={server}\n\
         export NODE=${{ASSAY_OUTPUT_DIR%/leases/*}}\n\
         MINE=${{ASSAY_OUTPUT_DIR%/out}}; export MINE=${{MINE##*/}}\n",
        secret.display()
    );
    let mut tell = |kind: &str, name: &str, what: &str| {
        script += &format!(
            "if ( {what} ) > /tmp/said 2>&1; then r=yes; else r=no; fi\n\
             echo \"{kind} $r {name}: $(tail -n 1 /tmp/said | tr -dc ' -~')\"\n"
        );
    };
    for (name, what) in TRIES {
        tell("try", name, what);
    }
    for (name, arguments) in CALLS {
        tell("call", name, &format!("perl call.pl {arguments}"));
    }
    for (name, what) in NEEDS {
        tell("need", name, what);
    }
    script
        + "touch $ASSAY_OUTPUT_DIR/tried\nwhile [ ! -e $ASSAY_CHECKPOINT_DIR/go ]; do sleep 0.1; done\n"
}

/// Gives the cluster a victim and a hostile job, and looks at what became of both from outside.
pub fn nothing_is_got_at(cluster: &Cluster, flags: &[&str]) {
    let user = &cluster.user;
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();

    let victim = "echo hidden-words > $ASSAY_OUTPUT_DIR/victim; sleep 86399; true";
    let words = ["submit", "--name", "victim", "--cpus", "0.5"];
    user.ok(&[&words[..], flags, &["--", "sh", "-c", victim]].concat());
    let secret = lease_dir(cluster, "victim").join("out/victim");
    let victim = pid_of("sleep 86399");

    fs::create_dir(cluster.path("code")).unwrap();
    let server = user.status()["replicas"][0]["address"].as_str().unwrap().to_owned();
    let main = hostile(victim, &secret, port, &server);
    for (name, text) in [("main.sh", main.as_str()), ("call.pl", CALL), ("connect.pl", CONNECT)] {
        fs::write(cluster.path("code").join(name), text).unwrap();
    }
    fs::write(cluster.path("rows"), "1,2\n").unwrap();
    let (code, rows) = (cluster.path("code"), cluster.path("rows"));
    let rows = format!("rows={}", rows.display());
    let words = ["submit", "--name", "hostile", "--cpus", "0.5", "--code", code.to_str().unwrap()];
    user.ok(&[&words[..], flags, &["--dataset", &rows, "--", "sh", "main.sh"]].concat());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let lease = lease_dir(cluster, "tried");
    let log = fs::read_to_string(lease.join("log/rank-0.log")).unwrap();

    let told = |line: &str| log.lines().any(|it| it.starts_with(&format!("{line}:")));
    for (name, _) in TRIES {
        assert!(told(&format!("try no {name}")), "ESCAPED, it could {name}:\n{log}");
    }
    for (name, _) in CALLS {
        let refused = ["Operation not permitted", "Function not implemented"];
        let refused = refused.map(|word| format!("call no {name}: {word}"));
        let filtered = log.lines().any(|line| refused.iter().any(|it| it == line));
        assert!(filtered, "ESCAPED, or not tried: {name}:\n{log}");
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

/// Has jobs run into each limit, one after the other, beside one that must live.
pub fn each_limit_ends_only_the_job(cluster: &Cluster, flags: &[&str]) {
    let user = &cluster.user;
    let other = "touch $ASSAY_OUTPUT_DIR/other; sleep 86397; true";
    let words = ["submit", "--name", "other", "--cpus", "0.5"];
    user.ok(&[&words[..], flags, &["--", "sh", "-c", other]].concat());
    let run = |more: &[&str], script: &str| run(user, &[flags, more].concat(), script);
    lease_dir(cluster, "other");

    let eat = "perl -e 'push @a, \"x\" x (1<<20) while 1'";
    let (code, text) = run(&["--memory", "64MiB"], eat);
    assert_eq!(code, Some(1), "{text}");
    let cause = "out of memory: rank 0 used 64 MiB of 64 MiB; ask for more with --memory";
    assert!(text.contains(cause), "{text}");
    // One that goes on after a child was ended for it.
    let (_, text) = run(&["--memory", "64MiB"], &format!("{eat}; sleep 86396"));
    assert!(text.contains(cause), "{text}");

    let (_, text) = run(&["--memory", "2GiB"], "f() { f | f & }; f; sleep 86395");
    assert!(text.contains("too many processes: rank 0 reached 4096"), "{text}");

    let fill =
        "cd $ASSAY_OUTPUT_DIR; i=0; while :; do i=$((i+1)); head -c 1048576 /dev/zero > f$i; done";
    let (_, text) = run(&["--disk", "32MiB"], fill);
    assert!(text.contains("disk quota: its folders hold") && text.contains("of 32 MiB"), "{text}");

    let (_, text) = run(&["--time-limit", "1s"], "setsid sleep 86394 & sleep 86393");
    assert!(text.contains("ran longer than its time_limit"), "{text}");

    // What leaves group and session, with no variable to be known by, ends with its job.
    let stray = "(setsid env -i /bin/sleep 86392 > /dev/null 2>&1 &) ; \
                 echo x > $ASSAY_OUTPUT_DIR/x; sleep 1";
    let (code, text) = run(&[], stray);
    assert_eq!(code, Some(0), "{text}");
    for mark in ["sleep 86396", "sleep 86395", "sleep 86394", "sleep 86393", "sleep 86392"] {
        assert_eq!(process::named(&[mark]), [0; 0], "{mark} lives");
    }
    assert_eq!(user.states()["other"], "running");
    assert_eq!(process::named(&["sleep 86397"]).len().min(1), 1, "the other job lives");
    let (code, text) = run(&[], "echo among-them > $ASSAY_OUTPUT_DIR/answer");
    assert_eq!(code, Some(0), "{text}");
}

/// Folders in a folder.
pub fn folders(dir: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let all = fs::read_dir(dir).into_iter().flatten().flatten().map(|it| it.path());
    all.filter(|it| it.is_dir())
}

/// Control groups of supervisors that stand now.
pub fn homes() -> BTreeSet<PathBuf> {
    let bases = ["memory", "pids", "cpu", "devices", ""];
    let all = bases.iter().flat_map(|base| folders(&Path::new("/sys/fs/cgroup").join(base)));
    let name = |it: &PathBuf| {
        it.file_name().is_some_and(|it| it.to_string_lossy().into_owned().starts_with("assay-"))
    };
    all.filter(name).collect()
}

/// Control groups of leases that stand now.
pub fn groups() -> Vec<PathBuf> {
    homes().iter().flat_map(|home| folders(home)).collect()
}

/// Removes the control groups of supervisors that a test has killed.
pub struct Sweep(pub BTreeSet<PathBuf>);

impl Drop for Sweep {
    fn drop(&mut self) {
        for home in homes().difference(&self.0) {
            for _ in 0..100 {
                folders(home).for_each(|group| drop(fs::remove_dir(group)));
                if fs::remove_dir(home).is_ok() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

pub fn base64(text: &str) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(text).unwrap()
}
