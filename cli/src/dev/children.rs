//! The processes of a development cluster: started, restarted when killed, and ended.

use super::layout::{Layout, NODES, SERVERS, server_name};
use crate::fault::Fault;
use agent::driver::supervisor::{Ask, Client as Supervisor};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, watch},
    task::JoinSet,
};

/// Pause before a process that was killed is started again, as a service manager would.
const RESTART: Duration = Duration::from_secs(2);
/// SIGKILL, as a process's status has it.
const KILL: i32 = Signal::KILL.as_raw();
/// Longest wait for a process to end by itself.
const STOP: Duration = Duration::from_secs(4);

/// Looks at a killed process until it is gone, and the time between two.
const LOOKS: u32 = 200;
const LOOK: Duration = Duration::from_millis(10);

/// One process of the cluster.
#[derive(Clone, Debug)]
struct Role {
    name: String,
    command: &'static str,
    config: PathBuf,
    log: PathBuf,
    gpus: Option<PathBuf>,
}

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// How it ended.
    pub how: String,
    /// Whether somebody killed it: it is started again, and nothing is wrong with it.
    pub killed: bool,
}

/// The running processes.
pub struct Children {
    layout: Layout,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    keepers: JoinSet<()>,
    stop: watch::Sender<bool>,
    /// Processes that ended without being asked to.
    pub ended: mpsc::UnboundedReceiver<Ended>,
}

impl Children {
    /// Starts three servers and two agents.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn start(layout: &Layout, program: &Path) -> Result<Self, Fault> {
        let (stop, stopped) = watch::channel(false);
        let (told, ended) = mpsc::unbounded_channel();
        let mut children = Self {
            layout: layout.clone(),
            pids: Arc::default(),
            keepers: JoinSet::new(),
            stop,
            ended,
        };
        for role in roles(layout) {
            let child = spawn(&role, program)?;
            children.note(&role.name, child.id());
            let keeper = Keeper {
                role,
                program: program.to_owned(),
                pids: Arc::clone(&children.pids),
                pid_file: children.pid_file(),
                told: told.clone(),
            };
            children.keepers.spawn(keeper.keep(child, stopped.clone()));
        }
        Ok(children)
    }

    fn pid_file(&self) -> PathBuf {
        pid_file(&self.layout)
    }

    fn note(&self, name: &str, pid: Option<u32>) {
        note(&self.pids, &self.pid_file(), name, pid);
    }

    /// The process of a server, if it runs.
    #[must_use]
    pub fn pid(&self, name: &str) -> Option<u32> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Kills a process with SIGKILL; it is started again after a pause.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, name: &str) -> Result<u32, Fault> {
        let pid = self.pid(name);
        let target = pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let killed = target.map(|target| kill_process(target, Signal::KILL));
        match (pid, killed) {
            (Some(pid), Some(Ok(()))) => Ok(pid),
            _ => Err(Fault::internal("kill", format!("{name} does not run"))),
        }
    }

    /// Ends everything: asks first, then kills, then ends what the nodes' supervisors run.
    pub async fn stop(mut self) {
        let _ = self.stop.send(true);
        let done = async { while self.keepers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP + RESTART, done).await;
        self.keepers.shutdown().await;
        end_supervisors(&self.layout).await;
        let _ = fs::remove_file(self.pid_file());
    }
}

/// Ends the tasks that nodes still run.
async fn end_supervisors(layout: &Layout) {
    for node in NODES {
        if let Ok(mut supervisor) = Supervisor::connect(&layout.data(node)).await {
            let _ = supervisor.writer.ask(&Ask::End).await;
            let _ = supervisor.writer.flush().await;
            let gone = async { while let Ok(Some(_)) = supervisor.reader.next().await {} };
            let _ = tokio::time::timeout(STOP, gone).await;
        }
    }
}

/// Ends what a cluster whose own process was killed has left running.
pub async fn end_stale(layout: &Layout) {
    let text = fs::read_to_string(pid_file(layout)).unwrap_or_default();
    let config = layout.dir.join("config").display().to_string();
    for pid in text.lines().filter_map(|line| line.split(' ').nth(1)?.parse::<i32>().ok()) {
        // The number may belong to a stranger by now: only a process of this folder is ended. One
        // that has ended and waits for its parent has no command line.
        let ours = || {
            fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.contains(&config))
        };
        if let (true, Some(target)) = (ours(), Pid::from_raw(pid)) {
            let _ = kill_process(target, Signal::KILL);
            for _ in 0..LOOKS {
                if !ours() {
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    end_supervisors(layout).await;
    let _ = fs::remove_file(pid_file(layout));
}

fn pid_file(layout: &Layout) -> PathBuf {
    layout.dir.join("config/pids")
}

fn note(pids: &Mutex<BTreeMap<String, u32>>, file: &Path, name: &str, pid: Option<u32>) {
    let mut pids = pids.lock().unwrap_or_else(PoisonError::into_inner);
    match pid {
        Some(pid) => pids.insert(name.to_owned(), pid),
        None => pids.remove(name),
    };
    let text: String = pids.iter().map(|(name, pid)| format!("{name} {pid}\n")).collect();
    // Only a later `assay dev` reads it, and does without where it must.
    let _ = fs::write(file, text);
}

fn roles(layout: &Layout) -> Vec<Role> {
    let servers = SERVERS.map(|id| {
        let name = server_name(id);
        let (config, log) = (layout.config(&name), layout.log(&name));
        Role { name, command: "server", config, log, gpus: None }
    });
    let agents = NODES.map(|node| Role {
        name: node.to_owned(),
        command: "agent",
        config: layout.config(node),
        log: layout.log(node),
        gpus: Some(layout.gpus(node)),
    });
    servers.into_iter().chain(agents).collect()
}

/// The command line of each process, as a shell takes it.
#[must_use]
pub fn commands(layout: &Layout, program: &Path) -> Vec<String> {
    let command = |role: &Role| {
        let gpus = role.gpus.iter().map(|path| format!("FAKE_NVML_STATE={} ", path.display()));
        let (program, config) = (program.display(), role.config.display());
        format!("{}{program} {} --config {config}", gpus.collect::<String>(), role.command)
    };
    roles(layout).iter().map(command).collect()
}

fn spawn(role: &Role, program: &Path) -> Result<Child, Fault> {
    let failed = |fault: &std::io::Error| Fault::file(&role.log, fault);
    let log = OpenOptions::new().create(true).append(true).open(&role.log);
    let log = log.map_err(|fault| failed(&fault))?;
    let out = log.try_clone().map_err(|fault| failed(&fault))?;
    let mut command = Command::new(program);
    command
        .arg(role.command)
        .arg("--config")
        .arg(&role.config)
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(log)
        // Ctrl-C at the terminal is for us, not for them.
        .process_group(0)
        .kill_on_drop(true);
    if let Some(gpus) = &role.gpus {
        command.env("FAKE_NVML_STATE", gpus);
    }
    command.spawn().map_err(|fault| {
        Fault::internal(
            "spawn",
            format!("{} {} does not start: {fault}", program.display(), role.name),
        )
    })
}

/// Looks after one process.
struct Keeper {
    role: Role,
    program: PathBuf,
    pids: Arc<Mutex<BTreeMap<String, u32>>>,
    pid_file: PathBuf,
    told: mpsc::UnboundedSender<Ended>,
}

impl Keeper {
    async fn keep(self, mut child: Child, mut stop: watch::Receiver<bool>) {
        loop {
            // Cancel-safe: both may be awaited anew.
            let status = tokio::select! {
                status = child.wait() => status,
                () = told_to_stop(&mut stop) => {
                    end(&mut child).await;
                    return;
                }
            };
            note(&self.pids, &self.pid_file, &self.role.name, None);
            let killed = status.as_ref().is_ok_and(|status| status.signal() == Some(KILL));
            let how = status.map_or_else(|fault| fault.to_string(), |status| status.to_string());
            let _ = self.told.send(Ended { name: self.role.name.clone(), how, killed });
            tokio::select! {
                () = tokio::time::sleep(RESTART) => {}
                () = told_to_stop(&mut stop) => return,
            }
            match spawn(&self.role, &self.program) {
                Ok(next) => child = next,
                Err(fault) => {
                    let (name, how) = (self.role.name.clone(), fault.detail);
                    let _ = self.told.send(Ended { name, how, killed: false });
                    return;
                }
            }
            note(&self.pids, &self.pid_file, &self.role.name, child.id());
        }
    }
}

/// Completes once all are to end.
async fn told_to_stop(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Ends a process: SIGTERM, and SIGKILL when it does not heed it.
async fn end(child: &mut Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        let _ = kill_process(pid, Signal::TERM);
    }
    if tokio::time::timeout(STOP, child.wait()).await.is_err() {
        let _ = child.kill().await;
    }
}
