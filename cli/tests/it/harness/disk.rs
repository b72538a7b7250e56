//! Small file systems that really fill up.
//!
//! Each is a tmpfs in a mount namespace that a process of ours keeps alive; what is to stand on
//! it is started within that namespace.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

const MIB: u64 = 1 << 20;

/// A small file system; gone with its value.
pub struct Disk {
    holder: Child,
    way: &'static Way,
    /// Where it is seen from here.
    pub path: PathBuf,
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// How this system lets us mount.
struct Way {
    unshare: &'static [&'static str],
    nsenter: &'static [&'static str],
}

/// As root, or as root of a user namespace of our own.
static WAYS: [Way; 2] = [
    Way { unshare: &["-m"], nsenter: &["-m"] },
    Way { unshare: &["-Urm"], nsenter: &["-m", "-U", "--preserve-credentials"] },
];

impl Way {
    fn find() -> &'static Self {
        let works = |way: &&Self| {
            let mut trial = Command::new("unshare");
            trial.args(way.unshare).args(["sh", "-c", "mount -t tmpfs tmpfs /mnt"]);
            trial.output().is_ok_and(|output| output.status.success())
        };
        WAYS.iter().find(works).unwrap_or_else(|| {
            panic!(
                "CANNOT RUN: a full disk needs a small file system, and this system lets us \
                 mount neither as root nor in a user namespace. Run as root, or allow user \
                 namespaces (sysctl kernel.unprivileged_userns_clone=1), or leave these tests \
                 out and say so: cargo test -- --skip disk"
            )
        })
    }
}

impl Disk {
    /// Mounts a file system of `bytes` at `dir`, seen by what [`Disk::command`] starts.
    pub fn mount(dir: &Path, bytes: u64) -> Self {
        let way = Way::find();
        let mut command = Command::new("unshare");
        command.args(way.unshare).args(["sh", "-c"]);
        command.arg(r#"mount -t tmpfs -o "size=$1" tmpfs "$2" && echo mounted && exec sleep 1d"#);
        command.arg("sh").arg(bytes.to_string()).arg(dir).stdout(Stdio::piped());
        let mut holder = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n", "a file system at {}", dir.display());
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let path = root.join(dir.strip_prefix("/").unwrap());
        Self { holder, way, path }
    }

    /// A command for a process that sees the file system.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(self.way.nsenter).args(["-t", &self.holder.id().to_string(), program]);
        command
    }

    /// Bytes that are free.
    pub fn free(&self) -> u64 {
        let figures = rustix::fs::statvfs(&self.path).unwrap();
        figures.f_bavail * figures.f_frsize
    }

    /// Takes space until `mib` are left, or all of it; called again, what was freed meanwhile.
    pub fn leave(&self, mib: u64) {
        let take = self.free().saturating_sub(mib * MIB);
        let file = OpenOptions::new().append(true).create(true).open(self.path.join("ballast"));
        let file = file.unwrap();
        let had = file.metadata().unwrap().len();
        if take > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), had, take).unwrap();
        }
    }

    /// Gives the space back.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path.join("ballast")).unwrap();
    }
}
