//! Generates the wire types.
fn main() -> std::io::Result<()> {
    let files = [
        "v1/public.proto",
        "v1/registry.proto",
        "v1/agent.proto",
        "v1/peer.proto",
        "v1/blob.proto",
        "v1/chunk.proto",
        "v1/backup.proto",
        "v1/replay.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    tonic_prost_build::configure().btree_map(".").bytes(".assay.v1").compile_protos(&files, &["v1"])
}
