//! How the programs are linked (ADR 13, 73).

use std::{env, fs, path::Path, path::PathBuf, process::Command};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Fixed addresses: a short command then starts without relocating its tables, which takes a
    // tenth of its life. It gives up the random base of this one program's code, which holds no
    // unsafe code of ours; the server keeps it.
    println!("cargo:rustc-link-arg-bin=assay=-no-pie");
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder"));
    if let Some(libraries) = Archives::find() {
        libraries.lay_out(&dir).expect("cargo's folder can be written");
        // The linker searches this folder before the system's, so `-lc` finds the archive.
        println!("cargo:rustc-link-arg-bin=assay=-static");
        println!("cargo:rustc-link-arg-bin=assay=-L{}", dir.display());
    }
}

/// The C library and the compiler's own as archives: linked into `assay`, they save it a third of
/// a millisecond at each start, in which the loader would look up shared ones.
struct Archives {
    c: String,
    m: String,
    gcc: String,
    gcc_eh: String,
}

impl Archives {
    /// None where the system has only shared ones, or the program is built for another system:
    /// then it is linked as usual.
    fn find() -> Option<Self> {
        let gnu = env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|it| it == "gnu");
        if !gnu || env::var("TARGET").ok() != env::var("HOST").ok() {
            return None;
        }
        Some(Self {
            c: archive("libc.a")?,
            m: archive("libm.a")?,
            gcc: archive("libgcc.a")?,
            gcc_eh: archive("libgcc_eh.a")?,
        })
    }

    /// Linker scripts under the names that the standard library asks for: it knows the unwinder
    /// only as `gcc_s`, which is a shared one everywhere.
    fn lay_out(&self, dir: &Path) -> std::io::Result<()> {
        let Self { c, m, gcc, gcc_eh } = self;
        fs::write(dir.join("libc.a"), format!("GROUP({c} {gcc_eh} {gcc})\n"))?;
        fs::write(dir.join("libm.a"), format!("INPUT({m})\n"))?;
        fs::write(dir.join("libgcc_s.a"), format!("GROUP({gcc_eh} {gcc} {c})\n"))
    }
}

/// Where the C compiler would take this archive from.
fn archive(name: &str) -> Option<String> {
    let asked = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
    let path = String::from_utf8(asked.stdout).ok()?.trim().to_owned();
    // A compiler that has no such file repeats its name.
    Path::new(&path).is_absolute().then_some(path)
}
