//! What a supervisor with the rights of root does for an agent that has none: nothing that would
//! give the agent, or a task, more than a task within walls may have.

use super::{
    hand::Owner,
    wire::{Ask, TaskCommand},
};
use crate::driver::{
    dirs::NodeDirs,
    house::{may_be_handed_in, root_of},
    image::{Cdi, Containers, Edits, Images},
    sandbox::{ImageRoot, Walls},
};
use domain::{LeaseId, image::ImageRef};
use std::collections::BTreeSet;

/// Most tasks of a lease on one node.
const TASKS_MAX: usize = 4_096;
/// Most device files of a lease: 64 GPUs in 7 slices each, and their shared ones.
const DEVICES_MAX: usize = 512;

/// What a supervisor is told of its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The account of the agent that it serves; none means that both are the same user.
    pub owner: Option<Owner>,
    /// Folders beside the system's that sandboxed tasks may read.
    pub readable: Vec<String>,
    /// Where container images come from.
    pub containers: Containers,
}

impl Rules {
    /// Refuses what this agent has no right to, and puts the node's own settings in the place of
    /// what the agent says they are.
    ///
    /// # Errors
    /// Says what is refused.
    pub(super) fn check(
        &self,
        dirs: &NodeDirs,
        images: Option<&Images>,
        ask: &mut Ask,
    ) -> Result<(), String> {
        if self.owner.is_none() {
            return Ok(());
        }
        if let Ask::Confine { tasks, .. } | Ask::Contain { tasks, .. } = ask {
            bounded(tasks)?;
        }
        match ask {
            Ask::Start { .. } => {
                Err("an agent with an account of its own starts nothing without walls".to_owned())
            }
            Ask::Confine { lease, tasks, walls, .. } => {
                logs(dirs, *lease, tasks)?;
                self.walls(walls)
            }
            Ask::Contain { lease, tasks, walls, image, .. } => {
                logs(dirs, *lease, tasks)?;
                self.walls(walls)?;
                self.image(images, image)
            }
            _ => Ok(()),
        }
    }

    fn walls(&self, walls: &mut Walls) -> Result<(), String> {
        if walls.devices.len() > DEVICES_MAX {
            return Err(format!("more than {DEVICES_MAX} device files"));
        }
        walls.readable.clone_from(&self.readable);
        match walls.devices.iter().find(|path| !may_be_handed_in(path)) {
            None => Ok(()),
            Some(path) => Err(format!("`{path}` is no device file of a GPU or its network")),
        }
    }

    /// An image's root is what this process laid out, and what is shown in it, and run on it as
    /// root, is what the maker of its devices describes.
    fn image(&self, images: Option<&Images>, asked: &ImageRoot) -> Result<(), String> {
        let name = &asked.facts.name;
        well_formed(name)?;
        if asked.facts.devices.len() > DEVICES_MAX {
            return Err(format!("more than {DEVICES_MAX} devices"));
        }
        let laid = images.and_then(|images| images.known(name));
        let laid = laid.ok_or_else(|| format!("image `{name}` is not laid out"))?;
        let cdi = Cdi::read(self.containers.cdi.as_deref()).map_err(|why| why.to_string())?;
        let mut edits = Edits::default();
        for device in &asked.facts.devices {
            let more = cdi.named(device);
            edits.add(more.ok_or_else(|| format!("no description of `{device}` is here"))?);
        }
        let (root, _) = root_of(&laid, asked.facts.devices.clone(), edits);
        match root == *asked {
            true => Ok(()),
            false => Err(format!("image `{name}` and its devices are not as this node has them")),
        }
    }
}

/// Refuses a name that no text says: as an image's it might be a path on this machine.
pub(super) fn well_formed(image: &ImageRef) -> Result<(), String> {
    match image.to_string().parse::<ImageRef>() {
        Ok(parsed) if parsed == *image => Ok(()),
        _ => Err(format!("`{image}` is no name of an image")),
    }
}

/// As many tasks as a node has, each once.
fn bounded(tasks: &[TaskCommand]) -> Result<(), String> {
    let ranks: BTreeSet<_> = tasks.iter().map(|task| task.rank).collect();
    match tasks.len() {
        0 => Err("a lease has tasks".to_owned()),
        count if count > TASKS_MAX => Err(format!("{count} tasks, {TASKS_MAX} are the most")),
        count if count > ranks.len() => Err("a rank is there twice".to_owned()),
        _ => Ok(()),
    }
}

fn logs(dirs: &NodeDirs, lease: LeaseId, tasks: &[TaskCommand]) -> Result<(), String> {
    let dirs = dirs.lease(lease);
    let own = |task: &&TaskCommand| dirs.log(task.rank).to_str() != Some(task.log.as_str());
    match tasks.iter().find(own) {
        None => Ok(()),
        Some(task) => Err(format!("`{}` is not the log of rank {}", task.log, task.rank)),
    }
}
