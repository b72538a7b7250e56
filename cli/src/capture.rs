//! Code and data as they stood at submit: hashed, described, and ready to be uploaded.

use crate::{
    fault::Fault,
    jobfile::draft::{DataSource, Draft},
};
use domain::{
    Bytes, Digest, JobId,
    dataset::DatasetVersion,
    job::{Captured, JobSpec},
    queue::{Priority, PriorityClasses, class::UnknownClass},
    tree::Tree,
};
use proto::transfer::Source;
use registry::files::walk;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// What a cluster told of the words that drafts name things by.
#[derive(Debug, Default)]
pub struct Known {
    /// Registered versions by the word that names each.
    pub versions: BTreeMap<String, DatasetVersion>,
    /// Names for priorities; none where no cluster was asked.
    pub classes: Option<PriorityClasses>,
}

impl Known {
    fn priority(&self, of: &Draft) -> Result<i32, Fault> {
        let Some(priority) = &of.priority else { return Ok(0) };
        let unasked = match priority {
            Priority::Class(name) if self.classes.is_none() => Some(name),
            _ => None,
        };
        if let Some(name) = unasked {
            let detail = format!("priority `{name}` is a class, which is not known here");
            return Err(Fault::usage("priority", detail).hint("give a whole number"));
        }
        let none = PriorityClasses::default();
        let classes = self.classes.as_ref().unwrap_or(&none);
        priority.resolve(classes).map_err(|fault| no_class(&fault))
    }
}

/// A class that is not there.
pub fn no_class(fault: &UnknownClass) -> Fault {
    Fault::usage("priority", fault.to_string())
        .hint("an admin names classes in the cluster's file: `[priority_classes]`, `assay apply`")
}

fn of_version(version: &DatasetVersion) -> Captured {
    let facts = &version.facts;
    let origin = version.dataset.to_string();
    Captured { tree: facts.tree, files: facts.files, size: facts.size, origin }
}

/// Where no cluster is asked, names stand for nothing.
fn not_here(name: &str, word: &str) -> Fault {
    let detail = format!("data set `{name}` is the registered `{word}`, which is not known here");
    Fault::usage("registered_data", detail).hint("name a file or a folder: `./PATH`")
}

/// A tree with the folder in which its files stand.
#[derive(Clone, Debug)]
struct Stood {
    tree: Tree,
    root: PathBuf,
}

/// A job with all that it names, by digest.
#[derive(Clone, Debug)]
pub struct Capture {
    /// The job.
    pub spec: JobSpec,
    stood: Vec<Stood>,
}

impl Capture {
    /// Reads everything that a draft names.
    ///
    /// # Errors
    /// When something cannot be read, changes while it is read, or has another digest than said.
    pub fn of(draft: &Draft, reproduces: Option<JobId>) -> Result<Self, Fault> {
        Self::with(draft, reproduces, &Known::default())
    }

    /// The same, with what a cluster told of the words in the draft.
    ///
    /// # Errors
    /// As above, and when a word is not among those that were looked up.
    pub fn with(draft: &Draft, reproduces: Option<JobId>, known: &Known) -> Result<Self, Fault> {
        let mut stood = Vec::new();
        let code = match (&draft.code, &draft.program) {
            (Some(dir), _) => Some(folder(dir)?),
            (None, Some(program)) => Some(single(program, true)?),
            (None, None) => None,
        };
        let origin = draft.code.as_ref().or(draft.program.as_ref());
        let code = code.map(|tree| {
            let origin = origin.map_or_else(String::new, |path| path.display().to_string());
            let captured = captured(&tree.tree, origin);
            stood.push(tree);
            captured
        });
        let (mut datasets, mut registered) = (BTreeMap::new(), BTreeMap::new());
        for (name, source) in &draft.datasets {
            match source {
                DataSource::Files { path, sha256 } => {
                    let tree = data(path)?;
                    if let Some(wanted) = *sha256 {
                        check_digest(name, path, &tree.tree, wanted)?;
                    }
                    datasets.insert(name.clone(), captured(&tree.tree, path.display().to_string()));
                    stood.push(tree);
                }
                DataSource::Registered(word) => {
                    let version = known.versions.get(word).ok_or_else(|| not_here(name, word))?;
                    datasets.insert(name.clone(), of_version(version));
                    registered.insert(name.clone(), version.dataset.clone());
                }
            }
        }
        let priority = known.priority(draft)?;
        let spec = JobSpec { registered, ..draft.spec(priority, code, datasets, reproduces) };
        if let Err(faults) = spec.check() {
            let all: Vec<_> = faults.iter().map(ToString::to_string).collect();
            return Err(Fault::usage("job_file", all.join("\n")));
        }
        Ok(Self { spec, stood })
    }

    /// Every blob that the servers must have: the trees and their files, each once.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        sources(&self.stood)
    }

    /// Number and size of the captured files.
    #[must_use]
    pub fn size(&self) -> (u64, Bytes) {
        let files = self.stood.iter().map(|stood| stood.tree.files.len() as u64).sum();
        (files, Bytes(self.stood.iter().map(|stood| stood.tree.size().0).sum()))
    }
}

/// A data set as it stands on the disk.
#[derive(Clone, Debug)]
pub struct CapturedData(Stood);

impl CapturedData {
    /// Reads a file or a folder.
    ///
    /// # Errors
    /// When something cannot be read, or changes while it is read.
    pub fn of(path: &Path) -> Result<Self, Fault> {
        data(path).map(Self)
    }

    /// Digest of the stored tree.
    #[must_use]
    pub fn tree(&self) -> Digest {
        self.0.tree.digest()
    }

    /// Every blob that the servers must have.
    #[must_use]
    pub fn sources(&self) -> Vec<Source> {
        sources(std::slice::from_ref(&self.0))
    }
}

/// The trees and their files, each once.
fn sources(all: &[Stood]) -> Vec<Source> {
    let mut sources = BTreeMap::new();
    for Stood { tree, root } in all {
        let encoded = Source::bytes(tree.encode());
        sources.insert(encoded.digest, encoded);
        for file in &tree.files {
            let source = Source::file(file.digest, file.size.0, root.join(&file.path));
            sources.insert(file.digest, source);
        }
    }
    sources.into_values().collect()
}

fn captured(tree: &Tree, origin: String) -> Captured {
    Captured { tree: tree.digest(), files: tree.files.len() as u64, size: tree.size(), origin }
}

fn folder(dir: &Path) -> Result<Stood, Fault> {
    let tree = walk::hash_tree(dir).map_err(|fault| Fault::usage("capture", fault.to_string()))?;
    Ok(Stood { tree, root: dir.to_owned() })
}

/// A data set: a folder, or a file.
fn data(path: &Path) -> Result<Stood, Fault> {
    match path.is_dir() {
        true => folder(path),
        false => single(path, false),
    }
}

/// A single file as a tree of one. A program may be executed, whatever its mode says.
fn single(path: &Path, program: bool) -> Result<Stood, Fault> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(|| {
        Fault::usage("capture", format!("{} has no name in UTF-8", path.display()))
    })?;
    let mut file =
        walk::hash_file(path, name).map_err(|fault| Fault::usage("capture", fault.to_string()))?;
    file.executable |= program;
    let root = path.parent().map(Path::to_owned).unwrap_or_default();
    Ok(Stood { tree: Tree { files: vec![file] }, root })
}

/// A file is named by its own SHA-256, a folder by its tree's digest.
fn check_digest(name: &str, path: &Path, tree: &Tree, wanted: Digest) -> Result<(), Fault> {
    let found = match tree.files.as_slice() {
        [file] if path.is_file() => file.digest,
        _ => tree.digest(),
    };
    if found == wanted {
        return Ok(());
    }
    let detail = format!(
        "data set `{name}` has changed: {} hashes to {found}, the job file says {wanted}",
        path.display()
    );
    Err(Fault::mismatch("dataset_changed", detail)
        .hint("restore the data, or write the new digest into the job file"))
}

#[cfg(test)]
#[path = "capture_test.rs"]
mod capture_test;
