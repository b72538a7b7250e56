//! The start of a task by the supervisor, beside the same program started with nothing around it,
//! and beside `podman run` of the same image.

use crate::report::{Figure, Quantity, Target};
use agent::driver::{
    dirs::NodeDirs,
    image::{Containers, Images, LaidImage},
    sandbox::{ImageRoot, TASK_PROCESSES, Walls},
    supervisor::{Ask, Client, Said, TaskCommand},
};
use anyhow::{Context as _, Result, bail};
use domain::{
    Bytes, CpuMillis, LeaseId,
    isolation::{ImageFacts, Network},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// A shell with its tools in one file without libraries: all of the image.
const BUSYBOX: &str = "/bin/busybox";
/// What the image is called.
const IMAGE: &str = "localhost/assay-bench";
/// Time between two starts, so that each finds an idle machine, as a job does.
const PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for one task.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a task is walled off.
#[derive(Clone)]
enum Kind {
    Plain,
    Sandbox,
    Container(Box<LaidImage>),
}

/// From the request to the program's start, and to the word that nothing of it is left.
struct Sample {
    start: Duration,
    end: Duration,
}

struct Bench {
    dirs: NodeDirs,
    client: Client,
    next: u64,
}

impl Bench {
    async fn open(dir: &Path) -> Result<Self> {
        let assay = std::env::current_exe()?.with_file_name("assay");
        let words = ["supervisor", "--dir"].map(str::to_owned);
        let command: Vec<String> = std::iter::once(assay.display().to_string())
            .chain(words)
            .chain([dir.display().to_string()])
            .collect();
        let (client, _child) = Client::ensure(dir, &command).await?;
        Ok(Self { dirs: NodeDirs { root: dir.to_owned() }, client, next: 1 })
    }

    /// Starts `true` under a lease of its own, and hears of its end.
    async fn task(&mut self, kind: &Kind) -> Result<Sample> {
        let lease = LeaseId { index: self.next, ordinal: 0 };
        self.next += 1;
        let dirs = self.dirs.lease(lease);
        dirs.create()?;
        let text = |path: PathBuf| path.display().to_string();
        let program =
            if matches!(kind, Kind::Container(_)) { "/bin/true" } else { "/usr/bin/true" };
        let tasks = vec![TaskCommand {
            rank: 0,
            program: program.into(),
            args: vec![],
            env: vec![("ASSAY_OUTPUT_DIR".into(), text(dirs.out()))],
            cwd: text(dirs.code()),
            log: text(dirs.log(0)),
        }];
        let walls = Walls {
            network: Network::None,
            memory: Bytes(256 << 20),
            cpu: CpuMillis(1_000),
            processes: TASK_PROCESSES,
            devices: vec![],
            readable: vec![],
        };
        let deadline = None;
        let ask = match kind {
            Kind::Plain => Ask::Start { lease, deadline, tasks },
            Kind::Sandbox => Ask::Confine { lease, deadline, tasks, walls },
            Kind::Container(laid) => {
                Ask::Contain { lease, deadline, tasks, walls, image: Box::new(root(laid)) }
            }
        };
        let begun = Instant::now();
        self.client.writer.ask(&ask).await?;
        self.client.writer.flush().await?;
        let mut start = None;
        let sample = loop {
            let said = tokio::time::timeout(PATIENCE, self.client.reader.next()).await;
            match said.context("the supervisor says nothing")??.context("it is gone")? {
                Said::Started { .. } => start = Some(begun.elapsed()),
                Said::Exited { exit, .. } => {
                    if exit != agent::machine::Exit::Code(0) {
                        bail!("`true` ended with {exit:?}");
                    }
                    break Sample { start: start.context("no start")?, end: begun.elapsed() };
                }
                Said::NotStarted { why, .. } | Said::NotConfined { why, .. } => bail!("{why}"),
                // What it reads from the task, and answers to what nobody asked here.
                _ => {}
            }
        };
        self.client.writer.ask(&Ask::Forget { lease }).await?;
        self.client.writer.flush().await?;
        fs::remove_dir_all(&dirs.root)?;
        Ok(sample)
    }

    async fn end(mut self) -> Result<()> {
        self.client.writer.ask(&Ask::End).await?;
        Ok(self.client.writer.flush().await?)
    }
}

fn root(laid: &LaidImage) -> ImageRoot {
    let facts = ImageFacts {
        name: laid.name.clone(),
        id: laid.id.clone(),
        podman: laid.podman.clone(),
        devices: vec![],
    };
    let path = laid.root.display().to_string();
    ImageRoot { path, facts, devices: vec![], shown: vec![], hooks: vec![] }
}

/// The start of a program with nothing around it: until it runs, and until it has ended.
fn bare() -> Result<Sample> {
    let begun = Instant::now();
    let mut child = Command::new("/usr/bin/true").spawn()?;
    let start = begun.elapsed();
    child.wait()?;
    Ok(Sample { start, end: begun.elapsed() })
}

fn median(mut all: Vec<Duration>) -> Quantity {
    all.sort();
    Quantity::Time(all.get(all.len() / 2).copied().unwrap_or_default())
}

/// Settings with which podman runs on a machine without systemd, where limits cannot be raised.
const SETTINGS: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                        [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n\
                        events_logger = \"file\"\n";

/// Podman with images of its own in a folder.
fn podman(dir: &Path) -> Command {
    let mut command = Command::new("podman");
    command.env("CONTAINERS_CONF", dir.join("containers.conf"));
    command.arg("--root").arg(dir.join("store")).arg("--runroot").arg(dir.join("run"));
    command
}

/// An image of one program, in a store of its own.
struct Image {
    dir: PathBuf,
    name: String,
}

impl Image {
    fn build(dir: &Path) -> Result<Self> {
        let tree = dir.join("tree");
        fs::create_dir_all(tree.join("bin"))?;
        fs::copy(BUSYBOX, tree.join("bin/busybox")).context("apt-get install busybox-static")?;
        symlink("busybox", tree.join("bin/true"))?;
        let mut tar = Command::new("tar");
        let archive = tar.arg("-C").arg(&tree).args(["-c", "."]).stdout(Stdio::piped()).spawn()?;
        let images = dir.join("images");
        fs::create_dir_all(&images)?;
        fs::write(images.join("containers.conf"), SETTINGS)?;
        let mut import = podman(&images);
        import.args(["import", "-", IMAGE]).stdin(archive.stdout.context("no archive")?);
        said(&mut import)?;
        let words = ["image", "inspect", "--format", "{{.Digest}}", IMAGE];
        let digest = said(podman(&images).args(words))?;
        Ok(Self { dir: images, name: format!("{IMAGE}@{digest}") })
    }

    /// What a user of podman alone would do: the same walls, as far as it has them.
    fn run(&self) -> Result<Duration> {
        let begun = Instant::now();
        let words = ["run", "--rm", "--network", "none", "--read-only", "--cap-drop", "all"];
        said(podman(&self.dir).args(words).args(["--memory", "256m", &self.name, "/bin/true"]))?;
        Ok(begun.elapsed())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = podman(&self.dir).args(["image", "umount", "--all", "--force"]).output();
        let _ = Command::new("umount").arg("--lazy").arg(self.dir.join("store/overlay")).output();
    }
}

fn said(command: &mut Command) -> Result<String> {
    let output =
        command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// Measures and prints.
pub async fn run(samples: usize) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let node = dir.path().join("node");
    fs::create_dir(&node)?;
    let image = Image::build(dir.path())?;
    let settings = Containers { images: Some(image.dir.clone()), ..Containers::default() };
    let images = Images::open(&settings).await.map_err(anyhow::Error::msg)?;
    let laid = images.lay_out(&image.name.parse()?).await?;
    let mut bench = Bench::open(&node).await?;
    let kinds = [Kind::Plain, Kind::Sandbox, Kind::Container(Box::new(laid))];
    let mut ours: [Vec<Sample>; 3] = Default::default();
    let (mut bares, mut podmans) = (Vec::new(), Vec::new());
    // One of each in turn: what else the machine does meets all of them alike.
    for _ in 0..samples.max(1) {
        bares.push(bare()?);
        for (kind, all) in kinds.iter().zip(&mut ours) {
            all.push(bench.task(kind).await?);
            tokio::time::sleep(PAUSE).await;
        }
        podmans.push(image.run()?);
    }
    bench.end().await?;
    let starts = |all: &[Sample]| median(all.iter().map(|it| it.start).collect());
    let ends = |all: &[Sample]| median(all.iter().map(|it| it.end).collect());
    let [plain, sandbox, container] = &ours;
    let bare = starts(&bares);
    let least = |all: &[Sample]| all.iter().map(|it| it.start).min().unwrap_or_default();
    // What a busy machine leaves of the truth: the sample that nothing else came between.
    let fastest = |all: &[Sample]| Quantity::Time(least(all).saturating_sub(least(&bares)));
    for (name, all) in [("plain", plain), ("in a sandbox", sandbox), ("in a container", container)]
    {
        let over = Quantity::Time(match (starts(all), bare) {
            (Quantity::Time(ours), Quantity::Time(bare)) => ours.saturating_sub(bare),
            _ => Duration::ZERO,
        });
        let most = Quantity::ms(5.0);
        Figure::new(format!("start of a task {name}, over fork+exec"), over)
            .beside("fork+exec alone", bare)
            .target(Target::AtMost(most, most))
            .note(format!(
                "median of {samples}, from the request to the program; the fastest {} over the \
                 fastest fork+exec; until its end {}",
                fastest(all),
                ends(all)
            ))
            .print();
    }
    let podman = median(podmans);
    Figure::new("a container from start to end", ends(container))
        .beside("podman run", podman)
        .target(Target::Times(1.0 / 1.2, 1.0 / 1.2))
        .note("the same image and program, both without network, read-only, limited")
        .print();
    Ok(())
}
