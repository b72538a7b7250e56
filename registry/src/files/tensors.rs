//! Safetensors files on disk: writing the proof into them, and reading what they say.

use crate::seal::tensors::{Marked, marked};
use domain::Digest;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Longest header. Source: the format's own bound.
const HEADER_MAX: u64 = 100_000_000;

/// A safetensors file's parts.
struct Opened {
    file: File,
    header: Map<String, Value>,
    /// Bytes of the header, padding included.
    length: u64,
}

/// Opens a file, unless it only has the name of one.
fn open(path: &Path) -> io::Result<Option<Opened>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    let mut file = File::options().read(true).write(false).open(path)?;
    let size = file.metadata()?.len();
    let mut length = [0; 8];
    if size < 10 {
        return Ok(None);
    }
    file.read_exact(&mut length)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_MAX || length > size - 8 {
        return Ok(None);
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file).take(length).read_to_end(&mut text)?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(header)) => Ok(Some(Opened { file, header, length })),
        _ => Ok(None),
    }
}

/// SHA-256 of all that follows the header, written to `copy` on the way.
fn region(opened: &mut Opened, copy: &mut impl Write) -> io::Result<Digest> {
    opened.file.seek(SeekFrom::Start(8 + opened.length))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match opened.file.read(&mut buffer)? {
            0 => return Ok(Digest(hasher.finalize().into())),
            size => {
                hasher.update(&buffer[..size]);
                copy.write_all(&buffer[..size])?;
            }
        }
    }
}

/// Writes the proof into one file. Returns the digest of its tensors; none when it is no
/// safetensors file.
fn mark(path: &Path, build_key: Digest) -> io::Result<Option<Digest>> {
    let Some(mut opened) = open(path)? else { return Ok(None) };
    let tensors = region(&mut opened, &mut io::sink())?;
    let header = marked(&opened.header, build_key, tensors, opened.length);
    if header.len() as u64 == opened.length {
        // It fits into the room of the old one.
        let mut file = File::options().write(true).open(path)?;
        file.seek(SeekFrom::Start(8))?;
        file.write_all(&header)?;
        return Ok(Some(tensors));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.assay-new"));
    let mut file = File::options().write(true).create_new(true).open(&beside)?;
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    if region(&mut opened, &mut file)? != tensors {
        return Err(io::Error::other("the file changed while it was read"));
    }
    let meta = opened.file.metadata()?;
    file.set_permissions(meta.permissions())?;
    let (uid, gid) =
        (std::os::unix::fs::MetadataExt::uid(&meta), std::os::unix::fs::MetadataExt::gid(&meta));
    std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    fs::rename(&beside, path)?;
    Ok(Some(tensors))
}

fn files(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry?;
        let path = entry.path();
        let named = path.extension().is_some_and(|kind| kind == "safetensors");
        if entry.file_type().is_file() && named {
            let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().into_owned();
            found.push((name, path.to_owned()));
        }
    }
    Ok(found)
}

/// Writes the proof into every safetensors file of a folder. Returns the digests of their tensors
/// by path.
///
/// # Errors
/// When a file cannot be read or written.
pub fn mark_all(folder: &Path, build_key: Digest) -> io::Result<BTreeMap<String, Digest>> {
    let mut tensors = BTreeMap::new();
    if !folder.is_dir() {
        return Ok(tensors);
    }
    for (name, path) in files(folder)? {
        if let Some(digest) = mark(&path, build_key)? {
            tensors.insert(name, digest);
        }
    }
    Ok(tensors)
}

/// What the safetensors files of a folder say of themselves, and what their tensors are.
///
/// # Errors
/// The first file that cannot be read.
pub fn marks(folder: &Path) -> Result<Vec<Marked>, String> {
    let mut found = Vec::new();
    for (name, path) in files(folder).map_err(|fault| fault.to_string())? {
        let fault = |fault: io::Error| format!("`{name}`: {fault}");
        let Some(mut opened) = open(&path).map_err(fault)? else { continue };
        let tensors = region(&mut opened, &mut io::sink()).map_err(fault)?;
        found.push(Marked { name, header: opened.header, tensors });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seal::tensors::{byproduct, check as check_marks};
    use serde_json::json;

    fn check(provenance: &Value, folder: &Path) -> Result<String, String> {
        check_marks(provenance, &marks(folder)?)
    }

    fn file(metadata: Option<Value>, room: usize) -> Vec<u8> {
        let mut header = json!({ "w": { "dtype": "U8", "shape": [4], "data_offsets": [0, 4] } });
        if let Some(metadata) = metadata {
            header["__metadata__"] = metadata;
        }
        let mut text = header.to_string().into_bytes();
        text.resize((text.len() + room).next_multiple_of(8), b' ');
        [&(text.len() as u64).to_le_bytes()[..], &text, &[1, 2, 3, 4]].concat()
    }

    fn provenance(key: Digest, tensors: Digest) -> Value {
        json!({ "predicate": {
            "buildDefinition": { "internalParameters": { "buildKey": key.to_string() } },
            "runDetails": { "byproducts": [
                { "name": byproduct("m.safetensors"), "digest": { "sha256": tensors.to_string() } }
            ] },
        } })
    }

    #[test]
    fn a_file_is_bound_to_its_build_and_no_weight_changes() {
        let key = Digest::of(b"build");
        for bytes in [file(None, 0), file(Some(json!({ "by": "me" })), 0), file(None, 400)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("m.safetensors");
            fs::write(&path, bytes).unwrap();
            let made = mark_all(dir.path(), key).unwrap();
            assert_eq!(made["m.safetensors"], Digest::of(&[1, 2, 3, 4]));
            let once = fs::read(&path).unwrap();
            assert!(once.ends_with(&[1, 2, 3, 4]) && (once.len() - 4).is_multiple_of(8));
            mark_all(dir.path(), key).unwrap();
            assert_eq!(fs::read(&path).unwrap(), once, "the second time changes nothing");
            let told = provenance(key, made["m.safetensors"]);
            assert_eq!(check(&told, dir.path()), Ok("1 bound to their manifest".into()));
            assert!(
                check(&provenance(Digest::of(b"x"), made["m.safetensors"]), dir.path()).is_err()
            );
            assert!(check(&provenance(key, Digest::of(b"x")), dir.path()).is_err());
            fs::remove_file(&path).unwrap();
            assert!(check(&told, dir.path()).unwrap_err().contains("0 are there"));
        }
    }

    #[test]
    fn a_file_that_only_has_the_name_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.safetensors");
        for bytes in [&b""[..], b"short", &[255; 64], b"\x08\0\0\0\0\0\0\0not json weights"] {
            fs::write(&path, bytes).unwrap();
            assert!(mark_all(dir.path(), Digest::of(b"k")).unwrap().is_empty());
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }
}
