//! Rooms with real processes. They need root: what cannot be built here fails by name.

use super::{Host, Program, Room, TASK_PROCESSES, Walls};
use crate::driver::dirs::{LeaseDirs, NodeDirs};
use crate::driver::supervisor::hand;
use domain::{Bytes, CpuMillis, LeaseId, isolation::Network};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek},
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};
use tempfile::TempDir;

const LEASE: LeaseId = LeaseId { index: 3, ordinal: 0 };

struct Bench {
    dir: TempDir,
    host: Host,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::open(dir.path()).unwrap_or_else(|lack| panic!("not enforced here: {lack}"));
    Bench { dir, host }
}

fn walls() -> Walls {
    Walls {
        network: Network::None,
        memory: Bytes(256 << 20),
        cpu: CpuMillis(1_000),
        processes: TASK_PROCESSES,
        devices: vec![],
        readable: vec![],
    }
}

fn wait(pid: Pid) -> ExitStatus {
    let (_, status) = waitpid(Some(pid), WaitOptions::empty()).unwrap().unwrap();
    ExitStatus::from_raw(status.as_raw())
}

impl Bench {
    fn dirs(&self) -> LeaseDirs {
        NodeDirs { root: self.dir.path().to_owned() }.lease(LEASE)
    }

    fn room(&mut self, walls: &Walls) -> Room {
        let dirs = self.dirs();
        dirs.create().unwrap();
        self.host
            .build(LEASE, walls, None, &dirs, &|uid| hand::over(&dirs, &[0], uid, None))
            .unwrap()
    }

    fn shell(&self, room: &Room, script: &str) -> (Pid, File) {
        let out = tempfile::tempfile().unwrap();
        let env = [("PATH", "/usr/bin:/bin"), ("OUT", self.dirs().out().to_str().unwrap())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let args = ["-c", script].map(str::to_owned);
        let program =
            Program { program: "sh", args: &args, env: &env, out: out.try_clone().unwrap() };
        (room.spawn(program, self.dirs().code().to_str().unwrap()).unwrap(), out)
    }

    fn run(&self, room: &Room, script: &str) -> (ExitStatus, String) {
        let (pid, mut out) = self.shell(room, script);
        let status = wait(pid);
        let mut text = String::new();
        out.rewind().unwrap();
        out.read_to_string(&mut text).unwrap();
        (status, text.trim().to_owned())
    }

    fn close(&mut self, room: &Room) {
        room.end();
        let end = Instant::now() + Duration::from_secs(20);
        while !room.has_ended() {
            assert!(Instant::now() < end, "the room does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.host.clear(room);
    }
}

#[test]
fn a_task_runs_as_a_user_of_its_own_in_a_view_of_its_own() {
    let mut bench = bench();
    let room = bench.room(&walls());
    let (status, text) = bench.run(
        &room,
        "id -un; id -G | wc -w; echo $(ls /); ls /dev; ls -A /home /run; \
         grep -E 'NoNewPrivs|Seccomp:|CapEff|CapBnd' /proc/self/status; echo made > $OUT/it; \
         echo > /dev/null; echo x > /dev/shm/x && echo y > /tmp/y && pwd",
    );
    assert!(status.success(), "{text}");
    let words: Vec<_> = text.lines().collect();
    assert_eq!(words[0], "job", "{text}");
    assert_eq!(words[1], "1", "{text}");
    assert!(words[2].split(' ').all(|it| !["root", "boot", "mnt", "srv"].contains(&it)), "{text}");
    for wanted in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert!(words.contains(&wanted), "{wanted}: {text}");
    }
    assert!(words.contains(&"CapBnd:\t0000000000000000"), "{text}");
    assert_eq!(words.last(), Some(&bench.dirs().code().to_str().unwrap()));
    assert_eq!(fs::read_to_string(bench.dirs().out().join("it")).unwrap(), "made\n");
    bench.close(&room);
}

#[test]
fn a_signal_and_a_code_come_through_unchanged() {
    let mut bench = bench();
    let room = bench.room(&walls());
    assert_eq!(bench.run(&room, "exit 7").0.code(), Some(7));
    let (status, _) = bench.run(&room, "kill -SEGV $$");
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()));
    bench.close(&room);
}

#[test]
fn what_leaves_its_session_and_its_parents_ends_with_the_room() {
    let mut bench = bench();
    let room = bench.room(&walls());
    let script = "exec >/dev/null 2>&1; setsid sh -c '(setsid env -i sleep 1000 &)'; exit 0";
    assert_eq!(bench.run(&room, script).0.code(), Some(0));
    assert!(!room.has_ended());
    let (_, seen) = bench.run(&room, "ls /proc | grep -E '^[0-9]+$' | wc -l");
    assert!(seen.parse::<u32>().unwrap() >= 3, "{seen} processes: init, the stray, and the look");
    bench.close(&room);
}

/// Not a bound of the machine's speed: it prints what a sandboxed start costs over a plain one.
#[test]
fn a_start_costs_little_over_fork_and_exec() {
    let mut bench = bench();
    let mut plain = Vec::new();
    let mut walled = Vec::new();
    let mut rested = Vec::new();
    for round in 0..60 {
        let begun = Instant::now();
        assert!(Command::new("/bin/true").status().unwrap().success());
        plain.push(begun.elapsed());
        if round >= 50 {
            std::thread::sleep(Duration::from_millis(200));
        }
        bench.dirs().create().unwrap();
        let dirs = bench.dirs();
        let begun = Instant::now();
        let room = bench
            .host
            .build(LEASE, &walls(), None, &dirs, &|uid| hand::over(&dirs, &[0], uid, None))
            .unwrap();
        let out = tempfile::tempfile().unwrap();
        let program = Program { program: "/bin/true", args: &[], env: &[], out };
        assert!(wait(room.spawn(program, "/").unwrap()).success());
        let times = if round >= 50 { &mut rested } else { &mut walled };
        times.push(begun.elapsed());
        bench.close(&room);
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (plain, walled, rested) = (median(&mut plain), median(&mut walled), median(&mut rested));
    println!("start: plain {plain:?}, sandboxed {walled:?}, sandboxed after 200 ms {rested:?}");
    assert!(walled < Duration::from_millis(100), "{walled:?}");
}

#[test]
fn a_program_that_is_not_there_is_named_and_nothing_of_it_is_left() {
    let mut bench = bench();
    let room = bench.room(&walls());
    let out = || tempfile::tempfile().unwrap();
    let env = [("PATH".to_owned(), "/usr/bin:/etc".to_owned())];
    for (name, kind) in [("none-such", ErrorKind::NotFound), ("passwd.d", ErrorKind::NotFound)] {
        let program = Program { program: name, args: &[], env: &env, out: out() };
        assert_eq!(room.spawn(program, "/").unwrap_err().kind(), kind);
    }
    let program = Program { program: "/bin/true", args: &[], env: &env, out: out() };
    let why = room.spawn(program, "/nowhere").unwrap_err().to_string();
    assert!(why.starts_with("cannot enter the working folder: No such file"), "{why}");
    bench.close(&room);
}
