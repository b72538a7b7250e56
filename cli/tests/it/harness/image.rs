//! A small container image, made from this machine's own files: a shell with its tools, and Perl.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// All of the shell's tools in one file without libraries.
const TOOLS: &str = "/bin/busybox";
/// What the image is called.
const NAME: &str = "localhost/assay-test";
/// Variables that it sets: one of its own, one that is the contract's, and a path.
const SET: [&str; 3] =
    ["ENV GREETING=from-the-image", "ENV PYTHONHASHSEED=7", "ENV PATH=/opt/tools:/bin"];

/// A folder of images of a test's own.
pub struct Images {
    /// The folder.
    pub dir: PathBuf,
    /// The image's name with its digest.
    pub image: String,
}

impl Images {
    /// Builds the image into the images of `dir`.
    pub fn build(dir: &Path) -> Self {
        let root = dir.with_extension("root");
        lay_out(&root);
        let mut images = Self { dir: dir.to_owned(), image: String::new() };
        fs::create_dir_all(dir).unwrap();
        let mut archive = Command::new("tar")
            .args(["--owner=0", "--group=0", "-C"])
            .arg(&root)
            .args(["-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let changes = SET.iter().flat_map(|change| ["--change", change]);
        let mut import = images.podman();
        import.arg("import").args(changes).args(["-", NAME]);
        run(import.stdin(archive.stdout.take().unwrap()));
        assert!(archive.wait().unwrap().success(), "tar packs {}", root.display());
        let digest = images.say(&["image", "inspect", "--format", "{{.Digest}}", NAME]);
        images.image = format!("{NAME}@{digest}");
        images
    }

    /// Podman on these images.
    pub fn podman(&self) -> Command {
        podman(&self.dir)
    }

    /// What podman says to these words.
    pub fn say(&self, words: &[&str]) -> String {
        run(self.podman().args(words))
    }

    /// The lines of an agent's configuration that let it use them.
    pub fn config(&self) -> String {
        format!("[containers]\nimages = \"{}\"\n", self.dir.display())
    }
}

/// Podman on the images of a folder.
pub fn podman(dir: &Path) -> Command {
    let mut command = Command::new("podman");
    command.arg("--root").arg(dir.join("store")).arg("--runroot").arg(dir.join("run"));
    command
}

impl Drop for Images {
    fn drop(&mut self) {
        unmount(&self.dir);
    }
}

/// Takes off what podman has mounted in a folder of images.
pub fn unmount(dir: &Path) {
    let _ = podman(dir).args(["image", "umount", "--all", "--force"]).output();
    let _ = Command::new("umount").arg("--lazy").arg(dir.join("store/overlay")).output();
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}; `scripts/setup test` installs podman");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn lay_out(root: &Path) {
    let bin = root.join("bin");
    for folder in ["bin", "etc", "opt/tools", "usr/bin", "var"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::copy(TOOLS, bin.join("busybox")).unwrap();
    for tool in run(Command::new(TOOLS).arg("--list")).lines().filter(|it| *it != "busybox") {
        std::os::unix::fs::symlink("busybox", bin.join(tool)).unwrap();
    }
    // A stranger's image: its links lead to what is the machine's, were they followed outside.
    std::os::unix::fs::symlink("/etc/shadow", root.join("etc/passwd")).unwrap();
    std::os::unix::fs::symlink("/etc", root.join("tmp")).unwrap();
    std::os::unix::fs::symlink("/usr/bin/id", root.join("opt/tools/id")).unwrap();
    fs::copy(TOOLS, root.join("usr/bin/id")).unwrap();
    perl(root);
}

/// Perl with its own files and libraries.
fn perl(root: &Path) {
    let files = run(Command::new("dpkg").args(["-L", "perl-base"]));
    let libraries = run(Command::new("ldd").arg("/usr/bin/perl"));
    let of_line =
        |line: &str| line.split_whitespace().find(|it| it.starts_with('/')).map(str::to_owned);
    let all = files.lines().map(str::to_owned).chain(libraries.lines().filter_map(of_line));
    for path in all.filter(|path| Path::new(path).is_file()) {
        // Where `/lib` is a link, the file stands where the name leads.
        let to = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&path, &to).unwrap();
    }
    let perl = root.join("bin/perl");
    if !perl.exists() {
        fs::copy("/usr/bin/perl", perl).unwrap();
    }
}
