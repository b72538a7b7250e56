//! The container device interface: what a GPU needs inside a container, as its maker describes it.
//!
//! Source: github.com/cncf-tags/container-device-interface, SPEC.md 0.8.0; `nvidia-ctk cdi generate`
//! writes such a description for each machine.

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where descriptions stand, those that win last. Source: SPEC.md.
pub const FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// What NVIDIA's tools call their devices.
const GPU: &str = "nvidia.com/gpu";
/// Longest description. Source: one of eight GPUs in 56 slices is 200 KiB.
const FILE_MAX: u64 = 8 << 20;
/// Most files that are read in a folder.
const FILES_MAX: usize = 256;
/// Levels of lists and tables.
const DEPTH_MAX: usize = 16;

/// All that is described on this node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cdi {
    specs: Vec<Spec>,
}

/// A device that cannot be handed in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CdiError {
    /// A description that cannot be read.
    #[error(
        "`{path}` is no description of devices: {why}; write it anew with `nvidia-ctk cdi generate`"
    )]
    File {
        /// The file.
        path: String,
        /// Why not.
        why: String,
    },
    /// A GPU that no description names.
    #[error(
        "no description of {GPU}={uuid} is in {folders}; make one: \
         `nvidia-ctk cdi generate --device-name-strategy=uuid --output=/etc/cdi/nvidia.yaml`"
    )]
    Unknown {
        /// The GPU.
        uuid: String,
        /// Where it was looked for.
        folders: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    kind: String,
    #[serde(default)]
    devices: Vec<Device>,
    #[serde(default)]
    container_edits: Edits,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Device {
    name: String,
    #[serde(default)]
    container_edits: Edits,
}

/// What is changed about a container to have a device in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    /// Variables, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Device files.
    pub device_nodes: Vec<DeviceNode>,
    /// Files and folders of the machine.
    pub mounts: Vec<MountPoint>,
    /// Programs of the machine that finish the root.
    pub hooks: Vec<Hook>,
}

/// A device file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceNode {
    /// Inside.
    pub path: String,
    /// On the machine, where that is another one.
    #[serde(default)]
    pub host_path: Option<String>,
}

/// A file or folder of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MountPoint {
    /// On the machine.
    pub host_path: String,
    /// Inside.
    pub container_path: String,
}

/// A program that finishes the root.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// When: `createContainer` and the like.
    pub hook_name: String,
    /// The program.
    pub path: String,
    /// Its arguments, its own name first.
    #[serde(default)]
    pub args: Vec<String>,
}

impl Cdi {
    /// Reads what is described in `folders`, or where the standard says.
    ///
    /// # Errors
    /// Names the first file that cannot be read.
    pub fn read(folders: Option<&[PathBuf]>) -> Result<Self, CdiError> {
        let standard = FOLDERS.map(PathBuf::from);
        let mut specs = Vec::new();
        for folder in folders.unwrap_or(&standard) {
            let mut files: Vec<_> = fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|end| end == "json" || end == "yaml"))
                .take(FILES_MAX)
                .collect();
            files.sort();
            for path in files {
                let failed = |why: String| CdiError::File { path: path.display().to_string(), why };
                specs.push(load(&path).map_err(failed)?);
            }
        }
        // What is found last wins.
        specs.reverse();
        Ok(Self { specs })
    }

    /// What a GPU needs, with the name by which it was found.
    ///
    /// # Errors
    /// When no description names it, by unique name or by index.
    pub fn gpu(&self, uuid: &str, index: u32) -> Result<(String, Edits), CdiError> {
        let index = index.to_string();
        let named = |name: &str| Some((format!("{GPU}={name}"), self.device(name)?));
        named(uuid).or_else(|| named(&index)).ok_or_else(|| {
            let folders = FOLDERS.join(" and ");
            CdiError::Unknown { uuid: uuid.to_owned(), folders }
        })
    }

    /// What a GPU needs that was found by this name, as [`Cdi::gpu`] says it.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<Edits> {
        self.device(name.strip_prefix(GPU)?.strip_prefix('=')?)
    }

    fn device(&self, name: &str) -> Option<Edits> {
        let mut specs = self.specs.iter().filter(|spec| spec.kind == GPU);
        specs.find_map(|spec| {
            let device = spec.devices.iter().find(|device| device.name == name)?;
            let mut edits = spec.container_edits.clone();
            edits.add(device.container_edits.clone());
            Some(edits)
        })
    }
}

impl Edits {
    /// These with others; what both say stands once.
    pub fn add(&mut self, other: Self) {
        fn merge<T: PartialEq>(all: &mut Vec<T>, more: Vec<T>) {
            for one in more {
                if !all.contains(&one) {
                    all.push(one);
                }
            }
        }
        merge(&mut self.env, other.env);
        merge(&mut self.device_nodes, other.device_nodes);
        merge(&mut self.mounts, other.mounts);
        merge(&mut self.hooks, other.hooks);
    }
}

fn load(path: &Path) -> Result<Spec, String> {
    let length = path.metadata().map_err(|why| why.to_string())?.len();
    if length > FILE_MAX {
        return Err(format!("it has {length} bytes, {FILE_MAX} are the most"));
    }
    let text = fs::read_to_string(path).map_err(|why| why.to_string())?;
    let value = match path.extension().is_some_and(|end| end == "json") {
        true => serde_json::from_str(&text).map_err(|why| why.to_string())?,
        false => yaml(&text)?,
    };
    serde_json::from_value(value).map_err(|why| why.to_string())
}

/// YAML as JSON: all that the description's tools write.
fn yaml(text: &str) -> Result<Value, String> {
    let mut events = Parser::new_from_str(text)
        .map(|step| step.map(|(event, _)| event).map_err(|why| why.to_string()));
    loop {
        match events.next().transpose()? {
            Some(Event::StreamStart | Event::DocumentStart(_)) => {}
            Some(event) => return value(&mut events, event, 0),
            None => return Err("it is empty".to_owned()),
        }
    }
}

fn value<'a>(
    events: &mut impl Iterator<Item = Result<Event<'a>, String>>,
    event: Event<'a>,
    depth: usize,
) -> Result<Value, String> {
    if depth > DEPTH_MAX {
        return Err(format!("it is nested deeper than {DEPTH_MAX} levels"));
    }
    let ends = || "it ends before its end".to_owned();
    match event {
        Event::Scalar(text, ScalarStyle::Plain, ..) => Ok(match &*text {
            "" | "~" | "null" => Value::Null,
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            // A name that is a number stays one: only paths, names and words are read here.
            _ => Value::String(text.into_owned()),
        }),
        Event::Scalar(text, ..) => Ok(Value::String(text.into_owned())),
        Event::SequenceStart(..) => {
            let mut all = Vec::new();
            loop {
                match events.next().transpose()?.ok_or_else(ends)? {
                    Event::SequenceEnd => return Ok(Value::Array(all)),
                    event => all.push(value(events, event, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut all = Map::new();
            loop {
                let key = match events.next().transpose()?.ok_or_else(ends)? {
                    Event::MappingEnd => return Ok(Value::Object(all)),
                    Event::Scalar(key, ..) => key.into_owned(),
                    _ => return Err("it has a key that is no text".to_owned()),
                };
                let event = events.next().transpose()?.ok_or_else(ends)?;
                all.insert(key, value(events, event, depth + 1)?);
            }
        }
        _ => Err("it holds an alias, or ends before its end".to_owned()),
    }
}
