//! A private Slurm on loopback, as the peer of submit and dispatch: nothing of it touches `/etc`.

use crate::{
    child::{Ending, Process},
    etcd::free_ports,
};
use anyhow::{Context as _, Result, bail};
use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Longest wait for a daemon to come up.
const START: Duration = Duration::from_secs(60);
/// Longest wait for jobs to end.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Processors of its one node: as many as both nodes of `assay dev` have together.
const CPUS: u32 = 16;

/// How its scheduler is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tuning {
    /// Nothing said: what the package does by itself.
    Installed,
    /// No delay before and between scheduling passes, whole queue in each.
    Tuned,
}

impl Tuning {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Installed, Self::Tuned];

    /// Its name in a line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "Slurm installed",
            Self::Tuned => "Slurm tuned",
        }
    }

    fn parameters(self) -> &'static str {
        match self {
            Self::Installed => "",
            Self::Tuned => {
                "SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,\
                 bf_interval=1,default_queue_depth=1000\n"
            }
        }
    }
}

/// A running Slurm; ends with its value.
pub struct Slurm {
    // Ended in this order: the node, its controller, the authentication of both.
    slurmd: Process,
    slurmctld: Process,
    munged: Process,
    config: PathBuf,
    script: PathBuf,
    dir: PathBuf,
}

impl Slurm {
    /// Starts munged, slurmctld and slurmd with all their files under `dir`; waits for the node.
    ///
    /// # Errors
    /// When they are not installed or do not come up.
    pub fn start(dir: &Path, tuning: Tuning) -> Result<Self> {
        let dir = dir.join(format!("slurm-{tuning:?}"));
        for name in ["state", "spool", "log"] {
            fs::create_dir_all(dir.join(name))?;
        }
        let munged = munged(&dir)?;
        let config = dir.join("slurm.conf");
        fs::write(&config, configuration(&dir, tuning)?)?;
        let script = dir.join("true.sh");
        fs::write(&script, "#!/bin/sh\ntrue\n")?;
        let slurmctld = run(&dir, "slurmctld", &[])?;
        let slurmd = run(&dir, "slurmd", &["-N", "n0"])?;
        let mut slurm = Self { slurmd, slurmctld, munged, config, script, dir };
        slurm.wait_until_idle()?;
        Ok(slurm)
    }

    /// Waits until the node is known and does nothing.
    fn wait_until_idle(&mut self) -> Result<()> {
        let patience = Instant::now() + START;
        loop {
            match self.answer("sinfo", &["-h", "-o", "%T"]) {
                Ok(state) if state == "idle" => return Ok(()),
                Err(why) if why.is::<std::io::Error>() => return Err(why.context(INSTALL)),
                _ => {}
            }
            if !self.slurmctld.runs() || !self.slurmd.runs() || Instant::now() > patience {
                let log = self.dir.join("log/slurmctld.log");
                let log = fs::read_to_string(log).unwrap_or_default();
                let last = log.lines().last().unwrap_or("no log").to_owned();
                bail!("Slurm's node is not idle: {last}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Kills the controller with SIGKILL, and starts it again.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn crash(&mut self) -> Result<()> {
        self.slurmctld.kill();
        self.slurmctld = run(&self.dir, "slurmctld", &[])?;
        self.wait_until_idle()
    }

    /// Its daemons.
    pub fn pids(&self) -> Vec<u32> {
        vec![self.slurmctld.pid(), self.slurmd.pid(), self.munged.pid()]
    }

    /// The configuration, for `SLURM_CONF`.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// A batch script that does nothing.
    pub fn script(&self) -> &Path {
        &self.script
    }

    /// One of its commands, quiet.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("SLURM_CONF", &self.config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What one of its commands prints.
    ///
    /// # Errors
    /// When it fails.
    pub fn answer(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = self.command(program);
        let out = command.args(args).stdout(Stdio::piped()).output()?;
        if !out.status.success() {
            bail!("{program} {} failed: {}", args.join(" "), out.status);
        }
        Ok(String::from_utf8_lossy(&out.stdout).trim().to_owned())
    }

    /// Waits until no job waits or runs.
    ///
    /// # Errors
    /// When some still do.
    pub fn wait_until_empty(&self) -> Result<()> {
        let patience = Instant::now() + PATIENCE;
        while !self.answer("squeue", &["-h"])?.is_empty() {
            if Instant::now() > patience {
                bail!("Slurm still has jobs after {PATIENCE:?}");
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }
}

const INSTALL: &str = "scripts/setup-bench installs it (slurm-wlm)";

/// One of Slurm's daemons with the configuration in `dir`.
fn run(dir: &Path, program: &str, more: &[&str]) -> Result<Process> {
    let config = dir.join("slurm.conf");
    let mut command = daemon(program, dir)?;
    command.env("SLURM_CONF", &config).arg("-D").arg("-f").arg(&config).args(more);
    Process::start(&mut command, Ending::Ask)
        .with_context(|| format!("{program} does not start; {INSTALL}"))
}

/// A daemon whose output goes to a file in `dir`.
fn daemon(program: &str, dir: &Path) -> Result<Command> {
    // Debian keeps daemons where the PATH of users does not lead.
    let known = Path::new("/usr/sbin").join(program);
    let mut command = if known.is_file() { Command::new(known) } else { Command::new(program) };
    let out = File::create(dir.join("log").join(format!("{program}.out")))?;
    command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
    Ok(command)
}

fn munged(dir: &Path) -> Result<Process> {
    let key = dir.join("munge.key");
    let secret: Vec<u8> = (0..8).flat_map(|_| crate::assay::key()).collect();
    fs::write(&key, secret)?;
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
    let socket = dir.join("munge.socket");
    let mut command = daemon("munged", dir)?;
    // Forced, for munged dislikes a folder that others cannot enter.
    command.args(["--foreground", "--force"]);
    for (flag, file) in [
        ("socket", "munge.socket"),
        ("key-file", "munge.key"),
        ("pid-file", "munged.pid"),
        ("log-file", "log/munged.log"),
        ("seed-file", "munged.seed"),
    ] {
        command.arg(format!("--{flag}={}", dir.join(file).display()));
    }
    let mut munged = Process::start(&mut command, Ending::Ask)
        .with_context(|| format!("munged does not start; {INSTALL}"))?;
    let patience = Instant::now() + START;
    while !socket.exists() {
        if !munged.runs() || Instant::now() > patience {
            bail!("munged made no socket; see its output in {}", dir.join("log").display());
        }
        std::thread::sleep(LOOK);
    }
    Ok(munged)
}

fn configuration(dir: &Path, tuning: Tuning) -> Result<String> {
    let ports = free_ports(2)?;
    let host = rustix::system::uname();
    let host = host.nodename().to_string_lossy();
    let user = rustix::process::getuid().as_raw();
    let dir = dir.display();
    // The test machines have no cgroups that Slurm could use: processes are followed by parent.
    Ok(format!(
        "ClusterName=bench\nSlurmctldHost={host}(127.0.0.1)\nSlurmctldPort={}\nSlurmdPort={}\n\
         SlurmUser={user}\nSlurmdUser={user}\nAuthType=auth/munge\nCredType=cred/munge\n\
         AuthInfo=socket={dir}/munge.socket\nStateSaveLocation={dir}/state\n\
         SlurmdSpoolDir={dir}/spool\nSlurmctldPidFile={dir}/slurmctld.pid\n\
         SlurmdPidFile={dir}/slurmd.pid\nSlurmctldLogFile={dir}/log/slurmctld.log\n\
         SlurmdLogFile={dir}/log/slurmd.log\nProctrackType=proctrack/linuxproc\n\
         TaskPlugin=task/none\nMpiDefault=none\nSwitchType=switch/none\n\
         JobAcctGatherType=jobacct_gather/none\nAccountingStorageType=accounting_storage/none\n\
         ReturnToService=2\nSchedulerType=sched/backfill\nSelectType=select/cons_tres\n\
         SelectTypeParameters=CR_CPU\nSlurmdParameters=config_overrides\n{}\
         NodeName=n0 NodeAddr=127.0.0.1 NodeHostname={host} CPUs={CPUS} State=UNKNOWN\n\
         PartitionName=main Nodes=n0 Default=YES MaxTime=INFINITE State=UP\n",
        ports[0],
        ports[1],
        tuning.parameters(),
    ))
}
