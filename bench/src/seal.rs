//! Hashing, describing and signing a tree of 1 GiB files, beside the cores' SHA-256 and the disk.
//!
//! What is measured is the agent's own call and the proxy's signatures; only the copies to two
//! servers are left out, for they are bound by network and disk of others.

use crate::{
    cpu, disk, model_signing,
    report::{self, Figure, Quantity, Target},
    seal_along,
};
use agent::{
    driver::dirs::LeaseDirs,
    store::{
        Blob, Blobs, StoreError,
        seal::{self, Sealing},
    },
};
use anyhow::{Context as _, Result, bail};
use domain::{
    AttemptNo, Digest, JobId, LeaseId, Millis, NodeId,
    artifact::OutputDigests,
    job::JobSpec,
    lease::{Lease, Member, Phase, TaskPlace},
    link::WantedLease,
    node::Inventory,
    port::Signer as _,
};
use registry::{
    seal::{bundle, dsse, trust::Trust, verify::verify_model},
    sign::local::{LocalSigner, create_model},
};
use sha2::Digest as _;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Bytes of one file.
pub(crate) const FILE: u64 = 1 << 30;
/// Bytes that one core hashes to say how fast it is, in memory.
const SAMPLE: usize = 64 << 20;
/// How often it does; the fastest counts, for it is the bound.
const SAMPLES: usize = 10;

/// Keeps the statements that the proxy would fetch, and nothing else.
#[derive(Default)]
struct Statements(Mutex<BTreeMap<Digest, Vec<u8>>>);

impl Blobs for Statements {
    async fn get(&self, _: Digest, _: fs::File) -> Result<u64, StoreError> {
        Ok(0)
    }

    async fn put(&self, blobs: Vec<Blob>) -> Result<(), StoreError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            if let Blob::Bytes { digest, bytes } = blob {
                kept.insert(digest, bytes);
            }
        }
        Ok(())
    }
}

/// The record of a job of one task that ran on one node.
pub(crate) fn record(dirs: LeaseDirs) -> Result<Sealing> {
    let job = proto::v1::Job {
        name: "sealed".into(),
        command: vec!["true".into()],
        tasks: 1,
        ..proto::v1::Job::default()
    };
    let spec: JobSpec = job.into_spec("bench").context("the job is well formed")?;
    let (node, nothing) = (NodeId(1), Digest::of(b""));
    let task = TaskPlace { rank: 0, gpus: Vec::new() };
    let lease = Lease {
        id: LeaseId { index: 1, ordinal: 0 },
        element: JobId(1).into(),
        attempt: AttemptNo(1),
        granted: Millis(0),
        members: vec![Member { node, tasks: vec![task] }],
        phase: Phase::Started { done: BTreeMap::new() },
        resume_from: None,
        build_key: nothing,
        isolation: domain::isolation::Isolation::None,
        notice: None,
    };
    let wanted = WantedLease {
        inventories: Vec::new(),
        recipe: registry::seal::recipe::recipe(&spec),
        lease,
        spec,
        master_addr: String::new(),
        checkpoints: Vec::new(),
        cluster: "bench".into(),
    };
    let inventory = Inventory {
        name: "node".into(),
        boot_id: String::new(),
        cpu: domain::CpuMillis(1_000),
        memory: domain::Bytes(1 << 30),
        gpus: Vec::new(),
        driver_version: String::new(),
        cuda_version: String::new(),
        cpu_model: String::new(),
        cpu_level: "x86-64-v3".into(),
        kernel: String::new(),
        agent_version: String::new(),
        isolation: domain::isolation::NodeIsolation::default(),
        topology: domain::topology::NodeTopology::default(),
    };
    let (started, ended, facts) = (Millis(0), Millis(1), Vec::new());
    Ok(Sealing {
        wanted,
        dirs,
        inventory,
        started,
        ended,
        facts,
        node_key: None,
        ahead: Arc::default(),
    })
}

/// What a job's end costs, up to its signatures.
pub(crate) async fn seal(
    sealing: Sealing,
    signer: &LocalSigner,
) -> Result<(OutputDigests, Vec<u8>)> {
    let statements = Statements::default();
    let digests = match seal::output(sealing, &statements).await {
        Ok(digests) => digests,
        Err(cause) => bail!("the tree is not sealed: {cause:?}"),
    };
    let kept = statements.0.lock().unwrap_or_else(PoisonError::into_inner);
    let payload = |digest| kept.get(digest).context("the statement was handed over");
    let model = payload(&digests.statement)?;
    let signed = signer.sign(&dsse::pae(model))?;
    let signature = bundle::model_bundle(model, &signed, &signer.public_pem()?);
    let provenance = payload(&digests.provenance)?;
    let signed = signer.sign(&dsse::pae(provenance))?;
    let envelope = dsse::envelope(provenance, &signed);
    if signature.is_empty() || envelope.is_empty() {
        bail!("a signature is empty");
    }
    Ok((digests, signature))
}

/// SHA-256 of one core in bytes a second, from memory.
fn hash_rate() -> f64 {
    let bytes = vec![7; SAMPLE];
    let once = || {
        let start = Instant::now();
        std::hint::black_box(sha2::Sha256::digest(std::hint::black_box(&bytes)));
        start.elapsed()
    };
    let fastest = (0..SAMPLES).map(|_| once()).min().unwrap_or(Duration::MAX);
    SAMPLE as f64 / fastest.as_secs_f64()
}

/// Runs the benchmark over `count` files of 1 GiB below `place`.
///
/// # Errors
/// When the disk has no room or the tree is not sealed.
pub async fn run(count: u64, place: Option<&Path>, reference: Option<&Path>) -> Result<()> {
    report::section("Hash, describe and sign a tree of 1 GiB files (copies to servers left out)");
    let dir = match place {
        Some(place) => tempfile::tempdir_in(place)?,
        None => tempfile::tempdir()?,
    };
    let dirs = LeaseDirs { root: dir.path().join("lease") };
    dirs.create()?;
    let files: Vec<_> = (0..count).map(|n| dirs.out().join(format!("part-{n}.bin"))).collect();
    for (seed, file) in (1..).zip(&files) {
        disk::fill(file, FILE, seed)?;
    }
    fs::write(dirs.log(0), "done\n")?;
    let signer = create_model(&dir.path().join("model.key.pem"))?;
    let size = (count * FILE) as f64;
    let cores = std::thread::available_parallelism()?.get();
    // One file is hashed by one core.
    let hashers = cores.min(files.len());
    let hashed = hash_rate() * hashers as f64;
    disk::forget(&files)?;
    let read = disk::read_rate(&files, cores)?;
    let dropped = disk::forget(&files)?;
    let (cold, cpu, _) = measure(record(dirs.clone())?, &signer, size).await?;
    let (warm, warm_cpu, signature) = measure(record(dirs.clone())?, &signer, size).await?;
    let (bound, bound_name) =
        if hashed < read { (hashed, "bound: SHA-256") } else { (read, "bound: disk read") };
    Figure::new(format!("seal {count} GiB, from disk"), Quantity::Bandwidth(cold))
        .beside(bound_name, Quantity::Bandwidth(bound))
        .target(Target::Times(0.85, 0.85))
        .cpu(cpu::each(cpu, count))
        .note("CPU is that of one GiB")
        .note(format!(
            "SHA-256 of one core {:.2} GB/s x {hashers} cores; disk by O_DIRECT {:.2} GB/s; {dropped}",
            hashed / hashers as f64 / 1e9,
            read / 1e9,
        ))
        .print();
    Figure::new(
        format!("seal {count} GiB again, where memory holds it"),
        Quantity::Bandwidth(warm),
    )
    .beside("bound: SHA-256", Quantity::Bandwidth(hashed))
    .cpu(cpu::each(warm_cpu, count))
    .print();
    if reference.is_none() {
        // Room for the next ones.
        files.iter().try_for_each(fs::remove_file)?;
    }
    seal_along::run(count, &dir.path().join("along"), &signer).await?;
    let Some(program) = reference else { return Ok(()) };
    let warm = Warm { rate: warm, cpu: warm_cpu, signature };
    beside_reference(program, dir.path(), &dirs, &signer, count, warm)
}

/// A seal from memory.
struct Warm {
    rate: f64,
    cpu: Duration,
    signature: Vec<u8>,
}

fn beside_reference(
    program: &Path,
    dir: &Path,
    dirs: &LeaseDirs,
    signer: &LocalSigner,
    count: u64,
    warm: Warm,
) -> Result<()> {
    let size = (count * FILE) as f64;
    let theirs = model_signing::measure(program, dir, &dirs.out())?;
    let path = dir.join("ours.sig");
    fs::write(&path, warm.signature)?;
    let own = [std::process::id()];
    let (before, start) = (cpu::of(&own), Instant::now());
    let trust = Trust::parse(&signer.public_pem()?).map_err(anyhow::Error::msg)?;
    let checks = verify_model(&dirs.out(), &path, &trust);
    let verified = size / start.elapsed().as_secs_f64();
    let verify_cpu = cpu::of(&own).saturating_sub(before);
    if let Some(check) = checks.iter().find(|check| !check.ok) {
        bail!("our own signature does not hold: {}", check.detail);
    }
    let figures = [
        ("seal", warm.rate, warm.cpu, theirs.sign),
        ("verify", verified, verify_cpu, theirs.verify),
    ];
    for (what, ours, ours_cpu, (time, theirs_cpu)) in figures {
        Figure::new(format!("{what} {count} GiB from memory"), Quantity::Bandwidth(ours))
            .beside("model_signing", Quantity::Bandwidth(size / time.as_secs_f64()))
            .target(Target::Times(1.5, 1.5))
            .cpu_beside(cpu::each(ours_cpu, count), cpu::each(theirs_cpu, count))
            .print();
    }
    Ok(())
}

/// Bytes a second of one seal, and the CPU that it took.
async fn measure(
    sealing: Sealing,
    signer: &LocalSigner,
    size: f64,
) -> Result<(f64, Duration, Vec<u8>)> {
    let own = [std::process::id()];
    let before = cpu::of(&own);
    let start = Instant::now();
    let (digests, signature) = seal(sealing, signer).await?;
    let elapsed = start.elapsed();
    if digests.size.0 as f64 != size {
        bail!("{} bytes sealed of {size}", digests.size.0);
    }
    Ok((size / elapsed.as_secs_f64(), cpu::of(&own).saturating_sub(before), signature))
}
