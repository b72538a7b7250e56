//! How the programs are linked.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Fixed addresses: a short command then starts without relocating its tables, which takes a
    // tenth of its life. It gives up the random base of this one program's code, which holds no
    // unsafe code of ours; the server keeps it.
    println!("cargo:rustc-link-arg-bin=assay=-no-pie");
}
