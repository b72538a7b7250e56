//! Generates the client for the peer that the log is compared with.
fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=proto/etcd.proto");
    tonic_prost_build::configure()
        .build_server(false)
        .compile_protos(&["proto/etcd.proto"], &["proto"])
}
