//! What a user submits, in any of its forms, read into one draft with all faults at once.

pub mod draft;
pub mod form;
pub mod graph;
pub mod interrupt;
mod keeping;
mod place;
pub mod retain;
pub mod sbatch;
pub mod script;
mod topology;
pub mod verify;
pub mod waits;

use crate::{
    document::{
        node::{self, Malformed, Node},
        reader::{FieldFault, Reader},
        yaml,
    },
    fault::Fault,
};
use domain::job::SpecError;
use draft::{DataSource, Draft};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// The form of a submitted file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Toml,
    Json,
    Yaml,
    Script,
}

/// A file as read, with its faults.
#[derive(Debug, Default)]
pub struct Read {
    /// The job.
    pub draft: Draft,
    /// What is wrong.
    pub faults: Vec<FieldFault>,
    /// What the author should know.
    pub notes: Vec<String>,
    /// The folder that paths are relative to.
    pub base: PathBuf,
    /// It is no document of its language, so that nothing else can be said of it.
    pub unreadable: bool,
}

/// Reads a job file or a script with directives.
///
/// # Errors
/// When the file cannot be read at all.
pub fn load(path: &Path) -> Result<Read, Fault> {
    Ok(read(path, &text_of(path)?))
}

/// Reads a file of several jobs; none where it is another.
///
/// # Errors
/// When the file cannot be read at all, or every fault of every job.
pub fn load_graph(path: &Path) -> Result<Option<Vec<graph::Part>>, Fault> {
    let text = text_of(path)?;
    let document = match form(path, &text) {
        Form::Toml => node::from_toml(&text),
        Form::Json => node::from_json(&text),
        Form::Yaml => yaml::from_yaml(&text),
        Form::Script => return Ok(None),
    };
    // What is no document of its language is told of where it is read as one job.
    let Some(document) = document.ok().filter(graph::is_one) else { return Ok(None) };
    graph::read(&document, path, base_of(path)).map(Some)
}

fn text_of(path: &Path) -> Result<String, Fault> {
    let bytes = std::fs::read(path).map_err(|fault| {
        Fault::file(path, &fault).hint("assay submit JOB.toml, or: assay submit -- PROGRAM ARGS")
    })?;
    String::from_utf8(bytes).map_err(|_| {
        Fault::usage("job_file", format!("{}: is not a text", path.display()))
            .hint("to run a program as it is: assay submit -- ./PROGRAM ARGS")
    })
}

/// The folder that paths in a file are relative to.
fn base_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads the text of a file that stands at `path`.
#[must_use]
pub fn read(path: &Path, text: &str) -> Read {
    let base = base_of(path);
    let mut reader = Reader::default();
    let mut notes = Vec::new();
    let read = match form(path, text) {
        Form::Toml => document(&mut reader, node::from_toml(text), base),
        Form::Json => document(&mut reader, node::from_json(text), base),
        Form::Yaml => document(&mut reader, yaml::from_yaml(text), base),
        Form::Script => {
            let script = script::read(&mut reader, text, base);
            notes = script.notes;
            Some(of_script(path, script.draft))
        }
    };
    let unreadable = read.is_none();
    let mut draft = read.unwrap_or_default();
    if draft.name.is_none() {
        draft.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    }
    let mut faults = reader.faults;
    faults.sort();
    faults.dedup();
    Read { draft, faults, notes, base: base.to_owned(), unreadable }
}

fn document(reader: &mut Reader, node: Result<Node, Vec<Malformed>>, base: &Path) -> Option<Draft> {
    match node {
        Ok(node) => {
            let mut draft = form::read(reader, &node, base);
            waits::refuse_names(reader, &mut draft);
            Some(draft)
        }
        Err(places) => {
            for place in places {
                reader.fault(place.line, "job file", place.fault, "");
            }
            None
        }
    }
}

fn form(path: &Path, text: &str) -> Form {
    match path.extension().and_then(|ext| ext.to_str()) {
        Some("toml") => Form::Toml,
        Some("json") => Form::Json,
        Some("yaml" | "yml") => Form::Yaml,
        _ if text.starts_with("#!") => Form::Script,
        Some("sh" | "py" | "sbatch" | "slurm") => Form::Script,
        _ => Form::Toml,
    }
}

/// A script runs itself: it is all of the code, unless it names a code folder.
fn of_script(path: &Path, mut draft: Draft) -> Draft {
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned());
    if let (None, Some(file)) = (&draft.code, file) {
        draft.program = Some(path.to_owned());
        draft.command = Some(vec![format!("./{file}")]);
    } else if let Some(code) = &draft.code {
        let inside = path.strip_prefix(code).unwrap_or(path);
        draft.command = Some(vec![format!("./{}", inside.display())]);
    }
    draft
}

/// Finds what only the file system and the rules of a job can tell; then gives all faults at once.
///
/// # Errors
/// Every fault of the file and of the flags.
pub fn check(read: Read, file: Option<&Path>) -> Result<Draft, Fault> {
    faults_of(read).map_err(|faults| all_faults(&faults, file))
}

/// The job that was read, or every fault of it.
fn faults_of(mut read: Read) -> Result<Draft, Vec<FieldFault>> {
    if read.unreadable {
        return Err(read.faults);
    }
    let draft = settle_program(read.draft, &read.base);
    let mut found = |field: &str, path: &PathBuf, what: &str| {
        if !path.exists() {
            let fault = format!("{} does not exist", path.display());
            let remedy = format!("give {what} relative to the job file");
            read.faults.push(FieldFault { line: None, field: field.into(), fault, remedy });
        }
    };
    if let Some(code) = &draft.code {
        found("code", code, "a folder");
    }
    for (name, source) in &draft.datasets {
        if let DataSource::Files { path, .. } = source {
            found(&format!("datasets.{name}"), path, "a file or a folder");
        }
    }
    let said: Vec<_> = read.faults.iter().map(|fault| fault.field.clone()).collect();
    for SpecError::Field { field, fault, remedy } in
        draft.spec(0, None, BTreeMap::new(), None).check().err().unwrap_or_default()
    {
        if !said.contains(&field) {
            read.faults.push(FieldFault { line: None, field, fault, remedy });
        }
    }
    if let Some(fault) = missing_program(&draft) {
        read.faults.push(fault);
    }
    if read.faults.is_empty() { Ok(draft) } else { Err(read.faults) }
}

fn all_faults(faults: &[FieldFault], file: Option<&Path>) -> Fault {
    let at = file.map_or("command line".into(), |file| file.display().to_string());
    let count = match faults.len() {
        1 => "1 fault".to_owned(),
        n => format!("{n} faults"),
    };
    let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    Fault::usage("job_file", format!("{at}: {count}, nothing was submitted\n{}", lines.join("\n")))
}

/// Without a code folder, a program given by a relative path is captured alone.
fn settle_program(mut draft: Draft, base: &Path) -> Draft {
    if draft.code.is_some() || draft.program.is_some() {
        return draft;
    }
    let Some(path) = relative_program(&draft).map(|program| base.join(program)) else {
        return draft;
    };
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    if let (Some(name), true, Some(command)) = (name, path.is_file(), &mut draft.command) {
        command[0] = format!("./{name}");
        draft.program = Some(path);
    }
    draft
}

fn relative_program(draft: &Draft) -> Option<&str> {
    let program = draft.command.as_ref()?.first()?;
    (program.contains('/') && !program.starts_with('/')).then_some(program)
}

fn missing_program(draft: &Draft) -> Option<FieldFault> {
    let program = relative_program(draft)?;
    if draft.program.is_some() {
        return None;
    }
    let (fault, remedy) = match &draft.code {
        None => (
            format!("`{program}` is looked up in the code folder, and there is none"),
            "add `code = \".\"`, or give a program that is in PATH".to_owned(),
        ),
        Some(code) if code.is_dir() && !code.join(program).is_file() => (
            format!("`{program}` is not in the code folder {}", code.display()),
            "name a program relative to that folder".to_owned(),
        ),
        Some(_) => return None,
    };
    Some(FieldFault { line: None, field: "command".into(), fault, remedy })
}

#[cfg(test)]
#[path = "jobfile_test.rs"]
mod jobfile_test;
