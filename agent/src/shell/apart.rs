//! What this node can do to keep tasks apart.

use super::{AgentError, Config};
use crate::driver::{image::Images, sandbox};
use domain::isolation::{Isolation, NodeIsolation};

/// Looks what can be had: what every job is owed must be among it.
///
/// # Errors
/// When this machine cannot keep what the configuration demands.
pub(super) async fn isolation(config: &Config) -> Result<NodeIsolation, AgentError> {
    let mut found = sandbox::probe(config.isolation);
    if found.can_sandbox() {
        match Images::open(&config.containers).await {
            Ok(images) => images.version().clone_into(&mut found.podman),
            Err(lack) => found.container_lacks.push(lack),
        }
    }
    let lack = match config.isolation {
        Isolation::None => None,
        Isolation::Sandbox => found.lacks.first().map(String::as_str),
        Isolation::Container => found.container_lack(),
    };
    if let Some(lack) = lack {
        return Err(AgentError::Setting {
            setting: "isolation",
            fault: format!("is {}, and this machine lacks {lack}", config.isolation),
            remedy: "see to that, or set `isolation = \"plain\"`",
        });
    }
    match found.lacks.first() {
        None => tracing::info!(cgroup = found.cgroup, landlock = found.landlock, "can sandbox"),
        Some(lack) => tracing::info!(%lack, "cannot sandbox"),
    }
    match found.container_lack() {
        None => tracing::info!(podman = %found.podman, "can run containers"),
        Some(lack) => tracing::info!(%lack, "cannot run containers"),
    }
    Ok(found)
}
