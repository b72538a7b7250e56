//! What an agent does while it still has all rights that it was started with.

use super::{AgentError, Config, apart};
use crate::driver::{
    dirs::NodeDirs,
    image::CDI_FOLDERS,
    sandbox::{Account, Fence, become_account},
    supervisor::Client,
    trusted,
};
use domain::isolation::{Isolation, NodeIsolation};
use rustix::{fs::Mode, process::geteuid};
use std::{fs, io, os::unix::net::UnixStream};

/// An agent that is ready to be run: with no rights but those that it needs, where it is to be a
/// user of its own.
#[derive(Debug)]
pub struct Ready {
    pub(super) config: Config,
    pub(super) isolation: NodeIsolation,
    /// The supervisor, which cannot be reached once the rights are given up.
    pub(super) supervisor: Option<UnixStream>,
}

/// Checks the settings and what this machine can do. Where the agent is to be a user of its own,
/// starts the supervisor and becomes that user for good.
///
/// # Errors
/// When the settings cannot be used, or the rights cannot be given up. The process must end then.
pub fn ready(config: Config) -> Result<Ready, AgentError> {
    let mut config = config.checked()?;
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let event_loop =
        event_loop.map_err(|why| AgentError::System { what: "start an event loop", why })?;
    // Where it only serves whoever started it, as `assay dev` does, the library is theirs to choose.
    let is_roots = geteuid().is_root() && config.isolation != Isolation::None;
    if let Some(library) = config.nvml.as_deref().filter(|_| is_roots) {
        trusted::check(library).map_err(|fault| AgentError::Setting {
            setting: "nvml",
            fault,
            remedy: "name a library that nobody but root may change",
        })?;
    }
    let account = config.user.as_deref().map(Account::named).transpose()?;
    // Before anything is moved: an earlier release may have to come back.
    Client::check(&config.dir, account.as_ref().map(|account| account.uid))?;
    let dirs = NodeDirs { root: config.dir.clone() };
    adopt(&dirs)
        .map_err(|why| AgentError::Folder { path: dirs.root.display().to_string(), why })?;
    let isolation = event_loop.block_on(apart::isolation(&config))?;
    let Some(account) = account else {
        return Ok(Ready { config, isolation, supervisor: None });
    };
    let command = std::mem::take(&mut config.supervisor);
    let reached = event_loop.block_on(async {
        let (client, _) = Client::ensure(&config.dir, &command).await?;
        Ok::<_, AgentError>(client.into_std())
    });
    let supervisor =
        reached?.map_err(|why| AgentError::System { what: "keep its supervisor", why })?;
    drop(event_loop);
    // Before the fence, which keeps it from asking what its folders are.
    rustix::process::umask(Mode::from_raw_mode(domain::contract::UMASK));
    become_account(&account, &fence(&config))?;
    tracing::info!(user = account.name, "rights of root given up");
    Ok(Ready { config, isolation, supervisor: Some(supervisor) })
}

/// Moves what earlier releases wrote down to where it is looked for.
fn adopt(dirs: &NodeDirs) -> io::Result<()> {
    fs::create_dir_all(dirs.records())?;
    for name in ["boot", "health"] {
        match fs::rename(dirs.root.join(name), dirs.records().join(name)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
            _ => {}
        }
    }
    Ok(())
}

/// What the agent reaches from now on.
fn fence(config: &Config) -> Fence {
    let dirs = NodeDirs { root: config.dir.clone() };
    // Where it really stands: the name is a link on most systems.
    let library = config.nvml.as_deref().and_then(|path| path.canonicalize().ok());
    let devices = config.containers.cdi.clone();
    let devices = devices.unwrap_or_else(|| CDI_FOLDERS.map(Into::into).into());
    Fence {
        own: vec![dirs.leases(), dirs.cache(), dirs.pool(), dirs.records()],
        read: library.into_iter().chain(devices).collect(),
    }
}
