//! `assay server init`: what a server that is to join needs, written from what the cluster says.

use super::{Context, cluster};
use crate::{
    args::{Global, process::ServerInit},
    authority::{self, Authority, Pair, Subject},
    config::{
        profile::{self, Places},
        server::{self, Server},
        signer::Signer,
    },
    exit::Exit,
    fault::Fault,
};
use domain::view::ClusterView;
use serde::Serialize;
use std::{
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

/// The file name of identity and configuration in the folder.
const NAME: &str = "server";

/// What was written.
#[derive(Debug, Serialize)]
struct Written {
    server: domain::ReplicaId,
    config: PathBuf,
    certificate: PathBuf,
    /// To be signed by the cluster's authority; absent where it was signed here.
    request: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the cluster does not answer, the id is taken, or a file cannot be read or written.
pub async fn run(global: &Global, args: ServerInit) -> Result<Exit, Fault> {
    let context = Context::new(global)?;
    let view = cluster::status(&context).await?;
    check(&args, &view)?;
    let profile = profile::load(&Places::of_process(global.profile.clone()).find()?)?;
    let dir = empty_folder(&args.dir)?;
    let advertise = args.advertise.clone().unwrap_or_else(|| args.listen.to_string());
    let ca = authority::ca_file(&dir);
    fs::copy(&profile.ca, &ca).map_err(|fault| Fault::file(&profile.ca, &fault))?;
    let (pair, request) = identity(&args, &dir, &ca, &advertise)?;
    let server = Server {
        id: args.id,
        cluster: view.cluster,
        dir: dir.join("data"),
        listen: args.listen,
        advertise: advertise.clone(),
        members: Default::default(),
        join: true,
        ca,
        cert: pair.cert.clone(),
        key: pair.key,
        signer: signer(&args)?,
        gates: Default::default(),
        rest: None,
        collect_after: None,
        scrub_every: None,
        replay_window: None,
        blobs: None,
    };
    let config = dir.join(format!("{NAME}.toml"));
    fs::write(&config, server.to_toml()).map_err(|fault| Fault::file(&config, &fault))?;
    let written = Written { server: args.id, config, certificate: pair.cert, request };
    context.output.show("server_init", &written, |_| text(&written, &advertise))?;
    Ok(Exit::Ok)
}

/// What can be known to be wrong before anything is written.
fn check(args: &ServerInit, view: &ClusterView) -> Result<(), Fault> {
    if view.replicas.iter().any(|replica| replica.id == args.id) {
        let ids: Vec<_> = view.replicas.iter().map(|replica| replica.id.to_string()).collect();
        let detail = format!("{} is a member; the members are {}", args.id, ids.join(", "));
        return Err(Fault::usage("id", detail).hint("give the new server an id never used before"));
    }
    if args.advertise.is_none() && args.listen.ip().is_unspecified() {
        let detail = format!("others cannot reach {}", args.listen);
        return Err(Fault::usage("advertise", detail).hint("add --advertise HOST:PORT"));
    }
    let Some(keys) = &args.keys else { return Ok(()) };
    // The names are those of the signing proxy's own files.
    match fs::read_dir(keys).map(|mut files| files.next().is_some()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Fault::usage("keys", format!("{} is empty", keys.display()))),
        Err(fault) => Err(Fault::file(keys, &fault)),
    }
    .map_err(|fault| fault.hint("copy the folder `keys` of another server there"))
}

/// What the server signs with.
fn signer(args: &ServerInit) -> Result<Signer, Fault> {
    match (&args.keys, &args.signer) {
        (Some(keys), _) => Ok(Signer::local(absolute(keys)?)),
        (None, Some(file)) => Ok(server::load(file)?.signer),
        // The command line was checked before.
        (None, None) => Err(Fault::usage("keys", "no keys are named").hint("--keys or --signer")),
    }
}

/// The certificate, or the request for one.
fn identity(
    args: &ServerInit,
    dir: &Path,
    ca: &Path,
    advertise: &str,
) -> Result<(Pair, Option<PathBuf>), Fault> {
    let host = advertise.rsplit_once(':').map_or(advertise, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = format!("server:{}", args.id.0);
    let who = Subject { name: &name, hosts: &[host] };
    let Some(key) = &args.ca_key else {
        return authority::request(dir, NAME, who).map(|(pair, path)| (pair, Some(path)));
    };
    let authority = Authority::open(&Pair { cert: ca.to_owned(), key: key.clone() })?;
    Ok((authority.issue(dir, NAME, who)?, None))
}

fn empty_folder(dir: &Path) -> Result<PathBuf, Fault> {
    let mut made = fs::DirBuilder::new();
    made.recursive(true).mode(0o700).create(dir).map_err(|fault| Fault::file(dir, &fault))?;
    let mut entries = fs::read_dir(dir).map_err(|fault| Fault::file(dir, &fault))?;
    if entries.next().is_some() {
        let detail = format!("{} is not empty", dir.display());
        return Err(Fault::usage("folder", detail).hint("name a folder that does not exist"));
    }
    absolute(dir)
}

fn absolute(path: &Path) -> Result<PathBuf, Fault> {
    std::path::absolute(path).map_err(|fault| Fault::file(path, &fault))
}

fn text(written: &Written, advertise: &str) -> String {
    let config = written.config.display();
    let sign = written.request.as_ref().map_or_else(String::new, |request| {
        format!(
            "  have your authority sign {}, names and all, as {}\n",
            request.display(),
            written.certificate.display()
        )
    });
    format!(
        "{} is described in {config}\nnext:\n{sign}  assay cluster add {} {advertise}\n  \
         assay server --config {config}\n",
        written.server, written.server
    )
}
