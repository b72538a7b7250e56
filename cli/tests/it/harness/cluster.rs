//! A cluster whose processes a test starts and ends one by one.

use super::{ASSAY, User, alone, disk::Disk, process, said, until};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::MutexGuard,
};

/// Servers and agents that `assay dev --set-up` describes.
pub const SERVERS: [&str; 3] = ["server-1", "server-2", "server-3"];
pub const AGENTS: [&str; 2] = ["node-a", "node-b"];

/// A cluster's folder and the processes that run.
pub struct Cluster {
    pub user: User,
    dir: tempfile::TempDir,
    running: BTreeMap<String, Child>,
    /// Small file systems that hold the data of some processes.
    disks: BTreeMap<String, Disk>,
    /// Variables of the environment of all processes.
    env: BTreeMap<String, String>,
    /// While no other test has a cluster.
    alone: Option<MutexGuard<'static, ()>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            process::signal(child.id(), "-TERM");
        }
        for child in self.running.values_mut() {
            let _ = child.wait();
        }
        // Supervisors outlive their agents, and tasks their supervisors.
        let dir = self.dir.path().display().to_string();
        for pid in process::named(&[&dir]) {
            process::signal(pid, "-KILL");
        }
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

/// Writes the files of a cluster on ports that are free.
pub fn set_up(dir: &Path) {
    set_up_agents(dir, AGENTS.len());
}

/// The same, with so many agents.
pub fn set_up_agents(dir: &Path, agents: usize) {
    // While the usual ports are taken, others are chosen: clusters of users are left alone.
    let usual = (7601..7604).chain(7611..7614);
    let held: Vec<_> = usual.map(|port| TcpListener::bind(("127.0.0.1", port))).collect();
    let mut command = Command::new(ASSAY);
    command.args(["dev", "--set-up", "--agents", &agents.to_string(), "--dir"]).arg(dir);
    let output = command.output().unwrap();
    drop(held);
    assert!(output.status.success(), "{}", said(&output));
}

/// A port that is free.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// Sets a cluster up and starts nothing.
    pub fn set_up() -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().unwrap();
        set_up(dir.path());
        let user = User { profile: dir.path().to_owned() };
        let (running, disks, env) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { user, dir, running, disks, env, alone: Some(alone) }
    }

    /// Starts three servers and the agents of these names, which are `node-a` and on.
    pub fn start_with(agents: &[&str]) -> Self {
        let alone = alone();
        let dir = tempfile::tempdir().unwrap();
        set_up_agents(dir.path(), agents.len());
        let user = User { profile: dir.path().to_owned() };
        let (running, disks, env) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut cluster = Self { user, dir, running, disks, env, alone: Some(alone) };
        for name in SERVERS.iter().chain(agents) {
            cluster.run(name);
        }
        cluster.user.ready(agents.len());
        cluster
    }

    /// Starts three servers and two agents, and waits until they take work.
    pub fn start() -> Self {
        let mut cluster = Self::set_up();
        cluster.start_all();
        cluster
    }

    /// Starts every process, and waits until they take work.
    pub fn start_all(&mut self) {
        for name in SERVERS.iter().chain(&AGENTS) {
            self.run(name);
        }
        self.user.ready(AGENTS.len());
    }

    /// Lets the next test begin, for what is left of this one is to wait. Its processes run, and so
    /// hold their ports: none may be started again.
    pub fn let_others_begin(&mut self) {
        drop(self.alone.take());
    }

    /// The cluster's folder.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the cluster's folder.
    pub fn path(&self, tail: &str) -> PathBuf {
        self.dir.path().join(tail)
    }

    /// What a process has said so far.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.log_file(name)).unwrap_or_default()
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.path(&format!("log/{name}.log"))
    }

    fn config(&self, name: &str) -> PathBuf {
        self.path(&format!("config/{name}.toml"))
    }

    /// Has a process's data stand on a small file system of its own from its next start on.
    pub fn small_disk(&mut self, name: &str, bytes: u64) {
        fs::create_dir_all(self.path(&format!("data/{name}"))).unwrap();
        let disk = Disk::mount(&self.path(&format!("data/{name}")), bytes);
        self.disks.insert(name.to_owned(), disk);
    }

    /// Sets a variable for all processes that are started from now on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    /// Has every server sign with what this table `[signer]` says, in the place of files.
    pub fn sign_with(&self, table: &str) {
        for name in SERVERS {
            let text = fs::read_to_string(self.config(name)).unwrap();
            let kept: Vec<_> = text.lines().filter(|line| !line.starts_with("keys = ")).collect();
            let kept = kept.join("\n");
            let kept = kept.split("\n[signer]").next().unwrap();
            fs::write(self.config(name), format!("{kept}\n[signer]\n{table}\n")).unwrap();
        }
    }

    /// The small file system of a process.
    pub fn disk(&self, name: &str) -> &Disk {
        &self.disks[name]
    }

    /// Describes a process from what was written for one of this cluster.
    pub fn describe(&self, name: &str, config: &Path) {
        fs::copy(config, self.config(name)).unwrap();
    }

    fn command(&self, name: &str) -> Command {
        self.command_of(name, ASSAY)
    }

    fn command_of(&self, name: &str, program: &str) -> Command {
        let role = if name.starts_with("server") { "server" } else { "agent" };
        let mut command = match self.disks.get(name) {
            Some(disk) => disk.command(program),
            None => Command::new(program),
        };
        command.args([role, "--config"]).arg(self.config(name));
        command.env("FAKE_NVML_STATE", self.path(&format!("config/{name}.gpus.json")));
        command.envs(&self.env).stdin(Stdio::null());
        command
    }

    /// Starts a process.
    pub fn run(&mut self, name: &str) {
        self.run_as(name, ASSAY);
    }

    /// Starts a process of this program, which is one of ours under another path.
    pub fn run_as(&mut self, name: &str, program: &str) {
        let log = File::options().create(true).append(true).open(self.log_file(name)).unwrap();
        let mut command = self.command_of(name, program);
        let child = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let before = self.running.insert(name.to_owned(), child);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Runs a process that must end by itself, and returns what became of it.
    pub fn run_to_end(&self, name: &str) -> Output {
        let mut command = self.command(name);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = child.id();
        let ended = std::thread::spawn(move || child.wait_with_output().unwrap());
        let mut looks = 0;
        until(&format!("{name} ends by itself"), || {
            looks += 1;
            if looks == 400 {
                process::signal(pid, "-KILL");
            }
            ended.is_finished().then_some(())
        });
        ended.join().unwrap()
    }

    /// Waits for a process to end by itself; returns whether it ended well.
    pub fn wait(&mut self, name: &str) -> bool {
        let mut child = self.running.remove(name).unwrap();
        until(&format!("{name} ends"), || child.try_wait().unwrap()).success()
    }

    /// The id of a running process.
    pub fn pid(&self, name: &str) -> u32 {
        self.running[name].id()
    }

    /// Asks a process to end, and waits for it.
    pub fn stop(&mut self, name: &str) {
        process::end(&mut self.running.remove(name).unwrap());
    }

    /// Kills a process.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn show_logs(&self) {
        for entry in fs::read_dir(self.path("log")).unwrap().flatten() {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(25)..];
            eprintln!("--- {}\n{}", entry.path().display(), tail.join("\n"));
        }
    }
}
